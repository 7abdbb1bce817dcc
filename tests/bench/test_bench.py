"""The benchmark in its short form: it runs, everybody gets every answer, and no time is judged."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.endpoints import ROOT, python_environment


@pytest.mark.lab
def test_the_short_form() -> None:
    command = [sys.executable, "-m", "bench", "peers", "--short"]
    done = subprocess.run(command, cwd=ROOT, env=python_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ")[0].lstrip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert {"fleet exec 'status 3' -o raw", "asyncssh script", "xargs ssh -W"} <= set(rows)
