"""The same against OpenSSH's own sshd."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from fleet import errors
from fleet.inventory.model import SSHSettings, TCPEndpoint, UnixEndpoint
from fleet.transport import SSHOptions, Transport
from lab.processes import FreePorts, Processes
from lab.sshd import Host, SSHServers
from support.sshd import GREETING, Daemon, Home, a_server, ask, until

pytestmark = pytest.mark.lab

OPTIONS = SSHOptions(connect_timeout=30)


class OpenSSH:
    """Real SSH servers, and the operator's home that knows them."""

    def __init__(self, folder: Path, processes: Processes, home: Home) -> None:
        self.servers = SSHServers(folder / "sshd", processes)
        self.processes = processes
        self.home = home
        self.ports = FreePorts()
        self._known = ""
        home.write("id_ed25519", self.servers.user_key.read_text())

    def start(self, name: str, options: Sequence[str] = (), addresses: Sequence[str] = ("127.0.0.1",)) -> list[Host]:
        hosts = list(self.servers.start(name, self.ports.take(), addresses, options).values())
        self._known += "".join(host.known_hosts_line for host in hosts)
        self.home.know(self._known)
        return hosts


@pytest.fixture
def openssh(tmp_path: Path, home: Home) -> Iterator[OpenSSH]:
    with Processes() as processes:
        yield OpenSSH(tmp_path, processes, home)


@pytest.fixture
async def unix_daemon(tmp_path: Path) -> AsyncIterator[UnixEndpoint]:
    path = tmp_path / "m.sock"
    async with Daemon().running(path):
        yield UnixEndpoint(str(path))


def settings(host: Host, jump: SSHSettings | None = None) -> SSHSettings:
    return SSHSettings(host.address, port=host.port, user="root", jump=jump)


def fingerprint(key: Path) -> str:
    listed = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], capture_output=True, text=True, check=True)
    return listed.stdout.split()[1]


async def ask_one(ssh: SSHSettings, endpoint: TCPEndpoint | UnixEndpoint) -> bytes:
    server = a_server("edge", ssh, endpoint)
    async with Transport([server], OPTIONS) as transport:
        return await ask(transport, server)


async def failure(ssh: SSHSettings, endpoint: TCPEndpoint | UnixEndpoint) -> errors.ServerError:
    with pytest.raises(errors.ServerError) as caught:
        await ask_one(ssh, endpoint)
    return caught.value


async def test_both_kinds_of_endpoint(
    openssh: OpenSSH, daemon: Daemon, unix_daemon: UnixEndpoint, tmp_path: Path
) -> None:
    (host,) = openssh.start("edge")
    assert await ask_one(settings(host), daemon.endpoint) == GREETING
    assert await ask_one(settings(host), unix_daemon) == GREETING
    await daemon.gone()
    closed = TCPEndpoint("127.0.0.1", openssh.ports.take())
    assert isinstance(await failure(settings(host), closed), errors.ManagementClosedError)
    missing = UnixEndpoint(str(tmp_path / "missing"))
    assert isinstance(await failure(settings(host), missing), errors.ManagementClosedError)


@pytest.mark.parametrize("option", ["AllowTcpForwarding no", "PermitOpen 127.0.0.1:1", "DisableForwarding yes"])
async def test_forwarding_is_forbidden(openssh: OpenSSH, daemon: Daemon, option: str) -> None:
    (host,) = openssh.start("edge", [option])
    assert isinstance(await failure(settings(host), daemon.endpoint), errors.ForwardingRefusedError)
    assert daemon.connections == 0


async def test_unix_forwarding_is_forbidden(openssh: OpenSSH, unix_daemon: UnixEndpoint) -> None:
    """OpenSSH says the same of a missing socket (code 2, "open failed"): the hint names both."""
    (host,) = openssh.start("edge", ["AllowStreamLocalForwarding no"])
    error = await failure(settings(host), unix_daemon)
    assert isinstance(error, errors.ManagementClosedError)
    assert "AllowStreamLocalForwarding" in str(error.hint)


async def test_a_restricted_key(openssh: OpenSSH, daemon: Daemon, unix_daemon: UnixEndpoint, tmp_path: Path) -> None:
    """protocol-facts 11.11: just the permitted text, and permitopen blocks unix sockets too."""
    (host,) = openssh.start("edge")
    authorized = tmp_path / "sshd" / "edge.authorized_keys"
    restriction = 'restrict,port-forwarding,permitlisten="localhost:1",command="/bin/false",permitopen="{}" {}'
    key = authorized.read_text()
    authorized.write_text(restriction.format(daemon.endpoint, key))
    assert await ask_one(settings(host), daemon.endpoint) == GREETING
    other = TCPEndpoint("localhost", daemon.endpoint.port)  # type: ignore[union-attr]  # the fixture's is TCP
    assert isinstance(await failure(settings(host), other), errors.ForwardingRefusedError)
    error = await failure(settings(host), unix_daemon)
    assert isinstance(error, errors.ManagementClosedError)
    permission = str(error.hint).partition('permitopen="')[2].partition('"')[0]
    authorized.write_text(restriction.format(permission, key))
    assert await ask_one(settings(host), unix_daemon) == GREETING


