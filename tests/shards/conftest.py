from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.harness import Fleet, fleet_in
from fleet.demo.farm import Farm
from shards.farm import farm_of


@pytest.fixture
def fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Fleet]:
    """fleet in an empty folder; `fleet.start(farm)` gives it an inventory."""
    with fleet_in(tmp_path, monkeypatch, capsysbinary) as made:
        yield made


@pytest.fixture
def many(fleet: Fleet) -> Farm:
    """The farm of twenty servers that fleet is pointed at."""
    return fleet.start(farm_of(20))
