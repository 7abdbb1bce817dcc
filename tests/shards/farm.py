"""Farms and outcomes of runs on several processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.harness import daemon
from fleet.demo.farm import Farm

PATIENCE = 60.0  # seconds, far more than anything here takes


def farm_of(servers: int, clients: int = 2) -> Farm:
    """Servers `edge-01` and so on, each with clients of its own."""
    farm = Farm()
    for number in range(1, servers + 1):
        names = [f"client-{number}-{client}" for client in range(clients)]
        farm.add(f"edge-{number:02}", daemon("2.6.14", names, uptime=90_000.0))
    return farm


def told(farm: Farm, command: str) -> dict[str, int]:
    """How often each daemon was really told a command."""
    return {name: farm[name].daemon.executed.count(command) for name in farm.hosts}


_TIMES = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?",
    r"\b1[789]\d{8}\b",
    r"(?<=elapsed\": )[0-9.]+",
    r"(?<=elapsed: )[0-9.]+",
    r"(?<= in )[0-9.]+(?= s$)",
)


def timeless(text: str) -> str:
    """Output without the times that no two runs have in common."""
    for pattern in _TIMES:
        text = re.sub(pattern, "TIME", text, flags=re.MULTILINE)
    return text


def by_name(document: Any) -> dict[str, Any]:
    """The servers of a JSON document."""
    return {server["name"]: server for server in document["servers"]}


def children(pid: int) -> list[int]:
    """The processes below one, the youngest generation too."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def workers_of(pid: int) -> list[int]:
    """The worker processes of a run: those that the forkserver has forked."""
    below = {one: children(one) for one in children(pid)}
    return sorted(one for inner in below.values() for one in inner)


def lines_of(run: subprocess.Popen[bytes], count: int) -> list[Any]:
    """The next objects that a run tells."""
    assert run.stdout is not None
    return [json.loads(run.stdout.readline()) for _ in range(count)]


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something to be so, and gives it."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)
    return value


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
