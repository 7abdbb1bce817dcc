"""A fleet that follows, as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.processes import wait_until

END_TIMEOUT = 30.0
"""Seconds that fleet may take to end after a Ctrl-C."""


class Following:
    """A fleet that follows; what it writes goes to files, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        whole = self.stdout.rpartition("\n")[0]  # the last line may be half written
        return [json.loads(line) for line in whole.split("\n") if line]

    def attached(self, count: int) -> None:
        wait_until(
            "all are followed", lambda: self.stderr.count("+ ") >= count, wait_timeout=60.0, log=self._folder / "stderr"
        )

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self._process.send_signal(number)
        return self._process.wait(END_TIMEOUT)


@contextmanager
def following(argv: list[str], env: dict[str, str], folder: Path) -> Iterator[Following]:
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=folder, env=env, start_new_session=True
        )
    try:
        yield Following(process, folder)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
