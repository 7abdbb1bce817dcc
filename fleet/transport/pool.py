"""The connections of one run: one for each SSH endpoint, shared by its daemons and by the hosts behind it.

A connection lives from the first server that wants it to the last one of those that the run was planned for; a jump
host's lives to the end. One failed attempt answers all who wait for that endpoint, and all who come later: five
thousand servers behind a dead jump host are five thousand errors after one timeout. Only a server that asks a second
time gets another attempt; where connections are kept for that, not before as much time has passed as the failed one
took, so that a dead jump host does not hold up every round anew.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from fleet.errors import (
    AuthFailedError,
    ConnectionLostError,
    ConnectRefusedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    InternalError,
    InterruptedRunError,
    ServerError,
)
from fleet.inventory.model import Server, SSHSettings
from fleet.transport import descriptors, given
from fleet.transport.host_keys import HostKey
from fleet.transport.local import LocalStream, open_local
from fleet.transport.names import Names
from fleet.transport.options import DEFAULT_CONNECT_TIMEOUT, SSHOptions
from fleet.transport.progress import THIS_SERVER, Progress
from fleet.transport.tasks import Tasks

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

    from fleet.transport.connector import Connector
    from fleet.transport.stream import SSHStream

MAX_IDLE = 64
"""Connections kept for daemons that are still to come; of more, the one unused for longest is closed."""

KEPT_SHARE = 0.75
"""Of the file descriptors that this process may have: connections kept where servers are asked again and again."""

_MENDED_HERE = (AuthFailedError, ConnectRefusedError, HostKeyChangedError, HostKeyUnknownError)
"""Failures that an edited file, or a key added to the agent, may mend while a run goes on."""

REFUSED_HOLD = 30.0
"""Seconds in which a login that was refused is not tried again where servers are asked again and again: each try that
fails is held against this machine (PerSourcePenalties of OpenSSH), and files here are not read anew before that."""

GRACE_TIMEOUT = 3.0
"""Seconds for everything to end when a transport is left."""


class _Opened(NamedTuple):
    """A channel that was opened: the seconds it took, and when it stood."""

    elapsed: float
    at: float


class _Endpoint:
    """One SSH endpoint: its connection, or the attempt to have one, or why there is none."""

    def __init__(self, settings: SSHSettings) -> None:
        self.settings = settings
        self.planned: set[str] = set()
        self.asked: set[str] = set()
        self.users = 0
        self.waiting = 0
        self.leads_on = False
        self.attempt: asyncio.Task[SSHClientConnection] | None = None
        self.connection: SSHClientConnection | None = None
        self.progress = Progress()
        self.notes: list[str] = []
        self.failure: ServerError | None = None
        self.failure_holds_until = 0.0  # loop time, seconds


class Transport:
    """The way to the servers of one run.

    Args:
        servers: all that this run may ask; a connection is closed when the last of its servers was served.
        options: what the command line says.
        keep: the same as `options.keep`.
    """

    def __init__(self, servers: Sequence[Server], options: SSHOptions | None = None, *, keep: bool = False) -> None:
        options = options or SSHOptions()
        self._options = replace(given.with_hosts(options, servers), keep=options.keep or keep)
        self._most_idle = MAX_IDLE
        self._endpoints: dict[SSHSettings, _Endpoint] = {}
        self._idle: dict[_Endpoint, None] = {}
        self._opened: dict[str, _Opened] = {}
        self._tasks = Tasks()
        self._names = Names()
        self._connector: Connector | None = None
        for server in servers:
            if server.ssh is not None:
                self._endpoint_of(server.ssh).planned.add(server.name)

    async def __aenter__(self) -> Self:
        """Get ready; nothing is connected yet.

        Raises:
            UsageError: a file that the options name cannot be read, or their jump hosts cannot.
        """
        given.check(self._options)
        allowed = descriptors.allow(descriptors.wanted(len(self._endpoints)))
        if self._options.keep:
            self._most_idle = max(MAX_IDLE, int(allowed * KEPT_SHARE))
        if self._endpoints:
            self._connector = self._new_connector()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections and wait, for some seconds at most, until nothing of them is left."""
        closing = asyncio.create_task(self._close())
        interrupted: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.wait([closing])
            except asyncio.CancelledError as cancelled:  # the closes have a limit of their own, and end first
                interrupted = cancelled
        closing.result()
        if interrupted is not None:
            raise interrupted

    @asynccontextmanager
    async def channel(self, server: Server) -> AsyncIterator[SSHStream | LocalStream]:
        """A stream to a server's management endpoint, closed when the block is left.

        Raises:
            ServerError: and nothing else but CancelledError.
        """
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._channel(server))
            except ServerError as exc:
                _name_in_hint(exc, server)
                raise
            yield stream

    @asynccontextmanager
    async def _channel(self, server: Server) -> AsyncIterator[SSHStream | LocalStream]:
        if server.ssh is None:
            stream: SSHStream | LocalStream
            timeout = self._options.connect_timeout or DEFAULT_CONNECT_TIMEOUT
            with self._timed(server):
                stream = await open_local(server.management, self._names, timeout)
            try:
                yield stream
            finally:
                await stream.close()
            return
        if self._connector is None:  # a server that was not planned for
            self._connector = self._new_connector()
        endpoint = self._endpoint_of(server.ssh)
        again = server.name in endpoint.asked or server.name not in endpoint.planned
        endpoint.users += 1
        self._idle.pop(endpoint, None)
        try:
            stream = await self._open(endpoint, server, again=again)
            try:
                yield stream
            finally:
                await stream.close()
        finally:
            endpoint.users -= 1
            endpoint.asked.add(server.name)
            if not self._options.keep:
                endpoint.planned.discard(server.name)
            self._release(endpoint)

    def steps(self, server: Server) -> dict[str, float]:
        """The seconds that each step to a server took which is done, of `STEPS`; the last time that it was gone.

        Servers that share a connection have the same steps but for their own `channel`.
        """
        found = {} if server.ssh is None else self._endpoint_of(server.ssh).progress.steps()
        if server.name in self._opened:
            found["channel"] = self._opened[server.name].elapsed
        return found

    def notes(self, server: Server) -> list[str]:
        """What the operator should know of how the connection to a server was made; told once for each connection."""
        if server.ssh is None:
            return []
        endpoint = self._endpoint_of(server.ssh)
        notes, endpoint.notes = endpoint.notes, []
        return notes

    def opened_at(self, server: Server) -> float | None:
        """When the last channel to a server stood, by the monotonic clock in seconds."""
        return self._opened[server.name].at if server.name in self._opened else None

    async def chain(self, server: Server) -> tuple[SSHSettings, ...]:
        """The SSH endpoints on the way to a server: its jump hosts, the first one first, and its own; none for none.

        Raises:
            ServerError: ssh_config cannot be used for one of them, or the way leads back to where it has been.
        """
        if server.ssh is None:
            return ()
        connector = self._connector or self._new_connector()
        self._connector = connector
        hop: SSHSettings | None = self._endpoint_of(server.ssh).settings
        chain: list[SSHSettings] = []
        try:
            while hop is not None:
                chain.append(hop)
                hop = await connector.jump(hop)
        except ServerError as exc:
            _name_in_hint(exc, server)
            raise
        return tuple(reversed(chain))

    async def host_key(self, server: Server, settings: SSHSettings) -> HostKey:
        """The key that an endpoint on the way to a server shows, and what is known of it; nobody logs in there.

        Args:
            server: for whom it is wanted.
            settings: one of its `chain`; the jump hosts before it have to be trusted.

        Raises:
            ServerError: it shows none.
        """
        connector = self._connector or self._new_connector()
        self._connector = connector
        try:
            via = await self._way(self._endpoint(settings), again=False)
            return await connector.host_key(settings, via)
        except ServerError as exc:
            _name_in_hint(exc, server)
            raise

    @contextmanager
    def _timed(self, server: Server) -> Iterator[None]:
        """Notes how long the opening of a channel takes, where it succeeds."""
        self._opened.pop(server.name, None)
        begun = time.monotonic()
        yield
        at = time.monotonic()
        self._opened[server.name] = _Opened(at - begun, at)

    def _new_connector(self) -> Connector:
        from fleet.transport.library import load_asyncssh  # noqa: PLC0415 - ctypes, for what goes over SSH only

        load_asyncssh()
        from fleet.transport.connector import Connector  # noqa: PLC0415 - asyncssh takes 0.3 s to import

        return Connector(self._options, self._tasks)

    def _endpoint_of(self, inventory: SSHSettings) -> _Endpoint:
        """The endpoint of a server, by its settings in the inventory and what the command line says instead."""
        try:
            return self._endpoint(given.settings_for(inventory, self._options))
        except ValueError:  # told when the transport is entered
            return self._endpoint(inventory)

    def _endpoint(self, settings: SSHSettings) -> _Endpoint:
        if settings not in self._endpoints:
            self._endpoints[settings] = _Endpoint(settings)
        return self._endpoints[settings]

    async def _open(self, endpoint: _Endpoint, server: Server, *, again: bool) -> SSHStream:
        """A channel; where the connection was kept and turns out to be dead, over a new one: nothing was sent yet."""
        assert self._connector is not None  # noqa: S101 - made before the first endpoint is asked for
        kept = endpoint.connection if self._options.keep else None
        connection = await self._connected(endpoint, again=again)
        try:
            with self._timed(server):
                return await self._connector.open_channel(connection, endpoint.settings, server.management)
        except ConnectionLostError:
            if connection is not kept:
                raise
        connection = await self._connected(endpoint, again=True)
        with self._timed(server):
            return await self._connector.open_channel(connection, endpoint.settings, server.management)

    async def _connected(self, endpoint: _Endpoint, *, again: bool) -> SSHClientConnection:
        """The endpoint's connection: the one there is, or the one being made, or a new one."""
        now = asyncio.get_running_loop().time()
        if again and endpoint.attempt is None and now >= endpoint.failure_holds_until:
            endpoint.failure = None
        if endpoint.connection is not None and not endpoint.connection.is_closed():
            return endpoint.connection
        if endpoint.failure is not None:
            raise _copy(endpoint.failure) from endpoint.failure
        attempt = endpoint.attempt
        if attempt is None:
            attempt = endpoint.attempt = self._tasks.spawn(self._attempt(endpoint, again=again))
        await self._wait(endpoint, attempt)
        if attempt.cancelled():
            raise InterruptedRunError("the run ended before the SSH connection stood")
        error = attempt.exception()
        if isinstance(error, ServerError):
            raise _copy(error) from error
        if error is not None:
            raise InternalError(f"{type(error).__name__} in the SSH connection: {error}") from error
        return attempt.result()

    async def _wait(self, endpoint: _Endpoint, attempt: asyncio.Task[SSHClientConnection]) -> None:
        """Wait for an attempt that others may wait for too; the last one to leave cancels it."""
        endpoint.waiting += 1
        try:
            await asyncio.wait([attempt])
        finally:
            endpoint.waiting -= 1
            if endpoint.attempt is attempt and (attempt.done() or not endpoint.waiting):
                endpoint.attempt = None
                attempt.cancel()

    async def _attempt(self, endpoint: _Endpoint, *, again: bool) -> SSHClientConnection:
        assert self._connector is not None  # noqa: S101 - made before the first endpoint is asked for
        loop = asyncio.get_running_loop()
        begun = loop.time()
        endpoint.progress = Progress()
        endpoint.notes = []
        try:
            via = await self._way(endpoint, again=again)
            connection = await self._connector.connect(endpoint.settings, via, endpoint.progress)
        except ServerError as exc:
            endpoint.failure = exc
            if self._options.keep:
                hold = REFUSED_HOLD if isinstance(exc, AuthFailedError) else loop.time() - begun
                endpoint.failure_holds_until = loop.time() + hold
                if isinstance(exc, _MENDED_HERE):
                    self._connector.read_anew(endpoint.settings)
            raise
        endpoint.connection = connection
        endpoint.notes += self._connector.notes(endpoint.progress)
        return connection

    async def _way(self, endpoint: _Endpoint, *, again: bool) -> SSHClientConnection | None:
        """The connection to the endpoint's jump host, if it has one.

        Raises:
            JumpFailedError: the jump host failed.
        """
        assert self._connector is not None  # noqa: S101 - made before the first endpoint is asked for
        jump = await self._connector.jump(endpoint.settings)
        if jump is None:
            return None
        before = self._endpoint(jump)
        before.leads_on = True
        self._idle.pop(before, None)
        try:
            connection = await self._connected(before, again=again)
        except ServerError as exc:
            raise self._connector.jump_failed(exc, jump) from exc
        endpoint.notes += [f"jump host {jump.host}: {note}" for note in before.notes]
        before.notes = []
        return connection

    def _release(self, endpoint: _Endpoint) -> None:
        """Close what nobody needs any more."""
        if endpoint.users or endpoint.leads_on or endpoint.connection is None:
            return
        if not endpoint.planned:
            self._disconnect(endpoint)
            return
        self._idle[endpoint] = None
        if len(self._idle) > self._most_idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            self._disconnect(oldest)

    def _disconnect(self, endpoint: _Endpoint) -> None:
        connection, endpoint.connection = endpoint.connection, None
        if connection is not None and self._connector is not None:
            connection.close()
            self._tasks.spawn(self._connector.closed(connection))

    async def _close(self) -> None:
        for endpoint in self._endpoints.values():
            if endpoint.attempt is not None:
                endpoint.attempt.cancel()
        for endpoint in sorted(self._endpoints.values(), key=lambda endpoint: endpoint.leads_on):
            self._disconnect(endpoint)  # those behind a jump host before it
        await self._tasks.finish(GRACE_TIMEOUT)
        if self._connector is not None:
            await self._connector.close()


def _name_in_hint(error: ServerError, server: Server) -> None:
    if error.hint is not None:
        error.hint = error.hint.replace(THIS_SERVER, shlex.quote(server.name))


def _copy(error: ServerError) -> ServerError:
    """One failure is the outcome of several servers; each has an error of its own."""
    return type(error)(error.message, hint=error.hint)
