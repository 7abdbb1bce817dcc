"""What one command costs: CPU time of it and all that it started, wall time, memory, and whether it did its work."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab.processes import descendants

SAMPLE_INTERVAL = 0.03
"""Seconds between two looks at the memory of the processes."""

ANSWER_BEGINS = b"TITLE"
"""How each daemon's answer to `status 3` begins; nothing else in an answer says so."""

RUN_TIMEOUT = 900.0
"""Seconds that one run may take."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Attributes:
        cpu: seconds of user and system time of the command and of every process that it started and waited for.
        wall: seconds.
        answers: servers whose answer it printed.
        memory: the most bytes at one time of all its processes together, what they share counted once; 0 where it was
            not looked at, because looking takes time from a run.
        status: exit status.
    """

    cpu: float
    wall: float
    answers: int
    memory: int
    status: int
    complaints: str


def run(argv: Sequence[str], environment: Mapping[str, str], *, memory: bool = False) -> Run:
    """Run a command to its end.

    Args:
        argv: the command; it reads nothing.
        environment: all of it.
        memory: look at the memory, too.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=dict(environment))
        watch = _Watch(process.pid) if memory else None
        killer = threading.Timer(RUN_TIMEOUT, process.kill)
        killer.daemon = True
        killer.start()
        _, raw_status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(raw_status)
        peak = watch.end() if watch is not None else 0
        output.seek(0)
        errors.seek(0)
        return Run(
            cpu=usage.ru_utime + usage.ru_stime,
            wall=wall,
            answers=output.read().count(ANSWER_BEGINS),
            memory=peak,
            status=process.returncode,
            complaints=errors.read().decode("utf-8", "replace"),
        )


class _Watch:
    """Looks at the memory of a process and its descendants until it is ended."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL):
            self._peak = max(self._peak, sum(map(_memory, [self._pid, *descendants([self._pid])])))

    def end(self) -> int:
        self._done.set()
        self._thread.join()
        return self._peak


def _memory(pid: int) -> int:
    """Bytes of a process, of what it shares with others only its share (PSS); 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of fleet and one of a peer, one right behind the other."""

    fleet: Run
    peer: Run


def ratio(pairs: Sequence[Pair], what: str) -> float:
    """The median over the pairs of fleet's cost by the peer's: `cpu` or `wall`."""
    return median(getattr(pair.fleet, what) / getattr(pair.peer, what) for pair in pairs)
