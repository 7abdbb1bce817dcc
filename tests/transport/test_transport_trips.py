"""Over a long link a status takes few round trips, and gives up no check for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest

from fleet import errors
from fleet.demo.clients import believable_clients
from fleet.demo.daemon import SimulatedDaemon
from fleet.engine import fan_out
from fleet.inventory.model import ManagementEndpoint, Server
from fleet.operations.conversation import Access, work_on
from fleet.operations.status import STATUS
from fleet.transport import SSHOptions, Transport, lean
from lab.processes import FreePorts, Processes
from lab.sshd import SSHServers
from support.agent import FakeAgent, Held
from support.farm import Listen
from support.link import Link
from support.sshd import SSHD, USER_KEY, Home, a_server, public_line, ssh

OPTIONS = SSHOptions(connect_timeout=60)

MSG_DISCONNECT = 1
STOCK, KEPT = 9, 2
HURRIED = 6
"""TCP, versions and algorithms, key exchange, login, channel and greeting, commands and replies."""


@pytest.fixture
async def daemon(listen: Listen) -> ManagementEndpoint:
    return await listen(SimulatedDaemon("2.6.14", clients=list(believable_clients(3))))


async def status(transport: Transport, server: Server) -> int:
    """Asks for the status, as `fleet status` does; how many clients there are."""
    work = work_on(Access(transport, 60), STATUS.perform)
    async with fan_out([server], work, host_timeout=120) as fan:
        (outcome,) = [outcome async for outcome in fan]
    return len(outcome.require().value.clients)


async def trips(home: Home, sshd: SSHD, daemon: ManagementEndpoint) -> int:
    """The round trips of one status, from nothing to everything closed."""
    async with Link(sshd.port).running() as link:
        home.know(f"[127.0.0.1]:{link.port} {public_line(sshd.host_key)}\n")
        server = a_server("edge", ssh(link.port), daemon)
        async with Transport([server], OPTIONS) as transport:
            assert await status(transport, server) == 3
        return link.trips


def offer(home: Home, *keys: asyncssh.SSHKey) -> None:
    """These are the operator's keys, in this order."""
    for number, key in enumerate(keys):
        home.write(f"key{number}", key.export_private_key().decode())
    home.write("config", "".join(f"IdentityFile {home.path}/.ssh/key{number}\n" for number in range(len(keys))))


KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_status(home: Home, daemon: ManagementEndpoint, kind: str) -> None:
    key = asyncssh.generate_private_key(kind)
    offer(home, key)
    async with SSHD(authorized=(key,)).running() as sshd:
        assert await trips(home, sshd, daemon) == HURRIED


