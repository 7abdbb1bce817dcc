"""fleet alone, against more and more servers: what each costs has to stay what it was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.endpoints import python_environment
from bench.measure import Run, run
from bench.say import machine, say, table, tell

CLIENTS = 5
FORMAT = "ndjson"
"""Results are written as they come: none is kept."""


@contextmanager
def farm(folder: Path, servers: int, clients: int = CLIENTS) -> Iterator[list[str]]:
    """A running farm; gives fleet's options that lead there."""
    folder.mkdir(mode=0o700)
    (folder / "home").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.farmhouse", str(folder), str(servers), str(clients)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=python_environment(),
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the farm did not start")
        yield ["-i", str(folder / "inventory.yaml"), "-F", str(folder / "ssh_config"), "--all"]
    finally:
        process.communicate()


def measure(folder: Path, sizes: Sequence[int], forks: int, rounds: int) -> int:
    """Measures, and prints the table; 1 where a server was not answered."""
    rows, complaints, first = [], [], 0.0
    for size in sizes:
        with farm(folder / str(size), size) as options:
            words = [sys.executable, "-m", "fleet", "status", "-o", FORMAT, "-f", str(forks), *options]
            environment = {**python_environment(), "HOME": str(folder / str(size) / "home")}
            runs: list[Run] = []
            for _ in range(rounds):
                runs.append(run(words, environment))
                say(f"{size} servers: {runs[-1].cpu / size * 1000:.2f} ms a server, {runs[-1].wall:.1f} s")
            memory = run(words, environment, memory=True).memory
            words[3:4] = ["inventory", "list"]
            words = [word for word in words if word not in ("-f", str(forks))]
            select = run([*words[:5], *words[7:]], environment)
        complaints += [f"{size} servers: {each.complaints[-200:]}" for each in runs if each.status]
        cost = median(each.cpu for each in runs) / size * 1000
        first = first or cost
        wall = median(each.wall for each in runs)
        rows.append(
            (
                f"{size:,}",
                f"{cost:.2f}",
                f"{cost / first:.2f}",
                f"{wall:.1f}",
                f"{memory / 2**20:.0f}",
                f"{select.cpu:.2f}",
            )
        )
    tell(f"### Growth\n\n`fleet status -o {FORMAT}`, {CLIENTS} clients a server, {forks} servers at a time.\n")
    headings = (
        "servers",
        "CPU a server, ms",
        "by the first",
        "wall, s",
        "peak memory, MiB",
        "`inventory list`, s of CPU",
    )
    table(headings, rows)
    tell(f"On {machine()}.\n")
    for complaint in complaints:
        tell(f"**{complaint}**\n")
    return 1 if complaints else 0
