"""How a daemon reads its input: lines out of bytes, parameters out of a line.

This is the other end of `Command.encode`, kept apart from it on purpose: what one quotes the other must read back.
"""

from __future__ import annotations

from enum import IntEnum

INPUT_BUFFER = 1024  # bytes; the daemon's own limit of a line with its end (protocol-facts 2)
PARAMETER_BYTES = 256  # the daemon's own limit
MAX_PARAMETERS = 16  # what follows is ignored

_BLANK = frozenset(b" \0")  # other white space does not survive LineReader; NUL is the end of the line
_BACKSLASH, _QUOTE, _SINGLE_QUOTE = b"\\\"'"
_COMMENT = frozenset(b";#")


class LexerError(Exception):
    """A line that the daemon refuses to read; the text is what stands behind `ERROR: `."""


class LineReader:
    r"""Collects input and cuts it at LF, as the daemon does.

    Control bytes are dropped wherever they stand. The byte that finds the buffer full is dropped and empties it, so
    that a line of 1024 bytes vanishes and the tail of a longer one is run as a command of its own (protocol-facts 2).
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete with this input, without their ends."""
        lines = []
        for byte in data:
            if (byte < ord(" ") and byte != ord("\n")) or byte == 0x7F:  # noqa: PLR2004  (DEL)
                continue
            if len(self._buffer) >= INPUT_BUFFER:
                self._buffer.clear()
            elif byte == ord("\n"):
                lines.append(bytes(self._buffer))
                self._buffer.clear()
            else:
                self._buffer.append(byte)
        return lines


class _State(IntEnum):
    """Where in a line the lexer is; the number shows in `Residual parse state (N)`."""

    INITIAL = 0
    QUOTED = 1
    UNQUOTED = 2
    SINGLE_QUOTED = 4


def parse_parameters(line: bytes) -> list[bytes]:
    r"""The parameters of one line (protocol-facts 2).

    Quotes count only as the first byte of a parameter; a backslash outside single quotes may stand before `\`, `"`
    and a blank; `#` and `;` at the start of a parameter end the line.

    Raises:
        LexerError: the line cannot be read; the daemon runs nothing of it.
    """
    parameters: list[bytes] = []
    parameter = bytearray()
    state = _State.INITIAL
    escaped = False
    for byte in (*line, 0):  # the daemon reads the terminating NUL as one more blank
        if byte == _BACKSLASH and not escaped and state is not _State.SINGLE_QUOTED:
            escaped = True
            continue
        if state is _State.INITIAL and byte in _COMMENT:
            break
        before = state
        state, literal = _step(state, byte, escaped=escaped)
        if literal:
            _check(literal, parameter, escaped=escaped)
            parameter.append(literal)
        elif state is _State.INITIAL and before is not _State.INITIAL:
            parameters.append(bytes(parameter))
            parameter.clear()
        escaped = False
        if len(parameters) == MAX_PARAMETERS:
            break
    if state is _State.QUOTED:
        raise LexerError('Options error: No closing quotation (") in TCP:0')
    if state is _State.SINGLE_QUOTED:
        raise LexerError("Options error: No closing single quotation (') in TCP:0")
    if state is not _State.INITIAL:
        raise LexerError(f"Options error: Residual parse state ({int(state)}) in TCP:0")
    return parameters


def _step(state: _State, byte: int, *, escaped: bool) -> tuple[_State, int | None]:
    """The state after a byte, and the byte where it is part of the parameter."""
    if state is _State.INITIAL:
        if byte in _BLANK:
            return _State.INITIAL, None
        if byte == _QUOTE and not escaped:
            return _State.QUOTED, None
        if byte == _SINGLE_QUOTE and not escaped:
            return _State.SINGLE_QUOTED, None
        return _State.UNQUOTED, byte
    ended = {
        _State.UNQUOTED: byte in _BLANK and not escaped,
        _State.QUOTED: byte == _QUOTE and not escaped,
        _State.SINGLE_QUOTED: byte == _SINGLE_QUOTE,
    }[state]
    return (_State.INITIAL, None) if ended else (state, byte)


def _check(byte: int, parameter: bytearray, *, escaped: bool) -> None:
    if escaped and byte not in _BLANK and byte not in (_BACKSLASH, _QUOTE):
        raise LexerError(
            r"Options warning: Bad backslash ('\') usage in TCP:0: remember that backslashes are treated as "
            "shell-escapes and if you need to pass backslash characters as part of a Windows filename, you should "
            r'use double backslashes such as "c:\\openvpn\\static.key"'
        )
    if len(parameter) >= PARAMETER_BYTES:
        shown = bytes(parameter[: PARAMETER_BYTES - 1]).decode("utf-8", "surrogateescape")
        raise LexerError(f"Options error: Parameter at TCP:0 is too long ({PARAMETER_BYTES} chars max): {shown}")
