"""The key that a host shows, for `fleet trust`: one, as ssh would negotiate it, and what is known of it."""

from __future__ import annotations

import asyncssh
import pytest

from fleet.errors import ConnectRefusedError, JumpFailedError, ServerError
from fleet.inventory.model import SSHSettings, TCPEndpoint
from fleet.transport import Transport
from fleet.transport.host_keys import HostKey, Standing
from support.sshd import OPTIONS, SSHD, Home, a_server, public_line, ssh

NOWHERE = TCPEndpoint("127.0.0.1", 1)


async def shown(settings: SSHSettings) -> HostKey:
    server = a_server("edge", settings, NOWHERE)
    async with Transport([server], OPTIONS) as transport:
        *_, own = await transport.chain(server)
        return await transport.host_key(server, own)


async def test_a_new_key_and_a_known_one(sshd: SSHD, home: Home) -> None:
    home.know()
    key = await shown(ssh(sshd.port))
    assert key == HostKey(
        f"[127.0.0.1]:{sshd.port}",
        "ssh-ed25519",
        sshd.host_key.get_fingerprint(),
        public_line(sshd.host_key),
        Standing.NEW,
        files=(home.path / ".ssh/known_hosts", home.path / ".ssh/known_hosts2"),
    )
    assert sshd.users == []  # nobody logs in for it
    home.know("# a comment\n", sshd.known())
    key = await shown(ssh(sshd.port))
    assert (key.standing, key.places) == (Standing.KNOWN, ("~/.ssh/known_hosts:2",))


async def test_a_host_is_asked_for_the_type_that_is_known(home: Home) -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    async with SSHD(more_host_keys=(rsa,)).running() as sshd:
        home.know(sshd.known(key=rsa))
        assert (await shown(ssh(sshd.port))).type == "ssh-rsa"
        home.know()
        assert (await shown(ssh(sshd.port))).type == "ssh-ed25519"


async def test_a_changed_key_and_a_revoked_one(sshd: SSHD, home: Home) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    home.know(sshd.known(key=other))
    key = await shown(ssh(sshd.port))
    assert (key.standing, key.expected) == (Standing.CHANGED, (f"ssh-ed25519 {other.get_fingerprint()}",))
    home.know(f"@revoked {sshd.known()}")
    key = await shown(ssh(sshd.port))
    assert (key.standing, key.places) == (Standing.REVOKED, ("~/.ssh/known_hosts:1",))


async def test_pins_of_the_inventory() -> None:
    ecdsa = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    async with SSHD(more_host_keys=(ecdsa,)).running() as sshd:
        whole = await shown(ssh(sshd.port, host_keys=(public_line(sshd.host_key),)))
        vague = await shown(ssh(sshd.port, host_keys=(ecdsa.get_fingerprint(),)))
        wrong = await shown(ssh(sshd.port, host_keys=("SHA256:" + "x" * 43,)))
    assert [key.standing for key in (whole, vague, wrong)] == [Standing.PINNED, Standing.PINNED, Standing.NOT_PINNED]
    assert vague.type == "ecdsa-sha2-nistp256"
    assert wrong.expected == ("SHA256:" + "x" * 43,)


async def test_an_authority(home: Home) -> None:
    authority, key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    certificate = authority.generate_host_certificate(key, "the-host", principals=["127.0.0.1"])
    async with SSHD(host_key=key, certificate=certificate).running() as sshd:
        home.know(f"@cert-authority * {public_line(authority)}\n")
        found = await shown(ssh(sshd.port))
        assert (found.standing, found.places) == (Standing.CERTIFIED, ("~/.ssh/known_hosts:1",))
        assert found.standing.trusted
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        home.know(f"@cert-authority * {public_line(stranger)}\n")
        assert (await shown(ssh(sshd.port))).standing is Standing.NEW


async def test_through_a_jump_host(home: Home) -> None:
    async with SSHD().running() as bastion, SSHD().running() as inner:
        settings = ssh(inner.port, jump=ssh(bastion.port))
        with pytest.raises(JumpFailedError) as caught:
            await shown(settings)
        assert str(caught.value.hint).endswith(": fleet trust edge")
        home.know(bastion.known())
        assert (await shown(settings)).key == public_line(inner.host_key)


async def test_through_a_proxy_command(sshd: SSHD, home: Home) -> None:
    home.write("config", f"Host 127.0.0.1\n  ProxyCommand {home.relay()} %h %p\n")
    assert (await shown(ssh(sshd.port))).standing is Standing.KNOWN


@pytest.mark.parametrize("settings", [ssh(1), SSHSettings("edge")])
async def test_a_host_that_shows_none(home: Home, settings: SSHSettings) -> None:
    home.write("config", "Host edge\n  Port what\n")
    with pytest.raises(ServerError) as caught:
        await shown(settings)
    assert isinstance(caught.value, ConnectRefusedError)


async def test_a_server_of_this_machine_has_no_way() -> None:
    async with Transport([a_server("here", None, NOWHERE)]) as transport:
        assert await transport.chain(a_server("here", None, NOWHERE)) == ()