async def test_a_status_of_stock_asyncssh(
    home: Home, daemon: ManagementEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(lean.SWITCH, "stock")
    async with SSHD().running() as sshd:
        assert await trips(home, sshd, daemon) == STOCK


async def test_a_refused_key_costs_one_more(home: Home, daemon: ManagementEndpoint) -> None:
    offer(home, asyncssh.generate_private_key("ssh-ed25519"), USER_KEY)
    async with SSHD().running() as sshd:
        assert await trips(home, sshd, daemon) == HURRIED + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_of_an_agent_is_not_signed_with_unasked(
    home: Home, daemon: ManagementEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    stranger, mine = Held(asyncssh.generate_private_key(kind), "stranger"), Held(asyncssh.generate_private_key(kind))
    async with FakeAgent([mine]).running(tmp_path / "agent") as agent, SSHD(authorized=(mine.line,)).running() as sshd:
        assert await trips(home, sshd, daemon) == HURRIED + 1
        agent.held.insert(0, stranger)
        assert await trips(home, sshd, daemon) == HURRIED + 2
        assert agent.asked == ["key", "key"]


async def test_a_second_status_on_a_warm_connection(home: Home, daemon: ManagementEndpoint) -> None:
    async with SSHD().running() as sshd, Link(sshd.port).running() as link:
        home.know(f"[127.0.0.1]:{link.port} {public_line(sshd.host_key)}\n")
        server = a_server("edge", ssh(link.port), daemon)
        async with Transport([server], OPTIONS, keep=True) as transport:
            assert await status(transport, server) == 3
            before = link.trips
            assert await status(transport, server) == 3
            assert link.trips - before == KEPT
        assert len(link.passages) == 1


async def test_the_key_that_a_host_took_is_tried_first_the_next_time(
    home: Home, daemon: ManagementEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    held = [Held(asyncssh.generate_private_key("ssh-ed25519"), comment) for comment in ("stranger", "mine")]
    async with (
        FakeAgent(held).running(tmp_path / "agent") as agent,
        SSHD(authorized=(held[1].line,)).running() as sshd,
        Link(sshd.port).running() as link,
    ):
        home.know(f"[127.0.0.1]:{link.port} {public_line(sshd.host_key)}\n")
        server = a_server("edge", ssh(link.port), daemon)
        async with Transport([server], OPTIONS) as transport:
            for expected in (HURRIED + 2, HURRIED):
                assert await status(transport, server) == 3
                assert link.trips == expected
        assert agent.asked == ["mine", "mine"]


async def test_nothing_follows_the_key_exchange_with_a_wrong_host(home: Home, daemon: ManagementEndpoint) -> None:
    async with SSHD().running() as sshd, Link(sshd.port).running() as link:
        wrong = asyncssh.generate_private_key("ssh-ed25519")
        home.know(f"[127.0.0.1]:{link.port} {public_line(wrong)}\n")
        server = a_server("edge", ssh(link.port), daemon)
        async with Transport([server], OPTIONS) as transport:
            with pytest.raises(errors.HostKeyChangedError):
                await status(transport, server)
        (passage,) = link.passages
        # its version; its algorithms and its share of the key; and, when the reply has shown the host's key, goodbye
        assert sorted(passage.flights) == [1, 2, 3]
        last = passage.flights[3]
        assert (int.from_bytes(last[:4], "big") + 4, last[5]) == (len(last), MSG_DISCONNECT)
        assert sshd.users == []


async def test_the_trip_of_the_login_is_told_as_one(home: Home, daemon: ManagementEndpoint) -> None:
    """`fleet ping` shows the steps; the login begins when the keys are exchanged, and not when the service is there."""
    async with SSHD().running() as sshd, Link(sshd.port).running() as link:
        home.know(f"[127.0.0.1]:{link.port} {public_line(sshd.host_key)}\n")
        server = a_server("edge", ssh(link.port), daemon)
        async with Transport([server], OPTIONS) as transport:
            await status(transport, server)
            assert transport.steps(server)["auth"] > link.one_way


@pytest.mark.lab
async def test_fleet_itself_and_openssh(home: Home, daemon: ManagementEndpoint, tmp_path: Path) -> None:
    with Processes() as processes:
        servers = SSHServers(tmp_path / "sshd", processes)
        (host,) = servers.start("edge", FreePorts().take(), ["127.0.0.1"]).values()
        async with Link(host.port).running() as link:
            known = home.know(f"[127.0.0.1]:{link.port} {host.host_key}\n")
            config = home.write("config", f"UserKnownHostsFile {known}\n")
            inventory = home.write(
                "inventory.yaml",
                f"all: {{hosts: {{edge: {{ssh_host: 127.0.0.1, ssh_port: {link.port}, ssh_user: root,"
                f" private_key: {servers.user_key}, management: '{daemon}'}}}}}}\n",
            )
            command = [sys.executable, "-m", "fleet", "-F", str(config), "-i", str(inventory)]
            process = await asyncio.create_subprocess_exec(
                *command, "--connect-timeout", "60s", "clients", "-o", "name", stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
        assert (process.returncode, len(out.splitlines())) == (0, 3)
        assert [passage.trips for passage in link.passages] == [HURRIED]
