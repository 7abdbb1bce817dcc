"""Where fleet's own time goes: samples of a run, by layer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.endpoints import CURVE25519, Endpoints
from bench.measure import run
from bench.peers import FLEET
from bench.say import machine, table, tell

CLIENTS = 20
MOST = 25


def measure(folder: Path, servers: int, forks: int) -> int:
    """Profiles a run against real SSH servers, and prints the table; 1 where the run failed."""
    report = folder / "report.json"
    with Endpoints(folder / "servers", servers, clients=CLIENTS, kex=CURVE25519) as endpoints:
        argv, environment = FLEET.command(endpoints.files, forks), FLEET.environment(endpoints.files)
        run(argv, environment)
        plain = run(argv, environment)
        done = run([sys.executable, "-m", "bench.sampler", str(report), *argv[3:]], environment)
    if done.status:
        tell(f"**fleet ended with {done.status}: {done.complaints[-500:]}**")
        return 1
    found = json.loads(report.read_text())
    samples = sum(found["layers"].values())
    tell(
        f"### Where the time goes\n\n`{FLEET.name}`, {servers} servers, "
        f"{plain.cpu / servers * 1000:.2f} ms of CPU each.\n"
    )
    rows = sorted(found["layers"].items(), key=lambda row: -row[1])
    each = plain.cpu / samples / servers * 1000
    table(("layer", "share", "ms a server"), [(n, f"{c / samples:.0%}", f"{c * each:.2f}") for n, c in rows])
    functions = list(found["functions"].items())[:MOST]
    table(("innermost function", "share"), [(f"`{name}`", f"{count / samples:.1%}") for name, count in functions])
    tell(f"On {machine()}.\n")
    return 0
