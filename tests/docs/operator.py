"""Somebody who types the commands of a page of the documentation, on a fleet that is there for it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from docs.markdown import Block
from fleet.cli.main import run
from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import Reconnect, SimulatedDaemon
from fleet.demo.example import BUSY
from fleet.demo.example import example_farm as demo_farm
from fleet.demo.farm import Farm
from fleet.demo.workspace import Workspace, write_workspace
from support import schemas
from support.tmux import Tmux

TIMEOUT = 60.0  # seconds that a command in a shell may take; far more than it does
PLACES = ("/var/", "/etc/", "/srv/", "/run/", "/usr/local/")
"""Beginnings of paths that a page names and no test may touch: they are in the operator's own folder."""

_SINGLE_QUOTED = re.compile(r"'[^']*'")
_FOR_A_SHELL = re.compile(r"[$`|&;<~\\]|2>|>>")
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_HERE = re.compile(r"<<-?\s*'?(\w+)'?")
_EXPORT = re.compile(r"export (\w+)=(\S*)$")
_PATH = re.compile(rf"(?<![\w.])(?:{'|'.join(PLACES)})")


def commands(block: Block) -> Iterator[tuple[str, int]]:
    """Each command of a block, which may have several lines, without what is said of it, and its line's number."""
    lines = enumerate(block.text.split("\n"), block.line)
    for number, line in lines:
        command = line
        while command.endswith("\\"):
            command = f"{command}\n{next(lines)[1]}"
        if here := _HERE.search(command):
            for _, more in lines:
                command = f"{command}\n{more}"
                if more == here[1]:
                    break
        if said := _SINGLE_QUOTED.sub(lambda found: "x" * len(found[0]), command):
            command = command[: len(_COMMENT.sub("", said))] if "\n" not in command else command
        if command.strip():
            yield command, number


@dataclass(frozen=True, slots=True)
class Typed:
    """How a command is typed, and how it has to end.

    Attributes:
        status: its exit statuses.
        terminal: it is typed at a terminal, as what asks before it does something wants.
        answers: at a terminal: what is asked, each with what is typed then.
        until: at a terminal, what is to be seen before Ctrl-C is pressed; a command without an end.
        interrupt: it has no end: Ctrl-C is pressed once it has a session with a daemon.
        says: what has to be in what it prints.
    """

    status: tuple[int, ...] = (0,)
    terminal: bool = False
    answers: tuple[tuple[str, str], ...] = ()
    until: str = ""
    interrupt: bool = False
    says: tuple[str, ...] = ()

    @property
    def at_a_terminal(self) -> bool:
        return bool(self.terminal or self.answers or self.until)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    text: str


def fleet_of_the_pages() -> Farm:
    """The servers that pages name: all are up, and whoever is thrown out is soon back."""
    farm = Farm()
    who = {"edge-1": ("alice", "Test-Client"), "edge-2": ("bob",), "gw-1": ("carol",)}
    for group, names in GROUPS.items():
        for name in names:
            clients = [SimulatedClient(client, "203.0.113.9", connected_for=252) for client in who.get(name, ())]
            soon = Reconnect(client_kill=0.05, udp_kill=0.05, tcp_kill=0.05, restart=0.05, linger=0.05)
            farm.add(name, SimulatedDaemon("2.6.14", clients=clients, uptime=90_000.0, reconnect=soon), group=group)
    return farm


GROUPS: Mapping[str, tuple[str, ...]] = {
    "eu": ("edge-1", "edge-2", "edge-3", "edge-1.eu.example.net", "edge-3.eu.example.net"),
    "us": ("gw-1", "gw-2"),
    "home": ("home-1",),
}


def fleet_of_the_demo() -> Farm:
    """That of `fleet demo`."""
    return demo_farm()


