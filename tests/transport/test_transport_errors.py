"""Every failure is one of the documented codes, with what to do about it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from fleet import errors
from fleet.inventory.model import ManagementEndpoint, SSHSettings, TCPEndpoint, UnixEndpoint
from fleet.transport import SSHOptions, Transport
from support.sshd import GREETING, OPTIONS, SSHD, USER_KEY, Daemon, Home, a_server, public_line, raw_server, ssh, until


async def attempt(settings: SSHSettings | None, endpoint: ManagementEndpoint, options: SSHOptions = OPTIONS) -> bytes:
    server = a_server("edge-1", settings, endpoint)
    async with Transport([server], options) as transport, transport.channel(server) as stream:
        return await stream.read()


async def failure(
    settings: SSHSettings | None, endpoint: ManagementEndpoint | None = None, options: SSHOptions = OPTIONS
) -> errors.ServerError:
    with pytest.raises(errors.ServerError) as caught:
        await attempt(settings, endpoint or TCPEndpoint("127.0.0.1", 7505), options)
    assert "edge-1" not in caught.value.message
    return caught.value


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_a_channel_reaches_the_daemon(sshd: SSHD, daemon: Daemon) -> None:
    assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING
    await daemon.gone()
    await sshd.gone()


async def test_a_unix_socket_is_reached(sshd: SSHD, tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    async with Daemon().running(path):
        assert await attempt(ssh(sshd.port), UnixEndpoint(str(path))) == GREETING


async def test_dns() -> None:
    error = await failure(SSHSettings("no-such-host.invalid"))
    assert isinstance(error, errors.DNSError)
    assert "no-such-host.invalid" in error.message


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".invalid"])
async def test_a_name_that_cannot_be_one(host: str) -> None:
    assert isinstance(await failure(SSHSettings(host)), errors.DNSError)


async def test_refused() -> None:
    port = free_port()
    error = await failure(ssh(port))
    assert isinstance(error, errors.ConnectRefusedError)
    assert error.message == f"port {port} refuses connections"


async def test_no_route() -> None:
    error = await failure(SSHSettings("255.255.255.255"))
    assert isinstance(error, errors.ConnectRefusedError)


async def test_mute_after_accept() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - says nothing
        await reader.read()

    async with raw_server(mute) as port:
        error = await failure(ssh(port), options=SSHOptions(connect_timeout=0.3))
    assert isinstance(error, errors.ConnectTimeoutError)
    assert error.message == "the SSH server accepted the connection and sent no greeting within 0.3 s"


async def test_nothing_answers() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        error = await failure(ssh(port), options=SSHOptions(connect_timeout=0.3))
        for filler in fillers:
            filler.close()
    assert isinstance(error, errors.ConnectTimeoutError)
    assert "within 0.3 s" in error.message


async def test_slow_login(sshd: SSHD, daemon: Daemon) -> None:
    sshd.auth_delay = 60
    error = await failure(ssh(sshd.port), daemon.endpoint, SSHOptions(connect_timeout=0.5))
    assert isinstance(error, errors.ConnectTimeoutError)
    assert error.message == "the SSH login did not end within 0.5 s"
    await sshd.gone()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail \x1b[31m ESMTP\r\n"])
async def test_not_ssh(greeting: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(greeting)
        await writer.drain()

    async with raw_server(other) as port:
        error = await failure(ssh(port))
    assert isinstance(error, errors.ProtocolError)
    assert f"the peer on port {port} is not an SSH server" in error.message
    assert error.message.isprintable()


async def test_not_ssh_and_staying() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ESMTP\r\n")
        await reader.read()

    async with raw_server(other) as port:
        error = await failure(ssh(port), options=SSHOptions(connect_timeout=0.3))
    assert isinstance(error, errors.ProtocolError)
    assert "'220 mail ESMTP'" in error.message


@pytest.mark.parametrize("greeting", [b"SSH-1.5-old\r\n", b"SSH-2.0-\xff\xfe\r\n", b"SSH-2.0-x\r\n" + b"\xff" * 400])
async def test_broken_ssh(greeting: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        await reader.read()

    async with raw_server(other) as port:
        error = await failure(ssh(port))
    assert isinstance(error, errors.ProtocolError)


async def test_turned_away_for_a_while_is_not_tried_again() -> None:
    connections = 0

    async def penalty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - closes
        nonlocal connections
        connections += 1
        writer.write(b"Not allowed at this time\r\n")

    async with raw_server(penalty) as port:
        error = await failure(ssh(port))
    assert isinstance(error, errors.ConnectionLostError)
    assert "PerSourcePenalties" in str(error.hint)
    assert connections == 1


async def test_no_common_algorithm(home: Home, daemon: Daemon) -> None:
    async with SSHD().running(kex_algs=["diffie-hellman-group14-sha256"]) as sshd:
        home.know(sshd.known())
        home.write("config", "Host *\n  KexAlgorithms curve25519-sha256\n")
        error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.ConnectionLostError)
    assert error.message.startswith("no common way to encrypt")


async def test_dropped_handshakes_are_tried_again(sshd: SSHD, daemon: Daemon) -> None:
    sshd.drop = 3
    assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING
    assert sshd.connections == 4


async def test_dropped_for_ever(sshd: SSHD, daemon: Daemon) -> None:
    sshd.drop = 1000
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.ConnectionLostError)
    assert sshd.connections == 5
    assert daemon.connections == 0


async def test_overloaded_until_the_time_is_over() -> None:
    async def overloaded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - closes
        writer.write(b"Exceeded MaxStartups\r\n")

    async with raw_server(overloaded) as port:
        error = await failure(ssh(port), options=SSHOptions(connect_timeout=1))
    assert isinstance(error, errors.ConnectionLostError)
    assert "times in a row" in error.message
    assert "MaxStartups" in str(error.hint)


async def test_refused_login_is_not_tried_again(sshd: SSHD, daemon: Daemon) -> None:
    sshd.refuse_auth = True
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.AuthFailedError)
    assert error.message == "user ops was not let in"
    assert "tried: ~/.ssh/id_ed25519" in str(error.hint)
    assert f"ssh -v -p {sshd.port} ops@127.0.0.1" in str(error.hint)
    assert sshd.connections == 1


async def test_no_key_at_all(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.AuthFailedError)
    assert "there was no key to try" in str(error.hint)
    assert "no agent" in str(error.hint)


async def test_forwarding_refused(sshd: SSHD, daemon: Daemon) -> None:
    sshd.refuse_forwarding = True
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.ForwardingRefusedError)
    assert "AllowTcpForwarding" in str(error.hint)
    assert f'permitopen="{daemon.endpoint}"' in str(error.hint)


async def test_forwarding_to_a_unix_socket_refused(sshd: SSHD) -> None:
    sshd.refuse_forwarding = True
    error = await failure(ssh(sshd.port), UnixEndpoint("/run/openvpn/m.sock"))
    assert isinstance(error, errors.ForwardingRefusedError)
    assert "AllowStreamLocalForwarding" in str(error.hint)
    assert 'permitopen="[/run/openvpn/m.sock]:*"' in str(error.hint)


async def test_nobody_listens(sshd: SSHD, tmp_path: Path) -> None:
    error = await failure(ssh(sshd.port), TCPEndpoint("127.0.0.1", free_port()))
    assert isinstance(error, errors.ManagementClosedError)
    error = await failure(ssh(sshd.port), UnixEndpoint(str(tmp_path / "missing.sock")))
    assert isinstance(error, errors.ManagementClosedError)
    assert "ls -l" in str(error.hint)


async def test_slow_channel_is_not_left_behind(sshd: SSHD, daemon: Daemon) -> None:
    """A channel confirmed after its clock ran out is closed, or the daemon's one session would stay taken."""
    sshd.channel_delay = 0.6
    late, after = (a_server(name, ssh(sshd.port), daemon.endpoint) for name in ("late", "after"))
    async with Transport([late, after], SSHOptions(connect_timeout=0.4)) as transport:
        with pytest.raises(
            errors.ManagementBusyError, match=f"the channel to {daemon.endpoint} was not open within 0.4 s"
        ):
            async with transport.channel(late):
                pass
        await until(lambda: daemon.connections)
        await daemon.gone()
        assert sshd.open == 1
    await sshd.gone()


