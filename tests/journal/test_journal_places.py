"""Folders for state, locks and caches: where the specification puts them, and of the user alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.journal.places import cache_folder, runtime_folder, state_folder

Find = Callable[[Mapping[str, str]], Path]


@pytest.mark.parametrize(
    ("find", "variable", "below_home"),
    [(state_folder, "XDG_STATE_HOME", ".local/state"), (cache_folder, "XDG_CACHE_HOME", ".cache")],
)
def test_where_they_are(tmp_path: Path, find: Find, variable: str, below_home: str) -> None:
    home = {"HOME": str(tmp_path)}
    for environ, base in (
        ({**home, variable: str(tmp_path / "own")}, tmp_path / "own"),
        (home, tmp_path / below_home),
        ({**home, variable: "relative"}, tmp_path / below_home),
    ):
        folder = find(environ)
        assert folder == base / "fleet"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert find(environ) == folder


def test_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Entry:
        pw_dir = str(tmp_path)

    monkeypatch.setattr("pwd.getpwuid", lambda _uid: Entry)
    assert state_folder({}) == tmp_path / ".local/state/fleet"


def test_locks_are_in_the_runtime_folder_of_the_user(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert runtime_folder({"XDG_RUNTIME_DIR": str(run), "HOME": str(tmp_path)}) == run / "fleet"


@pytest.mark.parametrize("configured", ["relative", "/nowhere/at/all", "a file", "", "\0"])
def test_without_a_runtime_folder_they_are_in_the_state_folder(tmp_path: Path, configured: str) -> None:
    if Path(f"/run/user/{os.getuid()}").is_dir():  # a machine with logind has one for whoever runs the tests
        expected = Path(f"/run/user/{os.getuid()}/fleet")
    else:
        expected = tmp_path / ".local/state/fleet/run"
    if configured == "a file":
        (tmp_path / "file").touch()
        configured = str(tmp_path / "file")
    assert runtime_folder({"XDG_RUNTIME_DIR": configured, "HOME": str(tmp_path)}) == expected


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/fleet cannot be made: Not a directory"):
        state_folder({"XDG_STATE_HOME": str(tmp_path / "file")})


def test_a_folder_that_others_can_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir(mode=0o755)
    assert state_folder({"XDG_STATE_HOME": str(tmp_path)}).stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(UsageError, match=r"can be written by others \(mode 0770\)") as caught:
        state_folder({"XDG_STATE_HOME": str(tmp_path)})
    assert caught.value.hint == f"look what is in it, then: chmod 700 {folder}"
    assert folder.stat().st_mode & 0o777 == 0o770


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet").mkdir(mode=0o700)
    owner = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    with pytest.raises(UsageError, match=rf"belongs to another user \(uid {owner}\)"):
        state_folder({"XDG_STATE_HOME": str(tmp_path)})
