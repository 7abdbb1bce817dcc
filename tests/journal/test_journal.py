"""The journal of a run: its file in the history, the audit of a change, and what is left of them when it is killed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import syslog
from pathlib import Path
from typing import Any

import pytest

from fleet.engine import Attempt, Outcome
from fleet.errors import CommandFailedError, ConnectTimeoutError, ReplyTimeoutError, UsageError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.journal.audit import Audit
from fleet.journal.journal import ANSWER_LIMIT, Journal
from fleet.journal.lines import command_text, line, login_user
from fleet.journal.record import Run, RunState, Standing, find_run, recent_runs
from fleet.journal.runs import RunFile
from journal.processes import full_disk, line_of, program, wait_until

NAMES = ("edge-1", "edge-2", "edge-3", "gw/udp")


def server(name: str) -> Server:
    return Server(name, name, None, UnixEndpoint("/run/m.sock"))


def begin(state: Path, *, changes: bool = True, argv: tuple[str, ...] = ("verb", "4", "--all"), **more: Any) -> Journal:
    settings: dict[str, Any] = {
        "command": argv[0] if argv else "exec",
        "args": argv[1:2],
        "command_line": command_text(argv),
        "servers": NAMES,
        "inventory": "inventory.yaml",
        "syslog": False,
        "environ": {**os.environ, "XDG_STATE_HOME": str(state.parent)},
    }
    return Journal.begin(argv=argv, changes=changes, **{**settings, **more})


def send(journal: Journal, name: str, text: str = "verb 4") -> None:
    journal.sent(Attempt(server(name), sent=text))


def records(path: Path) -> list[Any]:
    """Each line, which must be one of JSON that can be shown anywhere."""
    data = path.read_bytes()
    assert data.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in data)
    return [json.loads(text) for text in data.splitlines()]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "fleet"


def audit_of(state: Path) -> list[Any]:
    return records(state / "audit.ndjson")


def standings(run: Run) -> dict[str, Standing]:
    return {one.name: one.standing for one in run.servers}


# a run from its beginning to its end


def test_a_change(state: Path) -> None:
    journal = begin(state)
    for name in NAMES[:3]:
        send(journal, name)
    journal.outcome(Outcome(server("edge-1"), 0.1234, 4), "SUCCESS: verb level changed\n")
    error = CommandFailedError("the daemon said no")
    journal.outcome(Outcome(server("edge-2"), 0.2, None, error, confirmed=("mute 5",)), "ERROR: no\n")
    lost = ReplyTimeoutError("no reply within 10 s", sent="verb 4")
    journal.outcome(Outcome(server("edge-3"), 10.0, None, lost), "")
    journal.outcome(Outcome(server("gw/udp"), 5.0, None, ConnectTimeoutError("nothing answered")), "")
    assert journal.end(4, interrupted=False) is None

    first, second, third, fourth = audit_of(state)
    assert first == {
        "time": first["time"],
        "run": journal.run_id,
        "user": login_user(os.environ),
        "sudo_user": os.environ.get("SUDO_USER"),
        "host": os.uname().nodename,
        "command": "fleet verb 4 --all",
        "server": "edge-1",
        "sent": ["verb 4"],
        "status": "ok",
        "answer": "SUCCESS: verb level changed\n",
        "error": None,
        "confirmed": [],
        "unconfirmed": None,
    }
    assert second["error"] == {"code": "command-failed", "message": "the daemon said no"}
    assert (second["status"], second["confirmed"], second["answer"]) == ("failed", ["mute 5"], "ERROR: no\n")
    assert (third["status"], third["unconfirmed"], third["sent"]) == ("unreachable", "verb 4", ["verb 4"])
    assert (fourth["sent"], fourth["unconfirmed"]) == ([], None)

    run = find_run(state, journal.run_id)
    assert (run.argv, run.command, run.args, run.command_line) == (
        ("verb", "4", "--all"), "verb", ("4",), "fleet verb 4 --all",
    )  # fmt: skip
    assert (run.cwd, run.pid, run.inventory, run.changes) == (str(Path.cwd()), os.getpid(), "inventory.yaml", True)
    assert (run.state, run.exit_status, run.interrupted) == (RunState.ENDED, 4, False)
    assert standings(run) == dict(
        zip(NAMES, (Standing.OK, Standing.FAILED, Standing.UNCONFIRMED, Standing.UNREACHABLE), strict=True)
    )
    assert run.counts == {Standing.OK: 1, Standing.FAILED: 1, Standing.UNCONFIRMED: 1, Standing.UNREACHABLE: 1}
    assert run.named({Standing.FAILED, Standing.UNREACHABLE}) == {"edge-2", "gw/udp"}
    assert (run.servers[0].elapsed, run.servers[0].answer) == (0.123, "SUCCESS: verb level changed\n")
    assert (run.servers[2].status, run.servers[2].unconfirmed) == ("unreachable", "verb 4")


def test_a_run_that_only_asks(state: Path) -> None:
    journal = begin(state, changes=False, argv=("status",))
    journal.outcome(Outcome(server("edge-1"), 0.1, "x"), "TITLE,secret-looking answer")
    assert journal.end(130, interrupted=True) is None
    assert not (state / "audit.ndjson").exists()
    run = find_run(state, "last")
    assert (run.run, run.changes, run.interrupted, run.exit_status) == (journal.run_id, False, True, 130)
    assert run.servers[0].answer == ""
    assert run.counts == {Standing.OK: 1, Standing.NOT_ATTEMPTED: 3}


def test_a_run_that_goes_on(state: Path) -> None:
    journal = begin(state)
    send(journal, "edge-2")
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "")
    run = find_run(state, "last")
    assert run.state is RunState.RUNNING
    assert (run.exit_status, run.counts) == (None, {Standing.OK: 1, Standing.PENDING: 3})
    journal.end(0, interrupted=False)
    assert find_run(state, "last").state is RunState.ENDED


def test_no_change_in_sight_is_no_line(state: Path) -> None:
    journal = begin(state)
    journal.sent(Attempt(server("edge-1")))
    journal.end(0, interrupted=False)
    assert find_run(state, "last").servers[0].sent == ()


def test_text_of_clients_and_daemons_cannot_break_a_line(state: Path) -> None:
    nasty = "a\nb\x1b[31m\x7f\u202e\udcff" + "x" * 5000
    journal = begin(state, argv=("kill", nasty[:9]))
    send(journal, "edge-1", nasty)
    journal.outcome(Outcome(server("edge-1"), 0.1, None, CommandFailedError(nasty)), nasty)
    journal.end(1, interrupted=False)
    (told,) = audit_of(state)
    assert told["answer"] == nasty[:ANSWER_LIMIT]
    assert told["error"]["message"] == nasty
    assert find_run(state, "last").argv[1] == nasty[:9]
    records(next((state / "runs").iterdir()))


def test_files_are_of_the_user_alone(state: Path) -> None:
    journal = begin(state)
    (run,) = (state / "runs").iterdir()
    for path in (state / "audit.ndjson", run):
        assert path.stat().st_mode & 0o777 == 0o600
    journal.end(0, interrupted=False)
    assert run.stat().st_mode & 0o777 == 0o400  # nothing is to be added
    assert (state / "runs").stat().st_mode & 0o777 == 0o700


# what may be in it


def test_the_environment_without_what_could_be_a_secret(state: Path) -> None:
    environ = {"XDG_STATE_HOME": str(state.parent), "HOME": "/root", "FLEET_FORKS": "3", "FLEET_VAULT_TOKEN": "x"}
    begin(state, environ=environ).end(0, interrupted=False)
    assert find_run(state, "last").environment == {"FLEET_FORKS": "3"}


def test_a_command_line_that_must_not_be_kept(state: Path) -> None:
    journal = begin(state, argv=(), args=("pasword Auth hunter2",), command_line="fleet exec 'pasword [...]'")
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "")
    journal.end(0, interrupted=False)
    run = find_run(state, "last")
    assert (run.argv, run.args, run.command_line) == ((), (), "fleet exec 'pasword [...]'")
    assert audit_of(state)[0]["command"] == "fleet exec 'pasword [...]'"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["kill", "Doe, Jane", "-l", "eu"], "fleet kill 'Doe, Jane' -l eu"),
        ([], "fleet"),
        (["unlock", "--secret-command", "vault -token=x read y", "eu"], "fleet unlock --secret-command 'vault ...' eu"),
        (["unlock", "--secret-command=vault -t x"], "fleet unlock '--secret-command=vault ...'"),
        (["unlock", "--secret-command", "vault"], "fleet unlock --secret-command vault"),
        (["unlock", "--secret-command"], "fleet unlock --secret-command"),
    ],
)
def test_a_command_line_as_others_may_see_it(argv: list[str], text: str) -> None:
    assert command_text(argv) == text


def test_who_it_was(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    monkeypatch.setattr("os.getlogin", lambda: "jane")
    assert login_user({"LOGNAME": "root"}) == "jane"
    begin(state, environ={"XDG_STATE_HOME": str(state.parent), "SUDO_USER": "joe"}).end(0, interrupted=False)
    (told,) = (json.loads(text) for text in next((state / "runs").iterdir()).read_text().splitlines()[:1])
    assert (told["user"], told["sudo_user"]) == ("jane", "joe")

    def no_terminal() -> str:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr("os.getlogin", no_terminal)
    assert login_user({"LOGNAME": "cron"}) == "cron"
    assert login_user({})
    monkeypatch.setattr("os.getuid", lambda: 3_999_999_999)
    assert login_user({}) == "3999999999"


def test_the_working_folder_may_be_gone(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    begin(state).end(0, interrupted=False)
    assert find_run(state, "last").cwd is None


# disks and folders that fail


def test_no_change_where_it_cannot_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        begin(tmp_path / "file" / "fleet")
    assert caught.value.message.startswith("a change is not made where it cannot be written down: ")
    assert caught.value.message.endswith("file/fleet cannot be made: Not a directory")


def test_no_change_on_a_full_disk(state: Path) -> None:
    with full_disk(10), pytest.raises(UsageError, match="written down: File too large"):
        begin(state)


def test_no_change_without_the_audit(state: Path) -> None:
    (state / "audit.ndjson").mkdir(parents=True)
    state.chmod(0o700)
    with pytest.raises(UsageError, match=r"written down: .*audit\.ndjson: Is a directory$") as caught:
        begin(state)
    assert caught.value.hint == "nothing was sent; mend that, or give XDG_STATE_HOME another folder"
    assert not (state / "runs").exists()


def test_who_only_asks_needs_no_journal(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = begin(tmp_path / "file" / "fleet", changes=False)
    assert journal.run_id == ""
    send(journal, "edge-1")
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "")
    assert journal.end(0, interrupted=False) is None


def test_a_disk_that_fills_up_is_told_at_the_end(state: Path) -> None:
    journal = begin(state)
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "SUCCESS")
    audit = state / "audit.ndjson"
    whole = audit.read_bytes()
    with full_disk(len(whole) + 20):
        send(journal, "edge-2")
        journal.outcome(Outcome(server("edge-2"), 0.1, 4), "SUCCESS")
        assert journal.end(0, interrupted=False) == "what this run did was not written down whole: File too large"
    torn = audit.read_bytes()
    assert torn.startswith(whole)
    assert not torn.endswith(b"\n")

    later = begin(state)  # the next run does not write behind half a line
    later.outcome(Outcome(server("edge-1"), 0.1, 4), "SUCCESS")
    assert later.end(0, interrupted=False) is None
    lines = audit.read_bytes().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["run"] == later.run_id


# the audit among several


def test_runs_at_the_same_time_do_not_mix_their_lines(state: Path) -> None:
    code = """
