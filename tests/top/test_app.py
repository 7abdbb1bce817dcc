"""The keys of top, and what is to be seen, on a terminal that is not there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from fleet.inventory.model import Server
from fleet.management.replies import LogLine
from fleet.management.status import Client
from fleet.top.app import TopApp
from fleet.top.board import Board
from fleet.top.killing import Killer, Question
from fleet.top.widgets import fit
from top.samples import BEGIN, REFUSED, client, sample, server, status

SERVERS = tuple(server(name) for name in ("edge-1", "edge-2", "gw/udp"))


def made_board(count: int = 0) -> Board:
    board = Board((*SERVERS, *(server(f"more-{number}") for number in range(count))))
    now = time.monotonic()
    board.update(sample(SERVERS[0], status([client("[red]alice[/red]", 0), client("bob", 1)]), now))
    board.update(sample(SERVERS[1], REFUSED, now))
    board.update(sample(SERVERS[2], status([client("carol", 0), client("\x1b[2Jevil", 1), client("dan", 2)]), now))
    return board


class Session:
    """A screen, and what it asked for."""

    def __init__(self, app: TopApp, pilot: Pilot[None], hurried: list[str]) -> None:
        self.app = app
        self.pilot = pilot
        self.hurried = hurried

    @property
    def lines(self) -> list[str]:
        """What is to be seen."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips(self.app.screen.size)
        assert len(strips) == height
        return [strip.text[:width].rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> str:
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()
        return self.text


@asynccontextmanager
async def running(
    board: Board, size: tuple[int, int] = (80, 24), killer: Killer | None = None
) -> AsyncIterator[Session]:
    hurried: list[str] = []
    app = TopApp(board, title="fleet top eu", interval=2.0, hurry=hurried.append, killer=killer)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Session(app, pilot, hurried)


async def test_the_fleet_on_one_screen() -> None:
    async with running(made_board()) as screen:
        lines = screen.lines
    assert lines[0].startswith("2 of 3 servers up, 1 down   5 clients   in -  out -   20")
    assert lines[2].split() == ["SERVER", "STATE", "SINCE", "CLIENTS", "IN", "OUT", "VERSION"]
    assert lines[3].split()[:2] == ["edge-1", "CONNECTED"]
    assert lines[4].split()[:2] == ["edge-2", "connect-refused"]
    assert lines[-1].startswith("enter clients")
    assert lines[-1].endswith("q quit")


async def test_a_wide_screen_says_why_and_a_narrow_one_what_counts_most() -> None:
    async with running(made_board(), (200, 24)) as screen:
        assert "port 22 refuses connections" in screen.text
        assert "fleet top eu" in screen.lines[0]
    async with running(made_board(), (40, 24)) as screen:
        assert "SERVER" in screen.lines[2]
        assert "STATE" in screen.lines[2]
        assert "VERSION" not in screen.lines[2]
        assert all(len(line) <= 40 for line in screen.lines)


async def test_names_are_shown_as_they_are_and_never_acted_upon() -> None:
    async with running(made_board()) as screen:
        text = await screen.press("tab")
    assert "[red]alice[/red]" in text
    assert r"\x1b[2Jevil" in text
    assert "\x1b" not in text


async def test_enter_shows_the_clients_of_a_server_and_escape_goes_back() -> None:
    async with running(made_board()) as screen:
        text = await screen.press("down", "down", "enter")
        assert "clients of gw/udp" in text
        assert "carol" in text
        assert "bob" not in text
        text = await screen.press("escape")
        assert "connect-refused" in text
        text = await screen.press("tab")
        assert "all clients" in text
        assert "bob" in text
        assert "carol" in text


def names(screen: Session) -> list[str]:
    return [line.split()[0] for line in screen.lines[3:6]]


async def test_sorting_goes_through_the_columns_and_back_to_the_inventory() -> None:
    async with running(made_board()) as screen:
        text = await screen.press("s", "s", "s", "s")
        assert "by clients" in text
        assert "CLIENTS v" in text
        assert names(screen) == ["gw/udp", "edge-1", "edge-2"]
        text = await screen.press("r")
        assert "CLIENTS ^" in text
        assert names(screen) == ["edge-1", "gw/udp", "edge-2"]
        await screen.press("s", "s", "s", "s", "s")
        assert screen.lines[1] == "servers"
        await screen.press("r")
        assert names(screen) == ["gw/udp", "edge-2", "edge-1"]


async def test_searching_counts_while_it_is_typed() -> None:
    async with running(made_board()) as screen:
        text = await screen.press("slash", "G", "W")
        assert "with 'GW' in their names" in text
        assert "edge-1" not in text
        await screen.press("enter")
        assert "edge-1" not in screen.text
        assert screen.app.is_running  # q and s were free to be typed; now they are keys again
        text = await screen.press("escape")
        assert "edge-1" in text
        text = await screen.press("slash", "q")
        assert "no server has such a name" in text
        await screen.press("escape", "tab", "slash", "a", "l", "i", "enter")
        assert "alice" in screen.text
        assert "bob" not in screen.text


async def test_failed_only() -> None:
    board = made_board()
    async with running(board) as screen:
        text = await screen.press("f")
        assert "failed servers" in text
        assert "edge-1" not in text
        assert "edge-2" in text
        board.update(sample(SERVERS[1], status()))
        await screen.press("f", "f")
        assert "all servers are well" in screen.text


async def test_the_cursor_stays_on_its_row() -> None:
    async with running(made_board()) as screen:
        await screen.press("down", "down", "r")
        table = screen.app._servers
        assert table.current is not None
        assert table.current.server.name == "gw/udp"
        assert table._cursor == 0


async def test_thousands_of_rows_and_only_those_in_sight_are_drawn() -> None:
    async with running(made_board(5000)) as screen:
        await screen.press("end")
        assert "more-4999" in screen.text
        await screen.press("pageup")
        assert "more-4980" in screen.text
        await screen.press("home")
        assert "edge-1" in screen.text
        await screen.press("up", "down", "pagedown")
        assert "more-" in screen.text
        await screen.pilot.resize_terminal(100, 10)
        await screen.pilot.pause()
        assert len(screen.lines) == 10


async def test_the_log_of_a_server_as_it_grows() -> None:
    board = made_board()
    async with running(board) as screen:
        assert "asking for it" in await screen.press("l")
        assert screen.hurried == ["edge-1"]
        log = tuple(LogLine(BEGIN, "W", f"line {number} [bold]") for number in range(30))
        board.update(sample(SERVERS[0], status(), log=log))
        screen.app.refresh_rows()
        await screen.pilot.pause()
        assert "log of edge-1" in screen.text
        assert "2026-11-22T08:00:00Z W line 29 [bold]" in screen.text
        assert "log of" not in await screen.press("l")
        await screen.press("down", "l")
        assert "log of edge-2" in screen.text
        assert "log of" not in await screen.press("escape")


async def test_help_goes_with_any_key() -> None:
    async with running(made_board()) as screen:
        assert "disconnect this client" in await screen.press("question_mark")
        assert "disconnect this client" not in await screen.press("x")


class _Killer:
    """Stands where the real one does; tests/cli/test_cli_top.py has that one."""

    def __init__(self, answer: str | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []
        self.done = 0

    async def prepare(self, server: Server, client: Client) -> Question | str:
        self.asked.append((server.name, client.common_name))
        return self.answer if self.answer is not None else Question(("This disconnects [bold]:", "x"), self._do)

    async def _do(self) -> str:
        self.done += 1
        return "killed 1 session on gw/udp"


@pytest.mark.parametrize("keys", [["n"], ["escape"], ["enter"], ["x", "q"]])
async def test_nobody_is_killed_but_after_a_yes(keys: list[str]) -> None:
    killer = _Killer()
    async with running(made_board(), killer=killer) as screen:
        await screen.press("k")
        assert "enter shows those of a server" in screen.text
        await screen.press("down", "down", "enter", "k")
        assert killer.asked == [("gw/udp", "carol")]
        assert "This disconnects [bold]:" in screen.text
        assert "nothing was changed" in await screen.press(*keys)
        assert killer.done == 0


async def test_a_yes_kills_and_asks_the_server_again() -> None:
    killer = _Killer()
    async with running(made_board(), killer=killer) as screen:
        await screen.press("down", "down", "enter", "k", "y")
        assert "killed 1 session on gw/udp" in screen.text
        assert killer.done == 1
        assert screen.hurried == ["gw/udp"]


async def test_who_cannot_be_killed_and_a_screen_that_only_reads() -> None:
    async with running(made_board(), killer=_Killer("carol is not on gw/udp any more")) as screen:
        assert "not on gw/udp any more" in await screen.press("tab", "k")
    async with running(made_board()) as screen:
        assert "read-only" in await screen.press("tab", "k")


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_the_end(key: str) -> None:
    async with running(made_board()) as screen:
        await screen.pilot.press(key)
    assert not screen.app.is_running
    assert screen.app.return_code == 0


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("北京市", 5, "北京…"), ("北京市", 4, "北 …"), ("abc", 0, "")],
)
def test_cells_are_as_wide_as_they_should_be(text: str, width: int, shown: str) -> None:
    assert fit(text, width) == shown
    assert fit("1", 3, right=True) == "  1"
