"""What the pool needs of asyncssh: resolve, connect, open a channel, let go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

import asyncssh

from fleet.errors import JumpFailedError, ServerError
from fleet.inventory.model import ManagementEndpoint, SSHSettings
from fleet.transport import failures
from fleet.transport.gate import Gate
from fleet.transport.handshake import CLOSE_TIMEOUT, Handshake, let_go
from fleet.transport.host_keys import HostKey
from fleet.transport.identities import Keyring
from fleet.transport.lean import Templates
from fleet.transport.names import Names
from fleet.transport.options import SSHOptions
from fleet.transport.progress import Progress
from fleet.transport.resolve import Resolved, Resolver
from fleet.transport.stream import SSHStream, open_channel
from fleet.transport.tasks import Tasks
from fleet.transport.threads import Threads

MAX_RESOLVING = 64
"""Hosts whose ssh_config is read at a time: as many as the default number of forks."""

FILES_HOLD = 30.0
"""Seconds, at least, between two readings of ssh_config, keys and known_hosts in one long run."""

FIRST_READS = 0.1
"""Seconds that hosts wait for the first one's files to be read, before each goes to read them itself."""

_Address = tuple[SSHSettings | None, str, int]


class Connector:
    """Makes SSH connections for one run.

    Raises:
        UsageError: a file that the options name cannot be read.
    """

    def __init__(self, options: SSHOptions, tasks: Tasks) -> None:
        _silence()
        self._options = options
        self._tasks = tasks
        self._keyring = Keyring()
        self._old_keyrings: list[Keyring] = []
        self._names = Names()
        self._templates = Templates()
        self._threads = Threads(MAX_RESOLVING)
        self._resolver = Resolver(options, self._keyring)
        self._resolver.check()
        self._reading: asyncio.Event | None = None  # set when the first host was resolved
        self._read_at = asyncio.get_running_loop().time()
        self._resolved: dict[SSHSettings, Resolved] = {}
        self._resolved_at: dict[SSHSettings, float] = {}
        self._gates: dict[_Address, Gate] = {}

    async def jump(self, settings: SSHSettings) -> SSHSettings | None:
        """The jump host before a host, of the inventory or of ssh_config.

        Raises:
            JumpFailedError: the way leads back to where it has been.
            ServerError: the settings cannot be used.
        """
        seen = {settings}
        first = hop = (await self._resolve(settings)).jump
        while hop is not None:
            if hop in seen:
                raise JumpFailedError(
                    f"jump host {hop.host} is behind itself", hint="correct ProxyJump in ssh_config, or jump"
                )
            seen.add(hop)
            name = hop.host
            try:
                hop = (await self._resolve(hop)).jump
            except ServerError as exc:
                raise failures.of_jump(exc, name) from exc
        return first

    async def connect(
        self, settings: SSHSettings, via: asyncssh.SSHClientConnection | None, progress: Progress
    ) -> asyncssh.SSHClientConnection:
        """A connection that is logged in.

        Args:
            settings: where to.
            via: the connection to the jump host, or None.
            progress: is told how far it has come.

        Raises:
            ServerError: see `failures`.
        """
        resolved = await self._resolve(settings)
        async with self._gate(resolved) as gate:
            return await self._handshake(resolved, via, progress, gate).run()

    async def host_key(self, settings: SSHSettings, via: asyncssh.SSHClientConnection | None) -> HostKey:
        """The key that a host shows, and what is known of it; nobody logs in.

        Raises:
            ServerError: see `failures`.
        """
        resolved = await self._resolve(settings)
        async with self._gate(resolved) as gate:
            handshake = self._handshake(resolved, via, Progress(), gate)
            shown = await handshake.host_keys()
        return resolved.trust.judge(shown, files=resolved.user_files, hashed=resolved.hashed)

    def _gate(self, resolved: Resolved) -> Gate:
        """Of the SSH server, whoever logs in there."""
        address = (resolved.jump, resolved.host.lower(), resolved.port)
        if address not in self._gates:
            self._gates[address] = Gate()
        return self._gates[address]

    def _handshake(
        self, resolved: Resolved, via: asyncssh.SSHClientConnection | None, progress: Progress, gate: Gate
    ) -> Handshake:
        return Handshake(
            resolved,
            via,
            keyring=self._keyring,
            names=self._names,
            tasks=self._tasks,
            progress=progress,
            templates=self._templates,
            gate=gate,
        )

    async def open_channel(
        self, connection: asyncssh.SSHClientConnection, settings: SSHSettings, endpoint: ManagementEndpoint
    ) -> SSHStream:
        """A channel to a management endpoint.

        Raises:
            ServerError: see `failures.of_channel`.
        """
        timeout = (await self._resolve(settings)).connect_timeout
        return await open_channel(connection, endpoint, tasks=self._tasks, connect_timeout=timeout)

    def notes(self, progress: Progress) -> list[str]:
        """What the operator should know of a connection that was made."""
        return failures.notes(progress)

    def jump_failed(self, exc: ServerError, jump: SSHSettings) -> ServerError:
        """The error of the hosts behind a jump host that failed."""
        return failures.of_jump(exc, jump.host)

    def read_anew(self, settings: SSHSettings) -> None:
        """Have ssh_config, keys, known_hosts and the agent's list read again for an endpoint, if that is due.

        So a long run sees what was mended meanwhile: a key that was added to the agent, a host that was trusted.
        """
        now = asyncio.get_running_loop().time()
        if now - self._resolved_at.get(settings, now) < FILES_HOLD:
            return
        self._resolved.pop(settings, None)
        if now - self._read_at >= FILES_HOLD:
            for keyring in self._old_keyrings:  # of the reading before the last one: no login has lasted that long
                self._tasks.spawn(keyring.close())
            self._old_keyrings = [self._keyring]
            self._keyring = Keyring()
            self._resolver = Resolver(self._options, self._keyring)
            self._read_at = now

    async def closed(self, connection: asyncssh.SSHClientConnection) -> None:
        """Wait until a connection that was closed is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await connection.wait_closed()
                return
        await let_go(connection)

    async def close(self) -> None:
        """Let go of what is not a connection."""
        for keyring in (*self._old_keyrings, self._keyring):
            await keyring.close()

    async def _resolve(self, settings: SSHSettings) -> Resolved:
        if settings in self._resolved:
            return self._resolved[settings]
        loop = asyncio.get_running_loop()
        found = self._resolver.resolve_at_once(settings)
        if found is None and self._reading is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_READS):
                    await self._reading.wait()
            found = self._resolver.resolve_at_once(settings)
        if found is None:
            self._reading = self._reading or asyncio.Event()
            # `Match exec` may start what never ends, and a file of ssh_config may be a pipe.
            resolving = partial(self._resolver.resolve, settings)
            self._resolved_at[settings] = loop.time()
            try:
                found = await self._threads.run(resolving, f"ssh_config for {settings.host}")
            finally:
                self._reading.set()
        self._resolved_at.setdefault(settings, loop.time())
        self._resolved[settings] = found
        return found


def _silence() -> None:
    """Keep asyncssh's own log off the terminal, where no one has set up logging for it."""
    log = logging.getLogger("asyncssh")
    if not any(isinstance(handler, logging.NullHandler) for handler in log.handlers):
        log.addHandler(logging.NullHandler())
