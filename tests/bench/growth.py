"""fleet alone, against more and more servers: what each costs has to stay what it was."""

from __future__ import annotations

import json
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

FORMATS = ("ndjson", "table", "json")
MANY_FORKS = 500
"""For the memory, beside what is usual."""


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


def measure(folder: Path, sizes: Sequence[int], forks: int, rounds: int, *, memory: bool) -> int:
    """Measures, and prints the tables; 1 where a server was not answered.

    Args:
        folder: for the farms' files.
        sizes: servers of each farm, the fewest first.
        forks: servers asked at a time.
        rounds: of each farm.
        memory: look at the memory of each format, and with many forks, too.
    """
    rows: list[tuple[str, ...]] = []
    selections: dict[int, dict[str, float]] = {}
    peaks: dict[tuple[str, int], dict[int, int]] = {}
    complaints: list[str] = []
    before = 0.0
    for size in sizes:
        with farm(folder / str(size), size) as options:
            runs = [_ask(size, FORMAT, forks, options) for _ in range(rounds)]
            shapes = [(form, count) for count in (forks, MANY_FORKS) for form in FORMATS] if memory else []
            for form, count in shapes or [(FORMAT, forks)]:
                looked_at = _ask(size, form, count, options, memory=True)
                peaks.setdefault((form, count), {})[size] = looked_at.memory
                runs += [looked_at] if form == FORMAT and count == forks else []
            listing = run([sys.executable, "-m", "fleet", "inventory", "list", *options[:2]], _environment(options))
            selections[size] = _select(options)
        complaints += [f"{size} servers: {each.complaints[-200:]}" for each in runs if each.status]
        cost = median(each.cpu for each in runs[:rounds]) / size * 1000
        rows.append(
            (
                f"{size:,}",
                f"{cost:.2f}",
                f"{cost / before:.2f}" if before else "",
                f"{median(each.wall for each in runs[:rounds]):.1f}",
                f"{peaks[FORMAT, forks][size] / 2**20:.0f}",
                f"{listing.cpu:.2f}",
            )
        )
        before = cost
    tell(f"### Growth\n\n`fleet status -o {FORMAT}`, {CLIENTS} clients a server, {forks} servers at a time.\n")
    headings = (
        "servers",
        "CPU a server, ms",
        "by the row above",
        "wall, s",
        "peak memory, MiB",
        "`inventory list`, s of CPU",
    )
    table(headings, rows)
    _tell_selections(selections)
    if memory:
        _tell_peaks(peaks)
    tell(f"On {machine()}.\n")
    for complaint in complaints:
        tell(f"**{complaint}**\n")
    return 1 if complaints else 0


def _environment(options: Sequence[str]) -> dict[str, str]:
    return {**python_environment(), "HOME": str(Path(options[1]).parent / "home")}


def _ask(size: int, form: str, forks: int, options: Sequence[str], *, memory: bool = False) -> Run:
    words = [sys.executable, "-m", "fleet", "status", "-o", form, "-f", str(forks), *options, "--workers", "1"]
    done = run(words, _environment(options), memory=memory)
    say(f"{size} servers, {form}, {forks} forks: {done.cpu / size * 1000:.2f} ms a server, {done.wall:.1f} s")
    return done


def _select(options: Sequence[str]) -> dict[str, float]:
    """Milliseconds for each kind of pattern."""
    words = [sys.executable, "-m", "bench.selecting", options[1]]
    done = subprocess.run(words, env=_environment(options), stdout=subprocess.PIPE, check=True)
    spent: dict[str, float] = json.loads(done.stdout)
    return spent


def _tell_selections(selections: dict[int, dict[str, float]]) -> None:
    tell("The choice of servers alone, ms of CPU, by the number of servers in the inventory:\n")
    kinds = next(iter(selections.values()))
    columns = list(selections.values())
    table(
        ("pattern", *(f"{size:,}" for size in selections)),
        [(kind, *(f"{spent[kind]:.1f}" for spent in columns)) for kind in kinds],
    )


def _tell_peaks(peaks: dict[tuple[str, int], dict[int, int]]) -> None:
    tell("Peak memory, MiB, by the number of servers:\n")
    table(
        ("", *(f"{size:,}" for size in next(iter(peaks.values())))),
        [
            (f"`-o {form} -f {forks}`", *(f"{peak / 2**20:.0f}" for peak in of_sizes.values()))
            for (form, forks), of_sizes in peaks.items()
        ],
    )
