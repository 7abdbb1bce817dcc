"""Simulated hosts, asked with asyncssh itself; nothing of fleet's own transport is involved."""

from __future__ import annotations

import asyncio
import gc
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncssh
import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import DEFAULT_ENDPOINT, USER, Farm, KnownKey, Reach, SimulatedHost
from fleet.demo.serve import Faults
from fleet.demo.workspace import Workspace
from fleet.inventory.load import load
from fleet.inventory.model import PasswordFile, SSHSettings, TCPEndpoint, UnixEndpoint
from support.farm import StartFarm

ADMINISTRATIVELY_PROHIBITED, CONNECT_FAILED = 1, 2


@asynccontextmanager
async def ssh(
    workspace: Workspace,
    host: SimulatedHost,
    *,
    user: str = USER,
    tunnel: asyncssh.SSHClientConnection | None = None,
    key: asyncssh.SSHKey | None = None,
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    connection = await asyncssh.connect(
        "127.0.0.1",
        host.port,
        username=user,
        client_keys=[key or str(workspace.private_key)],
        known_hosts=str(workspace.known_hosts),
        config=None,
        agent_path=None,
        tunnel=tunnel or (),
    )
    async with connection:
        yield connection


async def greeted(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> bool:
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line.startswith(b">INFO:OpenVPN Management Interface Version ")


def two_daemons() -> dict[str, tuple[str, SimulatedDaemon]]:
    return {
        "udp": ("127.0.0.1:7505", SimulatedDaemon("2.7.6")),
        "tcp": ("/run/openvpn/tcp.sock", SimulatedDaemon("2.7.6", protocol="tcp4-server", password=b"pw")),
    }


async def test_two_daemons_of_a_host_over_one_connection(start_farm: StartFarm) -> None:
    farm = Farm()
    host = farm.add("gw", two_daemons())
    workspace = await start_farm(farm)
    async with ssh(workspace, host) as connection:
        assert await greeted(*await connection.open_connection("127.0.0.1", 7505))
        reader, writer = await connection.open_unix_connection("/run/openvpn/tcp.sock")
        writer.write(b"pw\npid\n")
        assert await reader.readuntil(b"pid=") != b""
        writer.close()
    assert (host.connections, host.logins, host.channels, host.peak_handshakes) == (1, 1, 2, 1)
    assert farm["gw/tcp"].daemon.executed == ["pid"]
    assert farm["gw/udp"].sessions == 1


async def test_a_jump_host_leads_to_hosts_behind_it_and_nowhere_else(start_farm: StartFarm) -> None:
    farm = Farm()
    bastion, edge = farm.add("bastion"), farm.add("edge", SimulatedDaemon())
    behind = farm.add("gw", SimulatedDaemon(), jump="bastion")
    lost = farm.add("lost", SimulatedDaemon(), jump="bastion", reach=Reach.DOWN)
    workspace = await start_farm(farm)
    async with ssh(workspace, bastion) as tunnel:
        async with ssh(workspace, behind, tunnel=tunnel) as connection:
            assert await greeted(*await connection.open_connection("127.0.0.1", 7505))
        for port in (edge.port, lost.port, 7505):
            with pytest.raises(asyncssh.ChannelOpenError) as caught:
                await tunnel.open_connection("127.0.0.1", port)
            assert caught.value.code == CONNECT_FAILED
    assert (bastion.logins, behind.logins, edge.connections) == (1, 1, 0)


async def test_nobody_listens_where_no_daemon_is(start_farm: StartFarm) -> None:
    farm = Farm()
    host = farm.add("edge", SimulatedDaemon())
    workspace = await start_farm(farm)
    async with ssh(workspace, host) as connection:
        for refused in (connection.open_connection("127.0.0.1", 1), connection.open_unix_connection("/nowhere")):
            with pytest.raises(asyncssh.ChannelOpenError) as caught:
                await refused
            assert caught.value.code == CONNECT_FAILED
        farm["edge"].closed = True
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 7505)
        farm["edge"].closed = False
        reader, writer = await connection.open_connection("127.0.0.1", 7505)
        writer.write(b"signal SIGTERM\n")
        assert (await reader.read()).endswith(b"SUCCESS: signal SIGTERM thrown\r\n")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", 7505)


async def test_forwarding_may_be_forbidden(start_farm: StartFarm) -> None:
    farm = Farm()
    host = farm.add("edge", two_daemons(), forwarding=False)
    workspace = await start_farm(farm)
    async with ssh(workspace, host) as connection:
        for refused in (connection.open_connection("127.0.0.1", 7505), connection.open_unix_connection("/run/x")):
            with pytest.raises(asyncssh.ChannelOpenError) as caught:
                await refused
            assert caught.value.code == ADMINISTRATIVELY_PROHIBITED
        host.forwarding = True
        assert await greeted(*await connection.open_connection("127.0.0.1", 7505))


async def test_hosts_that_cannot_be_reached(start_farm: StartFarm) -> None:
    farm = Farm()
    down = farm.add("down", SimulatedDaemon(), reach=Reach.DOWN)
    mute = farm.add("mute", SimulatedDaemon(), reach=Reach.SILENT)
    busy = farm.add("busy", SimulatedDaemon())
    workspace = await start_farm(farm)
    with pytest.raises(ConnectionRefusedError):
        async with ssh(workspace, down):
            pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), ssh(workspace, mute):
            pass
    busy.drops = 2
    for _ in range(2):
        with pytest.raises((asyncssh.ConnectionLost, ConnectionResetError)):
            async with ssh(workspace, busy):
                pass
    async with ssh(workspace, busy):
        assert (busy.connections, busy.logins, busy.open_connections, busy.handshakes) == (3, 1, 1, 0)


