"""One line on a terminal that says how far a run has come, and that is gone when the run is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TextIO

from fleet.render import units
from fleet.render.fold import fold_names
from fleet.render.text import escape

SHOW_AFTER: Final = 1.0  # seconds; a run that is over sooner shows nothing
NAMES_AFTER: Final = 3.0  # seconds; by then those still pending are worth naming
_NAMES_AT_MOST: Final = 200  # security limit on work and text for each redraw; a line has no room for more
_ERASE_TO_END: Final = "\x1b[K"
_MORE: Final = "..."


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How far a run has come.

    Attributes:
        total: servers in the run.
        done: those that have their outcome.
        trouble: those of them that are not ok.
        pending: names of servers without an outcome, those in flight first.
        words: how far it has come where the servers are not what counts; in place of how many there are.
    """

    total: int
    done: int
    trouble: int = 0
    pending: tuple[str, ...] = ()
    words: str = ""


def line(state: ProgressState, elapsed: float, width: int) -> str:
    """The line `elapsed` seconds into the run, never wider than `width` columns, or "" where none is to be shown.

    `52 of 64 servers, 3 not ok, 5s; waiting for edge-[3-5] gw/udp`
    """
    if elapsed < SHOW_AFTER or width < 1:
        return ""
    text = f"{state.words or _servers(state)}, {units.duration(elapsed)}"
    if elapsed >= NAMES_AFTER and state.pending:
        names = escape(fold_names(state.pending[:_NAMES_AT_MOST]))
        more = " " + _MORE if len(state.pending) > _NAMES_AT_MOST else ""
        text += f"; waiting for {names}{more}"
    return _cut(text, width)


def _servers(state: ProgressState) -> str:
    trouble = f", {state.trouble} not ok" if state.trouble else ""
    noun = "server" if state.total == 1 else "servers"
    return f"{state.done} of {state.total} {noun}{trouble}"


def _cut(text: str, width: int) -> str:
    """The text, or as much of it as fits with dots behind it."""
    if text.isascii():
        if len(text) <= width:
            return text
        return text[: max(0, width - len(_MORE))] + _MORE[:width]
    from wcwidth import wcwidth  # noqa: PLC0415 - only names beyond ASCII need it

    # The emoji selector makes the character before it wider, which no character says for itself.
    columns = [1 if character == "\ufe0f" else max(0, wcwidth(character)) for character in text]
    if sum(columns) <= width:
        return text
    fitting = sum(used <= width - len(_MORE) for used in accumulate(columns))
    return text[:fitting] + _MORE[:width]


def wants_progress(environ: Mapping[str, str], isatty: bool) -> bool:
    """Whether a stream can show a line and take it back: a terminal that is not a dumb one."""
    return isatty and environ.get("TERM") != "dumb"


class Progress:
    """The line on a stream. Whoever writes elsewhere on the terminal calls `clear` first.

    Args:
        stream: a terminal, or anything if not enabled.
        enabled: `wants_progress`; otherwise nothing is ever written.
        width: the terminal's width in columns, asked at each redraw since windows change.
    """

    def __init__(self, stream: TextIO, *, enabled: bool, width: Callable[[], int]) -> None:
        self._stream = stream
        self._enabled = enabled
        self._width = width
        self._shown = ""

    def update(self, state: ProgressState, elapsed: float) -> None:
        """Shows the state `elapsed` seconds into the run; writes only what changed, in one piece, so nothing flickers.

        One column stays free: a terminal that has its last column filled wraps, and the line could not be erased.
        """
        if not self._enabled:
            return
        text = line(state, elapsed, self._width() - 1)
        if not text:
            self.clear()
        elif text != self._shown:
            self._stream.write(f"\r{text}{_ERASE_TO_END}")
            self._stream.flush()
            self._shown = text

    def clear(self) -> None:
        """Takes the line away, if there is one."""
        if self._shown:
            self._stream.write(f"\r{_ERASE_TO_END}")
            self._stream.flush()
            self._shown = ""
