"""The files of the history: their names, how many are kept, and files that say something else."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import UsageError
from fleet.journal import runs
from fleet.journal.record import Standing, find_run, recent_runs
from fleet.journal.runs import RunFile, prune, run_path, run_paths

BEGIN: dict[str, Any] = {
    "type": "begin", "schema": 1, "argv": ["verb", "4"], "cwd": "/", "environment": {}, "command": "verb",
    "args": ["4"], "command_line": "fleet verb 4", "started": "2026-11-22T09:13:55.123Z", "user": "ops",
    "sudo_user": None, "host": "adm-1", "pid": 1, "changes": True, "inventory": "i", "servers": ["edge-1"],
}  # fmt: skip


def make(state: Path, *, changes: bool = True) -> str:
    file = RunFile(state, changes=changes)
    file.write(BEGIN)
    file.flush()
    file.close()
    return file.run_id


def put(state: Path, name: str, content: bytes = b"") -> Path:
    path = state / "runs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_id_is_the_time(tmp_path: Path) -> None:
    before = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    made = make(tmp_path)
    assert before <= made[:15] <= datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    assert run_path(tmp_path, made) == tmp_path / "runs" / f"{made}.ndjson"
    read = make(tmp_path, changes=False)
    assert made < read


def test_no_two_runs_have_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Stopped:
            return cls(2026, 11, 22, 9, 13, 55, 999_999, tzinfo=tz)

    monkeypatch.setattr(runs, "datetime", Stopped)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: make(tmp_path, changes=number % 2 == 0), range(200)))
    assert len(set(ids)) == 200
    with pytest.raises(FileExistsError, match="no free name for a run"):
        make(tmp_path)


@pytest.mark.parametrize("name", ["", "last", "../audit", "20261122-091355-7f3a", "20261122-091355-7f3a/..", "*"])
def test_no_such_run(tmp_path: Path, name: str) -> None:
    put(tmp_path, "20261122-091355-7f3b.ndjson")
    assert run_path(tmp_path, name) is None


def test_the_oldest_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CHANGES_KEPT", 3)
    monkeypatch.setattr(runs, "READS_KEPT", 2)
    other = put(tmp_path, "notes.txt")
    ids = [make(tmp_path, changes=number < 5) for number in range(12)]
    prune(tmp_path)
    assert [runs.run_id_of(path) for path in run_paths(tmp_path)] == [*reversed(ids[10:]), *reversed(ids[2:5])]
    assert other.exists()


def test_the_oldest_are_removed_where_all_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "BYTES_KEPT", 250)
    for second in range(5):
        put(tmp_path, f"20261122-09135{second}-0000.ndjson", b"x" * 100)
    prune(tmp_path)
    assert len(run_paths(tmp_path)) == 3


def test_several_may_remove_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "CHANGES_KEPT", 10)
    monkeypatch.setattr(runs, "READS_KEPT", 10)
    for number in range(400):
        put(tmp_path, f"20261122-091355-{number:04x}.ndjson")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: prune(tmp_path), range(4)))
    assert len(run_paths(tmp_path)) == 20


def test_one_that_was_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    gone = run_paths(tmp_path)
    os.unlink(gone[0])  # noqa: PTH108 - as another run does it
    kept = make(tmp_path)
    monkeypatch.setattr("fleet.journal.record.run_paths", lambda state: [*run_paths(state), *gone])
    assert [run.run for run in recent_runs(tmp_path)] == [kept]


def test_without_any(tmp_path: Path) -> None:
    assert run_paths(tmp_path) == []
    prune(tmp_path)
    with pytest.raises(UsageError, match="no run is kept yet"):
        find_run(tmp_path, "last")
    with pytest.raises(UsageError, match="no run '20261122-091355-7f3a' is kept") as caught:
        find_run(tmp_path, "20261122-091355-7f3a")
    assert caught.value.hint == "fleet history list shows those that are"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b"[]\n7\n",
        b'{"type": "begin"}\n',
        json.dumps({**BEGIN, "started": "never"}).encode(),
        json.dumps({**BEGIN, "servers": 7}).encode(),
        json.dumps(BEGIN).encode() + b'\n{"type": "sent"}\n',
        json.dumps(BEGIN).encode() + b'\n{"type": "outcome", "server": "edge-1"}\n',
        json.dumps(BEGIN).encode() + b'\n{"type": "outcome", "server": "edge-1", "status": "odd", "unconfirmed": null}',
    ],
)
def test_a_file_that_says_something_else(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "20261122-091355-7f3a.ndjson", content)
    assert list(recent_runs(tmp_path)) == []
    with pytest.raises(UsageError, match="what is kept of run 20261122-091355-7f3a cannot be read"):
        find_run(tmp_path, "20261122-091355-7f3a")


def test_lines_that_are_torn_or_of_a_later_release_are_left_out(tmp_path: Path) -> None:
    lines = [json.dumps(BEGIN), '{"type": "later"}', '{"type": "sent", "server": "edge-1", "text": "verb 4"}', '{"ty']
    put(tmp_path, "20261122-091355-7f3a.ndjson", "\n".join(lines).encode())
    run = find_run(tmp_path, "20261122-091355-7f3a")
    assert run.counts == {Standing.UNCONFIRMED: 1}
    assert run.started == datetime(2026, 11, 22, 9, 13, 55, 123_000, tzinfo=UTC)
