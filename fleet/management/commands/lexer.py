"""The lexer of the management interface: how a line becomes parameters, and a parameter part of a line.

It is that of OpenVPN's configuration files (management notes, Command Parsing; protocol-facts 2).
"""

from __future__ import annotations

import re

from fleet.errors import UsageError

PARAMETER_LIMIT = 255
"""Security limit of what is written: bytes of a parameter, one less than a daemon takes (protocol-facts 2)."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/+=,%-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def quote(argument: str) -> str:
    """One argument as the daemon's lexer reads it back (protocol-facts 2).

    Outside quotes a blank separates, a quote, `#` or `;` at the start has a meaning, and a backslash escapes; so
    whatever is not plain stands between double quotes, with backslash and double quote escaped.
    """
    if _PLAIN.fullmatch(argument):
        return argument
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def check_argument(argument: str, what: str, *, limit: int = PARAMETER_LIMIT, secret: bool = False) -> None:
    """Refuses an argument that would not reach the daemon as it is; of a secret the error says nothing more.

    Raises:
        UsageError: control characters, more than `limit` bytes, or text that has no bytes.
    """
    if control := _CONTROL.search(argument):
        raise UsageError(
            f"{what} has a control character" + ("" if secret else f" (\\x{ord(control[0]):02x})"),
            hint="OpenVPN drops control characters from its input; the names that it shows have _ in their place",
        )
    try:
        size = len(argument.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        # Without the cause, which has the text in it.
        raise UsageError(f"{what} is not text that can be sent") from None
    if size > limit:
        long = "too long" if secret else f"{size} bytes long"
        raise UsageError(f"{what} is {long}, and OpenVPN takes at most {limit}{' bytes' if secret else ''}")


def split_line(text: str) -> list[str]:
    r"""The parameters that the daemon's lexer reads in a line.

    Blanks separate; quotes quote only as the first character of a parameter, and end it; a backslash outside single
    quotes escapes a backslash, a double quote or a blank. An error says nothing of the text, which may have secrets.

    Raises:
        UsageError: what the daemon would answer with an error or not at all: a control character, a quotation without
            its end, a backslash before anything else; and an unquoted `#` or `;` at a parameter's start, behind which
            the daemon would drop what follows.
    """
    if _CONTROL.search(text):
        raise UsageError("the command has a control character", hint="OpenVPN drops control characters from its input")
    parameters: list[str] = []
    position = _skip_blanks(text, 0)
    while position < len(text):
        if text[position] in "#;":
            raise UsageError(
                f"a parameter that begins with {text[position]} ends the line for OpenVPN",
                hint=f'put it between quotes: "{text[position]}..."',
            )
        parameter, position = _parameter(text, position)
        parameters.append(parameter)
        position = _skip_blanks(text, position)
    return parameters


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] == " ":
        position += 1
    return position


def _parameter(text: str, position: int) -> tuple[str, int]:
    """The parameter that begins at the position, and the position behind it."""
    quotation = text[position] if text[position] in "\"'" else ""
    position += len(quotation)
    value: list[str] = []
    while position < len(text) and text[position] != (quotation or " "):
        if text[position] == "\\" and quotation != "'":
            position += 1
            if text[position : position + 1] not in {"\\", '"', " "}:
                raise UsageError(
                    "a backslash of the command escapes nothing",
                    hint="OpenVPN's lexer takes \\\\ for a backslash, \\\" for a quote and '\\ ' for a blank",
                )
        value.append(text[position])
        position += 1
    if quotation and position == len(text):
        raise UsageError(f"a quotation ({quotation}) of the command has no end")
    return "".join(value), position + len(quotation)
