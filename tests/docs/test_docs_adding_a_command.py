"""docs/adding-a-command.md, done on a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.markdown import ROOT, pages

PAGE = pages()["docs/adding-a-command.md"]
COPIED = ("fleet", "tests/docs", "tests/management", "tests/support", "tests/transcripts", "docs")
TESTS = (
    "tests/management/test_replies.py",
    *(f"tests/docs/test_docs_{name}.py" for name in ("json", "cli", "schema")),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with every `diff` of the page applied and its commands run."""
    copy = tmp_path_factory.mktemp("repository")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    for block in PAGE.blocks:
        if block.language == "diff":
            head, *lines = block.text.split("\n")
            apply(copy / head.removeprefix("+++ "), lines, block.place)
    run(copy, "fleet.cli.generate", "docs")
    (copy / "fleet/cli/words.json").write_text(run(copy, "fleet.cli.words").stdout, "utf-8")
    return copy


def apply(path: Path, lines: list[str], place: str) -> None:
    """Puts the lines with a plus where those without stand."""
    text = path.read_text("utf-8")
    for hunk in "\n".join(lines).split("\n@@\n"):
        before = "\n".join(line[1:] for line in hunk.split("\n") if line[:1] != "+")
        after = "\n".join(line[1:] for line in hunk.split("\n"))
        assert text.count(f"\n{before}\n") == 1, f"{place}: {path.name} has changed: {before!r}"
        text = text.replace(f"\n{before}\n", f"\n{after}\n")
    path.write_text(text, "utf-8")


def run(copy: Path, module: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Runs the copy's own code, whatever is installed; not counted as coverage of this repository."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("COV", "FLEET_", "PYTEST_"))
    }
    command = [sys.executable, "-m", module, *args]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_command_is_there(repository: Path) -> None:
    assert "Show how many clients each daemon has." in run(repository, "fleet", "--help").stdout
    assert "fleet nclients" in run(repository, "fleet", "nclients", "--help").stdout


def test_the_tests_of_the_copy_pass(repository: Path) -> None:
    output = run(
        repository, "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", "nclients or every or page_is"
    ).stdout
    assert re.search(r"\b([6-9]|\d\d+) passed", output), output


def test_the_recording_is_as_shown() -> None:
    shown = next(block.text for block in PAGE.blocks if "grep -h" in block.text).split("\n")[1:]
    transcript = (ROOT / "tests/transcripts/2.6.14/02_basic_0clients.txt").read_text("utf-8").split("\n")
    assert len(shown) == 2
    assert set(shown) <= set(transcript)
