"""One at a time: locks that several runs of fleet on this machine wait for.

OpenVPN serves one management client at a time and lets others wait in silence (protocol-facts 6.2). Runs that know of
each other need not find that out by a timeout, and can say who holds what.

A lock is `flock` on a file, which the kernel takes back from a process however it ends. What stands in the file only
says who holds it, and is believed only while somebody does. The files stay: one that is removed while somebody waits
for it would be two locks.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleet.errors import FleetError, LockedError, RunLockedError
from fleet.inventory.model import Server, SSHSettings
from fleet.journal.lines import line, login_user, stamp

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_POLL = (0.02, 0.08)  # seconds between two tries, drawn anew each time: several who wait do not march in step
_CONTENT_LIMIT = 4096  # security limit: bytes of a lock file that are read
_NOBODY = b"\n"  # what a file says while nobody has its lock
_COMMAND_KEPT = 200  # characters of a command that are kept for others to read
_HINT = "wait longer with --lock-timeout 5m, or end it"
_POLLERS = "; one that asks again and again (top, metrics, collect, --watch) lets go by itself: try again"


class Slots:
    """The management endpoints, each held by one server of one run at a time.

    Args:
        folder: of the lock files, of the user alone.
        command: this run, as its user typed it; others that wait are told.
        timeout: seconds to wait for an endpoint; 0 to try once.
    """

    def __init__(self, folder: Path, command: str, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout
        self._content = _content(command)

    def hold(self, server: Server) -> AbstractAsyncContextManager[None]:
        """Holds the server's management endpoint; waits its turn first.

        Servers with the same endpoint wait for each other, in one run too: two names for one daemon.

        Raises:
            LockedError: its turn did not come in time; who has it is said.
        """
        path = self._folder / f"{_digest(server)}.lock"
        what = "holds this server's management port"
        return _Lock(path, self._content, self._timeout, LockedError, what).hold()


class RunLock:
    """What only one run at a time may do.

    Args:
        folder: of the lock files, of the user alone.
        name: of what it does: `rolling`.
        command: this run, as its user typed it; others that wait are told.
        timeout: seconds to wait; 0 to try once.
    """

    def __init__(self, folder: Path, name: str, command: str, timeout: float) -> None:
        what = f"makes a {name} change from this machine"
        self._lock = _Lock(folder / f"run-{name}.lock", _content(command), timeout, RunLockedError, what)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Holds the lock; waits its turn first.

        Raises:
            RunLockedError: its turn did not come in time; who has it is said.
        """
        return self._lock.hold()


def _digest(server: Server) -> str:
    """The name of an endpoint's lock, from the way to it as the inventory gives it; who logs in there is all one."""
    key = json.dumps([*_way(server.ssh), str(server.management)])
    return hashlib.sha256(key.encode()).hexdigest()


def _way(ssh: SSHSettings | None) -> list[tuple[str, int | None]]:
    way = []
    while ssh is not None:
        way.append((ssh.host.lower(), ssh.port))
        ssh = ssh.jump
    return way


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who says to hold a lock."""

    pid: int
    user: str
    command: str
    since: datetime

    def __str__(self) -> str:
        """`pid 123 (ops, 'fleet log --follow', since 09:14:02Z)`."""
        today = self.since.date() == datetime.now(UTC).date()
        since = self.since.strftime("%H:%M:%SZ" if today else "%Y-%m-%dT%H:%M:%SZ")
        return f"pid {self.pid} ({self.user}, '{self.command}', since {since})"


def _content(command: str) -> bytes:
    """What this run writes into the files of its locks.

    The time is that of the run, not of each lock: what is said of many servers is then equal, and folds.
    """
    kept = command if len(command) <= _COMMAND_KEPT else f"{command[:_COMMAND_KEPT]}..."
    return line({"pid": os.getpid(), "user": login_user(os.environ), "command": kept, "since": stamp()})


def _holder(descriptor: int) -> _Holder | None:
    """Who holds the lock, to be asked only while somebody does; None where that is not written yet."""
    try:
        told = json.loads(os.pread(descriptor, _CONTENT_LIMIT, 0).partition(b"\n")[0])
        since = datetime.fromisoformat(told["since"])
        return _Holder(int(told["pid"]), str(told["user"]), str(told["command"]), since)
    except (OSError, ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class _Lock:
    """A lock and how to wait for it.

    Attributes:
        path: of its file.
        content: what the file says while this run has it.
        timeout: seconds to wait.
        kind: what is raised where it is not to be had.
        what: what another run does, that has it.
    """

    path: Path
    content: bytes
    timeout: float
    kind: type[FleetError]
    what: str

    @property
    def _hint(self) -> str:
        return _HINT + _POLLERS if self.kind is LockedError else _HINT

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Takes the lock, and gives it back at the end of the block."""
        descriptor = self._open()
        try:
            if not await self._take(descriptor):
                raise self._refusal(_holder(descriptor))
            _write(descriptor, self.content)
            try:
                yield
            finally:
                _write(descriptor, _NOBODY)
                # Closing is not enough where a child that was forked meanwhile has a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, _FLAGS, 0o600)
        except OSError as error:
            raise self.kind(f"the lock {self.path} cannot be opened: {error.strerror}") from error

    async def _take(self, descriptor: int) -> bool:
        """Takes the lock, at once or within the timeout; says whether."""
        if self._try(descriptor):
            return True
        clock = asyncio.get_running_loop().time
        until = clock() + self.timeout
        while (left := until - clock()) > 0:
            await asyncio.sleep(min(left, random.uniform(*_POLL)))  # noqa: S311 - spreads the tries, keeps no secret
            if self._try(descriptor):
                return True
        return False

    def _try(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # a file system without locks
            raise self.kind(f"{self.path} cannot be locked: {error.strerror}") from error
        return True

    def _refusal(self, holder: _Holder | None) -> FleetError:
        if holder is None:
            return self.kind(f"another run of fleet {self.what}", hint=self._hint)
        if holder.pid == os.getpid():
            hint = "fleet inventory list shows both names"
            return self.kind(f"this run itself {self.what}, for another name of the same daemon", hint=hint)
        return self.kind(f"another run of fleet {self.what}: {holder}", hint=self._hint)


def _write(descriptor: int, content: bytes) -> None:
    """Replaces the first line, which is all that counts: making a file shorter takes a disk some milliseconds."""
    with suppress(OSError):  # a full disk: others are not told who holds it, and it is held all the same
        os.pwrite(descriptor, content, 0)
