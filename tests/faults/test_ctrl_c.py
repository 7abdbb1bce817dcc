"""Ctrl-C at every turn of the loop of a whole command line that changes something: what was done is told.

To the operator (stdout, stderr and exit status) and to the audit; and nothing is left half done without a word.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.harness import TIMEOUT, Result, daemon
from faults.local import Local, changed, sent_by_audit
from fleet.cli import remembered
from fleet.cli.options import OutputFormat
from fleet.cli.shapes import OUTPUTS
from fleet.demo.daemon import SimulatedDaemon
from support.steps import Steps

MAX_STEPS = 500


@dataclass
class Cut:
    """Does something in turn `number` of all loops of the main thread."""

    number: int
    then: Callable[[], object]
    happened: bool = False

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """In place of asyncio.run."""
        steps = Steps()
        steps.left, steps.then = self.number, self._happen
        try:
            with asyncio.Runner(loop_factory=steps.loop) as runner:
                return runner.run(main)
        finally:
            self.number = -1 if steps.left is None else steps.left
            if self.number < 0:
                self.number = MAX_STEPS

    def _happen(self) -> None:
        self.happened = True
        self.then()


def sigint() -> None:
    signal.raise_signal(signal.SIGINT)


def told(server: dict[str, Any]) -> Counter[str]:
    """What a server's object of the JSON document says that was done, or may be."""
    error = server["error"] or {}
    sent = error.get("sent") or ""
    return Counter([*error.get("confirmed", ()), *(sent.split("; ") if sent else ())])


COMMANDS = {
    "verb": (("verb", "4", "--all", "--yes"), ("verb 4",)),
    "exec": (("exec", "verb 5", "mute 3", "--all", "--yes"), ("verb ", "mute ")),
    "kill": (("kill", "alice"), ("kill ",)),
    "signal": (("signal", "SIGUSR2", "--all", "--yes"), ("signal ",)),
    "in-batches": (("verb", "4", "--all", "--yes", "--serial", "1"), ("verb 4",)),
    "restarts-in-batches": (("signal", "SIGUSR1", "--all", "--yes", "--serial", "1", "--wait", "none"), ("signal ",)),
    "drain": (("drain", "a", "--yes", "--grace", "0.05s"), ("client-kill ",)),
    "for-a-time": (("verb", "5", "--all", "--yes", "--for", "0.01s"), ("verb ",)),
}


SLOW = ("drain", "for-a-time", "in-batches", "restarts-in-batches")
"""They wait for something, and turn their loop often: each third turn is one of them."""


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_at_every_turn(local: Local, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    args, commands = COMMANDS[name]
    turns = 0
    for number in range(0, MAX_STEPS, 3 if name in SLOW else 1):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"state-{number}"))
        daemons = [daemon("2.6.14", ["alice", "bob"]), daemon("2.7.6", ["alice"])]
        local.start(*daemons)
        cut = Cut(number, sigint)
        monkeypatch.setattr(asyncio, "run", cut.run)
        result = local.fleet(*args, "--json")
        check(result, daemons, commands, f"turn {number} of {args}")
        if not cut.happened:
            turns = number
            assert result.status == (1 if name == "drain" else 0), result
            break
    assert turns > 20


def check(result: Result, daemons: list[SimulatedDaemon], commands: tuple[str, ...], where: str) -> None:
    assert "bug" not in result.err, (where, result)
    assert "Traceback" not in result.err, (where, result)
    assert result.status in (0, 1, 130), (where, result)
    servers = result.document["servers"]
    if not servers:
        assert "interrupted before anything was sent" in result.err, (where, result)
        assert not any(changed(one, commands) for one in daemons), (where, result)
        return
    for server, one in zip(servers, daemons, strict=False):  # a drain is of the first one
        done = changed(one, commands)
        assert done <= sent_by_audit(server["name"]), (where, done)
        if server["status"] == "ok":
            continue
        if (server["result"] or {}).get("put_back") == "done":
            del done["verb 3"]
        if "drain" in where and len(server["result"]["clients"]) >= done.total():
            continue  # whom it has told to go is in the table
        assert done <= told(server), (where, done, server, result.err)
    if "--for" in where:
        assert all(one.verb == 3 for one in daemons), (where, servers, result.err)


# Between the turns


