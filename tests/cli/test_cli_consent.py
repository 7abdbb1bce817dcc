"""Before something is changed: a preview, a question, or the --yes of a script."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cli.harness import Fleet, daemon, small_farm
from fleet.demo.farm import Farm, Reach
from support.terminal import Person, at_a_terminal

pytestmark = pytest.mark.children_measured


@asynccontextmanager
async def at_fleet(fleet: Fleet, *args: str) -> AsyncIterator[tuple[Person, list[bytes | int]]]:
    """fleet at a terminal; what it wrote to stdout and its exit status are in the list behind the block."""
    ended: list[bytes | int] = []
    argv = [sys.executable, "-m", "fleet", *args]
    async with at_a_terminal(argv, fleet.child_environment(TERM="xterm", NO_COLOR="1")) as (person, process):
        person.hidden = False
        yield person, ended
        out, _err = await process.communicate()
        assert process.returncode is not None
        ended += [out, process.returncode]


def changed(fleet: Fleet) -> list[str]:
    """The changes that any daemon of the farm was told."""
    quiet = ("state", "load-stats", "version", "pid", "status", "verb", "mute", "hold")
    return [
        line
        for host in fleet.farm.hosts.values()
        for served in host.management.values()
        for line in served.daemon.executed
        if line.split()[0] not in quiet or (" " in line and not line.startswith(("status", "state")))
    ]


@pytest.mark.parametrize(
    "args",
    [
        ("verb", "4", "--all"),
        ("signal", "SIGTERM", "-l", "edge-1"),
        ("exec", "verb 4", "--all"),
        ("hold", "on", "-l", "us"),
    ],
)
def test_without_a_terminal_yes_is_needed(small: Fleet, args: tuple[str, ...]) -> None:
    refused = small(*args)
    assert (refused.status, refused.out) == (2, "")
    assert "there is no terminal to ask at\n  give --yes" in refused.err
    assert changed(small) == []
    document = small(*args, "--json").document
    assert (document["exit_status"], document["error"]["code"], document["servers"]) == (2, "usage", [])
    assert small(*args, "--yes").status == 0
    assert changed(small) != []


def test_one_server_is_changed_without_a_question(small: Fleet) -> None:
    assert small("verb", "4", "-l", "edge-1").status == 0
    assert changed(small) == ["verb 4"]


async def test_several_servers_are_asked_for_with_the_list(small: Fleet) -> None:
    async with at_fleet(small, "verb", "4", "--all") as (person, ended):
        await person.sees("This changes 3 servers with 5 clients:")
        for line in ("edge-1", "CONNECTED", "2  verb 4", "gw/tcp"):
            await person.sees(line)
        await person.sees("Go on? [y/N] ")
        assert changed(small) == []
        await person.types("y\n")
    assert ended[1] == 0
    assert changed(small) == ["verb 4"] * 3


@pytest.mark.parametrize("answer", ["\n", "yep\n", "\x04"])
async def test_anything_but_yes_is_a_no(small: Fleet, answer: str) -> None:
    async with at_fleet(small, "mute", "4", "--all") as (person, ended):
        await person.sees("[y/N] ")
        await person.types(answer)
        await person.sees("not confirmed: nothing was changed")
    assert ended == [b"", 2]
    assert changed(small) == []


async def test_ctrl_c_at_the_question_changes_nothing(small: Fleet) -> None:
    async with at_fleet(small, "mute", "4", "--all") as (person, ended):
        await person.sees("[y/N] ")
        await person.types("\x03")
        await person.sees("interrupted before anything was sent")
    assert ended == [b"", 130]
    assert changed(small) == []


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("-l", "edge-1"), "edge-1"),
        (("-l", "us"), "us"),
        (("--all",), "all"),
        (("-l", "us", "-l", "edge-1"), "us,edge-1"),
    ],
)
async def test_sigterm_wants_the_name_typed(small: Fleet, args: tuple[str, ...], name: str) -> None:
    async with at_fleet(small, "signal", "SIGTERM", *args) as (person, ended):
        await person.sees("This ends the daemons of")
        await person.sees(f"Type {name} to go on: ")
        await person.types(f"{name}\n")
    assert ended[1] == 0
    assert set(changed(small)) == {"signal SIGTERM"}


async def test_yes_is_not_enough_for_sigterm(small: Fleet) -> None:
    async with at_fleet(small, "signal", "SIGTERM", "-l", "edge-1") as (person, ended):
        await person.sees("Type edge-1 to go on: ")
        await person.types("y\n")
        await person.sees("not confirmed")
    assert ended == [b"", 2]
    assert changed(small) == []


async def test_who_cannot_be_asked_is_said_before_the_question(fleet: Fleet) -> None:
    farm = small_farm()
    farm.add("down", daemon(), group="us", reach=Reach.DOWN)
    fleet.start(farm)
    async with at_fleet(fleet, "verb", "4", "-l", "us") as (person, ended):
        await person.sees("connect-refused: down")
        await person.sees("[y/N] ")
        await person.types("y\n")
    assert ended[1] == 4
    assert changed(fleet) == ["verb 4"] * 2


async def test_of_many_servers_the_names_are_shown(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge", {f"{number:02}": (f"127.0.0.1:{7000 + number}", daemon()) for number in range(1, 41)})
    fleet.start(farm)
    async with at_fleet(fleet, "verb", "4", "--all") as (person, ended):
        await person.sees("This changes 40 servers with 0 clients:")
        await person.sees("edge/[01-40] (40)")
        await person.types("n\n")
        await person.sees("not confirmed: nothing was changed")
    assert ended == [b"", 2]
    assert changed(fleet) == []


def test_a_dry_run_shows_and_does_nothing(small: Fleet) -> None:
    shown = small("verb", "4", "--all", "--dry-run")
    assert (shown.status, shown.err) == (0, "")
    assert [line.split() for line in shown.out.splitlines()[:2]] == [
        ["SERVER", "STATE", "CLIENTS", "WOULD", "SEND"],
        ["edge-1", "CONNECTED", "2", "verb", "4"],
    ]
    document = small("signal", "SIGHUP", "--all", "-n", "--json").document
    assert document["command"] == "signal"
    assert [server["result"]["would_send"] for server in document["servers"]] == [["signal SIGHUP"]] * 3
    assert changed(small) == []


def test_a_dry_run_checks_that_each_server_can_be_asked(fleet: Fleet) -> None:
    farm = small_farm()
    farm.add("down", daemon(), reach=Reach.DOWN)
    fleet.start(farm)
    shown = fleet("hold", "on", "--all", "--dry-run")
    assert shown.status == 4
    assert "connect-refused: down" in shown.err
    assert changed(fleet) == []


def test_a_dry_run_is_no_change(small: Fleet) -> None:
    assert small("--readonly", "verb", "4", "--all", "--dry-run").status == 0
    assert small("--readonly", "verb", "4", "--all", "--yes").status == 2
    assert changed(small) == []


@pytest.mark.parametrize("place", ["before", "behind", "environment"])
def test_yes_may_stand_anywhere(small: Fleet, place: str) -> None:
    words = {"before": ("--yes", "mute", "3", "--all"), "behind": ("mute", "3", "--all", "-y")}
    if place == "environment":
        small.set("FLEET_YES", "1")
    assert small(*words.get(place, ("mute", "3", "--all"))).status == 0
    assert changed(small) == ["mute 3"] * 3
