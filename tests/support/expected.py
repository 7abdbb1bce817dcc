"""Expected results of transcripts, as data: tests/management/expected/<version>/<transcript>.json.

Each file maps a command to what its first complete reply in that transcript means, and `last COMMAND` to what its last
means, in plain JSON: times in UTC, attributes that are None, False or empty left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

from support.transcripts import exchanges, read_transcript

EXPECTED = Path(__file__).parent.parent / "management" / "expected"


def plain(value: Any) -> Any:
    """A result as plain JSON; None where it is empty."""
    if isinstance(value, datetime):
        assert value.tzinfo is UTC
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        pairs = {key: plain(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not None and item is not False} or None
    if isinstance(value, tuple):
        return [plain(item) for item in value] or None
    if isinstance(value, frozenset):
        return sorted(value)
    return value


def expected_results() -> dict[tuple[str, str], dict[str, Any]]:
    """All expected results, by version and transcript."""
    return {
        (path.parent.name, path.stem): json.loads(path.read_text("ascii")) for path in sorted(EXPECTED.glob("*/*.json"))
    }


def reply_to(path: Path, key: str) -> tuple[str, ...]:
    """The first complete reply to a command, or with `last COMMAND` the last, as `Command.parse` gets it.

    That is the one line behind `SUCCESS: `, or the lines before END; real-time lines before them left out.
    """
    command = key.removeprefix("last ")
    found = [
        reply
        for session in read_transcript(path)
        for exchange in exchanges(session)
        if exchange.command == f"{command}\n".encode() and (reply := _complete(exchange.lines))
    ]
    return found[-1 if key.startswith("last ") else 0]


def _complete(lines: tuple[str, ...]) -> tuple[str, ...] | None:
    lines = tuple(dropwhile(lambda line: line.startswith(">"), lines))
    if lines and lines[0].startswith("SUCCESS: "):
        return (lines[0].removeprefix("SUCCESS: "),)
    return lines[: lines.index("END")] if "END" in lines else None
