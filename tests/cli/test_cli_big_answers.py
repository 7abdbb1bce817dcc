"""Big answers of many servers: what was written is not kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from cli.harness import TIMEOUT, Fleet, daemon
from fleet.demo.clients import believable_clients
from fleet.demo.farm import Farm

CLIENTS = 2_500
FEW, MANY = 2, 12
MIB = 2**10  # in KiB, as the kernel says it

# The most memory that this process had: what the parent's `wait4` tells has the parent's own in it.
PEAK = """
import runpy, sys
sys.argv[0] = "fleet"
try:
    runpy.run_module("fleet", run_name="__main__", alter_sys=True)
finally:
    sys.stdout.flush()
    sys.stderr.write(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(fleet: Fleet, servers: int, *form: str) -> tuple[int, int]:
    """The most memory of a run, in KiB, and the bytes that it wrote."""
    names = [f"edge-{number}" for number in range(servers)]
    words = [sys.executable, "-c", PEAK, "clients", *form, "--forks", "1", *names]
    done = subprocess.run(words, capture_output=True, env=fleet.child_environment(), check=False, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    found = re.search(rb"VmHWM:\s+(\d+) kB", done.stderr)
    assert found is not None
    return int(found[1]), len(done.stdout)


@pytest.mark.parametrize("form", [("-o", "ndjson"), ("-o", "csv", "--columns", "common_name"), ("-o", "name")])
def test_rows_that_were_written_are_not_kept(fleet: Fleet, form: tuple[str, ...]) -> None:
    farm = Farm()
    clients = list(believable_clients(CLIENTS))
    for number in range(MANY):
        farm.add(f"edge-{number}", daemon(clients=clients))
    fleet.start(farm)
    (few, little), (many, much) = peak(fleet, FEW, *form), peak(fleet, MANY, *form)
    assert much > little * 5
    assert many - few < 6 * MIB  # ten more answers of 2,500 clients take three times as much, if they are kept
