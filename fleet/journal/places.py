"""Where fleet keeps what outlives a run: folders of the user alone, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import UsageError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_USER_ONLY = 0o700


def state_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/fleet`, or `~/.local/state/fleet`; made where it is not there.

    Raises:
        UsageError: it cannot be made, or is not the user's alone.
    """
    return _own(_base(environ, "XDG_STATE_HOME", ".local/state") / "fleet")


def cache_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/fleet`, or `~/.cache/fleet`; made where it is not there.

    Raises:
        UsageError: it cannot be made, or is not the user's alone.
    """
    return _own(_base(environ, "XDG_CACHE_HOME", ".cache") / "fleet")


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """`$XDG_RUNTIME_DIR/fleet`, else `/run/user/UID/fleet`, else `run` in the state folder; made where it is not there.

    A cron job has no such variable and still has to meet the locks of a login session, hence the second. Either
    counts only where it is this user's own: `su` may leave that of somebody else in the environment.

    Raises:
        UsageError: it cannot be made, or is not the user's alone.
    """
    for base in (environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.getuid()}"):
        if base.startswith("/") and _is_ours(base):
            return _own(Path(base) / "fleet")
    return _own(state_folder(environ) / "run")


def _base(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    configured = environ.get(variable, "")
    if configured.startswith("/"):  # a relative path is to be ignored, by the specification
        return Path(configured)
    return Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir) / below_home


def _is_ours(folder: str) -> bool:
    try:
        status = os.stat(folder)  # noqa: PTH116 - a text from the environment: only looked at, never joined
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _own(folder: Path) -> Path:
    """The folder, of the user alone."""
    try:
        folder.mkdir(mode=_USER_ONLY, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{folder} cannot be made: {reason}",
            hint="fleet keeps its state there; XDG_STATE_HOME and XDG_RUNTIME_DIR name other places",
        ) from error
    if status.st_uid != os.getuid():
        raise UsageError(
            f"{folder} belongs to another user (uid {status.st_uid})",
            hint="run as that user, or with your own HOME: sudo -H",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise UsageError(
            f"{folder} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"look what is in it, then: chmod 700 {folder}",
        )
    if stat.S_IMODE(status.st_mode) != _USER_ONLY:
        folder.chmod(_USER_ONLY)
    return folder