async def test_a_changed_host_key(openssh: OpenSSH, daemon: Daemon, home: Home, tmp_path: Path) -> None:
    (host,) = openssh.start("edge")
    (other,) = openssh.start("other")
    wrong = Host(host.address, host.port, other.host_key)
    home.know("# first\n", wrong.known_hosts_line)
    error = await failure(settings(host), daemon.endpoint)
    assert isinstance(error, errors.HostKeyChangedError)
    shown = {name: fingerprint(tmp_path / "sshd" / f"{name}.hostkey") for name in ("edge", "other")}
    assert error.message == (
        "the host key differs from the one in ~/.ssh/known_hosts:2: "
        f"expected ssh-ed25519 {shown['other']}, got ssh-ed25519 {shown['edge']}; nothing was sent"
    )
    assert "Accepted publickey" not in openssh.servers.log("edge")
    home.know("")
    assert isinstance(await failure(settings(host), daemon.endpoint), errors.HostKeyUnknownError)


async def test_too_many_keys(openssh: OpenSSH, daemon: Daemon, home: Home) -> None:
    (host,) = openssh.start("edge", ["MaxAuthTries 2"])
    names = []
    for number in range(4):
        name = home.path / ".ssh" / f"key{number}"
        name.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
        names.append(f"  IdentityFile {name}\n")
    home.write("config", "Host *\n" + "".join(names))
    error = await failure(settings(host), daemon.endpoint)
    assert isinstance(error, errors.AuthFailedError)
    assert "too many keys were tried" in error.message


async def test_nested_jump_hosts(openssh: OpenSSH, daemon: Daemon) -> None:
    (outer,), (middle,) = openssh.start("outer"), openssh.start("middle")
    inner = openssh.start("inner", addresses=[f"127.0.0.{number}" for number in range(1, 11)])
    jump = settings(middle, settings(outer))
    servers = [a_server(host.address, settings(host, jump), daemon.endpoint) for host in inner]
    async with Transport(servers, OPTIONS) as transport:
        assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 10
    for name, logins in (("outer", 1), ("middle", 1), ("inner", 10)):
        assert openssh.servers.log(name).count("Accepted publickey") == logins
    await daemon.gone()


async def test_a_jump_host_that_forbids_forwarding(openssh: OpenSSH, daemon: Daemon) -> None:
    (bastion,), (inner,) = openssh.start("bastion", ["AllowTcpForwarding no"]), openssh.start("inner")
    error = await failure(settings(inner, settings(bastion)), daemon.endpoint)
    assert isinstance(error, errors.JumpFailedError)
    assert "forbids connections" in error.message


def addresses(first: int, last: int) -> list[str]:
    """At most 16: sshd listens on no more."""
    return [f"127.0.0.{number}" for number in range(first, last + 1)]


async def test_twenty_endpoints_on_an_sshd_that_takes_two_logins_at_a_time(
    openssh: OpenSSH, daemon: Daemon, home: Home
) -> None:
    hosts = openssh.start("edge", ["MaxStartups 2:100:3"], addresses(1, 10))
    second = home.write("second", openssh.servers.user_key.read_text())
    endpoints = [settings(host) for host in hosts] + [replace(settings(host), private_key=second) for host in hosts]
    servers = [a_server(f"s{number}", endpoint, daemon.endpoint) for number, endpoint in enumerate(endpoints)]
    async with Transport(servers, OPTIONS) as transport:
        assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 20
    log = openssh.servers.log("edge")
    assert log.count("Accepted publickey") == 20
    assert "MaxStartups" in log


async def test_forty_behind_one_default_jump_host(openssh: OpenSSH, daemon: Daemon) -> None:
    (bastion,) = openssh.start("bastion")
    inner = openssh.start("first", addresses=addresses(1, 15)) + openssh.start("second", addresses=addresses(1, 15))
    inner += openssh.start("third", addresses=addresses(1, 10))
    servers = [
        a_server(f"s{number}", settings(host, settings(bastion)), daemon.endpoint) for number, host in enumerate(inner)
    ]
    async with Transport(servers, OPTIONS) as transport:
        assert await asyncio.gather(*(ask(transport, server) for server in servers)) == [GREETING] * 40
    assert openssh.servers.log("bastion").count("Accepted publickey") == 1


async def test_an_sshd_that_dies(openssh: OpenSSH, daemon: Daemon) -> None:
    (host,) = openssh.start("edge")
    server = a_server("edge", settings(host), daemon.endpoint)
    stop: Callable[[], None] = lambda: openssh.processes.stop("sshd edge")  # noqa: E731 - run in a thread below
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        assert await stream.read() == GREETING
        reading = asyncio.create_task(stream.read())
        await asyncio.to_thread(stop)
        with pytest.raises(errors.ConnectionLostError):
            await reading
    await until(lambda: not daemon.open)
