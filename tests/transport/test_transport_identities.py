"""Keys, certificates and agents: no passphrase is ever asked for, and each key is tried once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from fleet import errors
from fleet.inventory.model import SSHSettings
from fleet.transport import Transport
from fleet.transport.identities import Keyring
from support.sshd import GREETING, OPTIONS, SSHD, USER_KEY, Daemon, Home, a_server, ssh, until

Add = Callable[[asyncssh.SSHKey], None]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """A real ssh-agent; what is called with a key adds it."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            pass
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))

        def add(key: asyncssh.SSHKey) -> None:
            subprocess.run(["ssh-add", "-q", "-"], input=key.export_private_key(), check=True)

        yield add
        process.send_signal(signal.SIGTERM)


def encrypted(path: Path) -> None:
    """Give a key file a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(path)], check=True, stdout=subprocess.DEVNULL)


async def attempt(sshd: SSHD, daemon: Daemon, settings: SSHSettings | None = None) -> bytes:
    server = a_server("edge", settings or ssh(sshd.port), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        return await stream.read()


async def refused(sshd: SSHD, daemon: Daemon, settings: SSHSettings | None = None) -> str:
    with pytest.raises(errors.AuthFailedError) as caught:
        await attempt(sshd, daemon, settings)
    return str(caught.value.hint)


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519", comment="another")


async def test_a_key_that_wants_a_passphrase_is_left_out(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    encrypted(home.path / ".ssh" / "id_ed25519")
    hint = await refused(sshd, daemon)
    assert "there was no key to try; left out: ~/.ssh/id_ed25519 wants a passphrase (ssh-add it)" in hint


async def test_and_found_in_the_agent(sshd: SSHD, daemon: Daemon, home: Home, agent: Add) -> None:
    encrypted(home.path / ".ssh" / "id_ed25519")
    agent(USER_KEY)
    assert await attempt(sshd, daemon) == GREETING


async def test_a_hint_says_what_the_agent_held(sshd: SSHD, daemon: Daemon, home: Home, agent: Add) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    agent(new_key())
    assert "tried: another (agent)" in await refused(sshd, daemon)


async def test_the_agents_key_is_not_tried_twice(sshd: SSHD, daemon: Daemon, agent: Add) -> None:
    agent(USER_KEY)
    sshd.refuse_auth = True
    assert "tried: the-test-user (agent)" in await refused(sshd, daemon)


async def test_an_agent_that_is_gone(
    sshd: SSHD, daemon: Daemon, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert await attempt(sshd, daemon) == GREETING
    (home.path / ".ssh" / "id_ed25519").unlink()
    assert "the agent cannot be asked" in await refused(sshd, daemon)


async def test_identity_agent(
    sshd: SSHD, daemon: Daemon, home: Home, agent: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.path / ".ssh" / "id_ed25519").unlink()
    agent(USER_KEY)
    home.write("config", "Host *\n  IdentityAgent none\n")
    assert "no agent" in await refused(sshd, daemon)
    home.write("config", "Host *\n  IdentityAgent SSH_AUTH_SOCK\n")
    assert await attempt(sshd, daemon) == GREETING
    path = os.environ["SSH_AUTH_SOCK"]
    monkeypatch.delenv("SSH_AUTH_SOCK")
    home.write("config", f"Host *\n  IdentityAgent {path}\n")
    assert await attempt(sshd, daemon) == GREETING
    monkeypatch.setenv("THE_AGENT", path)
    home.write("config", "Host *\n  IdentityAgent $THE_AGENT\n")
    assert await attempt(sshd, daemon) == GREETING


async def test_identities_only(sshd: SSHD, daemon: Daemon, home: Home, agent: Add) -> None:
    """The agent's other keys are not tried, the one whose file is named is."""
    for _ in range(3):
        agent(new_key())
    agent(USER_KEY)
    key = home.path / ".ssh" / "id_ed25519"
    public = home.write("only.pub", USER_KEY.export_public_key().decode())
    encrypted(key)
    home.write("config", f"Host *\n  IdentitiesOnly yes\n  IdentityFile {public}\n")
    assert await attempt(sshd, daemon) == GREETING
    home.write("id_ed25519.pub", USER_KEY.export_public_key().decode())
    home.write("config", "")
    assert await attempt(sshd, daemon, ssh(sshd.port, private_key=key)) == GREETING
    sshd.refuse_auth = True
    assert "tried: the-test-user (agent)" in await refused(sshd, daemon, ssh(sshd.port, private_key=key))


