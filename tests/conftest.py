"""What holds for every test: nothing of the environment of whoever runs them is taken for a setting."""

from __future__ import annotations

import os

import hypothesis
import pytest

from support.farm import listen, start_farm

__all__ = ["listen", "start_farm"]

# Machines that run the tests are shared: a slow example is no failure (timings do not belong in tests).
hypothesis.settings.register_profile("fleet", deadline=None)
hypothesis.settings.load_profile("fleet")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("FLEET_") or name in {"SSH_AUTH_SOCK", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}:
            monkeypatch.delenv(name)
