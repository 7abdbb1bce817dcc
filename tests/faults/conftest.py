from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from cli.conftest import fleet
from cli.harness import FarmThread, Fleet
from faults.local import Local
from fleet.demo.farm import Farm

__all__ = ["fleet"]


@pytest.fixture
def local(fleet: Fleet) -> Iterator[Local]:
    fleet.thread = FarmThread(Farm(), fleet.folder / "farm")
    local = Local(fleet, AsyncExitStack())
    yield local
    local.stop()
