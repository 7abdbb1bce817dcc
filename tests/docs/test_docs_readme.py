"""The screen in README.md is what the demo shows today, apart from numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from docs.markdown import ROOT, pages

DEMO_TIMEOUT = 60.0


def masked(line: str) -> str:
    """The line without what differs from run to run: sizes, numbers, the width of columns."""
    return re.sub(r"\d+", "N", re.sub(r"[\d.]+ ([KMGT]i)?B\b", "SIZE", " ".join(line.split())))


def test_the_screen_is_the_demo() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    done = subprocess.run(
        [sys.executable, "-m", "fleet", "demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        timeout=DEMO_TIMEOUT,
        check=True,
        encoding="utf-8",
    )
    shown = [
        line for block in pages()["README.md"].blocks if block.language == "console" for line in block.text.split("\n")
    ]
    assert len(shown) > 15
    printed = {masked(line) for line in done.stdout.split("\n")}
    assert [line for line in shown if masked(line) not in printed] == []


def test_the_masks_leave_words() -> None:
    assert masked("edge-1   CONNECTED  12d 3h   7.6 GiB") == "edge-N CONNECTED Nd Nh SIZE"
