"""Values that other tools cannot write, and programs that take longer than the run may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.errors import InventoryError
from fleet.inventory.listing import listing
from fleet.inventory.load import load, read
from fleet.render.jsonout import dumps


def test_numbers_that_json_does_not_have_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("all: {hosts: {a: {management: '127.0.0.1:1', x: .inf, y: [-.INF, .nan], z: 1.5}}}", "utf-8")
    resolver = read(str(path))
    variables = json.loads(dumps(listing(resolver, resolver.inventory().servers)))["_meta"]["hostvars"]["a"]
    assert (variables["x"], variables["y"], variables["z"]) == (".inf", ["-.INF", ".nan"], 1.5)


def test_a_program_has_no_more_time_than_the_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 30\n", "utf-8")
    program.chmod(0o700)
    with pytest.raises(InventoryError, match=r"did not end within 0\.1 s"):
        load(str(program), run_timeout=0.1)
