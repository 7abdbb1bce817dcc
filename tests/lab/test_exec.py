"""`fleet exec` and the commands for single management commands on the lab: what real daemons say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.management.commands import COMMANDS
from lab.lab import SITES, Lab, Run

pytestmark = pytest.mark.lab

WORKING = "eu:us"


@pytest.fixture
def as_before(lab: Lab) -> Iterator[None]:
    yield
    for server in SITES:
        for command in ("verb 3", "mute 0", "auth-retry none", "hold off"):
            lab.ask(server, command)


def replies(run: Run, server: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = run.outcomes()[server]["result"]["replies"]
    return found


def test_equal_answers_of_real_daemons_are_folded(lab: Lab) -> None:
    run = lab.installed("exec", "verb", "mute", "-l", WORKING)
    assert run.exit_status == 0, run.stderr
    heading, answer, second, other = run.stdout.splitlines()
    assert (heading, second) == ("verb", "mute")
    assert answer.endswith(f" ({len(SITES)}): verb=3")
    assert other.endswith(f" ({len(SITES)}): mute=0")


@pytest.mark.usefixtures("as_before")
def test_changes_and_questions_in_one_session(lab: Lab) -> None:
    run = lab.fleet("exec", "verb 4", "verb", "mute 7", "mute", "verb 3", "-l", WORKING, "--yes", "--json")
    assert run.exit_status == 0, run.stderr
    for server in SITES:
        assert [reply["value"] for reply in replies(run, server)] == [
            "verb level changed",
            4,
            "mute level changed",
            7,
            "verb level changed",
        ]
        assert lab.ask(server, "mute") == "SUCCESS: mute=7\n"


# Each question of the table, and what its value is or, where it is refused, what a daemon of a server says.
QUESTIONS = {
    "auth-retry": "none",
    "bytecount 0": "bytecount interval changed",
    "echo all": [],
    "help": dict,
    "hold": False,
    "load-stats": dict,
    "log 3": list,
    "log on 2": list,
    "log off": str,
    "mute": 0,
    "nclients": int,
    "pid": int,
    "state": dict,
    "state all": list,
    "state on all": list,
    "state off": str,
    "echo on all": list,
    "status 1": dict,
    "status 2": dict,
    "status 3": dict,
    "status": dict,
    "verb": 3,
    "version": dict,
}


def test_every_question_in_one_session(lab: Lab) -> None:
    run = lab.fleet("exec", *QUESTIONS, "-l", WORKING, "--json")
    assert run.exit_status == 0, run.stderr
    for server in SITES:
        for reply, (text, expected) in zip(replies(run, server), QUESTIONS.items(), strict=True):
            assert (reply["command"], reply["status"], reply["lines"]) == (text, "ok", None)
            if isinstance(expected, type):
                assert isinstance(reply["value"], expected), text
            else:
                assert reply["value"] == expected, text


def test_lines_without_a_structure(lab: Lab) -> None:
    run = lab.fleet("exec", "test 3", "-l", "edge-1", "--json")
    (reply,) = replies(run, "edge-1")
    assert (reply["value"], len(reply["lines"])) == (None, 3)  # type: ignore[arg-type]  # a list


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net", "only implemented on Windows"),
        ("remote-entry-count", "not supported by the current daemon mode"),
        ("client-kill 4711", "client-kill command failed"),
        ("client-auth-nt 4711 1", "client-auth command failed"),
        ('client-auth 4711 1\npush "route 10.0.0.0 255.0.0.0"\nEND', "client-auth command failed"),
        ("rsa-sig\nTUlJQg==\nTUlJQg==", "The rsa-sig command is not currently available"),
        ("pk-sig\nTUlJQg==", "The pk-sig command is not currently available"),
        ("certificate\nTUlJQg==", "The certificate command is not currently available"),
        ("client-pf 4711\n[CLIENTS DROP]\n[END]", "wants OpenVPN 2.1 to 2.5"),
        ("client-deny 4711 1 'no entry' sorry", "client-deny command failed"),
        ("needok token ok", "needok"),
        ("push-update-broad '-dns'", "wants OpenVPN 2.7 or later"),
        ("kill nobody", "not found"),
    ],
)
def test_what_this_daemon_refuses_ends_the_list(lab: Lab, text: str, words: str) -> None:
    run = lab.fleet("exec", "pid", text, "verb 4", "-l", "edge-1", "--json")
    assert run.exit_status == 1, run.stderr
    assert [reply["status"] for reply in replies(run, "edge-1")] == ["ok", "failed", "not_sent"]
    error = run.outcomes()["edge-1"]["error"]
    assert error["code"] == "command-failed"
    assert words in error["message"]
    assert lab.ask("edge-1", "verb") == "SUCCESS: verb=3\n"


def test_an_unknown_command_with_a_declared_reply(lab: Lab) -> None:
    run = lab.fleet("exec", "frobnicate", "--reply", "line", "-l", "edge-1,edge-2", "--yes")
    assert run.exit_status == 1
    assert "edge-[1-2] (2): unknown command" in run.stderr


def test_client_kill_of_the_client_that_was_meant(lab: Lab) -> None:
    lab.wait_for_clients("edge-2")
    row = lab.client("edge-2", "laptop-1")
    run = lab.installed("client-kill", row["Client ID"], "RESTART,maintenance", "-l", "edge-2")
    assert (run.exit_status, run.stdout) == (0, "edge-2: client-kill command succeeded\n"), run.stderr
    lab.wait_until_gone("edge-2", row)
    lab.wait_for_clients("edge-2")


def test_help_lists_nothing_that_the_table_does_not_have(lab: Lab) -> None:
    run = lab.installed("help", WORKING, "--json")
    assert run.exit_status == 0
    for outcome in run.outcomes().values():
        assert set(outcome["result"]["commands"]) <= set(COMMANDS)


@pytest.mark.usefixtures("as_before")
def test_settings_of_authentication(lab: Lab) -> None:
    assert lab.fleet("auth-retry", "interact", "-l", "eu", "--yes").exit_status == 0
    shown = lab.fleet("auth-retry", "-l", "eu", "--json").outcomes()
    assert {outcome["result"]["auth_retry"] for outcome in shown.values()} == {"interact"}
    forgot = lab.installed("forget-passwords", "-l", "eu", "--yes")
    assert (forgot.exit_status, forgot.stdout.rpartition(": ")[2]) == (0, "Passwords were forgotten\n")
    assert lab.fleet("echo", "-l", "eu", "--json").exit_status == 0


def test_nobody_waits_for_a_password_here(lab: Lab) -> None:
    run = lab.installed("password", "Private Key", "--secret-command", "echo s3cr3t", "-l", "edge-1", "--json")
    assert run.exit_status == 1
    assert "no password is currently needed" in run.outcomes()["edge-1"]["error"]["message"]
    assert "s3cr3t" not in run.stdout + run.stderr
