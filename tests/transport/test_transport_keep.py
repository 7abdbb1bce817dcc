"""Connections that are kept for another round: warm, noticed when they die, and made anew."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncssh
import pytest

from fleet import errors
from fleet.transport import SSHOptions, Transport, connector, pool, resolve
from fleet.transport.pool import MAX_IDLE
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ask, failed, ssh

KEPT = replace(OPTIONS, keep=True, connect_timeout=30.0)  # many handshakes at once take their time


async def test_a_connection_is_kept_for_the_next_round(sshd: SSHD, daemon: Daemon) -> None:
    servers = [a_server(name, ssh(sshd.port), daemon.endpoint) for name in ("udp", "tcp")]
    async with Transport(servers, KEPT) as transport:
        for _ in range(3):
            assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 2
            await daemon.gone()
        assert (sshd.connections, sshd.open) == (1, 1)
    await sshd.gone()


async def test_more_are_kept_than_in_a_run_of_one_round(home: Home, daemon: Daemon) -> None:
    count = MAX_IDLE + 5
    async with SSHD().running(listeners=count) as sshd:
        home.know(sshd.known())
        servers = [a_server(f"s{port}", ssh(port), daemon.endpoint) for port in sshd.ports]
        async with Transport(servers, KEPT) as transport:
            for _ in range(2):
                await asyncio.gather(*(ask(transport, server) for server in servers))
            assert (sshd.connections, sshd.open) == (count, count)


async def test_a_connection_that_died_is_made_anew(sshd: SSHD, daemon: Daemon) -> None:
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], KEPT) as transport:
        assert await ask(transport, server) == GREETING
        for peer in list(sshd.peers):
            peer.abort()
        await sshd.gone()  # and the end of it may not have come here yet
        assert await ask(transport, server) == GREETING
        assert sshd.connections == 2


async def test_a_connection_on_which_nothing_comes_any_more_is_given_up(
    sshd: SSHD, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "KEPT_ALIVE", 0.05)
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], KEPT) as transport:
        assert await ask(transport, server) == GREETING
        (peer,) = sshd.peers
        monkeypatch.setattr(asyncssh.SSHServerConnection, "data_received", lambda *_: None)  # its host hangs
        await peer.wait_closed()
        monkeypatch.undo()
        assert await ask(transport, server) == GREETING
        assert sshd.connections == 2


async def test_a_failure_is_no_answer_for_ever(sshd: SSHD, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "REFUSED_HOLD", 0.2)
    sshd.refuse_auth = True
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], KEPT) as transport:
        assert (await failed(transport, server)).code == "auth-failed"
        sshd.refuse_auth = False
        while True:
            try:
                assert await ask(transport, server) == GREETING
                break
            except errors.AuthFailedError:
                await asyncio.sleep(0.01)
        assert sshd.connections == 2  # until the time was over, the failure was the answer


async def test_a_host_that_is_trusted_meanwhile(
    sshd: SSHD, daemon: Daemon, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "FILES_HOLD", 0.0)
    home.know()
    server = a_server("edge", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], KEPT) as transport:
        assert (await failed(transport, server)).code == "host-key-unknown"
        home.know(sshd.known())
        while True:
            try:
                assert await ask(transport, server) == GREETING
                break
            except errors.HostKeyUnknownError:
                await asyncio.sleep(0.01)


async def test_a_dead_jump_host_comes_back(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion, SSHD().running() as inner:
        home.know(bastion.known(), inner.known())
        server = a_server("edge", ssh(inner.port, jump=ssh(bastion.port)), daemon.endpoint)
        async with Transport([server], SSHOptions(connect_timeout=5, keep=True)) as transport:
            assert await ask(transport, server) == GREETING
            for peer in list(bastion.peers):
                peer.abort()
            await bastion.gone()
            await inner.gone()
            assert await ask(transport, server) == GREETING
            assert (bastion.connections, inner.connections) == (2, 2)
