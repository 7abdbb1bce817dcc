"""SIGKILL at every turn of a run that changes something, and a disk that is full at every byte of its record."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

from cli.harness import daemon
from faults.local import Local, audit, changed, sent_by_audit
from fleet.cli.main import run
from journal.processes import full_disk
from support.steps import Steps

MAX_STEPS = 200
COMMANDS = {
    "verb": (("verb", "4", "--all", "--yes"), ("verb 4",)),
    "exec": (("exec", "verb 5", "mute 3", "--all", "--yes"), ("verb ", "mute 3")),
    "kill": (("kill", "alice"), ("kill ",)),
}


def _killed_after(turns: int, args: tuple[str, ...]) -> bool:
    """Whether a command line in a process of its own was killed after so many turns of its loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a process with threads is forked: the child uses none of theirs
        pid = os.fork()
    if pid == 0:  # pragma: no cover - killed, so nobody counts
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            steps = Steps()
            steps.left, steps.then = turns, lambda: os.kill(os.getpid(), signal.SIGKILL)

            def in_steps(main: Any) -> Any:
                with asyncio.Runner(loop_factory=steps.loop) as runner:
                    return runner.run(main)

            asyncio.run = in_steps
            os._exit(run(args))
        finally:
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_turn(local: Local, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next change finds what the killed one has sent, and writes it into the audit; and nothing is still locked."""
    args, commands = COMMANDS[name]
    for turns in range(0, MAX_STEPS, 1 if name == "verb" else 2):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"state-{turns}"))
        daemons = [daemon("2.6.14", ["alice", "bob"]), daemon("2.7.6", ["alice"])]
        local.start(*daemons)
        was_killed = _killed_after(turns, args)
        done = [changed(one, commands) for one in daemons]
        shown = local.fleet("history", "show", "last", "--json").document
        for server, told in zip(shown["servers"], done, strict=True):
            assert set(told) <= set(server["sent"]), (turns, told, server)
            if told and was_killed:
                assert server["standing"] in ("ok", "unconfirmed"), (turns, told, server)
        local.start(daemon(), daemon())
        assert local.fleet("verb", "7", "--all", "--yes", "--lock-timeout", "0s").status == 0
        for server, told in zip("ab", done, strict=True):
            assert told <= sent_by_audit(server), (turns, told, audit())
        if not was_killed:
            assert turns > 10
            return
    raise AssertionError("no run came to its end")


@pytest.mark.parametrize("room", range(0, 2400, 240))
def test_a_full_disk_under_audit_and_history(local: Local, room: int) -> None:
    """A change that cannot be written down is refused; one that was begun goes on, and tells what is missing."""
    daemons = [daemon(), daemon()]
    local.start(*daemons)
    local.fleet("pid")  # the folders are there
    with full_disk(room):
        result = local.fleet("verb", "4", "--all", "--yes", "--json")
    done = [changed(one, ("verb 4",)) for one in daemons]
    if result.status == 2:
        assert not any(done)
        assert "a change is not made where it cannot be written down" in result.err
        return
    assert result.status == 0
    assert all(done)
    whole = all(told <= sent_by_audit(name) for name, told in zip("ab", done, strict=True))
    assert whole or "what this run did was not written down whole: File too large" in result.err
