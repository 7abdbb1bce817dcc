"""The audit: what was changed, on which server, by whom. One line of JSON for each, in a file that only grows.

fleet never cuts the file or takes a line back; logrotate may move it away, since each run opens it anew.
"""

from __future__ import annotations

import fcntl
import os
import syslog
from collections.abc import Mapping
from pathlib import Path

from fleet.journal.lines import line, write_all

FILE = "audit.ndjson"
"""The audit's name in the state folder."""

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Audit:
    """The audit file, open for appending.

    Args:
        folder: the state folder.
        syslog_too: whether each line goes to syslog as well (facility auth, level notice).

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, folder: Path, *, syslog_too: bool) -> None:
        self._syslog = syslog_too
        if syslog_too:
            syslog.openlog("fleet", syslog.LOG_PID, syslog.LOG_AUTH)
        self._descriptor = os.open(folder / FILE, _FLAGS, 0o600)

    def append(self, record: Mapping[str, object]) -> None:
        """Adds a line.

        Raises:
            OSError: it was not written, or not whole; then the next line begins a new one all the same.
        """
        data = line(record)
        if self._syslog:
            syslog.syslog(syslog.LOG_AUTH | syslog.LOG_NOTICE, data.decode("ascii").rstrip("\n"))
        # Held for one write: else another run might take a line that is just being written for a torn one.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            write_all(self._descriptor, data if self._is_whole() else b"\n" + data)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def sync(self) -> None:
        """Waits until what was appended is on the disk.

        Raises:
            OSError: it may not be.
        """
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _is_whole(self) -> bool:
        """The last line has its end; that of a machine that crashed, or of a disk that was full, may not."""
        size = os.fstat(self._descriptor).st_size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"
