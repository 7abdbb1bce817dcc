"""verb, mute, hold and signal over real SSH, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from cli.harness import Fleet, daemon
from fleet.demo.daemon import Phase
from fleet.demo.farm import Farm

SERVERS = ("edge-1", "gw/udp", "gw/tcp")


def asked(fleet: Fleet) -> int:
    return sum(host.connections for host in fleet.farm.hosts.values())


def test_verb(small: Fleet) -> None:
    result = small("verb", "4", "-l", "us", "--yes")
    assert (result.status, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()[1:]] == [
        [name, "4", "3", "verb", "level", "changed"] for name in ("gw/udp", "gw/tcp")
    ]
    assert [small.daemon(name).verb for name in SERVERS] == [3, 4, 4]
    shown = small("verb", "--json").document
    assert [one["result"] for one in shown["servers"]] == [{"verb": 3}, {"verb": 4}, {"verb": 4}]


def test_mute_of_all(small: Fleet) -> None:
    document = small("mute", "40", "--all", "--json", "--yes").document
    assert (document["command"], document["args"]) == ("mute", ["40"])
    assert document["servers"][0]["result"] == {
        "setting": "mute", "before": 0, "now": 40, "answer": "mute level changed",
    }  # fmt: skip
    assert [small.daemon(name).mute for name in SERVERS] == [40, 40, 40]


def test_hold(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    farm.add("up", daemon("2.7.6"))
    fleet.start(farm)
    result = fleet("hold", "release", "--all", "-y")
    assert [line.split(None, 1) for line in result.out.splitlines()] == [
        ["SERVER", "RESULT"], ["held", "released"], ["up", "was not waiting"],
    ]  # fmt: skip
    assert fleet.daemon("held").phase is Phase.UP
    result = fleet("hold", "on", "-l", "up", "-y")
    assert [line.split(None, 3) for line in result.out.splitlines()[1:]] == [["up", "on", "off", "hold flag set to ON"]]
    assert fleet("hold", "off", "--all", "-y").status == 0
    assert not any(fleet.daemon(name).hold_flag for name in ("held", "up"))


def test_signal(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    farm.add("up", daemon("2.7.6", ["a"]))
    fleet.start(farm)
    result = fleet("signal", "SIGUSR1", "--all", "--yes")
    assert result.status == 1
    assert [line.split() for line in result.out.splitlines()[1:]] == [["up", "SIGUSR1", "CONNECTED", "thrown"]]
    assert result.err.splitlines()[:2] == [
        "command-failed: held: the daemon is in hold and ignores SIGUSR1; nothing was sent",
        "  try: bring it up with fleet hold release",
    ]
    again = fleet("signal", "SIGHUP", "-l", "up", "-q", "--yes")
    assert again.status == 1
    assert again.err.startswith("command-failed: up: the daemon is restarting already; SIGHUP was not sent (try: wait ")
    assert "signal SIGHUP" not in fleet.daemon("up").executed


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("verb", "99"), "'99' is not a number that 'verb' takes\n  it takes a whole number from 0 to 15\n"),
        (("verb", "foo"), "'foo' is not a number that 'verb' takes\n  it takes a whole number from 0 to 15\n"),
        (("verb", "-1"), "'-1' is not a number that 'verb' takes\n  it takes a whole number from 0 to 15\n"),
        (("verb", ""), "'' is not a number that 'verb' takes\n  it takes a whole number from 0 to 15\n"),
        (("mute", "-1"), "'-1' is not a number that 'mute' takes\n  it takes a whole number from 0 on\n"),
        (("mute", "--no"),
         "No such option: --no\n  fleet mute --help shows what it takes; behind -- everything is an argument\n"),
        (("verb", "-z"),
         "No such option: -z\n  fleet verb --help shows what it takes; behind -- everything is an argument\n"),
        (("signal", "BOGUS"),
         "'BOGUS' is not a signal that OpenVPN takes\n  signals are SIGHUP, SIGTERM, SIGUSR1, SIGUSR2\n"),
        (("signal", "sigusr1"),
         "'sigusr1' is not a signal that OpenVPN takes\n  signals are SIGHUP, SIGTERM, SIGUSR1, SIGUSR2\n"),
        (("hold", "eu"), "hold takes on, off or release, not 'eu'\n  for servers: fleet hold -l PATTERN\n"),
        (("verb", "4", "5"), "Got unexpected extra argument(s) (5)\n  fleet verb --help shows what it takes\n"),
        (("signal",), "Missing argument 'SIGNAL'.\n  fleet signal --help shows what it takes\n"),
    ],
)  # fmt: skip
def test_refused_before_anything_is_sent(small: Fleet, args: tuple[str, ...], message: str) -> None:
    for more in ((), ("--all",), ("-l", "edge-1")):
        result = small(*args, *more)
        assert (result.status, result.out, result.err) == (2, "", message)
    assert small(*args, "--json").document["error"]["code"] == "usage"
    assert asked(small) == 0


@pytest.mark.parametrize(
    "args", [("verb", "4"), ("mute", "4"), ("hold", "on"), ("hold", "release"), ("signal", "SIGHUP")]
)
def test_a_change_wants_to_know_of_what(small: Fleet, args: tuple[str, ...]) -> None:
    result = small(*args)
    assert (result.status, result.out) == (2, "")
    assert result.err.splitlines()[0] == "this changes daemons: say which"
    assert "--all" in result.err
    assert asked(small) == 0


@pytest.mark.parametrize(
    "args",
    [("verb", "4", "--all"), ("mute", "4", "--all"), ("hold", "on", "--all"), ("hold", "release", "--all"),
     ("signal", "SIGHUP", "--all"), ("kill", "Test-Client")],
)  # fmt: skip
def test_read_only_refuses_every_change(small: Fleet, args: tuple[str, ...]) -> None:
    for command_line in (("--readonly", *args), (*args, "--readonly")):
        result = small(*command_line)
        assert (result.status, result.out) == (2, "")
        assert (
            result.err == f"{args[0]} changes something, and this run is read-only\n"
            "  --readonly or FLEET_READONLY is set, or readonly in a file: fleet config show tells\n"
        )
    small.set("FLEET_READONLY", "1")
    assert small(*args).status == 2
    assert asked(small) == 0
    assert small("verb").status == 0


def test_a_change_that_one_server_refuses_is_done_on_the_others(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("a", daemon())
    farm.add("b", daemon())
    fleet.start(farm)
    farm["b"].closed = True
    result = fleet("verb", "5", "--all", "--yes")
    assert result.status == 4
    assert fleet.daemon("a").verb == 5
    assert result.err.splitlines()[0].startswith("management-closed: b: ")
