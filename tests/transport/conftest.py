from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet.transport import config
from support.sshd import SSHD, Daemon, Home


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home folder with one key and nothing else, no agent, and no ssh_config of the machine."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(config, "SYSTEM_FILE", folder / "etc" / "ssh_config")
    return Home(folder)


@pytest.fixture
async def sshd(home: Home) -> AsyncIterator[SSHD]:
    """An SSH server that the operator knows."""
    async with SSHD().running() as server:
        home.know(server.known())
        yield server


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    async with Daemon().running() as running:
        yield running
