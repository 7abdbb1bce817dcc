"""The charset of stdout: the locale's for people, UTF-8 for programs, whatever the locale."""

from __future__ import annotations

import io
import sys
from typing import Final

_FOR_PROGRAMS: Final = frozenset({"json", "ndjson", "yaml", "csv", "name"})


def settle_charset(output: str) -> None:
    """Makes stdout one of UTF-8 where it is for a program to read.

    Args:
        output: the format that was asked for.
    """
    if output in _FOR_PROGRAMS and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
