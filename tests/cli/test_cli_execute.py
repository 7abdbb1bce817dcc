"""`fleet exec` and the commands for single management commands, on simulated servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm, Reach
from fleet.demo.serve import Faults, ReplyFault
from support.background import Run, Servers, servers

__all__ = ["servers"]

HOUSEKEEPING = {"pid", "state", "version"}
"""What fleet asks by itself."""


@pytest.fixture
def eight(servers: Servers) -> Servers:
    """edge-1 to edge-3 run 2.6.14, edge-4 runs 2.4.12, edge-5 runs 2.7.6; down is down."""
    farm = Farm()
    for number in range(1, 4):
        farm.add(f"edge-{number}", SimulatedDaemon("2.6.14", clients=[SimulatedClient("alice")]), group="eu")
    farm.add("edge-4", SimulatedDaemon("2.4.12"), group="eu")
    farm.add("edge-5", SimulatedDaemon("2.7.6"), group="us")
    farm.add("down", SimulatedDaemon("2.6.14"), group="broken", reach=Reach.DOWN)
    servers.start(farm)
    return servers


def sent(servers: Servers, server: str) -> list[str]:
    return [line for line in servers.executed(server) if line not in HOUSEKEEPING]


def results(run: Run) -> dict[str, Any]:
    return {server["name"]: server["result"] for server in json.loads(run.stdout)["servers"]}


def test_equal_answers_are_folded(eight: Servers) -> None:
    eight.do(lambda: setattr(eight.farm["edge-2"].daemon, "verb", 5))
    run = eight.fleet("exec", "verb", "-l", "eu:us")
    assert run.exit_status == 0, run.stderr
    assert run.stdout == "edge-[1,3-5] (4): verb=3\nedge-2: verb=5\n".replace("edge-[1,3-5]", "edge-1 edge-[3-5]")
    assert run.stderr == ""


def test_several_commands_go_over_one_session_in_their_order(eight: Servers) -> None:
    run = eight.fleet("exec", "verb 4", "mute", "verb", "-l", "eu", "--yes")
    assert run.exit_status == 0, run.stderr
    assert run.stdout == (
        "verb 4\n  edge-[1-4] (4): verb level changed\nmute\n  edge-[1-4] (4): mute=0\nverb\n  edge-[1-4] (4): verb=4\n"
    )
    assert sent(eight, "edge-1") == ["verb 4", "mute", "verb"]
    assert eight.farm["edge-1"].sessions == 1
    assert sent(eight, "edge-5") == []


def test_json_has_the_structure_where_fleet_knows_it(eight: Servers) -> None:
    run = eight.fleet("exec", "load-stats", "log on 2", "test 2", "-l", "edge-1", "--json")
    assert run.exit_status == 0, run.stderr
    document = json.loads(run.stdout)
    assert (document["command"], document["args"]) == ("exec", ["load-stats", "log on 2", "test 2"])
    stats, log, test = results(run)["edge-1"]["replies"]
    assert (stats["command"], stats["status"], stats["kind"]) == ("load-stats", "ok", "line")
    assert stats["value"]["nclients"] == 1
    assert stats["lines"] is None
    assert log["kind"] == "line+block"
    assert [sorted(line) for line in log["value"]] == [["flags", "text", "time"]] * 2
    assert (test["kind"], test["value"], len(test["lines"])) == ("fenced", None, 2)
    assert test["lines"][0].startswith("[0] ")


def test_the_first_command_that_fails_is_the_last_that_is_sent(eight: Servers) -> None:
    run = eight.fleet("exec", "mute 7", "push-update-broad '-dns'", "verb 4", "-l", "edge-1,edge-5", "--json", "-y")
    assert run.exit_status == 1
    for name in ("edge-1", "edge-5"):
        replies = results(run)[name]["replies"]
        assert [reply["status"] for reply in replies] == ["ok", "failed", "not_sent"]
        assert replies[0]["value"] == "mute level changed"
        assert replies[1]["error"]["code"] == "command-failed"
        assert "verb 4" not in sent(eight, name)
    errors = {server["name"]: server["error"] for server in json.loads(run.stdout)["servers"]}
    assert "wants OpenVPN 2.7 or later" in errors["edge-1"]["message"]
    assert errors["edge-1"]["message"].endswith("not sent: 'verb 4'")
    assert "verb 4" not in errors["edge-1"]["message"].partition("not sent")[0]


def test_what_was_answered_before_the_failure_is_shown(eight: Servers) -> None:
    run = eight.fleet("exec", "mute", "client-kill 99", "verb", "-l", "edge-1")
    assert run.exit_status == 1
    assert run.stdout == "edge-1: mute=0\n"
    assert run.stderr.startswith(
        "command-failed: edge-1: 'client-kill 99': client-kill command failed; not sent: 'verb'"
    )


def test_an_answer_that_never_comes(eight: Servers) -> None:
    eight.do(lambda: setattr(eight.farm["edge-1"], "faults", Faults(reply=ReplyFault.SILENCE, command="mute")))
    run = eight.fleet("exec", "verb", "mute 5", "pid", "-l", "edge-1,edge-2", "-y", "--json", "--reply-timeout", "1s")
    assert run.exit_status == 4
    first, second = json.loads(run.stdout)["servers"]
    assert [reply["status"] for reply in first["result"]["replies"]] == ["ok", "unanswered", "not_sent"]
    assert (first["error"]["code"], first["error"]["sent"]) == ("reply-timeout", "mute 5")
    assert [reply["status"] for reply in second["result"]["replies"]] == ["ok", "ok", "ok"]


def test_a_server_whose_time_is_over_says_how_far_it_came(eight: Servers) -> None:
    eight.do(lambda: setattr(eight.farm["edge-1"], "faults", Faults(reply=ReplyFault.SILENCE, command="mute")))
    run = eight.fleet("exec", "verb", "mute", "pid", "-l", "edge-1", "--json", "--host-timeout", "1s")
    assert run.exit_status == 4
    (server,) = json.loads(run.stdout)["servers"]
    assert [reply["status"] for reply in server["result"]["replies"]] == ["ok", "unanswered", "not_sent"]
    assert "it was waiting for the reply to mute" in server["error"]["message"]


def test_who_cannot_be_asked_has_no_replies(eight: Servers) -> None:
    run = eight.fleet("exec", "pid", "-l", "edge-1,down", "--json")
    assert run.exit_status == 4
    assert results(run)["down"] is None


def test_raw_is_what_the_daemon_said(eight: Servers) -> None:
    run = eight.fleet("exec", "verb", "echo all", "-l", "edge-1", "-o", "raw")
    assert run.stdout == "SUCCESS: verb=3\nEND\n"


def test_ndjson(eight: Servers) -> None:
    run = eight.fleet("exec", "verb", "-l", "edge-1", "-o", "ndjson")
    server, summary = [json.loads(line) for line in run.stdout.splitlines()]
    assert server["result"]["replies"][0]["value"] == 3
    assert summary["summary"]["ok"] == 1


@pytest.mark.parametrize("reply", ["line", "block"])
def test_an_unknown_command_is_sent_where_its_reply_is_declared(eight: Servers, reply: str) -> None:
    run = eight.fleet("exec", "frobnicate 'a b'", "--reply", reply, "-l", "edge-1")
    assert run.exit_status == 1
    assert "unknown command" in run.stderr
    assert sent(eight, "edge-1") == ['frobnicate "a b"']


def test_a_reply_that_is_declared_to_be_none_and_comes_all_the_same(eight: Servers) -> None:
    run = eight.fleet("exec", "frobnicate", "--reply", "none", "-l", "edge-1", "--json")
    assert run.exit_status == 1
    assert json.loads(run.stdout)["servers"][0]["error"]["code"] in ("protocol", "command-failed")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["exec", "frobnicate", "--all"], "with --reply line, block or none"),
        (["exec", "frobnicate", "--reply", "line"], "say which"),
        (["exec", "pid", "verb 4"], "say which"),
        (["exec", "pid", "verb 4", "--all", "--readonly"], "read-only"),
        (["exec", "client-kill 0", "-l", "eu"], "4 servers are meant: edge-[1-4]"),
        (["exec", "client-auth 0 1\npush x", "-l", "eu"], "4 servers are meant: edge-[1-4]"),
        (["exec", "client-auth 0 1\npush x\nEND\npush y", "-l", "edge-1"], "is END"),
        (["exec", "client-auth 0 1\npid", "-l", "edge-1"], "begins with the command 'pid'"),
        (["exec", "client-auth 0 1\npush x", "-l", "edge-1", "--readonly"], "read-only"),
        (["exec", "kill col:on", "--all"], "fleet kill"),
        (["exec", "password Auth s3cr3t", "-l", "edge-1"], "fleet unlock"),
        (["client-kill", "0"], "say which"),
        (["client-kill", "0", "-l", "eu"], "name one of them"),
        (["client-kill", "0", "-l", "edge-1", "--readonly"], "read-only"),
        (["client-kill", "-1", "-l", "edge-1"], "'-1' is not"),
        (["client-kill", "0", "BOOM", "-l", "edge-1"], "RESTART or HALT"),
        (["client-auth-nt", "0", "1", "--all"], "client by its ID"),
        (["push-update-cid", "--all", "--", "0", "-dns"], "client by its ID"),
        (["auth-retry", "maybe", "--all"], "maybe"),
        (["auth-retry", "interact"], "say which"),
        (["forget-passwords"], "say which"),
        (["needok", "token", "perhaps", "--all"], "perhaps"),
        (["echo", "0"], "'0' is not"),
        (["password", "Auth", "--all"], "no terminal"),
        (["password", "Auth"], "say which"),
        (["username", "Auth", "--all", "--secret-file", "a", "--secret-command", "b"], "contradict"),
        (["password", "Auth", "s3cr3t", "--all"], "extra argument"),
    ],
    ids=" ".join,
)
def test_refused_before_anything_is_sent(eight: Servers, args: list[str], words: str) -> None:
    run = eight.fleet(*args)
    assert run.exit_status == 2, run.stdout
    assert words in run.stderr
    assert eight.farm["edge-1"].sessions == 0


@pytest.mark.parametrize("args", [["exec", "password Auth s3cr3t"], ["exec", "pasword Auth s3cr3t", "--all"]])
def test_a_secret_that_was_typed_as_an_argument_is_repeated_nowhere(eight: Servers, args: list[str]) -> None:
    run = eight.fleet(*args, "--json")
    assert run.exit_status == 2
    assert "s3cr3t" not in run.stdout + run.stderr


def test_a_log_that_feeds_itself_is_not_switched_on(eight: Servers) -> None:
    eight.do(lambda: setattr(eight.farm["edge-1"].daemon, "verb", 9))
    run = eight.fleet("exec", "log on", "-l", "edge-1,edge-2", "--json")
    assert run.exit_status == 1
    first, second = json.loads(run.stdout)["servers"]
    assert "locks the session" in first["error"]["message"]
    assert second["status"] == "ok"
    assert "log on" not in sent(eight, "edge-1")


def test_lines_follow_a_command_and_the_next_command_is_none_of_them(eight: Servers) -> None:
    run = eight.fleet("exec", "client-auth 0 1\npush x\nEND", "verb 4", "-l", "edge-1", "--json")
    assert run.exit_status == 1
    first, second = results(run)["edge-1"]["replies"]
    assert (first["command"], first["kind"], second["status"]) == ("client-auth 0 1", "fenced", "not_sent")
    assert first["error"]["message"] == "client-auth command failed"  # nobody waits there
    assert sent(eight, "edge-1") == ["client-auth 0 1"]


@pytest.mark.parametrize("name", ["rsa-sig", "pk-sig", "certificate"])
def test_lines_that_nobody_asked_for_are_refused_with_their_command(eight: Servers, name: str) -> None:
    run = eight.fleet("exec", f"{name}\nTUlJQg==\nTUlJQg==", "-l", "edge-1")
    assert run.exit_status == 1
    assert run.stderr.startswith(f"command-failed: edge-1: The {name} command is not currently available")
    assert eight.fleet("exec", "pid", "-l", "edge-1").exit_status == 0


@pytest.mark.parametrize("name", ["edge-1", "edge-4"])
def test_a_filter_of_packets_where_the_daemon_has_one(eight: Servers, name: str) -> None:
    run = eight.fleet("exec", "client-pf 0\n[CLIENTS DROP]\n[END]", "-l", name)
    assert run.exit_status == 1
    words = "'client-pf' wants OpenVPN 2.1 to 2.5" if name == "edge-1" else "client-pf command failed"
    assert words in run.stderr


@pytest.mark.parametrize(("name", "status"), [("edge-4", 0), ("edge-1", 0), ("edge-5", 1)])
def test_an_address_is_not_sent_to_a_daemon_that_reads_it_as_a_name(eight: Servers, name: str, status: int) -> None:
    daemon = eight.farm[name].daemon
    twins = [SimulatedClient("10.1.1.1"), SimulatedClient("bob", "10.1.1.1")]
    eight.do(lambda: [daemon.connect(twin) for twin in twins])
    address = f"10.1.1.1:{daemon.instances[-1].port}"
    run = eight.fleet("exec", f"kill {address}", "-l", name)
    assert run.exit_status == status, run.stderr
    assert ("10.1.1.1" in daemon.common_names(), "bob" in daemon.common_names()) == (True, bool(status))
    if status:
        assert f"try: fleet kill {address}" in run.stderr
        assert not any(line.startswith("kill") for line in sent(eight, name))
        forced = eight.fleet("exec", f"kill {address}", "-l", name, "--force")
        assert (forced.exit_status, "10.1.1.1" in daemon.common_names()) == (0, False)


def test_a_signal_that_does_other_than_it_says_is_not_sent(eight: Servers) -> None:
    daemon = eight.farm["edge-1"].daemon
    eight.do(lambda: [setattr(daemon, "hold_flag", True), daemon.restart("SIGUSR1")])
    run = eight.fleet("exec", "signal SIGUSR1", "pid", "-l", "edge-1", "--json")
    assert run.exit_status == 1
    assert "in hold and ignores SIGUSR1" in json.loads(run.stdout)["servers"][0]["error"]["message"]
    assert [reply["status"] for reply in results(run)["edge-1"]["replies"]] == ["failed", "not_sent"]
    assert "signal SIGUSR1" not in sent(eight, "edge-1")
    forced = eight.fleet("exec", "signal SIGUSR1", "-l", "edge-1", "--force")
    assert (forced.exit_status, "is currently ignored" in forced.stderr) == (1, True)
    assert "signal SIGUSR1" in sent(eight, "edge-1")


# One command each


def test_help_is_folded_by_what_daemons_know(eight: Servers) -> None:
    run = eight.fleet("help", "eu")
    assert run.exit_status == 0
    assert run.stdout.startswith("edge-[1-3] (3):\n  auth-retry t ")
    assert "\nedge-4:\n" in run.stdout
    assert "push-update" not in run.stdout
    known = results(eight.fleet("help", "edge-4", "--json"))["edge-4"]
    assert "client-kill" in known["commands"]
    assert "remote-entry-get" not in known["commands"]


def test_queries(eight: Servers) -> None:
    assert results(eight.fleet("auth-retry", "-l", "edge-1", "--json"))["edge-1"] == {"auth_retry": "none"}
    assert results(eight.fleet("echo", "-l", "edge-1", "--json"))["edge-1"] == {"lines": []}
    net = eight.fleet("net", "edge-1")
    assert (net.exit_status, "only implemented on Windows" in net.stderr) == (1, True)
    for args in (["remote-entry-count", "edge-1"], ["remote-entry-get", "0", "2", "-l", "edge-1"]):
        run = eight.fleet(*args)
        assert (run.exit_status, "not supported by the current daemon mode" in run.stderr) == (1, True)
    assert sent(eight, "edge-1")[-1] == "remote-entry-get 0 2"


def test_auth_retry_is_set_and_shows_what_it_was(eight: Servers) -> None:
    run = eight.fleet("auth-retry", "interact", "-l", "edge-1", "--json")
    assert results(run)["edge-1"] == {
        "setting": "auth-retry",
        "before": "none",
        "now": "interact",
        "answer": "auth-retry parameter changed",
    }
    assert eight.farm["edge-1"].daemon.auth_retry == "interact"


def test_client_kill_of_one_client_of_one_server(eight: Servers) -> None:
    run = eight.fleet("client-kill", "0", "HALT,bye", "-l", "edge-2")
    assert (run.exit_status, run.stdout) == (0, "edge-2: client-kill command succeeded\n")
    assert sent(eight, "edge-2") == ["client-kill 0 HALT,bye"]
    again = eight.fleet("client-kill", "77", "-l", "edge-2", "--json")
    assert again.exit_status == 1
    assert json.loads(again.stdout)["servers"][0]["error"]["code"] == "command-failed"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["client-deny", "3", "4", "no entry", "sorry"], 'client-deny 3 4 "no entry" sorry'),
        (["client-auth-nt", "3", "4"], "client-auth-nt 3 4"),
        (["needok", "token-insertion-request", "ok"], "needok token-insertion-request ok"),
        (["needstr", "name", "Zoë 北京"], 'needstr name "Zoë 北京"'),
        (["push-update-broad", "route 10.7.0.0, -dns"], 'push-update-broad "route 10.7.0.0, -dns"'),
        (["push-update-cid", "--", "3", "-dns"], "push-update-cid 3 -dns"),
    ],
)
def test_changes_are_spelled_as_the_daemon_reads_them(eight: Servers, args: list[str], line: str) -> None:
    run = eight.fleet(args[0], "-l", "edge-5", *args[1:])
    assert run.exit_status == 1  # nobody waits for that there
    assert run.stderr.startswith("command-failed: edge-5: ")
    assert sent(eight, "edge-5") == [line]


def test_forget_passwords(eight: Servers) -> None:
    run = eight.fleet("forget-passwords", "-l", "eu", "--yes")
    assert (run.exit_status, run.stdout) == (0, "edge-[1-4] (4): Passwords were forgotten\n")


@pytest.mark.parametrize("name", ["password", "username"])
def test_secrets_come_from_a_file_or_a_command(eight: Servers, tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b'pa "ss\\word\n')
    file.chmod(0o600)
    for args in (["--secret-file", str(file)], ["--secret-command", f"cat {file}"]):
        run = eight.fleet(name, "Private Key", *args, "-l", "edge-1", "--json")
        assert run.exit_status == 1  # nobody waits for it there
        assert "currently needed" in run.stdout
        assert "ss\\" not in run.stdout + run.stderr
    assert sent(eight, "edge-1") == [f'{name} "Private Key" "pa \\"ss\\\\word"'] * 2


def test_a_secret_command_may_differ_by_server(eight: Servers) -> None:
    eight.fleet("password", "Auth", "--secret-command", "echo {realm}-of-{server}", "-l", "edge-1,edge-2", "-y")
    assert [sent(eight, name) for name in ("edge-1", "edge-2")] == [
        ["password Auth Auth-of-edge-1"],
        ["password Auth Auth-of-edge-2"],
    ]


def test_a_secret_command_that_gives_nothing(eight: Servers) -> None:
    run = eight.fleet("password", "Auth", "--secret-command", "true", "-l", "edge-1")
    assert run.exit_status in (1, 4)
    assert "secret command true" in run.stderr
    assert sent(eight, "edge-1") == []


def test_words_of_a_daemon_that_may_repeat_the_secret_are_not_shown(eight: Servers) -> None:
    run = eight.fleet("password", "Auth", "--secret-command", "echo needed", "-l", "edge-1", "--json")
    assert run.exit_status == 1
    assert "needed" not in run.stdout + run.stderr
    assert "are not shown" in run.stderr
