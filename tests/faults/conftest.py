from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cli.conftest import fleet
from cli.harness import FarmThread, Fleet
from faults.local import Local
from fleet.demo.farm import Farm
from fleet.transport import config
from support.sshd import Home

__all__ = ["fleet"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home folder with one key and nothing else, and no ssh_config of the machine."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(config, "SYSTEM_FILE", folder / "etc" / "ssh_config")
    return Home(folder)


@pytest.fixture
def local(fleet: Fleet) -> Iterator[Local]:
    fleet.thread = FarmThread(Farm(), fleet.folder / "farm")
    local = Local(fleet, AsyncExitStack())
    yield local
    local.stop()