async def test_identity_files_that_are_missing_are_left_out(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.write("config", "Host *\n  IdentityFile ~/.ssh/missing\n  IdentityFile ~/.ssh/id_ed25519\n")
    assert await attempt(sshd, daemon) == GREETING
    sshd.refuse_auth = True
    assert "tried: ~/.ssh/id_ed25519; left out: ~/.ssh/missing cannot be read" in await refused(sshd, daemon)


async def test_a_file_that_is_no_key(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.write("id_ed25519", "nonsense\n")
    assert "~/.ssh/id_ed25519 is no private key" in await refused(sshd, daemon)


@pytest.mark.parametrize("where", ["beside", "named", "agent"])
async def test_certificates(daemon: Daemon, home: Home, where: str, request: pytest.FixtureRequest) -> None:
    authority, key = new_key(), new_key()
    certificate = authority.generate_user_certificate(key, "ops", principals=["ops"])
    async with SSHD(authorities=(authority,), authorized=()).running() as sshd:
        home.know(sshd.known())
        home.write("id_ed25519", key.export_private_key().decode())
        assert "tried: " in await refused(sshd, daemon)
        if where == "beside":
            home.write("id_ed25519-cert.pub", certificate.export_certificate().decode())
        else:
            file = home.write("cert", certificate.export_certificate().decode())
            home.write("config", f"Host *\n  CertificateFile {file}\n  CertificateFile ~/.ssh/missing\n")
        if where == "agent":
            request.getfixturevalue("agent")(key)
            encrypted(home.path / ".ssh" / "id_ed25519")
        assert await attempt(sshd, daemon) == GREETING


async def test_an_rsa_key_is_shared_by_connections_to_unlike_servers(daemon: Daemon, home: Home) -> None:
    """asyncssh keeps the signature algorithm in its key pairs: one of a server must not reach another."""
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    (home.path / ".ssh" / "id_ed25519").unlink()
    home.write("id_rsa", key.export_private_key().decode())
    async with (
        SSHD(authorized=(key,)).running(signature_algs=["rsa-sha2-256"]) as old,
        SSHD(authorized=(key,)).running(signature_algs=["rsa-sha2-512"]) as new,
    ):
        home.know(old.known(), new.known())
        servers = [
            a_server(f"{name}{number}", ssh(sshd.port, user=f"u{number}"), daemon.endpoint)
            for number in range(10)
            for name, sshd in (("old", old), ("new", new))
        ]
        async with Transport(servers, OPTIONS) as transport:

            async def ask(number: int) -> bytes:
                async with transport.channel(servers[number]) as stream:
                    return await stream.read()

            assert await asyncio.gather(*(ask(number) for number in range(20))) == [GREETING] * 20


async def test_a_key_on_a_security_key_is_left_to_the_agent(tmp_path: Path, home: Home) -> None:  # noqa: ARG001 - sets HOME
    public = (
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIEl3KCZrnlZDXUVAWokolARV6gRWH6NurqU4"
        "oyzL1f0KAAAABHNzaDo="
    )
    file = tmp_path / "id_ed25519_sk.pub"
    file.write_text(public + "\n")
    identity = Keyring().file(file)
    assert identity.key is None
    assert identity.public is not None


async def test_a_mute_agent(
    sshd: SSHD, daemon: Daemon, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fleet.transport.agent.LIST_TIMEOUT", 0.1)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    (home.path / ".ssh" / "id_ed25519").unlink()
    listening = await asyncio.start_unix_server(say_nothing, str(tmp_path / "mute"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "mute"))
    try:
        assert "the agent did not answer within 0.1 s" in await refused(sshd, daemon)
    finally:
        listening.close()
        await listening.wait_closed()
    await until(lambda: not sshd.open)


async def test_an_agent_that_will_not_sign(
    sshd: SSHD, daemon: Daemon, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such as one that wants a confirmation that nobody gives."""
    (home.path / ".ssh" / "id_ed25519").unlink()
    blob = USER_KEY.public_data
    listed = b"\x0c" + (1).to_bytes(4, "big") + len(blob).to_bytes(4, "big") + blob + (2).to_bytes(4, "big") + b"no"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while length := await reader.read(4):
            request = await reader.readexactly(int.from_bytes(length, "big"))
            answer = listed if request[0] == 11 else b"\x05"
            writer.write(len(answer).to_bytes(4, "big") + answer)
        writer.close()

    listening = await asyncio.start_unix_server(refuse, str(tmp_path / "agent.sock"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent.sock"))
    try:
        assert "tried: no (agent)" in await refused(sshd, daemon)
    finally:
        listening.close()
        await listening.wait_closed()
