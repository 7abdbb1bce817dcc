"""docs/schema: what the code says, for every command, and no wider than that."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
import typer

from docs.markdown import ROOT, Block, pages
from fleet.cli.main import build
from fleet.cli.reference import walk
from fleet.cli.schema import files
from support.schemas import SCHEMAS, check, faults, validator

NO_JSON = {"demo", "console", "top", "completion", "metrics"}
"""Commands that are for people only, or print something else by their nature."""
LIKE_ANOTHER = {"events", "bytecount", "history rerun"}
"""Commands whose JSON has the schema of `events`, or of the command that is run again."""
MAPS = {"environment", "global_stats", "statistics", "missed"}
"""Keys under which an object has whatever keys the daemon has."""
OPTIONAL = {"eu", "hosts", "children"}
"""Keys of Ansible's form: groups have what names they have, and leave out what they have not."""
ROWS = {"clients", "routes", "before", "after"}
"""Keys under which objects may have columns that fleet does not know besides."""
ANY = {"value", "variables", "hostvars"}
"""Keys whose value, or whose values, may be anything."""


def test_the_files_are_what_the_code_says() -> None:
    there = {path.name: path.read_text("utf-8") for path in SCHEMAS.glob("*.json")}
    made = files()
    assert there.keys() == made.keys(), "old: python -m fleet.cli.generate docs"
    assert [name for name in made if there[name] != made[name]] == [], "old: python -m fleet.cli.generate docs"


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_is_a_schema(path: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


def test_every_command_has_a_schema() -> None:
    root = build()
    names = [context.command_path for _, context in walk(root, typer.Context(root))]
    commands = {name.strip() for name in names} - NO_JSON - LIKE_ANOTHER
    wanted = {name.replace(" ", "-") for name in commands}
    assert "history-list" in wanted
    assert wanted - {path.stem for path in SCHEMAS.glob("*.json")} == set()


# The examples of docs/json.md, which another test holds against what fleet prints


def examples() -> Iterator[tuple[str, Block]]:
    for above, block in pairwise(pages()["docs/json.md"].blocks):
        if block.language in ("json", "ndjson"):
            yield above.text.removeprefix("$ "), block


EXAMPLES = list(examples())


def values(command: str, block: Block) -> list[tuple[str, Any]]:
    """What a block shows, each with the schema that it has to meet."""
    words = shlex.split(command)[1:]
    two = "-".join(words[:2])
    name = f"{two if (SCHEMAS / f'{two}.json').exists() else words[0]}.json"
    if block.language == "ndjson":
        lines = [json.loads(line) for line in block.text.split("\n")]
        reference = "events.json" if "data" in lines[0] else f"{name}#/$defs/line"
        return [(reference, line) for line in lines]
    value = json.loads(block.text)
    return [(name if value.keys() & {"fleet_schema", "_meta"} else f"{name}#/$defs/result", value)]


@pytest.mark.parametrize(("command", "block"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_has_its_shape(command: str, block: Block) -> None:
    for reference, value in values(command, block):
        assert faults(reference, value) == ""


def mutated(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Copies of a value with one thing wrong in each: a key too few or too many, or a value of another type."""
    inside = _at(value, path)
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    if name in ANY:
        return
    if isinstance(inside, dict):
        for key in inside:
            if name not in MAPS and key not in OPTIONAL:
                yield f"{path} without {key}", _changed(value, path, {one: inside[one] for one in inside if one != key})
            yield from mutated(value, (*path, key))
        if name not in MAPS | ROWS:
            yield f"{path} and more", _changed(value, path, {**inside, "frobnicate": 1})
    elif isinstance(inside, list) and inside:
        yield from mutated(value, (*path, 0))
    wrong = {"frobnicate": [None]} if not isinstance(inside, dict) else "frobnicate"
    yield f"{path} is {wrong}", _changed(value, path, wrong)


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def _changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    if not path:
        return new
    made = copy.deepcopy(value)
    _at(made, path[:-1])[path[-1]] = new
    return made


@pytest.mark.parametrize(("command", "block"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_nothing_else_has_it(command: str, block: Block) -> None:
    reference, value = values(command, block)[0]
    schema = validator(reference)
    passed = [what for what, changed in mutated(value) if schema.is_valid(changed)]
    assert passed == []


# What the other tests lean on


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"fleet_schema": 1, "runs": [], "more": 1}', ("history", "list", "--json")),
        ('{\n  "fleet_schema": 1\n}', ("status",)),
        ('{"type": "server"}\n', ("-l", "eu", "pid", "-o", "ndjson")),
        ('{"type": "LOG", "server": "edge-1", "time": "today", "data": {"text": "x"}}\n', ("events",)),
        ('{"fleet_schema": 1}', ()),
    ],
)
def test_what_is_wrong_is_found(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="json"):
        check(text, words)


@pytest.mark.parametrize("text", ["", "SERVER  PID\n", "{", '{"fleet_schema": 1, "ru'])
def test_what_is_no_json_is_left_alone(text: str) -> None:
    check(text, ("pid",))


def test_a_client_may_have_columns_that_fleet_does_not_know() -> None:
    (block,) = [block for command, block in EXAMPLES if command == "fleet clients edge-1 --json"]
    value = json.loads(block.text)
    value["clients"][0]["New Column"] = "7"
    assert faults("clients.json#/$defs/result", value) == ""
    value["clients"][0]["New Column"] = 7
    assert "clients" in faults("clients.json#/$defs/result", value)


def test_the_schemas_are_in_the_repository() -> None:
    assert SCHEMAS == ROOT / "docs" / "schema"
