from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.harness import Fleet, fleet_in, small_farm


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Fleet]:
    """fleet in an empty folder, without an inventory; `fleet.start(farm)` gives it one."""
    with fleet_in(tmp_path, monkeypatch, capsysbinary) as made:
        yield made


@pytest.fixture
def small(fleet: Fleet) -> Fleet:
    """fleet with the small farm."""
    fleet.start(small_farm())
    return fleet
