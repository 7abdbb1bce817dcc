"""docs/inventory.md says what the table in the code says."""

from __future__ import annotations

import re
from pathlib import Path

from fleet.inventory import files, names, script, secrets, tree, values
from fleet.inventory.variables import DAEMON_KEYS, VARIABLES

ROOT = Path(__file__).parents[2]


def test_every_variable_is_documented_as_it_is() -> None:
    text = (ROOT / "docs/inventory.md").read_text().split("## Variables")[1].split("\n**Order.**")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    documented = [(row[0].removeprefix("| ").strip("`"), row[1]) for row in rows]
    assert documented == [(variable.name, variable.takes) for variable in VARIABLES]
    for row, variable in zip(rows, VARIABLES, strict=True):
        assert re.findall(r"`(ansible_\w+)`", row[2]) == list(variable.fallbacks)


def test_what_a_daemon_takes_is_documented() -> None:
    text = " ".join((ROOT / "docs/inventory.md").read_text().split())
    *first, last = (f"`{key}`" for key in DAEMON_KEYS)
    assert f"A daemon takes {', '.join(first)} and {last};" in text


def test_every_variable_is_in_the_example() -> None:
    text = (ROOT / "inventory.example.yaml").read_text()
    assert [variable.name for variable in VARIABLES if f"{variable.name}:" not in text] == []


def test_the_names_that_count_for_nothing_are_documented() -> None:
    text = (ROOT / "docs/inventory.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| a folder |"))
    documented = set(re.findall(r"`([^`]+)`", row)) - {"group_vars", "host_vars", "vars_plugins"}
    assert documented == set(files._IGNORED_ENDS)


def test_the_limits_are_documented() -> None:
    text = (ROOT / "docs/inventory.md").read_text()
    limits = f"{tree.MAX_BYTES >> 20} MiB, {tree.MAX_DEPTH} levels, {tree.MAX_NODES:,} values"
    assert limits in text
    assert f"{files.MAX_TOTAL_BYTES >> 20} MiB and {files.MAX_FILES:,} files of all" in " ".join(text.split())
    assert f"{files.MAX_FOLDERS_DEPTH} folders inside each other" in " ".join(text.split())
    assert f"{names.MAX_RANGE:,} hosts, {values.MAX_JUMPS} jump hosts" in text
    assert f"for at most {script.SCRIPT_TIMEOUT:g} s" in text
    assert f"for at most {secrets.COMMAND_TIMEOUT:g} s" in text
