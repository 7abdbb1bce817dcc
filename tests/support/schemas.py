"""JSON that fleet printed, held against docs/schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from jsonschema.exceptions import best_match

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"

_RUN = {"command", "started", "summary", "args"}  # keys of a run's document and of its last line, but of no other's
_EVENT = {"type", "server", "time", "data"}


@cache
def registry() -> referencing.Registry[Any]:
    found = [(path.name, json.loads(path.read_text("utf-8"))) for path in sorted(SCHEMAS.glob("*.json"))]
    resources = [(name, referencing.Resource.from_contents(contents)) for name, contents in found]
    return referencing.Registry().with_resources(resources)


@cache
def validator(reference: str) -> jsonschema.Draft202012Validator:
    """What checks against a schema, for example `status.json` or `status.json#/$defs/line`."""
    return jsonschema.Draft202012Validator({"$ref": reference}, registry=registry())


def faults(reference: str, value: Any) -> str:
    """What is wrong with a value, or nothing."""
    error = best_match(validator(reference).iter_errors(value))
    return "" if error is None else f"{reference}: {error.json_path}: {error.message[:2000]}"


def check(text: str, words: Sequence[str] = ()) -> None:
    """Fails where text that fleet printed is JSON of another shape than docs/schema says.

    Args:
        text: what went to stdout; what is no JSON is left alone, and so is a line that was cut off.
        words: of the command line, where nothing in the JSON names the command.
    """
    if not text.startswith("{") or "--host" in words:  # the variables of one host, which may be any
        return
    values = [*_parsed(text.splitlines())] if text.startswith('{"') else []
    if not values:
        try:
            values = [json.loads(text)]
        except ValueError:
            return  # cut off, or text of a daemon
    command = _command(values, [part for word in words for part in word.split()])  # a shell has them in one word
    found = [fault for value in values if (fault := faults(_reference(value, command), value))]
    assert not found, "\n".join(found)


def _parsed(lines: Iterable[str]) -> Iterable[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return


def _command(values: Sequence[Any], words: Sequence[str]) -> str:
    """The command's name as its schema's file has it."""
    run = values[-1]
    if run.keys() >= _RUN and "run" not in run and (SCHEMAS / f"{run['command'].replace(' ', '-')}.json").exists():
        return str(run["command"]).replace(" ", "-")
    pairs = ["-".join(pair) for pair in combinations(words, 2)]
    return next((name for name in (*pairs, *words) if (SCHEMAS / f"{name}.json").exists()), "")


def _reference(value: Any, command: str) -> str:
    if value.keys() == _EVENT:
        return "events.json"
    if not command:
        return f"common.json#/$defs/{'refused_line' if 'type' in value else 'refused'}"
    return f"{command}.json#/$defs/line" if "type" in value else f"{command}.json"