import sys
from pathlib import Path
from fleet.journal.audit import Audit
audit = Audit(Path(sys.argv[1]), syslog_too=False)
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    audit.append({"who": sys.argv[2], "number": number, "text": sys.argv[2] * 6000})
audit.sync()
audit.close()
print("done", flush=True)
"""
    state.mkdir()
    with program(code, str(state), "a") as one, program(code, str(state), "b") as other:
        for process in (one, other):
            assert line_of(process) == "ready"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in (one, other):
            assert line_of(process) == "done"
    told = audit_of(state)
    for who in "ab":
        assert [one["number"] for one in told if one["who"] == who] == list(range(200))
        assert all(one["text"] == who * 6000 for one in told if one["who"] == who)


def test_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o700)
    (state / "audit.ndjson").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        begin(state)
    assert not (tmp_path / "elsewhere").exists()


def test_syslog_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: said.append((priority, text)))
    journal = begin(state, syslog=True)
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "a\nb")
    journal.end(0, interrupted=False)
    ((priority, text),) = said
    assert priority == syslog.LOG_AUTH | syslog.LOG_NOTICE
    assert f"{text}\n" == (state / "audit.ndjson").read_text()


async def test_lines_reach_the_disk_within_a_second(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = asyncio.Event()
    sync = Audit.sync

    def watch(audit: Audit) -> None:
        sync(audit)
        synced.set()

    monkeypatch.setattr(Audit, "sync", watch)
    journal = begin(state)
    for name in NAMES:
        journal.outcome(Outcome(server(name), 0.1, 4), "")
    assert not synced.is_set()
    async with asyncio.timeout(30):
        await synced.wait()
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "")
    assert journal.end(0, interrupted=False) is None


async def test_a_run_that_asks_can_be_looked_at_meanwhile(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(state, changes=False)
    journal.outcome(Outcome(server("edge-1"), 0.1, 4), "")
    assert find_run(state, "last").counts == {Standing.PENDING: 4}
    flushed = asyncio.Event()
    flush = RunFile.flush

    def watch(file: RunFile) -> None:
        flush(file)
        flushed.set()

    monkeypatch.setattr(RunFile, "flush", watch)
    async with asyncio.timeout(30):
        await flushed.wait()
    assert find_run(state, "last").counts == {Standing.OK: 1, Standing.PENDING: 3}
    journal.end(0, interrupted=False)


def test_a_line_is_one_line() -> None:
    assert line({"a": "\n\x00\x7f\u2028"}) == b'{"a": "\\n\\u0000\\u007f\\u2028"}\n'


# killed

KILLED = """
import sys, time
from fleet.engine import Attempt, Outcome
from fleet.inventory.model import Server, UnixEndpoint
from fleet.journal.journal import Journal
servers = [Server(f"edge-{n}", "h", None, UnixEndpoint("/m")) for n in range(5000)]
journal = Journal.begin(
    argv=["verb", "4"], command="verb", args=["4"], command_line="fleet verb 4", servers=[s.name for s in servers],
    changes=sys.argv[2] == "change", inventory="i", syslog=False, environ={"XDG_STATE_HOME": sys.argv[1]},
)
print(journal.run_id, flush=True)
for server in servers:
    if sys.argv[2] == "change":
        journal.sent(Attempt(server, sent="verb 4"))
        time.sleep(0.001)
    journal.outcome(Outcome(server, 0.1, 4), "SUCCESS: verb level changed " + "x" * 500)
