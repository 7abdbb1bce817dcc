"""The lab's programs: found, started so that they cannot outlive the test run, and ended by pid."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

PACKAGES = {"openvpn": "openvpn", "sshd": "openssh-server", "ssh": "openssh-client", "setpriv": "util-linux"}
"""Debian's package of each program that the lab runs."""

STOP_TIMEOUT = 5.0
"""Seconds between SIGTERM and SIGKILL."""


class LabError(Exception):
    """The lab cannot stand as described; the message says what to do."""


def program(name: str) -> str:
    """The absolute path of a program (sshd wants to be started by one); /usr/sbin counts where PATH lacks it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise LabError(f"the lab needs {name}: apt-get install {PACKAGES.get(name, name)} (tests/run does it)")
    return path


def wait_until(what: str, probe: Callable[[], T], *, wait_timeout: float = 30.0, log: Path | None = None) -> T:
    """Ask `probe` until its answer is true and return that answer; LabError after `wait_timeout` seconds."""
    deadline = time.monotonic() + wait_timeout
    while not (answer := probe()):
        if time.monotonic() > deadline:
            tail = "" if log is None else "\n" + log.read_text(errors="replace")[-2000:]
            raise LabError(f"not within {wait_timeout:g} s: {what}; last answer: {answer!r}{tail}")
        time.sleep(0.05)
    return answer


@dataclass(frozen=True, slots=True)
class TCPSocket:
    """One IPv4 socket of this machine, as the kernel lists it.

    Attributes:
        accept_queue: of a listening socket, the connections that nobody has accepted yet.
    """

    local: tuple[str, int]
    remote: tuple[str, int]
    listens: bool
    accept_queue: int
    inode: str


def tcp_sockets(port: int) -> list[TCPSocket]:
    """The IPv4 TCP sockets of this machine that have this port at either end."""

    def end(text: str) -> tuple[str, int]:
        address, _, port = text.partition(":")
        return socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)

    wanted = f":{port:04X} "  # looked for first: a machine may have thousands of others
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:] if wanted in row]
    return [
        TCPSocket(end(row[1]), end(row[2]), row[3] == "0A", int(row[4].partition(":")[2], 16), row[9]) for row in rows
    ]


class FreePorts:
    """Port numbers that nobody uses, for TCP and UDP on every address of this machine.

    They lie below the range that the kernel takes outgoing ports from: a daemon that restarts lets its port go for
    a second, and none of the many connections of a test run can take it meanwhile.
    """

    def __init__(self) -> None:
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        self._candidates = range(10000, max(ephemeral, 11000))
        self._taken: set[int] = set()

    def take(self) -> int:
        while True:
            port = random.choice(self._candidates)  # noqa: S311 - spreads parallel labs, guards nothing
            if port not in self._taken and self._is_free(port):
                self._taken.add(port)
                return port

    @staticmethod
    def _is_free(port: int) -> bool:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    return False
        return True


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended meanwhile
                # The second field is the program's name in parentheses and may hold anything.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    return parents


def descendants(pids: Iterable[int]) -> list[int]:
    """The processes that were started by one of `pids`, or by one of those, and so on."""
    found, parents = set(pids), _parents()
    roots = set(found)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - roots)


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended; a zombie that waits to be reaped has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Processes:
    """Every process of one lab: leaving the block ends them and all that they started.

    Each is started through `setpriv --pdeathsig`, so the kernel ends it when the test run itself is killed, and in a
    session of its own, so a Ctrl-C in the terminal reaches only the test run, which then ends the lab in order.
    """

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._setpriv = program("setpriv")

    def start(self, name: str, argv: Sequence[str], *, channel: socket.socket | None = None) -> int:
        """Start a program and return its pid; with `channel` that socket is its standard input and output."""
        for process in self._processes.values():
            process.poll()  # whoever ended on its own is no zombie for longer than this
        stream = subprocess.DEVNULL if channel is None else channel.fileno()
        self._processes[name] = started = subprocess.Popen(
            [self._setpriv, "--pdeathsig", "KILL", *argv],
            stdin=stream,
            stdout=stream,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return started.pid

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def all_pids(self) -> list[int]:
        """The pids of the programs that still run, then those of the processes that they started."""
        started = [process.pid for process in list(self._processes.values()) if process.poll() is None]
        return started + descendants(started)

    def check_running(self, name: str, log: Path) -> None:
        if (status := self._processes[name].poll()) is not None:
            raise LabError(f"{name} ended with {status}:\n{log.read_text(errors='replace')[-2000:]}")

    def stop(self, *names: str) -> None:
        """End the named programs, and every process that they started."""
        processes = [self._processes.pop(name) for name in names]
        started = [process.pid for process in processes if process.poll() is None]
        pids = started + descendants(started)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in filter(is_running, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            with contextlib.suppress(LabError):
                wait_until("all ended", lambda: not any(map(is_running, pids)), wait_timeout=STOP_TIMEOUT)
        for process in processes:
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(*self._processes)
