from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.usage.database import Database, create_or_open


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with create_or_open(tmp_path / "usage.sqlite", busy_timeout=1.0) as opened:
        yield opened
