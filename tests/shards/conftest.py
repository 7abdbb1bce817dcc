from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.harness import Fleet
from fleet.demo.farm import Farm
from shards.farm import farm_of


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Fleet]:
    """fleet in an empty folder; `fleet.start(farm)` gives it an inventory."""
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
def many(fleet: Fleet) -> Farm:
    """The farm of twenty servers that fleet is pointed at."""
    return fleet.start(farm_of(20))
