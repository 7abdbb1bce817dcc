from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.errors import InventoryError
from fleet.inventory.load import load
from fleet.inventory.model import Inventory

Read = Callable[[str], Inventory]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def read(folder: Path) -> Read:
    """Reads a text as the file inv.yaml of the working folder."""

    def _read(text: str, name: str = "inv.yaml") -> Inventory:
        (folder / name).write_text(text, encoding="utf-8")
        return load(name)

    return _read


@pytest.fixture
def refused(read: Read) -> Callable[..., tuple[str, str | None]]:
    """Message and hint of the refusal of a text."""

    def _refused(text: str, name: str = "inv.yaml") -> tuple[str, str | None]:
        with pytest.raises(InventoryError) as caught:
            read(text, name)
        return caught.value.message, caught.value.hint

    return _refused
