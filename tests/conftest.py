"""What holds for every test: nothing of the environment of whoever runs them is taken for a setting."""

from __future__ import annotations

import gc
import itertools
import os
import signal

import hypothesis
import pytest

from support.farm import listen, start_farm

__all__ = ["listen", "start_farm"]

# Machines that run the tests are shared: a slow example is no failure (timings do not belong in tests).
hypothesis.settings.register_profile("fleet", deadline=None)
hypothesis.settings.load_profile("fleet")

# A shell that runs the tests in the background, or nohup, has them ignore these, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_NUMBERS = itertools.count()


_NOT_MEASURED = {"lab", "docs", "packaging", "faults", "fuzz", "bench"}
"""Folders of tests whose coverage is not measured, as that of properties is not: it more than doubles their time, and
each line of fleet has an example of its own that reaches it."""

_LONGEST = ("test_cluster.py", "test_runbook.py", "test_hostile.py", "test_integration.py", "test_local.py")
"""Files that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files are begun first: begun last, they would be waited for alone.

    Those of the lab wait for daemons and leave the processor to others, so by turns one of them is begun and one of
    another folder that is not measured.
    """
    files = dict.fromkeys(item.path for item in items if item.path.parent.name in _NOT_MEASURED)
    lab = [path for path in files if path.parent.name == "lab"]
    others = [path for path in files if path.parent.name != "lab"]
    turns = [path for pair in itertools.zip_longest(lab, others) for path in pair if path is not None]
    longest = {item.path for item in items if item.path.name in _LONGEST}
    first = sorted(longest, key=lambda path: _LONGEST.index(path.name))
    rank = {path: number for number, path in enumerate(dict.fromkeys([*first, *turns]))}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        if item.path in files or item.get_closest_marker("hypothesis") is not None:
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """Thousands of tests and the modules that were imported stay to the end: no collection looks at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _folders_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What fleet keeps of a run (audit, history, locks) stays with the test; nothing is made unless it is used."""
    base = tmp_path_factory.getbasetemp()
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(base / "xdg" / f"{name}-{next(_NUMBERS)}"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))


@pytest.fixture(autouse=True)
def _children_measured_where_it_tells(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring doubles what it takes to start fleet; only what needs processes of its own is measured in them.

    Of a test with several cases the first is measured: what another case alone reaches is a line or two.
    """
    case = getattr(request.node, "callspec", None)
    is_first = case is None or not any(case.indices.values())
    if request.node.get_closest_marker("children_measured") is None or not is_first:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("FLEET_") or name in {"SSH_AUTH_SOCK", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}:
            monkeypatch.delenv(name)
