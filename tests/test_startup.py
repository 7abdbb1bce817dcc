"""What a start of fleet imports: children tell their modules, since one that is loaded stays so."""

from __future__ import annotations

import os
import socket
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
    "fleet.cli.batches",
    "fleet.cli.rolling",
    "fleet.operations.capacity",
    "fleet.operations.feeds",
    "fleet.operations.gate",
    "fleet.operations.kill",
    "fleet.operations.rollout",
    "fleet.operations.waiting",
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
    "fleet.cli.sharding",
    "fleet.shards.fan",
    "distributed",
    "multiprocessing",
    "pickle",
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


@pytest.fixture
def inventory_over_ssh(tmp_path: Path) -> Path:
    """One server, behind a port of SSH where nobody listens."""
    path = tmp_path / "ssh.yaml"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    path.write_text(f'all:\n  hosts:\n    127.0.0.1:\n      ansible_port: {port}\n      management: "127.0.0.1:7505"\n')
    return path


def modules(folder: Path, *args: str, status: int = 0, path: str = "") -> set[str]:
    """The modules that a command line has imported when it ends."""
    report = folder / "modules"
    environment = {"HOME": str(folder), "PATH": path or os.environ["PATH"], "PYTHONPATH": str(ROOT)}
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


@pytest.mark.parametrize("args", [("exec", "status 3", "-o", "raw"), ("status",), ("version",)])
def test_servers_are_asked_over_ssh_with_nothing_of_changes_and_of_other_formats(
    tmp_path: Path, inventory_over_ssh: Path, args: tuple[str, ...]
) -> None:
    loaded = modules(tmp_path, *args, "-i", str(inventory_over_ssh), "--all", status=4)
    assert loaded >= ASKING | {"asyncssh"}
    assert loaded & ((HEAVY - {"asyncssh"}) | CHANGING | OTHERS - {"getpass"}) == set()  # asyncssh has that one


def test_ssh_is_imported_without_running_a_program(tmp_path: Path, inventory_over_ssh: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gcc", "cc", "ld", "ldconfig", "objdump"):
        program = programs / name
        program.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/run\nexit 1\n")
        program.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    loaded = modules(tmp_path, "status", "-i", str(inventory_over_ssh), status=4, path=path)
    assert "asyncssh" in loaded
    assert not (tmp_path / "run").exists()
    subprocess.run(["gcc"], env={"PATH": path}, check=False)  # it would have been noticed
    assert (tmp_path / "run").read_text() == "gcc\n"


def ran(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A Python program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_fleet_of_a_process_of_ones_own_is_left_as_it_was(tmp_path: Path, inventory_over_ssh: Path) -> None:
    program = (
        "import gc\nfrom fleet.cli.main import run\n"
        f"assert run(['status', '-i', {str(inventory_over_ssh)!r}]) == 4\n"
        "assert gc.isenabled() and not gc.get_freeze_count(), 'the collector'\n"
    )
    done = ran(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_garbage_is_looked_for_once_the_command_is_there(tmp_path: Path, inventory_over_ssh: Path) -> None:
    program = (
        "import asyncio, gc, sys\n"
        "run = asyncio.run\n"
        "def told(*args, **settings):\n"
        "    print('collects', gc.isenabled(), gc.get_freeze_count() > 10000)\n"
        "    return run(*args, **settings)\n"
        "asyncio.run = told\n"
        f"sys.argv = ['fleet', 'status', '-i', {str(inventory_over_ssh)!r}]\n"
        "from fleet.cli.main import main\n"
        "main()\n"
    )
    done = ran(program, tmp_path)
    assert done.returncode == 4
    assert done.stdout == "collects True True\n"


def test_several_processes_need_no_cluster(tmp_path: Path, inventory: Path) -> None:
    hosts = "".join(f"    e{number}: {{management: {tmp_path}/{number}.sock}}\n" for number in range(2))
    inventory.write_text(f"all:\n  vars: {{connection: local}}\n  hosts:\n{hosts}")
    loaded = modules(tmp_path, "status", "-i", str(inventory), "--workers", "2", status=4)
    assert loaded >= {"multiprocessing", "fleet.shards.local"}
    assert loaded & (HEAVY | {"distributed", "fleet.shards.cluster"}) == set()
