"""Short runs of the fuzzers: every seed, Hypothesis' bytes, and some seconds of what docs/testing.md runs for hours."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.run import mutated
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = 3


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert len(seeds) > 3
    for seed in seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150)
@given(data=st.binary(max_size=400), number=st.integers(0, 2**32))
def test_any_bytes_and_seeds_with_changes(name: str, data: bytes, number: int) -> None:
    target = TARGETS[name]
    target.check(data)
    target.check(mutated(_seeds(name), random.Random(number)))  # noqa: S311 - repeats


def _seeds(name: str, kept: dict[str, list[bytes]] = {}) -> list[bytes]:  # noqa: B006 - read once
    return kept.setdefault(name, list(TARGETS[name].seeds()))


@pytest.mark.parametrize("name", TARGETS)
def test_some_seconds(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))}
    command = [sys.executable, "-m", "fuzz.run", name, "--seconds", str(SECONDS), "--corpus", str(tmp_path / "corpus")]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    assert [file.name for file in tmp_path.iterdir()] == ["corpus"]
