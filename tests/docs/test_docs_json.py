"""docs/json.md: each example has the keys and types that fleet prints today."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from docs.conftest import Fleet
from docs.markdown import Block, pages
from fleet.cli.main import build

PAGE = pages()["docs/json.md"]
ALIKE = {"fleet_schema", "type", "command", "args", "exit_status", "status", "code"}
"""Keys of which the example has the very value."""
OPEN = {"environment"}
"""Keys under which a daemon has more than the example, in its own names."""
NO_JSON = {"demo", "console", "top", "completion", "metrics"}
"""Commands that are for people only."""


def examples() -> Iterator[tuple[str, Block]]:
    """Each block of JSON with the command above it."""
    for above, block in pairwise(PAGE.blocks):
        if block.language in ("json", "ndjson"):
            assert above.language == "console", f"{block.place}: no command above"
            yield above.text.removeprefix("$ "), block


EXAMPLES = list(examples())


def differences(documented: Any, printed: Any, place: str = "") -> list[str]:
    """Where two values have different keys or types. None stands for any type: what a daemon does not report."""
    if documented is None or printed is None:
        return []
    if isinstance(documented, dict) and isinstance(printed, dict):
        found = [f"{place}.{key} is not printed" for key in documented.keys() - printed.keys()]
        found += [f"{place}.{key} is not documented" for key in printed.keys() - documented.keys()]
        for key in documented.keys() & printed.keys():
            if key in ALIKE and documented[key] != printed[key]:
                found.append(f"{place}.{key} is {printed[key]!r}")
            if key not in OPEN:
                found += differences(documented[key], printed[key], f"{place}.{key}")
        return found
    if isinstance(documented, list) and isinstance(printed, list):
        if bool(documented) != bool(printed):
            return [f"{place} is empty in one of the two"]
        return [fault for pair in zip(documented, printed, strict=False) for fault in differences(*pair, f"{place}[]")]
    numbers = isinstance(documented, int | float) and isinstance(printed, int | float)
    alike = type(documented) is type(printed) or (numbers and bool not in (type(documented), type(printed)))
    return [] if alike else [f"{place} is printed as {type(printed).__name__}"]


@pytest.mark.parametrize(("command", "block"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_is_what_fleet_prints(command: str, block: Block, fleet: Fleet) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "events":
        fleet.stir()
    if words[0] == "history":
        fleet.run("verb", "4", "-l", "edge-1")
    if words[0] == "usage":
        for _ in range(2):  # what is between two of them is a row
            fleet.run("collect", "edge-1", "--db", words[words.index("--db") + 1])
    if words[0] == "diff":
        Path(words[1]).write_text(fleet.run("snapshot", "edge-1")[1], "utf-8")
    status, text = fleet.run(*words)
    if is_stream(block):
        assert status == 0
        assert_stream(block.text, text)
        return
    if block.language == "ndjson":
        by_name = {line.get("name", ""): line for line in map(json.loads, text.splitlines())}
        for documented in map(json.loads, block.text.splitlines()):
            assert differences(documented, by_name.pop(documented.get("name", ""))) == []
        assert by_name == {}
        return
    documented, printed = json.loads(block.text), json.loads(text)
    if not documented.keys() & {"fleet_schema", "_meta"}:
        assert status == 0
        printed = printed["servers"][0]["result"]
    assert differences(documented, printed) == []


def is_stream(block: Block) -> bool:
    return '"server": ' in block.text.split("\n")[0]


def assert_stream(documented: str, printed: str) -> None:
    """Each line that is shown is like one that was printed; how many there are is the daemon's affair."""
    lines = [json.loads(line) for line in printed.splitlines()]
    for example in map(json.loads, documented.splitlines()):
        found = [differences(example, line) for line in lines if line["type"] == example["type"]]
        assert found, f"no {example['type']} in {printed}"
        assert [] in found, found


def test_every_command_has_an_example() -> None:
    root = build()
    wanted = set(root.list_commands(typer.Context(root))) - NO_JSON
    assert wanted <= {shlex.split(command)[1] for command, _ in EXAMPLES}


@pytest.mark.parametrize(
    ("documented", "printed"),
    [
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": [{"b": 1}]}, {"a": []}),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
        ({"code": "dns"}, {"code": "usage"}),
    ],
)
def test_a_difference_is_found(documented: Any, printed: Any) -> None:
    assert differences(documented, printed)


def test_what_may_differ_does() -> None:
    assert differences({"a": None, "b": 1, "c": [{"d": "x"}]}, {"a": "y", "b": 1.5, "c": [{"d": "z"}] * 2}) == []
