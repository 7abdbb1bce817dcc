"""`fleet top` around its screen: what is refused, what is asked of servers, and killing as fleet kill does."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from cli.harness import Fleet, client, daemon
from fleet.cli.asking import access_to, transport_options
from fleet.cli.choosing import Target
from fleet.cli.options import Options
from fleet.cli.top import _Killer, _top
from fleet.demo.farm import Farm
from fleet.engine import fan_out
from fleet.inventory.load import load
from fleet.inventory.model import Server
from fleet.management.status import Client
from fleet.operations.conversation import work_on
from fleet.top.app import TopApp
from fleet.top.glance import Glance, glance
from fleet.top.killing import Question
from fleet.transport import Transport


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called in the test, where stdin and stdout are those that fleet sees: they are a terminal."""

    def pretend() -> None:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return pretend


def test_without_a_terminal_there_is_a_hint_and_nobody_is_asked(small: Fleet) -> None:
    result = small("top")
    assert result.status == 2
    assert "wants a terminal" in result.err
    assert "fleet status --watch -o ndjson" in result.err
    assert not small.farm["edge-1"].sessions


@pytest.mark.parametrize("args", [("-o", "json"), ("--watch=2s",)])
def test_what_a_screen_is_not_for(small: Fleet, args: tuple[str, ...], terminal: Callable[[], None]) -> None:
    terminal()
    result = small("top", *args)
    assert result.status == 2
    assert "top" in result.err


def test_without_textual_it_says_what_to_install(
    small: Fleet, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "textual" else find(name))
    result = small("top")
    assert result.status == 2
    assert "pip install 'openvpn-fleet[top]'" in result.err


def test_whom_it_would_watch(small: Fleet, terminal: Callable[[], None]) -> None:
    terminal()
    assert small("top", "eu", "--list-hosts").out == "edge-1\n"
    assert small("top", "nowhere").status == 2


def test_the_whole_command_with_a_screen_that_is_not_there(
    small: Fleet, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    run_async = TopApp.run_async
    seen: list[str] = []

    async def press(pilot: Any) -> None:
        app = pilot.app
        while app._board.totals().up < 3:
            await pilot.pause(0.05)
        app.refresh_rows()
        seen.append(app.query_one("#head").text)
        await pilot.press("q")

    async def headless(app: TopApp, **_settings: Any) -> None:
        await run_async(app, headless=True, size=(80, 24), auto_pilot=press)

    monkeypatch.setattr(TopApp, "run_async", headless)
    assert small("top", "-d", "100ms", "--color", "never").status == 0
    assert seen[0].startswith("3 of 3 servers up   5 clients")
    assert "NO_COLOR" not in os.environ
    assert [host.connections for host in small.farm.hosts.values()] == [1, 1]


def test_a_bug_in_the_rounds_is_told_as_one(
    small: Fleet, terminal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    run_async = TopApp.run_async

    async def headless(app: TopApp, **_settings: Any) -> None:
        await run_async(app, headless=True, size=(80, 24))

    def broken(_board: object, _sample: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(TopApp, "run_async", headless)
    monkeypatch.setattr("fleet.top.board.Board.update", broken)
    result = small("top", "-d", "100ms")
    assert result.status == 3
    assert "a bug in fleet" in result.err


# Killing, as the screen does it


def one_server(fleet: Fleet) -> Server:
    farm = Farm()
    farm.add("edge-1", daemon(clients=[client("alice"), client("bob")]))
    fleet.start(farm)
    assert fleet.thread is not None
    return load(str(fleet.thread.workspace.inventory)).servers[0]


def doing(fleet: Fleet, server: Server, work: Callable[[_Killer], Coroutine[Any, Any, Any]]) -> Any:
    """Something done with a killer, in the farm's loop."""
    assert fleet.thread is not None
    options = Options(
        ssh_config=str(fleet.thread.workspace.ssh_config),
        inventory=(str(fleet.thread.workspace.inventory),),
        argv=("top",),
        command_line="fleet top",
    )

    async def do() -> Any:
        async with Transport((server,), transport_options(options, keep=True)) as transport:
            return await work(_Killer(transport, options, Target()))

    return fleet.thread.do(do())


def clients(fleet: Fleet, server: Server) -> dict[str | None, Client]:
    """The clients of the server, as the screen has them."""
    assert fleet.thread is not None
    options = Options(ssh_config=str(fleet.thread.workspace.ssh_config))

    async def look() -> Glance:
        async with Transport((server,), transport_options(options)) as transport:
            work = work_on(access_to(transport, options), glance(lambda _name: True))
            async with fan_out((server,), work) as fan:
                return [outcome async for outcome in fan][0].require()  # noqa: RUF015 - there is no next() of these

    found: Glance = fleet.thread.do(look())
    assert found.log is not None
    return {one.common_name: one for one in found.status.clients}


def test_a_client_is_shown_then_killed_and_both_are_written_down(fleet: Fleet) -> None:
    server = one_server(fleet)
    there = clients(fleet, server)

    async def kill(killer: _Killer) -> tuple[Question | str, str]:
        question = await killer.prepare(server, there["bob"])
        assert isinstance(question, Question)
        assert fleet.daemon("edge-1").established == 2  # the question changes nothing
        return question, await question.do()

    question, told = doing(fleet, server, kill)
    assert question.lines[0] == "This disconnects 1 client of edge-1:"
    assert any("bob" in line and "client-kill 1" in line for line in question.lines)
    assert told == "killed 1 session on edge-1"
    (entry,) = map(json.loads, Path(os.environ["XDG_STATE_HOME"], "fleet", "audit.ndjson").read_text().splitlines())
    assert (entry["server"], entry["sent"], entry["status"]) == ("edge-1", ["client-kill 1"], "ok")
    assert entry["command"] == "fleet top"


def test_one_who_is_somebody_else_by_now_is_not_killed(fleet: Fleet) -> None:
    server = one_server(fleet)
    bob = clients(fleet, server)["bob"]
    other = bob._replace(common_name="carol")
    gone = bob._replace(client_id=77)
    nobody = bob._replace(client_id=None, real_address=None)

    async def ask(killer: _Killer) -> list[Question | str]:
        return [await killer.prepare(server, one) for one in (other, gone, nobody)]

    told = doing(fleet, server, ask)
    assert told[0] == "carol is not on edge-1 any more"
    assert told[1] == "bob is not on edge-1 any more"
    assert "neither a client id nor an address" in told[2]
    assert list(clients(fleet, server)) == ["alice", "bob"]


def test_one_who_leaves_between_question_and_answer(fleet: Fleet) -> None:
    server = one_server(fleet)
    bob = clients(fleet, server)["bob"]

    async def kill(killer: _Killer) -> str:
        question = await killer.prepare(server, bob)
        assert isinstance(question, Question)
        fleet.daemon("edge-1").kill(fleet.daemon("edge-1").instances[1:])
        return await question.do()

    assert doing(fleet, server, kill) == "client with id 1 had left by itself"


def test_a_server_that_cannot_be_asked_says_why(fleet: Fleet) -> None:
    server = one_server(fleet)
    bob = clients(fleet, server)["bob"]
    fleet.farm["edge-1"].closed = True

    async def ask(killer: _Killer) -> Question | str:
        return await killer.prepare(server, bob)

    assert "edge-1" in str(doing(fleet, server, ask))


def test_its_help_names_the_extra() -> None:
    assert "openvpn-fleet[top]" in (_top.__doc__ or "")
