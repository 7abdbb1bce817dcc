"""What a start costs, beside the libraries that it imports: what fleet adds to them is fleet's own."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from bench.endpoints import python_environment
from bench.measure import run
from bench.say import machine, table, tell
from lab.processes import FreePorts

INVENTORY = """\
all:
  vars: {{management: "127.0.0.1:7505", ansible_host: 127.0.0.1, ansible_port: {port}}}
  hosts:
    edge-[01:50].example.net: {{}}
"""
PYTHON = "python -c pass"
TYPER = "python -c 'import typer'"
EXEC = "fleet exec 'status 3' -o raw"
ASYNCSSH = "python -c 'import asyncssh'"
REFUSED = 4
"""The exit status where no server can be reached."""


def measure(folder: Path, rounds: int) -> int:
    """Measures, and prints the table; 1 where a start failed."""
    inventory = folder / "inventory.yaml"
    inventory.write_text(INVENTORY.format(port=FreePorts().take()))
    fleet = [sys.executable, "-m", "fleet"]
    commands = {
        PYTHON: [sys.executable, "-c", "pass"],
        TYPER: [sys.executable, "-c", "import typer"],
        ASYNCSSH: [sys.executable, "-c", "import asyncssh"],
        "fleet --version": [*fleet, "--version"],
        "fleet --help": [*fleet, "--help"],
        "fleet inventory list": [*fleet, "inventory", "list", "-i", str(inventory)],
        "fleet status --list-hosts": [*fleet, "status", "--list-hosts", "--all", "-i", str(inventory)],
        EXEC: [*fleet, "exec", "status 3", "-o", "raw", "-l", "edge-01.example.net", "-i", str(inventory)],
    }
    environment = {**python_environment(), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    costs: dict[str, list[float]] = {name: [] for name in commands}
    failed = set()
    for _ in range(rounds + 1):
        for name, argv in commands.items():
            done = run(argv, environment)
            costs[name].append(done.cpu)
            if done.status != (REFUSED if name == EXEC else 0):
                failed.add(name)
    found = {name: cost[1:] for name, cost in costs.items()}  # the first one compiled and cached
    rows = [
        (f"`{name}`", f"{median(cost) * 1000:.0f}", *(f"{_by(cost, found[base]):.2f}" for base in (TYPER, ASYNCSSH)))
        for name, cost in found.items()
    ]
    tell("### Start-up\n")
    table(("", "CPU, ms", f"by `{TYPER}`", f"by `{ASYNCSSH}`"), rows)
    tell(f"`{EXEC}` is one server over SSH whose port nobody listens on.\n")
    tell(f"Medians of {rounds} rounds, on {machine()}.\n")
    for name in sorted(failed):
        tell(f"**{name} failed**\n")
    return 1 if failed else 0


def _by(cost: list[float], base: list[float]) -> float:
    """The median of the ratios of each round."""
    return median(mine / theirs for mine, theirs in zip(cost, base, strict=True))