async def test_who_may_log_in(start_farm: StartFarm) -> None:
    farm = Farm()
    host, refusing = farm.add("edge", SimulatedDaemon()), farm.add("refusing", accepts_key=False)
    workspace = await start_farm(farm)
    for where, user, key in (
        (refusing, USER, None),
        (host, "root", None),
        (host, USER, asyncssh.generate_private_key("ssh-ed25519")),
    ):
        with pytest.raises(asyncssh.PermissionDenied):
            async with ssh(workspace, where, user=user, key=key):
                pass
    assert (host.logins, refusing.logins) == (0, 0)


@pytest.mark.parametrize("known", [KnownKey.CHANGED, KnownKey.UNKNOWN])
async def test_host_keys_that_are_not_as_known(start_farm: StartFarm, known: KnownKey) -> None:
    farm = Farm()
    host = farm.add("edge", SimulatedDaemon(), known_key=known)
    workspace = await start_farm(farm)
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        async with ssh(workspace, host):
            pass
    port = f"[127.0.0.1]:{host.port} "
    assert (port in workspace.known_hosts.read_text()) == (known is KnownKey.CHANGED)
    assert ("host_keys:" in workspace.inventory.read_text()) == (known is KnownKey.CHANGED)


async def test_the_client_may_be_gone_at_any_time(start_farm: StartFarm) -> None:
    farm = Farm()
    host = farm.add("edge", SimulatedDaemon())
    workspace = await start_farm(farm)
    for faults in (Faults(), Faults(reply_delay=0.02, write_bytes=1)):
        farm["edge"].faults = faults
        async with ssh(workspace, host) as connection:
            reader, writer = await connection.open_connection("127.0.0.1", 7505)
            await reader.readline()
            writer.write(b"help\n")
            connection.abort()
    farm["edge"].faults = Faults()
    async with ssh(workspace, host) as connection:  # the interface is free again
        assert await greeted(*await connection.open_connection("127.0.0.1", 7505))


async def test_the_farm_stops_with_sessions_open_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    farm = Farm()
    hosts = [farm.add(f"edge-{number}", SimulatedDaemon(clients=[SimulatedClient("a")])) for number in range(3)]
    farm.add("mute", reach=Reach.SILENT)
    connections: list[asyncssh.SSHClientConnection] = []
    async with farm:
        for host in hosts:
            connection = await asyncssh.connect(
                "127.0.0.1", host.port, username=USER, client_keys=[farm.user_key], known_hosts=None, config=None
            )
            connections.append(connection)
            for _ in range(2):  # one is served, one waits
                await connection.open_connection("127.0.0.1", 7505)
        farm["edge-0"].daemon.kill(farm["edge-0"].daemon.instances)  # a timer is running
    for connection in connections:
        await connection.wait_closed()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [host.open_connections for host in hosts] == [0, 0, 0]
    for host in hosts:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", host.port)
    del farm, connections, connection
    gc.collect()  # an unclosed socket or transport would be a ResourceWarning, and so an error


async def test_a_farm_that_cannot_start_stops_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm()
    first = farm.add("first", SimulatedDaemon())
    farm.add("second", SimulatedDaemon())
    listen = asyncssh.listen

    async def fail_for_the_second(**settings: object) -> asyncssh.SSHAcceptor:
        if farm.hosts["second"].port:
            raise OSError("no more sockets")
        return await listen(**settings)

    monkeypatch.setattr(asyncssh, "listen", fail_for_the_second)
    with pytest.raises(OSError, match="no more sockets"):
        async with farm:
            pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", first.port)


def test_a_host_has_no_key_before_the_farm_runs() -> None:
    with pytest.raises(RuntimeError, match="once the farm runs"):
        _ = Farm().add("edge", SimulatedDaemon()).public_key


# -- the workspace -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pins", [True, False])
async def test_the_inventory_is_one_that_fleet_reads(start_farm: StartFarm, pins: bool) -> None:
    farm = Farm()
    bastion = farm.add("bastion", group="eu")
    edge = farm.add("edge-1", SimulatedDaemon())
    behind = farm.add("gw", two_daemons(), group="eu", jump="bastion")
    workspace = await start_farm(farm, pins=pins)
    inventory = load(str(workspace.inventory))

    def settings(host: SimulatedHost, jump: SSHSettings | None = None) -> SSHSettings:
        keys = (host.public_key,) if pins else ()
        return SSHSettings("127.0.0.1", host.port, USER, workspace.private_key, keys, jump)

    servers = {server.name: server for server in inventory.servers}
    assert set(servers) == {"edge-1", "gw/udp", "gw/tcp"}
    assert inventory.jump_hosts == ("bastion",)
    assert servers["edge-1"].ssh == settings(edge)
    assert servers["gw/udp"].ssh == servers["gw/tcp"].ssh == settings(behind, settings(bastion))
    assert servers["gw/udp"].management == TCPEndpoint("127.0.0.1", 7505)
    assert servers["gw/tcp"].management == UnixEndpoint("/run/openvpn/tcp.sock")
    assert servers["gw/tcp"].password == PasswordFile(workspace.folder / "gw.password")
    assert servers["gw/tcp"].groups == ("all", "eu")


async def test_secrets_are_for_the_user_alone(start_farm: StartFarm) -> None:
    farm = Farm()
    farm.add("gw", two_daemons())
    workspace = await start_farm(farm)
    for path in (workspace.private_key, workspace.folder / "gw.password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DEFAULT_ENDPOINT in workspace.inventory.read_text()
