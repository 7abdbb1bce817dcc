"""The audit: what was changed, on which server, by whom. One line of JSON for each, in a file that only grows.

fleet never cuts the file or takes a line back; logrotate may move it away, since each run opens it anew. The lines are
in the order in which they were written; what a killed run has sent is written by a later one (fleet.journal.killed),
and its `time` is that of the sending.
"""

from __future__ import annotations

import fcntl
import os
import syslog
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from fleet.journal.lines import append_line, line, records

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
        self._path = folder / FILE
        self._descriptor = os.open(self._path, _FLAGS, 0o600)

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
            append_line(self._descriptor, data)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def sync(self) -> None:
        """Waits until what was appended is on the disk.

        Raises:
            OSError: it may not be.
        """
        os.fsync(self._descriptor)

    def told(self, run_id: str) -> Counter[str]:
        """How many lines each server of a run has. Reads the whole file.

        Raises:
            OSError: it cannot be read.
        """
        name = run_id.encode("ascii")
        with self._path.open("rb") as lines:
            mine = records(text for text in lines if name in text)
            return Counter(str(record.get("server")) for record in mine if record.get("run") == run_id)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)
