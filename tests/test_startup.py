"""What a start of fleet imports: children tell their modules, since one that is loaded stays so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Heavy, and never needed by a command line that only reads words and files, or asks a daemon on this machine.
HEAVY = {"asyncssh", "pydantic", "textual", "prometheus_client", "prompt_toolkit", "sqlite3", "rich"}
ASKING = {"fleet.engine", "fleet.session", "fleet.journal.journal", "fleet.operations.conversation", "asyncio", "yaml"}
CHANGING = {
    "fleet.cli.follow",
    "fleet.cli.stream",
    "fleet.cli.rolling",
    "fleet.operations.feeds",
    "fleet.operations.kill",
}
# What a run has no use for that reads, in a table, and meets no mistake.
OTHERS = {
    "fleet.cli.consent",
    "fleet.cli.saved",
    "fleet.cli.watching",
    "fleet.inventory.ini",
    "fleet.inventory.listing",
    "fleet.inventory.script",
    "fleet.journal.killed",
    "fleet.journal.record",
    "fleet.operations.preview",
    "fleet.render.csvout",
    "fleet.render.difference",
    "fleet.render.jsonout",
    "fleet.render.yamlout",
    "csv",
    "getpass",
}
PROGRAM = """\
import atexit, pathlib, sys
atexit.register(lambda: pathlib.Path(sys.argv[-1]).write_text(" ".join(sys.modules)))
from fleet.cli.main import main
report = sys.argv.pop()
try:
    main()
finally:
    sys.argv.append(report)
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        f"all:\n  hosts:\n    edge-1:\n      ansible_connection: local\n      management: {tmp_path}/none.sock\n"
    )
    return path


def modules(folder: Path, *args: str, status: int = 0) -> set[str]:
    """The modules that a command line has imported when it ends."""
    report = folder / "modules"
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *args, str(report)],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return set(report.read_text("utf-8").split())


def test_the_version_needs_no_command_line(tmp_path: Path) -> None:
    loaded = modules(tmp_path, "--version")
    assert loaded & (HEAVY | ASKING | CHANGING | {"typer", "fleet.cli.options"}) == set()


@pytest.mark.parametrize("args", [("-q", "--version"), ("--version", "status")])
def test_the_version_among_other_words_needs_no_more_than_the_command_line(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    loaded = modules(tmp_path, *args)
    assert loaded & (HEAVY | ASKING | CHANGING) == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("fleet.")}
    assert (
        rooms & {"engine", "session", "management", "transport", "operations", "render", "journal", "inventory"}
        == set()
    )


def test_words_are_completed_without_typer(tmp_path: Path, inventory: Path) -> None:
    words = ("__complete", "zsh", "status", "-i", str(inventory), "edge")
    modules(tmp_path, *words)  # reads the inventory
    loaded = modules(tmp_path, *words)  # has it
    assert loaded & (HEAVY | ASKING | {"typer", "fleet.inventory.load"}) == set()


def test_an_inventory_is_listed_without_ssh(tmp_path: Path, inventory: Path) -> None:
    loaded = modules(tmp_path, "inventory", "list", "-i", str(inventory))
    assert "fleet.inventory.load" in loaded
    assert loaded & (HEAVY | CHANGING | {"fleet.session", "fleet.journal.journal"}) == set()


def test_a_daemon_of_this_machine_is_asked_without_ssh(tmp_path: Path, inventory: Path) -> None:
    loaded = modules(tmp_path, "status", "-i", str(inventory), status=4)
    assert loaded >= ASKING
    assert loaded & (HEAVY | CHANGING | OTHERS) == set()
