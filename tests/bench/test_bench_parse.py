"""The benchmark of parsers in its short form: it runs, and all that needs no package reads every layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_short_form() -> None:
    script = Path(__file__).with_name("parse.py")
    done = subprocess.run([sys.executable, str(script), "--short"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot read" not in done.stdout
    first = [line.split(" | ")[0] for line in done.stdout.splitlines()]
    for name in ("a bare split", "fleet", "fleet, all rows made", "fleet, from the wire"):
        assert first.count(f"| {name}") == 3