async def test_a_connection_lost_in_the_middle_is_not_an_end_of_file(sshd: SSHD, daemon: Daemon) -> None:
    server = a_server("edge-1", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        assert await stream.read() == GREETING
        for peer in list(sshd.peers):
            peer.abort()
        with pytest.raises(errors.ConnectionLostError):
            await stream.read()
        with pytest.raises(errors.ConnectionLostError):
            await stream.write(b"pid\n")
    assert sshd.connections == 1


async def test_a_polite_disconnect_is_not_an_end_of_file_either(sshd: SSHD, daemon: Daemon) -> None:
    server = a_server("edge-1", ssh(sshd.port), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        assert await stream.read() == GREETING
        for peer in list(sshd.peers):
            peer.disconnect(asyncssh.DISC_BY_APPLICATION, "going down")
        await sshd.gone()
        await asyncio.sleep(0.05)
        with pytest.raises(errors.ConnectionLostError):
            await stream.read()


async def test_an_end_of_file_is_one(sshd: SSHD) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - closes
        writer.write(b"bye\r\n")

    async with raw_server(leave) as port:
        server = a_server("edge-1", ssh(sshd.port), TCPEndpoint("127.0.0.1", port))
        async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
            assert await stream.read() == b"bye\r\n"
            assert await stream.read() == b""


async def test_what_is_written_comes_back(sshd: SSHD, daemon: Daemon) -> None:
    server = a_server("edge-1", ssh(sshd.port), daemon.endpoint)
    line = b"x" * 1_000_000 + b"\n"
    daemon.greets = False
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        short = bytes(range(128, 256)) + b"\n"
        await stream.write(short)
        assert await stream.read() == short
        for part in range(0, len(line), 50_000):
            await stream.write(line[part : part + 50_000])


async def test_host_key_unknown(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.know("")
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyUnknownError)
    assert error.message == "the host key is not in any known_hosts file; nothing was sent"
    assert sshd.host_key.get_fingerprint() in str(error.hint)
    assert str(error.hint).endswith(": fleet trust edge-1")
    assert sshd.users == []


async def test_host_key_changed(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    home.know("# comment\n\n", "elsewhere ", public_line(sshd.host_key), "\n", sshd.known(key=other))
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyChangedError)
    assert error.message == (
        f"the host key differs from the one in ~/.ssh/known_hosts:4: expected ssh-ed25519 {other.get_fingerprint()}, "
        f"got ssh-ed25519 {sshd.host_key.get_fingerprint()}; nothing was sent"
    )
    assert error.hint == "if the host was rebuilt: fleet trust edge-1 --replace"
    assert sshd.users == []


async def test_host_key_of_another_type_is_a_changed_one(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.know(sshd.known(key=asyncssh.generate_private_key("ecdsa-sha2-nistp256")))
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyChangedError)
    assert f"got ssh-ed25519 {sshd.host_key.get_fingerprint()}" in error.message


async def test_the_known_type_is_asked_for(daemon: Daemon, home: Home) -> None:
    known = asyncssh.generate_private_key("ecdsa-sha2-nistp384")
    async with SSHD(more_host_keys=(known,)).running() as sshd:
        home.know(sshd.known(key=known))
        assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING


async def test_an_entry_for_the_address_does_not_vouch_for_a_name(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.write("config", "Host *\n  HostKeyAlias edge-alias\n")
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyUnknownError)
    home.know("edge-alias ", public_line(sshd.host_key), "\n")
    assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING


async def test_no_ssh_config_turns_the_check_off(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.know("")
    for option in ("StrictHostKeyChecking no", "UserKnownHostsFile none", "UserKnownHostsFile /dev/null"):
        home.write("config", f"Host *\n  {option}\n  GlobalKnownHostsFile none\n")
        assert isinstance(await failure(ssh(sshd.port), daemon.endpoint), errors.HostKeyUnknownError)
    assert sshd.users == []


async def test_host_key_revoked(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.know(sshd.known(), "@revoked * ", public_line(sshd.host_key), "\n")
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyChangedError)
    assert error.message.startswith("the host key is revoked in ~/.ssh/known_hosts:")
    assert ":2" in error.message
    assert sshd.users == []


@pytest.mark.parametrize(
    ("principal", "signed", "good"),
    [
        ("127.0.0.1", True, True),
        ("other.example.net", True, False),
        ("127.0.0.1", False, False),
    ],
)
async def test_host_certificates(home: Home, daemon: Daemon, principal: str, *, signed: bool, good: bool) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    signer = authority if signed else asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    certificate = signer.generate_host_certificate(host_key, "edge", principals=[principal])
    async with SSHD(host_key, certificate).running() as sshd:
        home.know(f"@cert-authority [127.0.0.1]:* {public_line(authority)}\n")
        if good:
            assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING
            return
        error = await failure(ssh(sshd.port), daemon.endpoint)
        assert isinstance(error, errors.HostKeyUnknownError)
        assert "is not certified by the authority in ~/.ssh/known_hosts:1" in error.message
        assert sshd.users == []


async def test_hashed_entries(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    process = await asyncio.create_subprocess_exec(
        *("ssh-keygen", "-H", "-f", str(home.know(sshd.known()))),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    text = (home.path / ".ssh" / "known_hosts").read_text()
    assert text.startswith("|1|")
    assert await attempt(ssh(sshd.port), daemon.endpoint) == GREETING
    other = asyncssh.generate_private_key("ssh-ed25519")
    home.know(text.split()[0], " ", public_line(other), "\n")
    error = await failure(ssh(sshd.port), daemon.endpoint)
    assert isinstance(error, errors.HostKeyChangedError)
    assert "~/.ssh/known_hosts:1: expected" in error.message


async def test_pins_are_asked_instead_of_known_hosts(sshd: SSHD, daemon: Daemon) -> None:
    right = sshd.host_key
    wrong = asyncssh.generate_private_key("ssh-ed25519")
    for pin in (public_line(right), right.get_fingerprint(), public_line(right) + " a comment"):
        settings = ssh(sshd.port, host_keys=(public_line(wrong), pin))
        assert await attempt(settings, daemon.endpoint) == GREETING
    users = len(sshd.users)
    for pin in (public_line(wrong), wrong.get_fingerprint()):
        error = await failure(ssh(sshd.port, host_keys=(pin,)), daemon.endpoint)
        assert isinstance(error, errors.HostKeyChangedError)
        assert right.get_fingerprint() in error.message
    assert len(sshd.users) == users


async def test_a_fingerprint_pin_of_the_hosts_second_key(daemon: Daemon) -> None:
    second = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    async with SSHD(more_host_keys=(second,)).running() as sshd:
        settings = ssh(sshd.port, host_keys=(second.get_fingerprint(),))
        assert await attempt(settings, daemon.endpoint) == GREETING


async def test_a_pin_that_is_none(sshd: SSHD, daemon: Daemon) -> None:
    error = await failure(ssh(sshd.port, host_keys=("ssh-ed25519 AAAA",)), daemon.endpoint)
    assert isinstance(error, errors.HostKeyUnknownError)
    assert sshd.connections == 0


async def test_ssh_config_with_an_error_names_its_line(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.write("config", "Host 127.0.0.1\n  Port many\n")
    error = await failure(replace(ssh(sshd.port), port=None), daemon.endpoint)
    assert isinstance(error, errors.ConnectRefusedError)
    assert "line 2" in error.message


async def test_asyncssh_says_nothing_itself(sshd: SSHD, home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    home.know("")
    await failure(ssh(sshd.port))
    sshd.refuse_auth = True
    home.know(sshd.known())
    await failure(ssh(sshd.port))
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


async def test_an_option_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    server = a_server("edge-1", ssh(22), TCPEndpoint("127.0.0.1", 7505))
    for options in (SSHOptions(config_files=(tmp_path / "no",)), SSHOptions(known_hosts=(tmp_path / "no",))):
        with pytest.raises(errors.UsageError, match="cannot be read"):
            async with Transport([server], options):
                pass


async def test_user_keys_from_the_inventory(sshd: SSHD, daemon: Daemon, tmp_path: Path, home: Home) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    key = tmp_path / "a key"
    key.write_bytes(USER_KEY.export_private_key())
    assert await attempt(ssh(sshd.port, private_key=key), daemon.endpoint) == GREETING
    error = await failure(ssh(sshd.port, private_key=tmp_path / "missing"), daemon.endpoint)
    assert isinstance(error, errors.AuthFailedError)
    assert "cannot be read" in str(error.hint)
