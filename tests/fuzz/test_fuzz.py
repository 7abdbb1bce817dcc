"""A minute of the fuzzers: every seed, Hypothesis' bytes, and some seconds of what docs/testing.md runs for hours."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.run import mutated
from fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = 10
"""For each of the targets, one behind the other: with what starts them about a minute, on one of the processes of a
run of all tests."""


@cache
def seeds_of(name: str) -> list[bytes]:
    return list(TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed(name: str) -> None:
    assert len(seeds_of(name)) > 3
    for seed in seeds_of(name):
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150)
@given(data=st.binary(max_size=400), number=st.integers(0, 2**32))
def test_any_bytes_and_seeds_with_changes(name: str, data: bytes, number: int) -> None:
    target = TARGETS[name]
    target.check(data)
    target.check(mutated(seeds_of(name), random.Random(number)))  # noqa: S311 - repeats


FOUND = {
    "status": (
        # A code of no character, in a row that is complained of: nobody knows what a terminal makes of it.
        (
            "OpenVPN CLIENT LIST\r\nUpdated,2026-11-22 08:39:35\r\n"
            "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since\r\na\U000b24d6,b,1,2\r\nEND\r\n"
        ),
    ),
}
"""What the fuzzers have found, each once and for good."""


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FOUND.items() for text in texts])
def test_what_was_found(name: str, text: str) -> None:
    TARGETS[name].check(text.encode("utf-8", "surrogateescape"))


def run_fuzz(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "tests"), str(ROOT)))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", TARGETS)
def test_some_seconds(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = ["--corpus", str(tmp_path / "corpus")]
    run = run_fuzz(["-m", "fuzz.run", name, "--seconds", str(SECONDS), *corpus], tmp_path)
    assert run.returncode == 0, run.stderr[-4000:]
    assert [file.name for file in tmp_path.iterdir()] == ["corpus"]
    guided = find_spec("atheris") is not None
    assert ("blindly, without atheris" in run.stderr) is not guided
    told = [line for line in run.stderr.splitlines() if "blindly" in line or "DONE" in line]
    with capsys.disabled():
        print(f"\nfuzz {name}: {' '.join(told)}")  # noqa: T201 - how much was done is told, not judged


@pytest.mark.parametrize("blindly", [False, True])
def test_a_failure_is_kept_and_shown_again(tmp_path: Path, *, blindly: bool) -> None:
    """A fuzzer that sees nothing would be green for ever: this target fails on whatever has a name of its seeds."""
    sick = tmp_path / "fuzz_sick.py"
    sick.write_text(
        "from fuzz import run, targets\n"
        "def check(data):\n"
        "    assert b'Test-Client' not in data\n"
        "targets.TARGETS['status'] = targets.Target(check, targets.TARGETS['status'].seeds)\n"
        + ("run.find_spec = lambda _name: None\n" if blindly else "")
        + "run.main()\n"
    )
    arguments = [str(sick), "status", "--seconds", "30", "--corpus", str(tmp_path / "corpus")]
    run = run_fuzz(arguments, tmp_path)
    assert run.returncode != 0
    assert "AssertionError" in run.stderr + run.stdout
    (kept,) = tmp_path.glob("crash-*")
    assert b"Test-Client" in kept.read_bytes()
    assert run_fuzz([*arguments, "--again", str(kept)], tmp_path).returncode != 0
