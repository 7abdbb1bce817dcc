"""fleet check: what a monitoring system reads of it, by a strict parser of the Monitoring Plugins' guidelines."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import yaml

from cli.harness import Fleet, Result, client, daemon, farm_with_a_server_down
from fleet.demo.farm import Farm, Reach
from fleet.journal.places import runtime_folder

LEVELS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

# Monitoring Plugins Development Guidelines, "Performance data" and "Threshold and Ranges".
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?"
_PERFDATA = re.compile(
    rf"'((?:[^'=|\n]|'')+)'=(U|{_NUMBER}(?:us|ms|s|%|KB|MB|TB|B|c)?)"
    rf"(?:;({_RANGE})(?:;({_RANGE})(?:;({_NUMBER})?(?:;({_NUMBER})?)?)?)?)?"
)


@dataclass(frozen=True)
class Plugin:
    """What a plugin printed.

    Attributes:
        perfdata: by label, the value with its unit, and the two thresholds.
    """

    level: str
    text: str
    perfdata: dict[str, tuple[str, str, str]]
    details: list[str]


def plugin(result: Result) -> Plugin:
    """The output of a plugin; anything that a monitoring system would stumble over is an error."""
    assert result.stderr == b""
    assert result.out.endswith("\n")
    first, *details = result.out[:-1].split("\n")
    assert all(line.isprintable() and line.strip() and "|" not in line for line in details)
    assert first.count("|") <= 1
    assert first.isprintable()
    text, _, performance = first.partition(" | ")
    level, _, words = text.removeprefix("FLEET ").partition(" - ")
    assert text.startswith("FLEET ")
    assert result.status == LEVELS.index(level)
    assert words
    found: dict[str, tuple[str, str, str]] = {}
    rest = performance
    while rest:
        match = _PERFDATA.match(rest)
        assert match is not None, rest
        assert match[1] not in found
        found[match[1]] = (match[2], match[3] or "", match[4] or "")
        rest = rest[match.end() :]
        assert not rest or rest.startswith(" ")
        rest = rest.removeprefix(" ")
    return Plugin(level, words, found, details)


def test_all_is_well(small: Fleet) -> None:
    found = plugin(small("check"))
    assert (found.level, found.text, found.details) == ("OK", "3 servers, 5 clients", [])
    assert found.perfdata == {
        "servers": ("3", "", ""),
        "unreachable": ("0", "", "0"),
        "connected": ("3", "", ""),
        "clients": ("5", "", ""),
    }


def test_perfdata_of_each_server(small: Fleet) -> None:
    found = plugin(small("check", "edge-1", "--per-server", "--clients-warning", "1:50", "--clients-critical", "@~:0"))
    assert found.perfdata["edge-1 clients"] == ("2", "1:50", "@~:0")
    assert re.fullmatch(r"[0-9.]+s", found.perfdata["edge-1 time"][0])
    assert re.fullmatch(r"90[0-9]{3}s", found.perfdata["edge-1 age"][0])
    assert found.perfdata["edge-1 received"] == ("0c", "", "")


def test_a_server_that_is_down(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    found = plugin(fleet("check"))
    assert found.level == "CRITICAL"
    assert found.text.startswith("down: connect-refused: port ")
    assert found.text.endswith("; 4 servers, 5 clients")
    assert found.details == [f"CRITICAL: {found.text.partition('; 4 servers')[0]}"]
    assert found.perfdata["unreachable"] == ("1", "", "0")
    for args, level in {
        ("--unreachable-warning", "0"): "WARNING",
        ("--unreachable-critical", "1"): "OK",
        ("--unreachable-critical", "25%"): "OK",
        ("--unreachable-warning", "24%", "--unreachable-critical", "25%"): "WARNING",
        ("--unreachable-critical", "24%"): "CRITICAL",
        ("--unreachable-critical", "@1:3"): "CRITICAL",
    }.items():
        assert plugin(fleet("check", *args)).level == level, args


def test_a_daemon_in_hold(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    farm.add("up", daemon("2.6.14", ["a"]))
    fleet.start(farm)
    found = plugin(fleet("check", "--clients-critical", "1:", "--per-server"))
    assert (found.level, found.text) == ("CRITICAL", "held: state is HOLD; 2 servers, 1 client")
    assert found.perfdata["held clients"] == ("U", "", "1:")
    assert found.perfdata["connected"] == ("1", "", "")
    assert plugin(fleet("check", "--state-warning", "hold")).level == "WARNING"
    assert plugin(fleet("check", "--state-ok", "CONNECTED,HOLD")).level == "OK"


def test_the_worst_level_wins_and_each_problem_has_its_line(fleet: Fleet) -> None:
    farm = Farm()
    for number in (1, 2, 3):
        farm.add(f"edge-{number}", daemon("2.6.14", ["a", "b"]))
    farm.add("old", daemon("2.4.12", ["c"]))
    farm.add("down", daemon(), reach=Reach.DOWN)
    fleet.start(farm)
    found = plugin(fleet("check", "--clients-warning", "1", "--version-skew", "--unreachable-critical", "0"))
    assert found.level == "CRITICAL"
    assert found.text == "1 unreachable, 1 by version, 3 by clients; 5 servers, 7 clients"
    assert found.details[0].startswith("CRITICAL: down: connect-refused: ")
    assert found.details[1:] == [
        "WARNING: old: 2.4.12, where most servers are 2.6.14",
        "WARNING: edge-[1-3]: 2 clients, should be in 1",
    ] or found.details[1:] == [
        "WARNING: old: 2.4.12, where most servers are 2.6.14",
        "WARNING: edge-[1-3] (3): 2 clients, should be in 1",
    ]


def test_releases(small: Fleet) -> None:
    assert plugin(small("check", "--version-minimum", "2.4")).level == "OK"
    found = plugin(small("check", "--version-minimum", "2.6"))
    assert (found.level, found.text) == ("WARNING", "gw/tcp: 2.4.12 is older than 2.6; 3 servers, 5 clients")
    assert plugin(small("check", "edge-1", "--version-skew", "--version-minimum", "2.6.14")).level == "OK"
    assert plugin(small("check", "edge-1", "--version-minimum", "2.6.15")).level == "WARNING"


def test_the_age_of_the_last_restart(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", uptime=300.0))
    fleet.start(farm)
    assert plugin(fleet("check", "--restart-warning", "4m")).level == "OK"
    found = plugin(fleet("check", "--restart-warning", "10m"))
    assert (found.level, found.text) == ("WARNING", "edge-1: in its state for less than 600 s; 1 server, 0 clients")
    found = plugin(fleet("check", "--restart-warning", "1h", "--restart-critical", "10m", "--per-server"))
    assert found.level == "CRITICAL"
    assert found.perfdata["edge-1 age"][1:] == ("3600:", "600:")


def test_capacity(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", ["a", "b", "c"]))
    fleet.start(farm)
    assert fleet.thread is not None
    inventory = fleet.thread.workspace.inventory
    missing = plugin(fleet("check", "--capacity-warning", "80"))
    assert (missing.level, missing.text.partition(";")[0]) == (
        "UNKNOWN",
        "edge-1: no max_clients in the inventory to compare with",
    )
    text = inventory.read_text()
    assert text.count("  vars:\n") == 1
    inventory.write_text(text.replace("  vars:\n", "  vars:\n    max_clients: 4\n"))
    assert plugin(fleet("check", "--capacity-warning", "75")).level == "OK"
    found = plugin(fleet("check", "--capacity-warning", "50%", "--capacity-critical", "90", "--per-server"))
    assert found.level == "WARNING"
    assert found.text == "edge-1: 3 of 4 clients, 75 %, should be in 50 %; 1 server, 3 clients"
    assert found.perfdata["edge-1 capacity"] == ("75%", "50", "90")


def test_traffic_between_two_samples_on_one_session(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon("2.6.14", [client("a", bytes_received=5_000_000)]))
    fleet.start(farm)
    found = plugin(fleet("check", "--interval", "50ms", "--received-warning", "10Ki", "--sent-critical", "~:1M"))
    assert found.level == "OK"
    assert found.perfdata["received_per_second"] == ("0B", "", "")
    assert fleet.daemon("edge-1").executed.count("load-stats") == 2
    idle = plugin(fleet("check", "--interval", "50ms", "--received-warning", "1:"))
    assert idle.text.startswith("edge-1: receives 0 bytes per second, should be in 1:")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nobody"], "no server or group matches 'nobody'"),
        (["-i", "missing.yaml"], "missing.yaml"),
        (["--clients-warning", "1:2:3"], "--clients-warning: '1:2:3' is not a range"),
        (["--clients-critical", "20:10"], "'20:10' begins behind its end"),
        (["--received-critical", "10Q"], "'10Q' is not a range"),
        (["--version-minimum", "new"], "'new' is not a release"),
        (["--state-ok", "A,,B"], "is no list of states"),
        (["--interval", "2s"], "--interval is for traffic"),
        (["-o", "csv"], "-o csv is not for a check"),
        (["--watch", "2s"], "a check is made once"),
        (["-l", "a|b\n$(reboot)<b>"], r"a\x7cb\n$(reboot)\x3cb\x3e"),
    ],
)
def test_what_cannot_be_checked_is_unknown_on_stdout(small: Fleet, args: list[str], words: str) -> None:
    found = plugin(small("check", *args))
    assert found.level == "UNKNOWN"
    assert words in found.text
    assert (found.perfdata, found.details) == ({}, [])


def test_a_server_that_another_run_holds_is_unknown(small: Fleet) -> None:
    assert plugin(small("check")).level == "OK"
    with ExitStack() as held:
        for path in runtime_folder(os.environ).glob("*.lock"):
            lock = held.enter_context(path.open("rb+"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        found = plugin(small("check", "--lock-timeout", "0"))
    assert found.level == "UNKNOWN"
    assert "locked: " in found.text
    assert found.perfdata["unreachable"][0] == "0"


def test_a_variable_that_is_meant_for_others_is_no_mistake(small: Fleet) -> None:
    small.set("FLEET_WATCH", "5s")
    assert plugin(small("check")).level == "OK"


def test_a_command_line_that_cannot_be_read_is_unknown_too(small: Fleet) -> None:
    found = plugin(small("check", "--warning", "5"))
    assert found.level == "UNKNOWN"
    assert "--warning" in found.text
    assert plugin(small("check", "--restart-warning", "soon")).level == "UNKNOWN"


def test_the_document(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("check", "--json", "--unreachable-warning", "0", "--version-minimum", "2.6")
    document = result.document
    assert result.status == document["exit_status"] == 1
    assert (document["command"], document["error"], document["summary"]["unreachable"]) == ("check", None, 1)
    first, _, old, down = document["servers"]
    assert (first["result"]["nclients"], first["result"]["level"], first["result"]["findings"]) == (2, "OK", [])
    finding = {"level": "WARNING", "check": "version", "message": "2.4.12 is older than 2.6"}
    assert (old["result"]["level"], old["result"]["findings"]) == ("WARNING", [finding])
    assert (down["status"], down["result"], down["error"]["code"]) == ("unreachable", None, "connect-refused")
    as_yaml = yaml.safe_load(fleet("check", "-o", "yaml", "--unreachable-critical", "1").out)
    assert (as_yaml["exit_status"], as_yaml["servers"][0]["result"]["version"]) == (0, "2.6.14")
    refused = fleet("check", "--json", "nobody")
    assert (refused.status, refused.document["exit_status"], refused.document["servers"]) == (3, 3, [])
    assert refused.document["error"]["code"] == "empty-target"


def test_a_check_leaves_no_trace_in_the_history(small: Fleet) -> None:
    small("check")
    assert json.loads(small("history", "list", "--json").out)["runs"] == []


def test_names_and_messages_cannot_break_out_of_the_line(fleet: Fleet) -> None:
    fleet.inventory('all:\n  hosts:\n    "x=y":\n      connection: local\n      management: /nowhere/a|b\n')
    found = plugin(fleet("check", "--per-server"))
    assert found.level == "CRITICAL"
    assert "management-closed" in found.text
    assert "x_y time" in found.perfdata


def test_servers_are_listed_without_being_asked(small: Fleet) -> None:
    result = small("check", "--list-hosts")
    assert (result.status, result.out) == (0, "edge-1\ngw/udp\ngw/tcp\n")
    assert small.daemon("edge-1").executed == []
