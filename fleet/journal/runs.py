"""The history: a file for each run of fleet, written while it runs, and a bounded number of them.

The writer holds `flock` on its file for as long as it lives. Whether a run without an end still goes on or was killed
is thus asked of the kernel, which knows it of any process and mistakes no other for it. A file that has its end is made
read-only: nothing is to be added, and those without an end are found among many without being read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fleet.journal.lines import line, write_all

CHANGES_KEPT = 500
"""Runs that changed something, the one that just began among them; older ones are removed."""

READS_KEPT = 200
"""Runs that only asked."""

BYTES_KEPT = 256 << 20
"""Security limit: bytes of all runs together; the one that reaches it is the last that is kept."""

LAST = "last"
"""Names the newest run."""

_FOLDER = "runs"
_SUFFIX = ".ndjson"
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_FILE = re.compile(rf"({_ID.pattern}){re.escape(_SUFFIX)}")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_TRIES = 100  # runs that begin in the same 32,768th of a second
_BUFFER = 64 * 1024  # bytes of lines about a run that only asks, before they are written


class RunFile:
    """The file of a run that goes on. What is said of a change is written at once, all else when there is enough of it.

    Args:
        state: the state folder.
        changes: the run changes something.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, state: Path, *, changes: bool) -> None:
        folder = state / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self._changes = changes
        self._buffer = bytearray()
        self.run_id, self._descriptor = _create(folder, datetime.now(UTC), changes=changes)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, record: Mapping[str, object]) -> None:
        """Adds a line.

        Raises:
            OSError: it was not written.
        """
        self._buffer += line(record)
        if self._changes or len(self._buffer) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Writes what is still in the buffer. What cannot be written is given up.

        Raises:
            OSError: it was not written.
        """
        data = bytes(self._buffer)
        self._buffer.clear()
        write_all(self._descriptor, data)

    def end(self, record: Mapping[str, object]) -> None:
        """Adds the last line.

        Raises:
            OSError: it was not written; the file is then that of a run that was killed.
        """
        self.write(record)
        self.flush()
        make_read_only(self._descriptor)

    def sync(self) -> None:
        """Waits until what was written is on the disk.

        Raises:
            OSError: it may not be.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file: the run does not go on."""
        os.close(self._descriptor)


def make_read_only(descriptor: int) -> None:
    """Shows that the file of a run has its end, as far as its file system can."""
    with suppress(OSError):
        os.fchmod(descriptor, 0o400)


def _create(folder: Path, now: datetime, *, changes: bool) -> tuple[str, int]:
    """A new file, and the ID of its run.

    That is the time, so that IDs sort by it: day, second, and the fraction of the second in 16 bits. The last of them
    is 1 for a run that changes something, so that old runs can be told apart without being read.
    """
    fraction = (now.microsecond * 0x10000 // 1_000_000) & ~1 | changes
    for number in range(fraction, fraction + 2 * _TRIES, 2):
        run_id = f"{now:%Y%m%d-%H%M%S}-{number & 0xFFFF:04x}"
        with suppress(FileExistsError):
            return run_id, os.open(folder / f"{run_id}{_SUFFIX}", _FLAGS, 0o600)
    raise FileExistsError(errno.EEXIST, f"no free name for a run in {folder}")


def _changed(run_id: str) -> bool:
    return bool(int(run_id[-1], 16) & 1)


def run_paths(state: Path) -> list[Path]:
    """The files of all runs that are kept, the newest first.

    Args:
        state: the state folder.
    """
    return [Path(entry.path) for entry in _entries(state)]


def open_paths(state: Path) -> list[Path]:
    """The files of changes that do not show an end, the oldest first: of those that go on, and of those killed.

    Args:
        state: the state folder.
    """
    return [Path(entry.path) for entry in reversed(_entries(state)) if _changed(_id_of(entry.name)) and _is_open(entry)]


def _is_open(entry: os.DirEntry[str]) -> bool:
    try:
        return bool(entry.stat(follow_symlinks=False).st_mode & stat.S_IWUSR)
    except FileNotFoundError:
        return False  # another run removed it


def run_path(state: Path, run_id: str) -> Path | None:
    """The file of the run with this ID, or None where there is none."""
    path = state / _FOLDER / f"{run_id}{_SUFFIX}"
    return path if _ID.fullmatch(run_id) and path.exists() else None


def run_id_of(path: Path) -> str:
    """The ID of the run that this file is of."""
    return _id_of(path.name)


def _id_of(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def prune(state: Path) -> None:
    """Removes the files of the oldest runs that are too many. Another run may do the same at the same time.

    Args:
        state: the state folder.
    """
    left = {True: CHANGES_KEPT, False: READS_KEPT}
    bytes_left = BYTES_KEPT
    for entry in _entries(state):
        changed = _changed(_id_of(entry.name))
        with suppress(FileNotFoundError):
            if not left[changed] or bytes_left <= 0:
                os.unlink(entry.path)  # noqa: PTH108 - of 700 entries, without 700 Path objects
                continue
            left[changed] -= 1
            bytes_left -= entry.stat().st_size


def _entries(state: Path) -> list[os.DirEntry[str]]:
    """The newest first."""
    try:
        with os.scandir(state / _FOLDER) as entries:
            found = [entry for entry in entries if _FILE.fullmatch(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda entry: entry.name, reverse=True)
