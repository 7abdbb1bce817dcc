"""One SSH connection from nothing to logged in."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import asyncssh

from fleet.transport import failures, lean
from fleet.transport.dial import Dialer
from fleet.transport.gate import Gate
from fleet.transport.identities import Identities, Keyring, Offer
from fleet.transport.names import Names
from fleet.transport.progress import Phase, Progress
from fleet.transport.resolve import Resolved
from fleet.transport.tasks import Tasks
from fleet.transport.trust import Trust

T = TypeVar("T")

MAX_LOSSES = 5
"""Connections lost before the login, silently; a server that says it is overloaded is asked until the time is over."""

FIRST_PAUSE = 0.1
"""Seconds, doubled after each loss, each half to one and a half times as long: a burst is not to come back as one."""

LONGEST_PAUSE = 1.6
"""Seconds."""

MAX_PIN_TRIES = 4
"""Types of host keys that a host is asked for, where its pin is a fingerprint and does not say which."""

CLOSE_TIMEOUT = 2.0
"""Seconds for asyncssh to let go of a connection; it needs a few turns of the loop."""


class _Client(asyncssh.SSHClient):
    """Sees what asyncssh says of one connection; never accepts a key but one whose fingerprint is pinned."""

    def __init__(self, trust: Trust, progress: Progress) -> None:
        self.connection: asyncssh.SSHClientConnection | None = None
        self.offered: asyncssh.SSHKey | None = None
        self._trust = trust
        self._progress = progress

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> None:  # noqa: ARG002 - asyncssh's signature
        self._progress.phase = Phase.LOGIN

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - asyncssh's signature
        self.offered = key
        return self._trust.pinned(key)

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - asyncssh's signature
        self.offered = key
        return False


class Handshake:
    """Logs in to one host, with some tries where a connection is lost before the login is done.

    Nothing is tried again once the login is done or refused.
    """

    def __init__(
        self,
        resolved: Resolved,
        via: asyncssh.SSHClientConnection | None,
        *,
        keyring: Keyring,
        names: Names,
        tasks: Tasks,
        progress: Progress,
        templates: lean.Templates,
        gate: Gate,
    ) -> None:
        self._resolved = resolved
        self._gate = gate
        self._templates = templates
        self._via = via
        self._keyring = keyring
        self._names = names
        self._tasks = tasks
        self._progress = progress
        self._deadline = 0.0
        self._offer: Offer | None = None
        self._stock = False  # the cheaper way through asyncssh may be what the server does not bear

    async def run(self) -> asyncssh.SSHClientConnection:
        """The connection, logged in.

        The clock of the connect timeout starts here: the wait for a free handshake and the jump host's own
        connection are not counted.

        Raises:
            ServerError: by phase, see `failures`.
        """
        async with self._clocked():
            self._offer = await self._keyring.offer(self._resolved.identities)
            connection = await self._log_in(self._offer)
            self._progress.end()
            return connection

    async def host_keys(self) -> tuple[asyncssh.SSHKey, ...]:
        """The keys that the host shows: one, as ssh would negotiate it; nobody logs in.

        Of a host whose pins are fingerprints, which do not say of which type they are, one after the other until one
        is pinned. Of a host that an authority certifies, none.

        Raises:
            ServerError: by phase, see `failures`.
        """
        trust, shown = self._resolved.trust, list[asyncssh.SSHKey]()
        async with self._clocked():
            if trust.keys.authorities and await self._is_certified():
                return ()
            while True:
                try:
                    shown.append(await self._until_not_lost(partial(self._ask_key, shown)))
                except asyncssh.KeyExchangeFailed:
                    if not shown:
                        raise
                    break  # it has no key of another type
                vague = trust.pins is not None and trust.pins.fingerprints and not trust.is_pinned(shown[-1])
                if not vague or len(shown) == MAX_PIN_TRIES:
                    break
        return tuple(shown)

    @asynccontextmanager
    async def _clocked(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._resolved.connect_timeout) as clock:
                self._deadline = clock.when() or 0.0
                yield
        except Exception as exc:
            account = self._offer.account() if self._offer else ""
            error = failures.of_handshake(exc, self._resolved, self._progress, account)
            if failures.is_penalty(self._progress):
                self._gate.shut(error)
            if error is exc:
                raise
            raise error from exc

    async def _is_certified(self) -> bool:
        """Whether the host shows a certificate of a known authority: so far it comes before it wants a login."""
        nothing = Offer(Identities((), (), "", only=True), None, "")
        client = _Client(self._resolved.trust, self._progress)
        try:
            await let_go(await self._until_not_lost(partial(self._connect, client, nothing, ())))
        except asyncssh.DisconnectError:
            return self._progress.phase is Phase.LOGIN
        return True

    async def _ask_key(self, shown: Sequence[asyncssh.SSHKey]) -> asyncssh.SSHKey:
        resolved, dialer = self._resolved, self._dialer()
        algorithms = resolved.trust.types(_algorithms(shown))
        more = {"kex_algs": resolved.extra["kex_algs"]} if "kex_algs" in resolved.extra else {}
        try:
            key = await asyncssh.get_server_host_key(
                resolved.host, resolved.port, tunnel=dialer, config=None, server_host_key_algs=algorithms, **more
            )
        finally:
            if dialer.proxy is not None:
                dialer.proxy.end()
                await dialer.proxy.ended(CLOSE_TIMEOUT)
        if key is None:
            raise asyncssh.KeyExchangeFailed("the server has no host key")
        return key

    async def _log_in(self, offer: Offer) -> asyncssh.SSHClientConnection:
        refused: list[asyncssh.SSHKey] = []
        while True:
            client = _Client(self._resolved.trust, self._progress)
            try:
                return await self._until_not_lost(partial(self._connect, client, offer, refused))
            except (asyncssh.ProtocolError, asyncssh.ServiceNotAvailable):
                if self._stock or not (isinstance(client.connection, lean.Connection) and client.connection.hurried):
                    raise
                self._stock = True
            except asyncssh.HostKeyNotVerifiable as exc:
                if client.offered is not None:
                    refused.append(client.offered)
                pins = self._resolved.trust.pins
                if client.offered is None or not (pins and pins.fingerprints) or len(refused) == MAX_PIN_TRIES:
                    raise self._resolved.trust.refusal(exc.reason, refused) from exc
            except asyncssh.KeyExchangeFailed as exc:
                if not refused:
                    raise
                raise self._resolved.trust.refusal(exc.reason, refused) from exc

    async def _until_not_lost(self, connect: Callable[[], Awaitable[T]]) -> T:
        losses = 0
        while True:
            losses += 1
            self._gate.check()
            self._progress.begin()
            try:
                return await connect()
            except (asyncssh.ConnectionLost, OSError) as exc:
                if not failures.is_passing_loss(exc, self._progress):
                    raise
                if losses >= MAX_LOSSES and not failures.is_overload(self._progress):
                    raise
            self._progress.lost = losses
            if failures.is_overload(self._progress):
                self._progress.crowded = True
                self._gate.crowded()
            self._stock = self._stock or self._progress.phase in (Phase.KEY_EXCHANGE, Phase.LOGIN)
            pause = min(FIRST_PAUSE * 2 ** (losses - 1), LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads tries, keeps no secret

    def _dialer(self) -> Dialer:
        return Dialer(
            names=self._names,
            tasks=self._tasks,
            progress=self._progress,
            via=self._via,
            proxy_command=self._resolved.proxy_command,
            family=self._resolved.family,
            local_address=self._resolved.local_address,
            deadline=self._deadline,
            gathers=not self._templates.stock,
        )

    async def _connect(
        self, client: _Client, offer: Offer, refused: Sequence[asyncssh.SSHKey]
    ) -> asyncssh.SSHClientConnection:
        resolved, dialer = self._resolved, self._dialer()
        try:
            return await lean.connect(
                dialer,
                host=resolved.host,
                port=resolved.port,
                username=resolved.user,
                client_factory=lambda: client,
                known_hosts=resolved.trust.trusted,
                host_key_alias=resolved.trust.name,
                server_host_key_algs=resolved.trust.algorithms(_algorithms(refused)),
                client_keys=offer.keys,
                extra=resolved.extra,
                templates=self._templates,
                place=(resolved.jump, resolved.host, resolved.port, resolved.user),
                stock=self._stock,
            )
        except BaseException:
            if client.connection is not None:
                await let_go(client.connection)
            if dialer.proxy is not None:
                dialer.proxy.end()
                await dialer.proxy.ended(CLOSE_TIMEOUT)
            raise


def _algorithms(keys: Sequence[asyncssh.SSHKey]) -> list[str]:
    found: list[str] = []
    for key in keys:
        found += [algorithm.decode("ascii") for algorithm in key.sig_algorithms]
    return found


async def let_go(connection: asyncssh.SSHClientConnection) -> None:
    """End a connection without a word, and wait until asyncssh has forgotten it."""
    connection.abort()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.wait_closed()
