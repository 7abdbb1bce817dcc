"""fleet history: what is kept of runs, and doing a part of one again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cli.harness import TIMEOUT, Fleet, daemon
from cli.test_cli_processes import wait_until
from fleet.demo.farm import Farm, Reach
from fleet.demo.serve import Faults, ReplyFault


def farm_of(count: int, **reach: Reach) -> Farm:
    farm = Farm()
    for number in range(1, count + 1):
        name = f"edge-{number}"
        farm.add(name, daemon(), reach=reach.get(f"edge_{number}", Reach.UP))
    return farm


def last(fleet: Fleet) -> Any:
    return fleet("history", "show", "last", "--json").document


def standings(run: Any) -> dict[str, str]:
    return {server["name"]: server["standing"] for server in run["servers"]}


def silence(fleet: Fleet, server: str) -> None:
    """This daemon takes signals and does not answer them any more."""
    fleet.farm[server].faults = Faults(reply=ReplyFault.SILENCE, command="signal")


def state_folder() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "fleet"


def change_records(text: str, other: str) -> None:
    for path in (state_folder() / "runs").iterdir():
        path.chmod(0o600)  # the file of a run that has ended is read-only
        path.write_text(path.read_text().replace(text, other))


# list and show


def test_nothing_yet(fleet: Fleet) -> None:
    result = fleet("history", "list")
    assert (result.status, result.out, result.err) == (0, "", "no run is kept yet\n")
    assert fleet("history", "list", "--json").document == {"fleet_schema": 1, "runs": []}
    for args in (("show", "last"), ("rerun", "last")):
        result = fleet("history", *args)
        assert (result.status, result.err) == (2, "no run is kept yet\n  each command that asks servers is a run\n")


def test_list(fleet: Fleet) -> None:
    fleet.start(farm_of(3, edge_2=Reach.DOWN))
    assert fleet("verb", "4", "-l", "edge-1", "-y").status == 0
    assert fleet("verb", "4", "--all", "--yes").status == 4
    assert fleet("status", "edge-1").status == 0
    assert fleet("inventory", "list").status == 0
    header, status, every, one = fleet("history", "list").out.splitlines()
    assert header.split() == [
        *("RUN", "AGO", "USER", "SERVERS", "OK", "FAILED", "UNREACHABLE", "UNCONFIRMED", "NOT", "ATTEMPTED", "EXIT"),
        "COMMAND",
    ]
    assert status.split()[3:] == ["1", "1", "0", "0", "0", "0", "0", "fleet", "status", "edge-1"]
    assert every.split()[3:] == ["3", "2", "0", "1", "0", "0", "4", "fleet", "verb", "4", "--all", "--yes"]
    assert one.split()[3:] == ["1", "1", "0", "0", "0", "0", "0", "fleet", "verb", "4", "-l", "edge-1", "-y"]
    assert len(fleet("history", "list", "-n", "2").out.splitlines()) == 3
    changes = fleet("history", "list", "--changes").out.splitlines()[1:]
    assert [line.split()[0] for line in changes] == [every.split()[0], one.split()[0]]
    assert fleet("history", "list", "-o", "wide").out.splitlines()[1].split()[-1] == os.environ["FLEET_INVENTORY"]
    first = fleet("history", "list", "--json").document["runs"][1]
    assert (first["command"], first["args"], first["exit_status"], first["state"]) == ("verb", ["4"], 4, "ended")
    assert first["summary"] == {
        "servers": 3, "ok": 2, "failed": 0, "unreachable": 1, "unconfirmed": 0, "not_attempted": 0, "pending": 0,
    }  # fmt: skip


def test_show(fleet: Fleet) -> None:
    fleet.start(farm_of(3, edge_2=Reach.DOWN))
    fleet("verb", "4", "--all", "--yes")
    result = fleet("history", "show", "last")
    run = last(fleet)
    assert result.status == 0
    assert result.err.startswith(f"run {run['run']}: fleet verb 4 --all --yes, by {run['user']} at ")
    assert ", exit status 4 after " in result.err
    header, one, two, three = result.out.splitlines()
    assert header.split() == ["SERVER", "STATUS", "ELAPSED", "ERROR", "ANSWER"]
    assert one.split()[:2] == ["edge-1", "ok"]
    assert one.endswith("SUCCESS: verb level changed")
    assert two.split()[:2] == ["edge-2", "unreachable"]
    assert f"{run['servers'][1]['error']['code']}: " in two
    assert three.split()[:2] == ["edge-3", "ok"]
    assert fleet("history", "show", run["run"], "-q").err == ""
    assert "verb 4" in fleet("history", "show", run["run"], "-o", "wide").out.splitlines()[1]
    server = run["servers"][0]
    assert server == {
        "name": "edge-1", "standing": "ok", "status": "ok", "elapsed": server["elapsed"], "error": None,
        "answer": "SUCCESS: verb level changed\n", "sent": ["verb 4"], "confirmed": [], "unconfirmed": None,
    }  # fmt: skip
    assert (run["cwd"], run["argv"]) == (str(fleet.folder), ["verb", "4", "--all", "--yes"])
    assert run["environment"]["FLEET_INVENTORY"] == os.environ["FLEET_INVENTORY"]


def test_an_empty_run(small: Fleet) -> None:
    assert small("status", "nobody*", "--allow-empty").status == 0
    assert small("history", "show", "last").out == ""
    again = small("history", "rerun", "last")
    assert (again.status, " had no server\n" in again.err) == (2, True)


@pytest.mark.parametrize("command", ["show", "rerun"])
@pytest.mark.parametrize("name", ["20261122-091355-7f3a", "../audit", "nonsense"])
def test_no_such_run(fleet: Fleet, command: str, name: str) -> None:
    result = fleet("history", command, name)
    assert (result.status, result.err) == (2, f"no run '{name}' is kept\n  fleet history list shows those that are\n")


@pytest.mark.parametrize("args", [("list",), ("show", "last")])
def test_formats_that_it_has_not(fleet: Fleet, args: tuple[str, ...]) -> None:
    result = fleet("history", *args, "-o", "raw")
    assert (result.status, result.out) == (2, "")
    assert result.err == "-o raw is not for this command\n  it is what a daemon says, and none is asked\n"


def test_what_a_daemon_said_cannot_drive_the_terminal(fleet: Fleet) -> None:
    fleet.start(farm_of(1))
    fleet("verb", "4", "--all")
    change_records('"SUCCESS: verb', r'"\u001b[31m SUCCESS: verb')
    change_records('"fleet verb', r'"\u001b[31m fleet verb')
    for args in (("list",), ("show", "last")):
        result = fleet("history", *args)
        assert "\x1b" not in result.out + result.err
        assert r"\x1b[31m" in result.out
    assert last(fleet)["servers"][0]["answer"] == "\x1b[31m SUCCESS: verb level changed\n"


# what it says of changes that were not answered, and of runs that were killed


def test_sent_and_not_confirmed(fleet: Fleet) -> None:
    fleet.start(farm_of(2))
    silence(fleet, "edge-2")
    assert fleet("signal", "SIGUSR2", "--all", "--yes", "--reply-timeout", "300ms").status == 4
    assert standings(last(fleet)) == {"edge-1": "ok", "edge-2": "unconfirmed"}
    row = fleet("history", "show", "last").out.splitlines()[2]
    assert row.split()[:2] == ["edge-2", "unconfirmed"]
    assert "reply-timeout: " in row
    assert row.endswith("; sent and not confirmed: signal SIGUSR2  -")
    change_records('"confirmed": [], "unconfirmed": "signal', '"confirmed": ["mute 5"], "unconfirmed": "signal')
    assert fleet("history", "show", "last").out.endswith("SIGUSR2; done before that: mute 5  -\n")


def test_a_run_that_goes_on_and_is_killed(fleet: Fleet) -> None:
    fleet.start(farm_of(3))
    silence(fleet, "edge-2")
    command = ("signal", "SIGUSR2", "--all", "--yes", "--forks", "1", "--reply-timeout", "60s", "--host-timeout", "60s")
    state = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    with fleet.spawn(*command, environment=state) as process:
        wait_until(lambda: "signal SIGUSR2" in fleet.daemon("edge-1").executed and standings_now(fleet).get("edge-2"))
        wait_until(lambda: last(fleet)["servers"][1]["sent"])
        assert standings(last(fleet)) == {"edge-1": "ok", "edge-2": "pending", "edge-3": "pending"}
        assert f", goes on as pid {process.pid}\n" in fleet("history", "show", "last").err
        assert " running  " in fleet("history", "list").out.splitlines()[1]
        result = fleet("history", "rerun", "last")
        assert (result.status, result.err.splitlines()[1]) == (2, "  wait for its end")
        locked = fleet("pid", "edge-2", "--lock-timeout", "0")
        assert (locked.status, f": pid {process.pid} (" in locked.err) == (75, True)
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT)
    free = fleet("history", "list", "--json").document["runs"]
    assert [(run["state"], run["exit_status"]) for run in free] == [("ended", 75), ("killed", None)]
    name = free[1]["run"]
    run = fleet("history", "show", name, "--json").document
    assert standings(run) == {"edge-1": "ok", "edge-2": "unconfirmed", "edge-3": "not_attempted"}
    assert fleet("history", "show", name).err.endswith(", was killed\n")
    assert " killed  " in fleet("history", "list").out.splitlines()[2]
    assert "locked: " not in fleet("pid", "edge-2", "--lock-timeout", "0", "--reply-timeout", "1s").err
    audit = (state_folder() / "audit.ndjson").read_bytes()
    assert [json.loads(line)["server"] for line in audit.splitlines()] == ["edge-1"]
    assert audit.endswith(b"\n")


def standings_now(fleet: Fleet) -> dict[str, str]:
    """The same, where a run may not have begun yet."""
    result = fleet("history", "show", "last", "--json")
    return standings(result.document) if result.status == 0 else {}


# again


def test_again_for_those_that_were_not_reached(fleet: Fleet) -> None:
    fleet.start(farm_of(3))
    fleet.farm["edge-2"].faults = Faults(reply=ReplyFault.SILENCE)
    fleet("status", "--reply-timeout", "300ms")
    fleet.farm["edge-2"].faults = Faults()
    result = fleet("history", "rerun", "last", "--only", "unreachable")
    assert (result.status, result.err) == (0, "again for edge-2: fleet status --reply-timeout 300ms\n")
    assert [line.split()[0] for line in result.out.splitlines()] == ["SERVER", "edge-2"]
    assert list(standings(last(fleet))) == ["edge-2"]  # which is a run itself,
    assert fleet("history", "rerun", "last", "-q").status == 0  # and can be done again
    assert last(fleet)["argv"] == ["status", "--reply-timeout", "300ms"]


def test_a_change_that_was_not_answered_is_not_done_again_unasked(fleet: Fleet) -> None:
    fleet.start(farm_of(2))
    silence(fleet, "edge-2")
    fleet("signal", "SIGUSR2", "--all", "--yes", "--reply-timeout", "300ms")
    run = last(fleet)["run"]
    fleet.farm["edge-2"].faults = Faults()
    before = fleet.daemon("edge-2").executed.count("signal SIGUSR2")
    result = fleet("history", "rerun", "last", "--only", "failed,unreachable,not-attempted")
    assert (result.status, result.err) == (
        2,
        f"no server of run {run} is failed or unreachable or not attempted\n  fleet history show {run} shows them\n",
    )
    allowed = fleet("history", "rerun", run, "--only", "failed", "--allow-empty")
    assert (allowed.status, allowed.out, allowed.err) == (0, "", "")
    assert fleet.daemon("edge-2").executed.count("signal SIGUSR2") == before
    assert fleet("history", "rerun", run, "--only", "unconfirmed").status == 0
    assert fleet.daemon("edge-2").executed.count("signal SIGUSR2") == before + 1
    assert fleet.daemon("edge-1").executed.count("signal SIGUSR2") == 1


def test_a_server_that_has_done_a_part_has_failed_and_is_not_taken_for_one_never_reached(fleet: Fleet) -> None:
    """It is gone behind its first change: to ask again those that could not be asked does not do that one again."""
    fleet.start(farm_of(2))
    fleet.farm["edge-2"].faults = Faults(reply=ReplyFault.HANG_UP, command="state")
    assert fleet("exec", "verb 4", "state", "mute 3", "--all", "--yes").status == 4
    run = last(fleet)
    assert standings(run) == {"edge-1": "ok", "edge-2": "failed"}
    assert (run["servers"][1]["status"], run["servers"][1]["confirmed"]) == ("unreachable", ["verb 4"])
    fleet.farm["edge-2"].faults = Faults()
    refused = fleet("history", "rerun", run["run"], "--only", "unreachable,not-attempted,unconfirmed")
    assert (refused.status, fleet.daemon("edge-2").executed.count("verb 4")) == (2, 1)
    result = fleet("history", "rerun", run["run"], "--only", "failed")
    assert result.status == 0
    assert "edge-2: done before, and done again: verb 4\n" in result.err
    assert fleet.daemon("edge-2").executed.count("mute 3") == 1


def test_it_asks_as_the_command_asks(fleet: Fleet) -> None:
    fleet.start(farm_of(2))
    command = ("verb", "4", "--all", "--yes")
    assert fleet(*command).status == 0
    fleet.set("FLEET_READONLY", "1")
    refused = fleet("history", "rerun", "last")
    assert (refused.status, "this run is read-only" in refused.err) == (2, True)
    fleet.unset("FLEET_READONLY")
    refused = fleet("history", "rerun", "last", "--readonly")
    assert (refused.status, "this run is read-only" in refused.err) == (2, True)
    fleet.unset("FLEET_READONLY")  # which that set
    dry = fleet("history", "rerun", "last", "--dry-run")
    assert dry.status == 0
    assert fleet.daemon("edge-1").executed.count("verb 4") == 1


def test_without_a_yes_it_needs_one_again(fleet: Fleet) -> None:
    fleet.start(farm_of(2))
    fleet.set("FLEET_YES", "1")
    assert fleet("verb", "4", "--all").status == 0
    fleet.unset("FLEET_YES")
    assert fleet("history", "rerun", "last", "-q").status == 0  # the settings of that run hold
    record = next((state_folder() / "runs").iterdir())
    change_records('"FLEET_YES": "1"', '"FLEET_FORKS": "2"')
    fleet.unset("FLEET_YES")
    name = record.name.removesuffix(".ndjson")
    result = fleet("history", "rerun", name)
    assert (result.status, "there is no terminal to ask at" in result.err) == (2, True)
    assert fleet("history", "rerun", name, "--yes", "-q").status == 0


def test_in_the_folder_and_with_the_settings_of_that_run(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start(farm_of(2))
    inventory = Path(os.environ["FLEET_INVENTORY"])
    monkeypatch.chdir(inventory.parent)
    fleet.set("FLEET_INVENTORY", inventory.name)
    fleet.set("FLEET_OUTPUT", "raw")
    assert fleet("pid", "edge-1").out.startswith("SUCCESS: pid=")
    monkeypatch.chdir(tmp_path)
    fleet.set("FLEET_INVENTORY", "elsewhere.yaml")
    fleet.set("FLEET_LIMIT", "nobody")
    fleet.set("FLEET_JSON", "1")
    fleet.unset("FLEET_OUTPUT")
    result = fleet("history", "rerun", "last", "-q", "-v")
    assert result.status == 0
    fleet.unset("FLEET_JSON")
    assert fleet("history", "rerun", "last", "-o", "table").out.startswith("SUCCESS: pid=")
    assert Path.cwd() == inventory.parent


def test_what_is_given_here_is_for_what_that_run_left_open(fleet: Fleet) -> None:
    fleet.start(farm_of(2))
    fleet("pid")
    assert fleet("history", "rerun", "last", "--json").document["summary"]["ok"] == 2
    fleet("pid", "-o", "raw")
    assert fleet("history", "rerun", "last", "--json").out.startswith("==> edge-1 <==")


@pytest.mark.parametrize("more", [("-l", "edge-1"), ("-x", "edge-1"), ("--all",)])
def test_other_servers_are_no_rerun(fleet: Fleet, more: tuple[str, ...]) -> None:
    fleet.start(farm_of(1))
    fleet("pid")
    result = fleet("history", "rerun", "last", *more)
    assert (result.status, result.err) == (
        2,
        "a rerun is for the servers of that run\n  leave -l, -x and --all out; --only cuts down\n",
    )


def test_only_takes_what_there_is(fleet: Fleet) -> None:
    result = fleet("history", "rerun", "last", "--only", "failed,dead")
    assert result.status == 2
    assert "'dead' is not one of failed, unreachable, not-attempted, unconfirmed" in result.err


def test_the_folder_of_that_run_may_be_gone(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.start(farm_of(1))
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fleet("pid")
    monkeypatch.chdir(tmp_path)
    folder.rmdir()
    result = fleet("history", "rerun", "last")
    assert result.status == 2
    assert f" was in {folder}, and nobody can go there: No such file or directory\n" in result.err


def test_a_run_without_a_folder_is_done_again_here(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(farm_of(1))
    fleet("pid")
    change_records(f'"cwd": "{tmp_path}"', '"cwd": null')
    assert fleet("history", "rerun", "last", "-q").status == 0


def test_a_command_line_that_may_hold_a_secret_is_not_kept(fleet: Fleet) -> None:
    fleet.start(farm_of(1))
    fleet("exec", "passwd hunter2", "--reply", "line", "-l", "edge-1", "--yes", "--reply-timeout", "300ms")
    run = last(fleet)
    assert run["command_line"].startswith("fleet exec 'passwd [...]'")
    assert (run["args"], run["argv"]) == ([], [])
    result = fleet("history", "rerun", "last")
    assert (result.status, result.err) == (
        2,
        f"the command line of run {run['run']} was not kept, since a secret may be in it\n  type it again\n",
    )
