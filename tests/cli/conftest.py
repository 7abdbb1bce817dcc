from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.harness import Fleet, small_farm


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Fleet]:
    """fleet in an empty folder, without an inventory; `fleet.start(farm)` gives it one."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    made = Fleet(capsysbinary, monkeypatch, tmp_path, {"HOME": str(home)})
    try:
        yield made
    finally:
        if made.thread is not None:
            made.thread.stop()


@pytest.fixture
def small(fleet: Fleet) -> Fleet:
    """fleet with the small farm."""
    fleet.start(small_farm())
    return fleet