sys.stdin.readline()
"""


def test_killed_in_the_middle_of_a_change(state: Path) -> None:
    with program(KILLED, str(state.parent), "change") as process:
        run_id = line_of(process)
        wait_until(lambda: (state / "audit.ndjson").stat().st_size > 20_000)
        process.kill()
        process.wait(30)
    run = find_run(state, run_id)
    assert (run.state, run.exit_status) == (RunState.KILLED, None)
    told = audit_of(state)  # whole lines, and at most the last one is not in both files
    done = [one["server"] for one in told]
    assert done[: run.counts[Standing.OK]] == [one.name for one in run.servers if one.standing is Standing.OK]
    assert len(done) - run.counts[Standing.OK] in (0, 1)
    unconfirmed = [one for one in run.servers if one.standing is Standing.UNCONFIRMED]
    assert [(one.status, one.unconfirmed) for one in unconfirmed] in ([], [(None, "verb 4")])
    assert run.counts[Standing.NOT_ATTEMPTED] == 5000 - run.counts[Standing.OK] - len(unconfirmed)


def test_sent_and_killed(state: Path) -> None:
    code = KILLED.replace("time.sleep(0.001)", "sys.stdin.readline()")
    with program(code, str(state.parent), "change") as process:
        run_id = line_of(process)
        wait_until(lambda: b'"sent"' in next((state / "runs").iterdir()).read_bytes())
        process.kill()
        process.wait(30)
    run = find_run(state, run_id)
    assert run.named({Standing.UNCONFIRMED}) == {"edge-0"}
    assert run.counts == {Standing.UNCONFIRMED: 1, Standing.NOT_ATTEMPTED: 4999}


def test_killed_while_it_asked(state: Path) -> None:
    with program(KILLED, str(state.parent), "read") as process:
        run_id = line_of(process)
        wait_until(lambda: next((state / "runs").iterdir()).stat().st_size > 300_000)
        process.kill()
        process.wait(30)
    assert all(records(next((state / "runs").iterdir())))
    run = find_run(state, run_id)
    assert run.state is RunState.KILLED
    assert run.counts[Standing.OK] > 0


def test_the_newest_first(state: Path) -> None:
    ids = []
    for number in range(5):
        journal = begin(state, changes=bool(number % 2))
        journal.end(0, interrupted=False)
        ids.append(journal.run_id)
    assert [run.run for run in recent_runs(state)] == ids[::-1]