def test_ctrl_c_when_all_is_said(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a run is of no use to whoever waits; it is not told as a run in which nothing was sent."""
    local.start(daemon("2.6.14", ["alice"]))
    monkeypatch.setattr(remembered, "remember_common_names", lambda _names: sigint())
    result = local.fleet("kill", "alice", "--json")
    assert (result.status, result.document["servers"][0]["result"]["killed"]) == (0, 1)
    assert "interrupted" not in result.err


def test_ctrl_c_right_behind_the_last_outcome(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the handlers of before are put back: the outcomes are there, and are shown."""
    local.start(daemon("2.6.14"))
    put = signal.signal
    came = []

    def put_back(number: int, handler: Any) -> Any:
        before = put(number, handler)
        if number == signal.SIGINT and handler is signal.default_int_handler and not came:
            came.append(number)
            sigint()
        return before

    monkeypatch.setattr(signal, "signal", put_back)
    result = local.fleet("verb", "4", "--all", "--yes", "--json")
    assert came
    assert (result.status, result.document["servers"][0]["status"]) == (0, "ok")


def test_a_ctrl_c_that_nobody_took_tells_where_to_look(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    local.start(daemon("2.6.14"))
    monkeypatch.setattr("fleet.cli.run.finish", lambda *_of_the_run: sigint())
    result = local.fleet("verb", "4", "--all", "--yes")
    assert result.status == 130
    assert result.err.startswith("interrupted; what was sent is on record")
    shown = local.fleet("history", "show", result.err.split()[-1], "--json").document
    assert shown["servers"][0]["sent"] == ["verb 4"]
    assert shown["exit_status"] == 0


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv", "yaml"])
@pytest.mark.parametrize("where", ["in", "behind"])
def test_ctrl_c_while_the_outcomes_are_written(
    local: Local, form: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that has begun is a whole one, also where it is only just being built."""
    local.start(daemon("2.6.14", ["alice"]), daemon("2.7.6"))
    expected = local.fleet("verb", "4", "--all", "--yes", "-o", form)
    data, came = OUTPUTS[OutputFormat(form)].data, []

    def interrupted(self: Any, report: Any) -> str:
        came.append(sigint() if where == "in" else None)
        text = data(self, report)
        came.append(sigint() if where == "behind" else None)
        return text

    monkeypatch.setattr(OUTPUTS[OutputFormat(form)], "data", interrupted)
    result = local.fleet("verb", "4", "--all", "--yes", "-o", form)
    assert came == [None, None]
    assert result.status == 0
    assert "every server has its outcome, and they are being written; again to leave at once" in result.err
    assert _without_times(result.out) == _without_times(expected.out)


def _without_times(text: str) -> str:
    return re.sub(r"[\d:.TZ-]+", "", text)


def in_a_process(local: Local, code: str) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, beside the daemons."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=local.fleet.child_environment(),
        cwd=local.fleet.folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_the_second_ctrl_c_while_they_are_written_tells_where_to_look(local: Local) -> None:
    local.start(daemon("2.6.14"))
    code = (
        "import signal, sys\n"
        "from fleet.cli.main import run\n"
        "from fleet.cli.shapes import OUTPUTS\n"
        "def stuck(self, report):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "OUTPUTS['json'].data = stuck\n"
        "sys.exit(run(['verb', '4', '--all', '--yes', '--json']))\n"
    )
    process = in_a_process(local, code)
    assert (process.returncode, process.stdout) == (130, "")
    last = process.stderr.splitlines()[-1]
    assert last.startswith("left at once; not every outcome was written: fleet history show ")
    shown = local.fleet("history", "show", last.split()[-1], "--json").document
    assert (shown["exit_status"], shown["servers"][0]["standing"]) == (0, "ok")


def test_the_second_ctrl_c_tells_where_to_look(local: Local) -> None:
    """The first one ends the work; here what comes then does not end, so that there is a second one."""
    local.start(daemon("2.6.14"))
    code = (
        "import signal, sys, time\n"
        "from fleet.cli.main import run\n"
        "from fleet.journal.journal import Journal\n"
        "def stuck(self, status, *, interrupted):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "Journal.end = stuck\n"
        "sys.exit(run(['verb', '4', '--all', '--yes']))\n"
    )
    process = in_a_process(local, code)
    assert process.returncode == 130
    *_, run_id = process.stderr.split()
    assert process.stderr.splitlines()[-1] == f"left at once; what was sent is on record: fleet history show {run_id}"
    shown = local.fleet("history", "show", run_id, "--json").document
    assert shown["state"] == "killed"
    assert shown["servers"][0]["sent"] == ["verb 4"]
