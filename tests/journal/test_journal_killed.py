"""What a killed run has sent: in the audit, once, when the next change begins; and in the history as ever."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleet.engine import Attempt, Outcome
from fleet.errors import UsageError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.journal.journal import Journal
from fleet.journal.record import RunState, Standing, find_run
from fleet.journal.runs import open_paths
from journal.processes import full_disk, line_of, program

KILLED = """
import sys
from fleet.engine import Attempt, Outcome
from fleet.inventory.model import Server, UnixEndpoint
from fleet.journal.journal import Journal
journal = Journal.begin(
    argv=["verb", "4"], command="verb", args=["4"], command_line="fleet verb 4", servers=["edge-1", "edge-2", "edge-3"],
    changes=True, inventory="i", syslog=False, environ={"XDG_STATE_HOME": sys.argv[1], "SUDO_USER": "joe"},
)
for number in (1, 2):
    server = Server(f"edge-{number}", "h", None, UnixEndpoint("/m"))
    journal.sent(Attempt(server, sent="mute 5"))
    journal.sent(Attempt(server, sent="verb 4"))
    if number == 1:
        journal.outcome(Outcome(server, 0.1, 4), "SUCCESS: verb level changed")
print(journal.run_id, flush=True)
sys.stdin.readline()
"""

RUN = "20261122-091355-7f3b"
BEGIN: dict[str, Any] = {
    "type": "begin", "schema": 1, "argv": ["verb", "4"], "cwd": "/", "environment": {}, "command": "verb",
    "args": ["4"], "command_line": "fleet verb 4", "started": "2026-11-22T09:13:55.123Z", "user": "ops",
    "sudo_user": "joe", "host": "adm-1", "pid": 1, "changes": True, "inventory": "i", "servers": ["edge-1"],
}  # fmt: skip
SENT = {"type": "sent", "time": "2026-11-22T09:14:02.000Z", "server": "edge-1", "text": "verb 4"}
DONE = {
    "type": "outcome", "server": "edge-1", "elapsed": 0.1, "status": "ok", "answer": "SUCCESS: verb=3", "error": None,
    "confirmed": [], "unconfirmed": None,
}  # fmt: skip
BACK = {**SENT, "time": "2026-11-22T09:24:02.000Z", "text": "verb 3"}
END = {"type": "end", "exit_status": 0, "elapsed": 1.0, "interrupted": False}
TOLD = {
    "time": SENT["time"], "run": RUN, "user": "ops", "sudo_user": "joe", "host": "adm-1", "command": "fleet verb 4",
    "server": "edge-1", "sent": ["verb 4"], "status": "killed", "answer": "", "error": None, "confirmed": [],
    "unconfirmed": "verb 4",
}  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    folder.mkdir(mode=0o700)
    return folder


def begin(state: Path, *, changes: bool = True) -> Journal:
    return Journal.begin(
        argv=("verb", "5"), command="verb", args=("5",), command_line="fleet verb 5", servers=("edge-1",),
        changes=changes, inventory="i", syslog=False, environ={**os.environ, "XDG_STATE_HOME": str(state.parent)},
    )  # fmt: skip


def change(state: Path) -> None:
    """Another run with changes, from its beginning to its end; it does not come to any server."""
    assert begin(state).end(0, interrupted=False) is None


def left_by(state: Path, *lines: Mapping[str, object], torn: bytes = b"") -> Path:
    """The file of a run whose process is gone."""
    (state / "runs").mkdir(mode=0o700, exist_ok=True)
    path = state / "runs" / f"{RUN}.ndjson"
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines) + torn)
    return path


def audit_of(state: Path) -> list[Any]:
    path = state / "audit.ndjson"
    return [json.loads(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def test_killed_with_a_change_on_its_way(state: Path) -> None:
    with program(KILLED, str(state.parent)) as process:
        run_id = line_of(process)
        change(state)  # the run goes on: it will say itself what becomes of it
        assert [line["server"] for line in audit_of(state)] == ["edge-1"]
        process.kill()
        process.wait(30)
    begin(state, changes=False).end(0, interrupted=False)  # who only asks writes no audit
    assert len(audit_of(state)) == 1
    assert find_run(state, run_id).state is RunState.KILLED

    for _ in range(2):
        change(state)
    first, second = audit_of(state)
    assert (first["status"], first["server"]) == ("ok", "edge-1")
    assert {key: second[key] for key in first} == {
        **first,
        "time": second["time"],
        "server": "edge-2",
        "sent": ["mute 5", "verb 4"],
        "status": "killed",
        "answer": "",
        "unconfirmed": "mute 5; verb 4",
    }
    assert set(second) == set(first)
    assert (second["run"], second["sudo_user"]) == (run_id, "joe")

    run = find_run(state, run_id)
    assert (run.state, run.exit_status, run.elapsed) == (RunState.KILLED, None, None)
    assert {server.name: server.standing for server in run.servers} == {
        "edge-1": Standing.OK,
        "edge-2": Standing.UNCONFIRMED,
        "edge-3": Standing.NOT_ATTEMPTED,
    }
    assert open_paths(state) == []


def test_its_time_is_that_of_the_sending(state: Path) -> None:
    left_by(state, BEGIN, SENT)
    change(state)
    assert audit_of(state) == [TOLD]


@pytest.mark.parametrize("status", ["ok", "killed"])
def test_what_the_audit_has_already(state: Path, status: str) -> None:
    """A run was killed between its two files, or whoever did this for it was killed before the end."""
    path = left_by(state, BEGIN, SENT)
    odd = {"run": "20261122-091355-0001", "server": "edge-1", "answer": RUN}  # speaks of it, and is another's
    told = {**TOLD, "status": status}
    (state / "audit.ndjson").write_text(f"{json.dumps(odd)}\n{json.dumps(told)}\nnonsense {RUN}\n")
    before = (state / "audit.ndjson").read_bytes()
    change(state)
    assert (state / "audit.ndjson").read_bytes() == before
    assert json.loads(path.read_bytes().splitlines()[-1]) == {"type": "end", "killed": True}


def test_killed_while_it_put_back(state: Path) -> None:
    """A temporary change has an outcome and sends once more: that is what nothing is known of."""
    left_by(state, BEGIN, SENT, DONE, BACK)
    (state / "audit.ndjson").write_text(f"{json.dumps({**TOLD, 'status': 'ok', 'unconfirmed': None})}\n")
    for _ in range(2):
        (server,) = find_run(state, RUN).servers
        assert (server.standing, server.sent, server.unconfirmed) == (
            Standing.UNCONFIRMED, ("verb 4", "verb 3"), "verb 3",
        )  # fmt: skip
        assert (server.status, server.answer) == ("ok", "SUCCESS: verb=3")
        change(state)
    assert audit_of(state)[1:] == [{**TOLD, "time": BACK["time"], "sent": ["verb 3"], "unconfirmed": "verb 3"}]


def test_the_last_line_may_be_torn(state: Path) -> None:
    path = left_by(state, BEGIN, SENT, torn=b'{"type": "sen')
    change(state)
    assert audit_of(state) == [TOLD]
    assert path.read_bytes().endswith(b'{"type": "sen\n{"type": "end", "killed": true}\n')
    assert find_run(state, RUN).named({Standing.UNCONFIRMED}) == {"edge-1"}


@pytest.mark.parametrize("lines", [(BEGIN,), (BEGIN, SENT, DONE), (BEGIN, SENT, END), (BEGIN, SENT, DONE, END)])
def test_nothing_is_unanswered_or_it_has_its_end(state: Path, lines: tuple[Mapping[str, object], ...]) -> None:
    path = left_by(state, *lines)
    change(state)
    assert audit_of(state) == []
    assert sum(b'"end"' in line for line in path.read_bytes().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o400  # not looked at again


def test_several_begin_at_once(state: Path) -> None:
    names = [f"edge-{number}" for number in range(200)]
    left_by(state, {**BEGIN, "servers": names}, *({**SENT, "server": name} for name in names))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: change(state), range(32)))
    assert audit_of(state) == [{**TOLD, "server": name} for name in names]


@pytest.mark.parametrize(
    "lines",
    [
        (),  # its writer has made it, and has no lock yet
        (SENT,),
        (BEGIN, {"type": "sent"}),
        ({**BEGIN, "type": "later"}, SENT),
        ({"type": "begin"}, SENT),
    ],
)
def test_what_cannot_be_understood_is_left_alone(state: Path, lines: tuple[Mapping[str, object], ...]) -> None:
    path = left_by(state, *lines)
    before = path.read_bytes()
    change(state)
    assert audit_of(state) == []
    assert path.read_bytes() == before
    assert open_paths(state) == [path]


def test_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    path = left_by(state)
    path.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(f"{json.dumps(BEGIN)}\n{json.dumps(SENT)}\n")
    path.symlink_to(elsewhere)
    change(state)
    assert audit_of(state) == []
    assert len(elsewhere.read_text().splitlines()) == 2


def test_removed_meanwhile(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = state / "runs" / "20261122-091355-0001.ndjson"
    left_by(state, BEGIN, SENT)
    monkeypatch.setattr("fleet.journal.killed.open_paths", lambda state: [gone, *open_paths(state)])
    change(state)
    assert audit_of(state) == [TOLD]
    assert not gone.exists()


def test_no_change_while_it_cannot_be_written(state: Path) -> None:
    left_by(state, BEGIN, SENT)
    with full_disk(40), pytest.raises(UsageError, match="written down: File too large"):
        change(state)
    assert len(list((state / "runs").iterdir())) == 1
    change(state)
    torn, whole = (state / "audit.ndjson").read_text("ascii").splitlines()
    assert (len(torn), json.loads(whole)) == (40, TOLD)


def test_all_others_are_not_read(state: Path) -> None:
    for _ in range(3):
        change(state)
    journal = begin(state)
    server = Server("edge-1", "h", None, UnixEndpoint("/m"))
    journal.sent(Attempt(server, sent="verb 4"))
    assert [path.stem for path in open_paths(state)] == [journal.run_id]
    journal.outcome(Outcome(server, 0.1, 4), "")
    journal.end(0, interrupted=False)
    assert open_paths(state) == []
