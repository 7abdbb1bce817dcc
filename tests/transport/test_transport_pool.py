"""One connection for each endpoint and jump host, closed in time, and never more logins at a time than sshd takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from fleet import errors
from fleet.inventory.model import Server, SSHSettings, TCPEndpoint
from fleet.transport import SSHOptions, Transport
from fleet.transport.pool import MAX_IDLE
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ask, failed, ssh, until


def servers_of(settings: Sequence[SSHSettings], daemon: Daemon) -> list[Server]:
    return [a_server(f"s{number}", one, daemon.endpoint) for number, one in enumerate(settings)]


async def test_daemons_of_one_endpoint_share_a_connection(sshd: SSHD, daemon: Daemon) -> None:
    servers = servers_of([ssh(sshd.port)] * 20, daemon)
    async with Transport(servers, OPTIONS) as transport:
        assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 20
        assert (sshd.connections, len(sshd.channels)) == (1, 20)


async def test_a_connection_is_closed_with_its_last_server(sshd: SSHD, daemon: Daemon) -> None:
    servers = servers_of([ssh(sshd.port)] * 3, daemon)
    async with Transport(servers, OPTIONS) as transport:
        for number, server in enumerate(servers):
            assert await ask(transport, server) == GREETING
            await daemon.gone()
            if number < 2:
                assert sshd.open == 1
        await sshd.gone()
        assert await ask(transport, servers[0]) == GREETING  # a server may ask again
        await sshd.gone()
    assert sshd.connections == 2


async def test_other_settings_are_another_connection(sshd: SSHD, daemon: Daemon) -> None:
    servers = servers_of([ssh(sshd.port, user="anna"), ssh(sshd.port, user="berta")], daemon)
    async with Transport(servers, OPTIONS) as transport:
        for server in servers:
            assert await ask(transport, server) == GREETING
    assert sshd.users == ["anna", "berta"]


async def test_a_lost_connection_is_made_again_for_the_next_server(sshd: SSHD, daemon: Daemon) -> None:
    servers = servers_of([ssh(sshd.port)] * 2, daemon)
    async with Transport(servers, OPTIONS) as transport:
        assert await ask(transport, servers[0]) == GREETING
        for peer in list(sshd.peers):
            peer.abort()
        await sshd.gone()
        await asyncio.sleep(0.05)
        assert await ask(transport, servers[1]) == GREETING
    assert sshd.connections == 2


async def test_one_failed_attempt_answers_all(sshd: SSHD, daemon: Daemon) -> None:
    sshd.refuse_auth = True
    servers = servers_of([ssh(sshd.port)] * 5, daemon)
    async with Transport(servers, OPTIONS) as transport:
        found = await asyncio.gather(*(failed(transport, server) for server in servers[:4]))
        found.append(await failed(transport, servers[4]))
        assert {error.code for error in found} == {"auth-failed"}
        assert len({id(error) for error in found}) == 5
        assert sshd.connections == 1
        sshd.refuse_auth = False
        assert await ask(transport, servers[0]) == GREETING  # who asks again gets another attempt


async def test_a_jump_host_is_shared(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion, SSHD().running(listeners=10) as inner:
        home.know(bastion.known(), inner.known())
        jump = ssh(bastion.port)
        servers = servers_of([ssh(port, jump=jump) for port in inner.ports], daemon)
        async with Transport(servers, OPTIONS) as transport:
            assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 10
            assert (bastion.connections, inner.connections) == (1, 10)
            await inner.gone()
            assert bastion.open == 1
        await bastion.gone()
        assert sorted(bastion.channels) == sorted(f"127.0.0.1:{port}" for port in inner.ports)


async def test_nested_jump_hosts(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as outer, SSHD().running() as middle, SSHD().running(listeners=3) as inner:
        home.know(outer.known(), middle.known(), inner.known())
        jump = ssh(middle.port, jump=ssh(outer.port))
        servers = servers_of([ssh(port, jump=jump) for port in inner.ports], daemon)
        async with Transport(servers, OPTIONS) as transport:
            assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 3
        assert (outer.connections, middle.connections, inner.connections) == (1, 1, 3)
        assert outer.channels == [f"127.0.0.1:{middle.port}"]
        await outer.gone()


async def test_the_jump_host_of_ssh_config_is_shared_too(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion, SSHD().running(listeners=5) as inner:
        home.know(bastion.known("bastion.example.net"), inner.known())
        home.write(
            "config",
            f"Host bastion\n  HostName 127.0.0.1\n  Port {bastion.port}\n  User jumper\n"
            "  HostKeyAlias bastion.example.net\nHost 127.0.0.1\n  ProxyJump bastion\n",
        )
        servers = servers_of([ssh(port) for port in inner.ports], daemon)
        async with Transport(servers, OPTIONS) as transport:
            assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 5
        assert (bastion.connections, bastion.users) == (1, ["jumper"])


async def test_a_jump_host_with_a_daemon_of_its_own(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion, SSHD().running() as inner:
        home.know(bastion.known(), inner.known())
        servers = servers_of([ssh(bastion.port), ssh(inner.port, jump=ssh(bastion.port))], daemon)
        async with Transport(servers, OPTIONS) as transport:
            for server in servers:
                assert await ask(transport, server) == GREETING
            assert bastion.open == 1
        assert bastion.connections in (1, 2)  # closed after its own daemon, unless the other had asked before


async def test_a_jump_host_that_fails_fails_all_behind_it_once(daemon: Daemon, home: Home) -> None:
    async with SSHD(refuse_auth=True).running() as bastion, SSHD().running(listeners=6) as inner:
        home.know(bastion.known(), inner.known())
        servers = servers_of([ssh(port, jump=ssh(bastion.port)) for port in inner.ports], daemon)
        async with Transport(servers, OPTIONS) as transport:
            found = await asyncio.gather(*(failed(transport, server) for server in servers[:3]))
            found += [await failed(transport, server) for server in servers[3:]]
            assert {error.message for error in found} == {"jump host 127.0.0.1: user ops was not let in"}
            assert {error.code for error in found} == {"jump-failed"}
            assert bastion.connections == 1
            bastion.refuse_auth = False
            assert await ask(transport, servers[0]) == GREETING
        assert inner.connections == 1


async def test_the_innermost_failure_keeps_its_name(daemon: Daemon, home: Home) -> None:
    home.write("config", "Host outer\n  HostName 127.0.0.1\n  Port 1\n")
    server = a_server("s", ssh(22, "in", jump=SSHSettings("middle", jump=SSHSettings("outer"))), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport:
        assert (await failed(transport, server)).message == "jump host outer: port 1 refuses connections"


async def test_a_jump_host_that_does_not_get_through(daemon: Daemon, home: Home) -> None:
    async with SSHD().running() as bastion:
        home.know(bastion.known())
        server = a_server("s", ssh(1, jump=ssh(bastion.port)), daemon.endpoint)
        async with Transport([server], OPTIONS) as transport:
            error = await failed(transport, server)
            assert isinstance(error, errors.JumpFailedError)
            assert error.message.startswith("jump host 127.0.0.1 cannot reach port 1 of the host")
            bastion.refuse_forwarding = True
            error = await failed(transport, server)
            assert isinstance(error, errors.JumpFailedError)
            assert error.message == "jump host 127.0.0.1 forbids connections to port 1 of hosts behind it"


async def test_a_slow_jump_leaves_no_channel_behind(daemon: Daemon, home: Home) -> None:
    async with SSHD(channel_delay=0.5).running() as bastion, SSHD().running() as inner:
        home.know(bastion.known(), inner.known())
        jump = ssh(bastion.port)
        servers = servers_of([ssh(inner.port, jump=jump), ssh(inner.port, jump=jump, user="other")], daemon)
        async with Transport(servers, SSHOptions(connect_timeout=0.4)) as transport:
            error = await failed(transport, servers[0])
            assert isinstance(error, errors.ConnectTimeoutError)
            assert error.message == "the jump host did not get through within 0.4 s"
            await until(lambda: inner.connections)
            await inner.gone()
            assert bastion.open == 1


async def test_at_most_eight_logins_begin_at_a_time(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 0.05
    servers = servers_of([ssh(sshd.port, user=f"u{number}") for number in range(30)], daemon)
    async with Transport(servers, OPTIONS) as transport:
        assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 30
    assert sshd.connections == 30
    assert sshd.most_logins == 8


async def test_logins_at_other_hosts_are_not_held_up(daemon: Daemon, home: Home) -> None:
    async with SSHD(auth_delay=0.2).running(listeners=20) as sshd:
        home.know(sshd.known())
        servers = servers_of([ssh(port) for port in sshd.ports], daemon)
        async with Transport(servers, OPTIONS) as transport:
            await asyncio.gather(*(ask(transport, server) for server in servers))
        assert sshd.most_logins > 8


async def test_idle_connections_are_bounded(home: Home, daemon: Daemon) -> None:
    """Every host has a second daemon that is asked much later: its connection is not kept for all of them."""
    extra = 6
    async with SSHD().running(listeners=MAX_IDLE + extra) as sshd:
        home.know(sshd.known())
        settings = [ssh(port) for port in sshd.ports]
        first, second = servers_of(settings, daemon), servers_of(settings, daemon)
        second = [a_server(f"{server.name}/2", server.ssh, daemon.endpoint) for server in second]
        async with Transport(first + second, OPTIONS) as transport:
            for server in first:
                await ask(transport, server)
            assert sshd.most_open <= MAX_IDLE + 2
            for server in second:
                assert await ask(transport, server) == GREETING
        assert sshd.connections == MAX_IDLE + extra + extra
        await sshd.gone()


async def test_a_waiter_that_leaves_does_not_take_the_others_along(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 0.2
    servers = servers_of([ssh(sshd.port)] * 3, daemon)
    async with Transport(servers, OPTIONS) as transport:
        waiting = [asyncio.create_task(ask(transport, server)) for server in servers]
        await until(lambda: sshd.users)
        waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == [GREETING] * 2
        assert sshd.connections == 1


async def test_the_last_waiter_that_leaves_ends_the_attempt(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 60
    servers = servers_of([ssh(sshd.port)] * 2, daemon)
    async with Transport(servers, OPTIONS) as transport:
        waiting = [asyncio.create_task(ask(transport, server)) for server in servers]
        await until(lambda: sshd.users)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await sshd.gone()
        sshd.auth_delay = 0
        assert await ask(transport, servers[1]) == GREETING


async def test_leaving_with_channels_open_closes_all(sshd: SSHD, daemon: Daemon) -> None:
    servers = servers_of([ssh(sshd.port)] * 2, daemon)
    before = asyncio.all_tasks()
    async with Transport(servers, OPTIONS) as transport, contextlib.AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(transport.channel(server))
    await sshd.gone()
    await daemon.gone()
    assert {task for task in asyncio.all_tasks() if task not in before and "serve" not in repr(task)} == set()


async def test_a_server_that_was_not_planned(sshd: SSHD, daemon: Daemon) -> None:
    async with Transport([], OPTIONS) as transport:
        assert await ask(transport, a_server("new", ssh(sshd.port), daemon.endpoint)) == GREETING
        await sshd.gone()


async def test_leaving_while_somebody_waits_tells_them(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 60
    server = a_server("s", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport:
        waiting = asyncio.create_task(failed(transport, server))
        await until(lambda: sshd.users)
    assert isinstance(await waiting, errors.InterruptedRunError)
    await sshd.gone()


async def test_an_endpoint_that_is_not_there_costs_nobody_else(sshd: SSHD, daemon: Daemon) -> None:
    good, bad = a_server("good", ssh(sshd.port), daemon.endpoint), a_server("bad", ssh(1), TCPEndpoint("::1", 1))
    async with Transport([good, bad], OPTIONS) as transport:
        found, error = await asyncio.gather(ask(transport, good), failed(transport, bad))
    assert (found, error.code) == (GREETING, "connect-refused")
