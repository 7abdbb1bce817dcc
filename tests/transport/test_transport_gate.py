"""An SSH server that takes no more logins is asked for fewer, one that has shut this machine out for none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from fleet import errors
from fleet.engine import Outcome, fan_out
from fleet.inventory.model import Server
from fleet.operations.conversation import Access, Conversation, work_on
from fleet.transport import Transport, gate, pool
from fleet.transport.gate import MAX_HANDSHAKES, Gate
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ask, failed, ssh

CROWDED, SHUT_OUT = b"Exceeded MaxStartups\r\n", b"Not allowed at this time\r\n"
"""What sshd says in place of its greeting, before it hangs up (sshd.c, drop_connection)."""


@dataclass
class Door:
    """Stands before an SSH server, and turns those away who come.

    Attributes:
        words: what it says to them.
        turns_away: so many of the next connections.
        came: how many there were.
    """

    to: int
    words: bytes
    turns_away: int = 0
    came: int = 0
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Door]:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(set(self._tasks))
            await listening.wait_closed()

    async def _serve(self, near: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.came += 1
        try:
            if self.turns_away:
                self.turns_away -= 1
                client.write(self.words)
                await client.drain()
                return
            far, server = await asyncio.open_connection("127.0.0.1", self.to)
            await asyncio.gather(_carry(near, server), _carry(far, client))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            client.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()


async def outcomes(transport: Transport, servers: list[Server]) -> list[Outcome[object]]:
    """What fleet would show: a conversation with each, one after the other."""

    async def perform(conversation: Conversation) -> object:
        return conversation.session.greeting

    async with fan_out(servers, work_on(Access(transport, 20), perform), forks=1) as fan:
        return [outcome async for outcome in fan]


MAX_STARTUPS = (
    "the SSH server turned logins away at first, because too many begin there at a time: "
    "raise MaxStartups of its sshd, or lower --forks"
)
SHUT = "the SSH server has shut this machine out for a while, and is not tried again meanwhile"


async def test_a_login_that_was_turned_away_is_told_of_once(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    async with Door(sshd.port, CROWDED, turns_away=2).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)))
        servers = [a_server(name, ssh(door.port), daemon.endpoint) for name in ("udp", "tcp")]
        async with Transport(servers, OPTIONS) as transport:
            found = await outcomes(transport, servers)
        assert [outcome.status for outcome in found] == ["ok", "ok"]
        assert [outcome.warnings for outcome in found] == [(MAX_STARTUPS,), ()]
        assert door.came == 3


async def test_a_connection_that_was_lost_without_a_word_is_told_of(sshd: SSHD, daemon: Daemon) -> None:
    sshd.drop = 1
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport:
        (found,) = await outcomes(transport, [server])
    assert found.warnings == ("the SSH server closed a connection before the login was done, and took a later one",)


async def test_a_jump_host_that_turned_logins_away_is_named(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion, Door(bastion.port, CROWDED, turns_away=1).running() as door:
        home.know(sshd.known(), bastion.known().replace(str(bastion.port), str(door.port)))
        servers = [a_server(name, ssh(sshd.port, jump=ssh(door.port)), daemon.endpoint) for name in ("a", "b")]
        async with Transport(servers, OPTIONS) as transport:
            found = await outcomes(transport, servers)
    assert [outcome.warnings for outcome in found] == [(f"jump host 127.0.0.1: {MAX_STARTUPS}",), ()]


async def test_fewer_logins_begin_where_there_were_too_many(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    sshd.auth_delay = 0.05
    async with Door(sshd.port, CROWDED, turns_away=2).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)))
        servers = [a_server(f"s{user}", ssh(door.port, user=f"u{user}"), daemon.endpoint) for user in range(20)]
        async with Transport(servers, replace(OPTIONS, connect_timeout=30)) as transport:
            assert await asyncio.gather(*(ask(transport, server) for server in servers[:2])) == [GREETING] * 2
            sshd.most_logins = 0
            assert await asyncio.gather(*(ask(transport, server) for server in servers[2:])) == [GREETING] * 18
    assert sshd.most_logins == 2  # eight, halved twice


async def test_a_gate_never_shuts_for_a_crowd() -> None:
    crowded = Gate()
    for _ in range(10):
        async with crowded:
            crowded.crowded()
    assert crowded.most == 1
    async with crowded:
        waiting = asyncio.create_task(crowded.__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    assert MAX_HANDSHAKES > 1


async def test_who_is_shut_out_tries_nothing_more_there(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    """Other users and other keys are other connections, and the same machine to the server."""
    async with Door(sshd.port, SHUT_OUT, turns_away=1).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)))
        servers = [a_server(f"s{user}", ssh(door.port, user=f"u{user}"), daemon.endpoint) for user in range(5)]
        async with Transport(servers, OPTIONS) as transport:
            found = [await failed(transport, server) for server in servers]
            found += [await failed(transport, server) for server in servers]
        assert {error.message for error in found} == {SHUT}
        assert all("PerSourcePenalties" in str(error.hint) for error in found)
        assert door.came == 1


async def test_those_who_wait_for_their_turn_are_not_let_at_it(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    async with Door(sshd.port, SHUT_OUT, turns_away=1000).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)))
        servers = [a_server(f"s{user}", ssh(door.port, user=f"u{user}"), daemon.endpoint) for user in range(40)]
        async with Transport(servers, OPTIONS) as transport:
            found = await asyncio.gather(*(failed(transport, server) for server in servers))
        assert {error.code for error in found} == {"connection-lost"}
        assert door.came <= MAX_HANDSHAKES


async def test_all_behind_a_jump_host_that_has_shut_this_machine_out_have_one_reason(
    sshd: SSHD, daemon: Daemon, home: Home
) -> None:
    async with SSHD().running(listeners=4) as inner, Door(sshd.port, SHUT_OUT, turns_away=1).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)), inner.known())
        servers = [a_server(f"s{port}", ssh(port, jump=ssh(door.port)), daemon.endpoint) for port in inner.ports]
        async with Transport(servers, OPTIONS) as transport:
            found = await asyncio.gather(*(failed(transport, server) for server in servers))
            found.append(await failed(transport, servers[0]))
        assert {error.code for error in found} == {"jump-failed"}
        assert {error.message for error in found} == {f"jump host 127.0.0.1: {SHUT}"}
        assert (door.came, inner.connections) == (1, 0)


async def test_a_long_run_comes_back_when_the_time_is_over(
    sshd: SSHD, daemon: Daemon, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "SHUT_OUT", 0.2)
    monkeypatch.setattr(gate, "LONGEST_SHUT_OUT", 0.2)
    async with Door(sshd.port, SHUT_OUT, turns_away=2).running() as door:
        home.know(sshd.known().replace(str(sshd.port), str(door.port)))
        server = a_server("edge", ssh(door.port), daemon.endpoint)
        async with Transport([server], replace(OPTIONS, keep=True)) as transport:
            while True:
                try:
                    assert await ask(transport, server) == GREETING
                    break
                except errors.ConnectionLostError:
                    await asyncio.sleep(0.01)
        assert door.came == 3


async def test_a_refused_login_is_not_repeated_every_round(sshd: SSHD, daemon: Daemon) -> None:
    """A server that counts failed logins would shut this machine out."""
    sshd.refuse_auth = True
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], replace(OPTIONS, keep=True)) as transport:
        for _ in range(20):
            assert (await failed(transport, server)).code == "auth-failed"
            await asyncio.sleep(0.02)
        assert sshd.connections == 1
    assert pool.REFUSED_HOLD >= 5  # seconds that OpenSSH adds for a failed login
