"""Runs fleet, and looks a thousand times a second of its CPU time at where it is.

    python -m bench.sampler REPORT fleet's arguments...

REPORT has the samples by layer as JSON, and those of the single functions that took most.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
"""Seconds of CPU time between two samples."""

MOST = 40
"""Functions in the report."""

# The innermost frame whose file has one of these in its path says which layer a sample is of.
LAYERS = (
    ("asyncssh/crypto/", "cryptography (key exchange, signatures, ciphers)"),
    ("/cryptography/", "cryptography (key exchange, signatures, ciphers)"),
    ("asyncssh/known_hosts", "asyncssh: known_hosts"),
    ("asyncssh/config", "asyncssh: options of a connection"),
    ("asyncssh/misc", "asyncssh: options of a connection"),
    ("asyncssh/", "asyncssh: its protocol"),
    ("fleet/transport/", "fleet.transport"),
    ("fleet/session", "fleet.session, fleet.management"),
    ("fleet/management/", "fleet.session, fleet.management"),
    ("fleet/engine", "fleet.engine, fleet.operations"),
    ("fleet/operations/", "fleet.engine, fleet.operations"),
    ("fleet/journal/", "fleet.journal: locks, audit, history"),
    ("fleet/inventory/", "fleet.inventory"),
    ("/yaml/", "fleet.inventory"),
    ("fleet/render/", "fleet.render, fleet.cli"),
    ("fleet/cli/", "fleet.render, fleet.cli"),
    ("/typer/", "fleet.render, fleet.cli"),
    ("/asyncio/", "asyncio and sockets"),
    ("selectors", "asyncio and sockets"),
)
OPTIONS = {"construct", "prepare", "_prepare", "connect"}
"""Functions of asyncssh's connection.py that put options together; what they call counts with them."""


class Sampler:
    """Counts where the main thread is whenever the CPU clock of the process goes off."""

    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            self.functions[f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"] += 1
        self.layers[_layer(frame)] += 1


def _layer(frame: FrameType | None) -> str:
    found = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return "imports"
        if name.endswith("asyncssh/connection.py") and frame.f_code.co_name in OPTIONS and found.startswith("asyncssh"):
            found = "asyncssh: options of a connection"
        if not found:
            found = next((layer for part, layer in LAYERS if part in name), "")
        frame = frame.f_back
    return found or "other"


def main() -> None:
    """Profiles one run of fleet."""
    report = Path(sys.argv[1])
    sys.argv = ["fleet", *sys.argv[2:]]
    sampler = Sampler()
    sampler.start()
    begun = time.process_time()
    try:
        from fleet.cli.main import main as fleet  # noqa: PLC0415 - its imports are part of what is measured

        fleet()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        cpu = time.process_time() - begun
        found = {"cpu": cpu, "layers": sampler.layers, "functions": dict(sampler.functions.most_common(MOST))}
        report.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
