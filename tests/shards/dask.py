"""A Dask cluster of this machine: a scheduler and workers, each a process of its own, without dashboards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.pki import Authority
from shards.farm import until

ROOT = Path(__file__).parents[2]


@dataclass
class Dask:
    """A cluster; `with` ends its processes.

    Attributes:
        folder: of its files.
        environment: of its processes, besides their own.
    """

    folder: Path
    environment: dict[str, str]
    address: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    scheduler: subprocess.Popen[bytes] | None = None
    _begun: int = 0

    def __enter__(self) -> Self:
        file = self.folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(file))
        self.address = until(lambda: _address(file))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait()

    def keep(self, count: int) -> None:
        """Starts as many workers as are missing, and waits until they are there."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        logs = [self._begin() for _ in range(count - len(self.workers))]
        until(lambda: all(b"Registered to" in log.read_bytes() for log in logs))

    def _begin(self) -> Path:
        self._begun += 1
        log = self.folder / f"worker-{self._begun}.log"
        words = ("--name", str(self._begun), "--nthreads", "1", "--no-nanny")
        self.workers.append(self._start("worker", self.address, *words, log=log))
        return log

    def _start(self, what: str, *words: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, *words]
        command += ["--host", "127.0.0.1", "--no-dashboard"]
        with (log or self.folder / f"{what}.log").open("wb") as output:
            environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
            environ.pop("COVERAGE_PROCESS_CONFIG", None)  # it is killed, and would tell nothing of what it measured
            return subprocess.Popen(
                command, env=environ, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )


def tls(folder: Path) -> dict[str, str]:
    """The environment in which scheduler, workers and fleet speak TLS only; they share one certificate."""
    authority = Authority(folder)
    peer = authority.issue("dask", both=True)
    settings = {"CA_FILE": authority.certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"{role}__CERT": peer.certificate, f"{role}__KEY": peer.key}
    comm = {f"TLS__{name}": str(path) for name, path in settings.items()}
    comm |= {"DEFAULT_SCHEME": "tls", "REQUIRE_ENCRYPTION": "true"}
    return {f"DASK_DISTRIBUTED__COMM__{name}": value for name, value in comm.items()}


def _address(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["address"])
    except (OSError, ValueError):
        return ""
