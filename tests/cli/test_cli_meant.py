"""What a variable or a file says for all commands, and a command has not."""

from __future__ import annotations

import io
import socket
import sys
from datetime import UTC, datetime

import pytest

from cli.harness import Fleet
from fleet.engine import Outcome
from fleet.errors import LockedError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.operations.check import judge
from fleet.operations.limits import Limits
from fleet.operations.thresholds import Level


def test_columns_of_the_environment_are_for_those_that_have_them(small: Fleet) -> None:
    small.set("FLEET_COLUMNS", "server,state")
    small.set("FLEET_SORT_BY", "-state")
    shown = small("clients", "-o", "csv")
    assert (shown.status, shown.out.splitlines()[0]) == (0, "server")
    assert small("history", "list").status == 0  # it has none of them, and shows its own
    assert small("check").status == 0
    assert small("state", "-o", "csv").out.splitlines()[0] == "server,name"  # whose heading is STATE
    refused = small("clients", "--columns", "server,state")
    assert (refused.status, "unknown column 'state'" in refused.err) == (2, True)
    assert "unknown column 'state'" in small("clients", "--sort-by", "state").err


def test_a_difference_of_raw_answers_keeps_their_tabs(small: Fleet) -> None:
    shown = small("status", "--diff", "-o", "raw")
    assert "TITLE\tOpenVPN 2.6.14" in shown.out
    assert "\\t" not in shown.out


def test_records_end_as_lines_do(small: Fleet) -> None:
    assert b"\r" not in small("pid", "-o", "csv").stdout


def test_completion_without_a_shell_says_which_there_are(fleet: Fleet) -> None:
    assert fleet("completion").err.splitlines()[0] == "Missing argument 'bash|zsh|fish'. Choose from: bash, zsh, fish"


def test_who_asks_no_server_is_not_watched(fleet: Fleet) -> None:
    fleet.inventory("all: {hosts: {a: {management: '127.0.0.1:1'}}}")
    for line in (
        *(f"inventory {name}" for name in ("list", "graph", "show a")),
        "history list",
        "usage",
        "config show",
        "completion bash",
        "diff a b",
        "demo",
    ):
        refused = fleet(*line.split(), "--watch")
        assert (line, refused.status, refused.out) == (line, 2, "")
        assert refused.err.startswith("--watch asks servers again and again, and here none is asked")
    assert fleet("status", "--file", "/nowhere", "--watch").err.startswith("--watch asks servers")


def test_what_cannot_be_watched_is_no_run(fleet: Fleet) -> None:
    fleet.inventory("all: {hosts: {a: {management: '127.0.0.1:1'}}}")
    assert fleet("verb", "--watch", "-o", "csv").status == 2
    assert fleet("history", "list", "-o", "json").document["runs"] == []


def test_words_for_programs_are_utf_8_whatever_the_locale(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.inventory("all: {hosts: {a: {management: '127.0.0.1:1', note: Zoë}}}")
    for form, expected in (("json", '"Zoë"'.encode()), ("yaml", "Zoë".encode()), ("table", rb"Zo\xeb")):
        raw = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", io.TextIOWrapper(raw, "ascii", errors="backslashreplace"))
            assert fleet("inventory", "show", "a", "-o", form).status == 0
            sys.stdout.flush()
            assert expected in raw.getvalue()


def test_a_server_that_another_run_is_with_is_unknown_to_a_check() -> None:
    server = Server("edge-1", "edge-1", None, UnixEndpoint("/s"))
    error = LockedError("another run of fleet holds this server's management port", hint="wait")
    verdict = judge([Outcome(server, 0.1, None, error)], Limits(), datetime.now(UTC))
    assert (verdict.level, [problem.level for problem in verdict.problems]) == (Level.UNKNOWN, [Level.UNKNOWN])


def test_a_setting_of_the_environment_says_so(small: Fleet) -> None:
    small.set("FLEET_USER", "me")
    way = {one["name"]: one["origin"] for one in small("inventory", "show", "edge-1", "--json").document["way"]}
    assert (way["user"], way["ssh_config"]) == ("FLEET_USER", "FLEET_SSH_CONFIG")
    typed = small("inventory", "show", "edge-1", "--json", "--user", "me").document["way"]
    assert {one["name"]: one["origin"] for one in typed}["user"] == "--user"


def test_a_socket_of_this_machine_is_refused_in_the_systems_words(fleet: Fleet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        fleet.inventory(f"all: {{hosts: {{a: {{management: '{place}', connection: local}}}}}}")
        refused = fleet("pid")
    assert (refused.status, f"nobody can be reached on {place}: Connection refused" in refused.err) == (4, True)