@dataclass
class Operator:
    """A context manager: a farm in the loop of another thread, since only the main thread may have signal handlers.

    Attributes:
        folder: its home, and its working folder.
        farm: the servers.
        environment: what a shell of the operator has.
    """

    folder: Path
    farm: Farm
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str] = field(default_factory=dict)
    _terminals: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="farm")
        self._thread.start()
        workspace = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self._programs()
        self._set("FLEET_INVENTORY", str(workspace.inventory))
        self._set("FLEET_SSH_CONFIG", str(workspace.ssh_config))
        self._set("HOME", str(self.folder))
        self._set("LANG", "C.UTF-8")
        self._set("PATH", f"{self.folder / 'bin'}:{os.environ['PATH']}")
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
            self.environment[name] = os.environ[name]
        self.monkeypatch.chdir(self.folder)
        return self

    async def _start(self) -> Workspace:
        await self.farm.__aenter__()
        if any(BUSY in host.name for host in self.farm.hosts.values()):
            await self.farm[BUSY].occupy()
        folder = self.folder / "workspace"
        folder.mkdir(mode=0o700)
        return write_workspace(self.farm, folder)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.farm.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _set(self, name: str, value: str) -> None:
        self.environment[name] = value
        self.monkeypatch.setenv(name, value)

    def _programs(self) -> None:
        """The programs that pages name: fleet itself, and a password store that gives any secret."""
        folder = self.folder / "bin"
        folder.mkdir()
        root = Path(__file__).parents[2]
        for name, script in (
            ("fleet", f'PYTHONPATH={root} exec {sys.executable} -m fleet "$@"'),
            ("pass", "echo example"),
        ):
            (folder / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
            (folder / name).chmod(0o755)

    def has(self, name: str, text: str) -> Path:
        """A private file in the operator's folder, or in the place of it that stands for one of PLACES."""
        path = self.folder / name.removeprefix("~").lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        return path

    def _here(self, command: str) -> str:
        """The command with the places of a page moved into the operator's folder."""
        return _PATH.sub(lambda found: f"{self.folder}{found[0]}", command)

    def types(self, command: str, how: Typed) -> Ended:
        """Types one command, and waits for its end."""
        if export := _EXPORT.match(command):
            self._set(export[1], export[2])
            return Ended(0, "")
        command = self._here(command)
        if how.at_a_terminal:
            return self._at_a_terminal(command, how)
        if "\n" in command or not command.startswith("fleet ") or _FOR_A_SHELL.search(_SINGLE_QUOTED.sub("", command)):
            return self._in_a_shell(command)
        return self._here_and_now(command, how)

    def _here_and_now(self, command: str, how: Typed) -> Ended:
        """In this process, which costs a tenth of a shell with another one."""
        line, _, target = command.partition(" > ")
        words = shlex.split(line)[1:]
        self.capture.readouterr()
        with self._interrupting() if how.interrupt else nullcontext():
            status = run(words)
        out, err = self.capture.readouterr()
        schemas.check(out, words)
        if target:
            Path(target.strip()).write_text(out, "utf-8")
        return Ended(status, out + err)

    @contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Presses Ctrl-C once a daemon has a session more than now, and fleet listens for it: pytest is not meant."""
        sessions, over = self._sessions(), threading.Event()

        def press() -> None:
            while not over.wait(0.02):
                if self._sessions() > sessions and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        thread = threading.Thread(target=press, name="Ctrl-C")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _sessions(self) -> int:
        return sum(server.sessions for host in self.farm.hosts.values() for server in host.management.values())

    def _in_a_shell(self, command: str) -> Ended:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    def _at_a_terminal(self, command: str, how: Typed) -> Ended:
        self._terminals += 1
        folder = self.folder / f"terminal-{self._terminals}"
        folder.mkdir()
        with Tmux(folder) as screen:
            screen.run(
                ["bash", "-c", f"cd {shlex.quote(str(self.folder))} && {command}"],
                self.environment | {"TERM": "screen"},
            )
            for question, answer in how.answers:
                screen.wait_for(question)
                screen.line(answer)
            if how.until:
                screen.wait_for(how.until)
                screen.type("C-c")
            return Ended(screen.exit_status(), screen.text)


FARMS: Mapping[str, Callable[[], Farm]] = {"docs/tutorial.md": fleet_of_the_demo}
"""Pages whose commands are for another fleet than `fleet_of_the_pages`."""
