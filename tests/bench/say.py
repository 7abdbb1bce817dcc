"""What a benchmark says: tables in Markdown on stdout, its progress on stderr."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def tell(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: names to the left, numbers to the right."""
    tell(f"| {' | '.join(headings)} |")
    tell(f"| --- |{' ---: |' * (len(headings) - 1)}")
    for row in rows:
        tell(f"| {' | '.join(row)} |")
    tell()


def machine() -> str:
    """What this was measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{len(models)} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"
