"""The progress line: only on terminals, never wider than they are, gone when the run is over."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from fleet.render.progress import Progress, ProgressState, line, wants_progress

STATE = ProgressState(total=64, done=52, trouble=3, pending=("edge-3", "edge-4", "edge-5", "gw/udp"))


@pytest.mark.parametrize(
    ("state", "elapsed", "width", "text"),
    [
        (STATE, 0.9, 80, ""),
        (STATE, 1.0, 80, "52 of 64 servers, 3 not ok, 1s"),
        (STATE, 2.9, 80, "52 of 64 servers, 3 not ok, 2s"),
        (STATE, 3.0, 80, "52 of 64 servers, 3 not ok, 3s; waiting for edge-[3-5] gw/udp"),
        (STATE, 3.0, 40, "52 of 64 servers, 3 not ok, 3s; waiti..."),
        (STATE, 75.0, 2, ".."),
        (STATE, 75.0, 0, ""),
        (ProgressState(1, 0), 5.0, 80, "0 of 1 server, 5s"),
        (ProgressState(1, 0, words="told 12 of 400 clients"), 5.0, 80, "told 12 of 400 clients, 5s"),
        (ProgressState(2, 1, 0, ("a\x1b",)), 5.0, 80, r"1 of 2 servers, 5s; waiting for a\x1b"),
        (ProgressState(2, 1, 0, ("漢字",)), 5.0, 80, "1 of 2 servers, 5s; waiting for 漢字"),
        (ProgressState(2, 1, 0, ("漢字",)), 5.0, 36, "1 of 2 servers, 5s; waiting for 漢字"),
        (ProgressState(2, 1, 0, ("漢字漢",)), 5.0, 36, "1 of 2 servers, 5s; waiting for ..."),
    ],
)
def test_the_line(state: ProgressState, elapsed: float, width: int, text: str) -> None:
    assert line(state, elapsed, width) == text


@given(
    st.lists(st.text("ab1漢🙂\u0301\ufe0f❤\x1b\u202e", max_size=9), max_size=9), st.integers(0, 90), st.floats(0, 1e6)
)
def test_the_line_never_wraps_nor_drives_the_terminal(names: list[str], width: int, elapsed: float) -> None:
    text = line(ProgressState(99, 5, 1, tuple(names)), elapsed, width)
    assert 0 <= wcswidth(text) <= width
    assert all(character.isprintable() for character in text)


def test_ten_thousand_pending_servers_are_not_all_named() -> None:
    names = tuple(f"edge-{n * 2}" for n in range(10_000))
    text = line(ProgressState(10_000, 0, 0, names), 4.0, 100_000)
    assert text.endswith("edge-398 ...")


class Terminal(io.StringIO):
    """Counts writes, and shows what a terminal would on its one line."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


def test_each_change_is_one_write_and_the_end_leaves_nothing() -> None:
    terminal = Terminal()
    progress = Progress(terminal, enabled=True, width=lambda: 80)
    progress.update(STATE, 0.5)
    progress.update(STATE, 1.2)
    progress.update(STATE, 1.4)  # the same text
    progress.update(STATE, 2.0)
    progress.clear()
    progress.clear()
    assert terminal.writes == [
        "\r52 of 64 servers, 3 not ok, 1s\x1b[K",
        "\r52 of 64 servers, 3 not ok, 2s\x1b[K",
        "\r\x1b[K",
    ]


def test_it_comes_back_after_somebody_else_wrote() -> None:
    terminal = Terminal()
    progress = Progress(terminal, enabled=True, width=lambda: 80)
    progress.update(STATE, 1.2)
    progress.clear()
    progress.update(STATE, 1.2)
    assert terminal.writes[0] == terminal.writes[2]


def test_a_window_too_narrow_for_anything_shows_nothing() -> None:
    terminal = Terminal()
    width = 80
    progress = Progress(terminal, enabled=True, width=lambda: width)
    progress.update(STATE, 1.2)
    width = 1
    progress.update(STATE, 1.2)
    assert terminal.writes[-1] == "\r\x1b[K"


def test_one_column_stays_free() -> None:
    terminal = Terminal()
    Progress(terminal, enabled=True, width=lambda: 20).update(STATE, 9.0)
    assert terminal.writes == ["\r52 of 64 servers...\x1b[K"]


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    terminal = Terminal()
    progress = Progress(terminal, enabled=False, width=lambda: 80)
    progress.update(STATE, 9.0)
    progress.clear()
    assert terminal.writes == []


@pytest.mark.parametrize(
    ("environ", "isatty", "wanted"),
    [({}, True, True), ({}, False, False), ({"TERM": "dumb"}, True, False), ({"TERM": "xterm"}, True, True)],
)
def test_where_it_is_wanted(environ: dict[str, str], isatty: bool, wanted: bool) -> None:
    assert wants_progress(environ, isatty) is wanted
