"""A signal that comes while a module is imported."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.cli import starting

IMPORTED = """\
import signal, time
signal.raise_signal(signal.SIGINT)
until = time.monotonic() + 0.05
while time.monotonic() < until:
    pass
whole = True
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Whoever is in charge of the signals outside of these tests."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    starting.forget_signals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_import_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_off.py").write_text(IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)
    starting.take_signals()
    try:
        with pytest.raises(KeyboardInterrupt):
            _import_and_wait()
        assert sys.modules["broken_off"].whole
    finally:
        sys.modules.pop("broken_off", None)


def _import_and_wait() -> None:
    importlib.import_module("broken_off")
    while True:
        signal.pause()


def test_elsewhere_it_ends_the_run_at_once() -> None:
    starting.take_signals()
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    starting.take_signals()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
