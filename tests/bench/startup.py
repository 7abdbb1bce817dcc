"""What a start costs before anything is done."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from bench.endpoints import python_environment
from bench.measure import run
from bench.say import machine, table, tell

INVENTORY = 'all:\n  vars: {management: "127.0.0.1:7505"}\n  hosts:\n    edge-[01:50].example.net: {}\n'
PYTHON = "python -c pass"
TYPER = "python -c 'import typer'"


def measure(folder: Path, rounds: int) -> int:
    """Measures, and prints the table; 1 where a start failed."""
    inventory = folder / "inventory.yaml"
    inventory.write_text(INVENTORY)
    fleet = [sys.executable, "-m", "fleet"]
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        TYPER: [sys.executable, "-c", "import typer"],
        "fleet --version": [*fleet, "--version"],
        "fleet --help": [*fleet, "--help"],
        "fleet inventory list": [*fleet, "inventory", "list", "-i", str(inventory)],
        "fleet status --list-hosts": [*fleet, "status", "--list-hosts", "--all", "-i", str(inventory)],
    }
    environment = {**python_environment(), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    costs: dict[str, list[float]] = {name: [] for name in commands}
    failed = set()
    for _ in range(rounds + 1):
        for name, argv in commands.items():
            done = run(argv, environment)
            costs[name].append(done.cpu)
            if done.status:
                failed.add(name)
    found = {name: cost[1:] for name, cost in costs.items()}  # the first one compiled and cached
    rows = [
        (
            f"`{name}`",
            f"{median(cost) * 1000:.0f}",
            f"{median(mine / theirs for mine, theirs in zip(cost, found[TYPER], strict=True)):.2f}",
        )
        for name, cost in found.items()
    ]
    tell("### Start-up\n")
    table(("", "CPU, ms", f"by `{TYPER}`"), rows)
    tell(f"Medians of {rounds} rounds, on {machine()}.\n")
    for name in sorted(failed):
        tell(f"**{name} failed**\n")
    return 1 if failed else 0
