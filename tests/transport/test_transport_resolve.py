"""ssh_config, as asyncssh reads it, under the inventory's own settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import ConnectRefusedError, HostKeyUnknownError, JumpFailedError
from fleet.inventory.model import SSHSettings
from fleet.transport import SSHOptions, Transport
from fleet.transport.connector import Connector
from fleet.transport.identities import Keyring
from fleet.transport.resolve import Resolved, Resolver
from fleet.transport.tasks import Tasks
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, public_line, ssh


def resolve(settings: SSHSettings, options: SSHOptions | None = None) -> Resolved:
    return Resolver(options or SSHOptions(), Keyring()).resolve(settings)


async def test_two_hosts_with_different_host_names_are_two_hosts(daemon: Daemon, home: Home) -> None:
    """An options object built with a configuration file must not be used for another host."""
    async with SSHD().running() as first, SSHD().running(address="127.0.0.2") as second:
        home.know(first.known("127.0.0.1"), second.known("127.0.0.2"))
        home.write(
            "config",
            f"Host one\n  HostName 127.0.0.1\n  Port {first.port}\n  User anna\n"
            f"Host two\n  HostName 127.0.0.2\n  Port {second.port}\n  User berta\n",
        )
        servers = [a_server(name, SSHSettings(name), daemon.endpoint) for name in ("one", "two")]
        async with Transport(servers, OPTIONS) as transport:
            for server in servers:
                async with transport.channel(server) as stream:
                    assert await stream.read() == GREETING
                await daemon.gone()
        assert (first.users, second.users) == (["anna"], ["berta"])


def test_each_host_has_its_own_block(home: Home) -> None:
    home.write(
        "config",
        "Host one\n  HostName 192.0.2.1\n  Port 2201\nHost two\n  HostName 192.0.2.2\n"
        "Host *\n  User everyone\n  Port 2299\n",
    )
    resolver = Resolver(SSHOptions(), Keyring())
    found = [resolver.resolve(SSHSettings(name)) for name in ("one", "two", "three", "one")]
    assert [(r.host, r.port, r.user, r.name) for r in found] == [
        ("192.0.2.1", 2201, "everyone", "one"),
        ("192.0.2.2", 2299, "everyone", "two"),
        ("three", 2299, "everyone", "three"),
        ("192.0.2.1", 2201, "everyone", "one"),
    ]


def test_the_inventory_wins(home: Home, tmp_path: Path) -> None:
    home.write("config", "Host edge\n  Port 2200\n  User config\n  IdentityFile ~/.ssh/other\n  ProxyJump nowhere\n")
    jump = SSHSettings("bastion")
    settings = SSHSettings("edge", port=22, user="ops", private_key=tmp_path / "key", jump=jump)
    found = resolve(settings)
    assert (found.host, found.port, found.user, found.jump) == ("edge", 22, "ops", jump)
    assert [identity.path for identity in found.identities.files] == [tmp_path / "key"]
    assert found.identities.only


def test_match_include_and_final(home: Home) -> None:
    home.write("more", "Host edge-*\n  HostName %h.example.net\n")
    home.write(
        "config",
        "Include more\nMatch user ops\n  Port 2222\nMatch final host edge-1.example.net\n  HostKeyAlias final-alias\n",
    )
    found = resolve(SSHSettings("edge-1", user="ops"))
    assert (found.host, found.port, found.trust.name) == ("edge-1.example.net", 2222, "final-alias")
    assert resolve(SSHSettings("edge-1", user="root")).port == 22


def test_another_file_than_the_users(home: Home, tmp_path: Path) -> None:
    home.write("config", "Host *\n  Port 1\n")
    other = tmp_path / "other"
    other.write_text("Host *\n  Port 2\n")
    assert resolve(SSHSettings("edge")).port == 1
    assert resolve(SSHSettings("edge"), SSHOptions(config_files=(other,))).port == 2
    assert resolve(SSHSettings("edge"), SSHOptions(config_files=())).port == 22


@pytest.mark.parametrize(
    ("given", "configured", "seconds"),
    [
        (None, None, 10.0),
        (None, 3, 3.0),
        (7.5, 3, 7.5),
    ],
)
def test_connect_timeout(home: Home, given: float | None, configured: int | None, seconds: float) -> None:
    if configured:
        home.write("config", f"Host *\n  ConnectTimeout {configured}\n")
    assert resolve(SSHSettings("edge"), SSHOptions(connect_timeout=given)).connect_timeout == seconds


@pytest.mark.parametrize(
    ("option", "jump"),
    [
        ("bastion", SSHSettings("bastion")),
        ("ops@bastion:2222", SSHSettings("bastion", port=2222, user="ops")),
        ("ssh://ops@bastion:2222", SSHSettings("bastion", port=2222, user="ops")),
        ("[2001:db8::1]:22", SSHSettings("2001:db8::1", port=22)),
        ("outer,x@inner", SSHSettings("inner", user="x", jump=SSHSettings("outer"))),
        ("none", None),
        ("edge", None),  # `Host *` matches the jump host itself too
    ],
)
def test_proxy_jump(home: Home, option: str, jump: SSHSettings | None) -> None:
    home.write("config", f"Host edge\n  ProxyJump {option}\n")
    assert resolve(SSHSettings("edge")).jump == jump


def test_a_proxy_jump_that_is_none() -> None:
    options = SSHOptions()
    with pytest.raises(ConnectRefusedError, match="ProxyJump"):
        Resolver(options, Keyring()).resolve(_with_config("Host *\n  ProxyJump a:b:c\n"))


def _with_config(text: str) -> SSHSettings:
    path = Path("~/.ssh/config").expanduser()
    path.write_text(text)
    return SSHSettings("edge")


async def test_jumps_in_a_circle(home: Home) -> None:
    home.write("config", "Host a\n  ProxyJump b\nHost b\n  ProxyJump c\nHost c\n  ProxyJump a\n")
    with pytest.raises(JumpFailedError, match="is behind itself"):
        await Connector(SSHOptions(), Tasks()).jump(SSHSettings("a"))


def test_known_hosts_files(home: Home, tmp_path: Path) -> None:
    key = SSHD().host_key.convert_to_public()
    line = f"edge {public_line(key)}\n"

    def known(options: SSHOptions | None = None) -> bool:
        return resolve(SSHSettings("edge"), options).trust.keys.host == (key,)

    assert not known()
    home.know(line)
    assert known()
    home.write("config", "Host *\n  UserKnownHostsFile ~/.ssh/elsewhere\n")
    assert not known()
    home.write("elsewhere", line)
    assert known()
    empty = tmp_path / "empty"
    empty.write_text("")
    assert not known(SSHOptions(known_hosts=(empty,)))
    home.write("config", f"Host *\n  UserKnownHostsFile none\n  GlobalKnownHostsFile {tmp_path / 'global'}\n")
    assert not known()
    (tmp_path / "global").write_text(line)
    assert known()


def test_pins_and_their_faults() -> None:
    key = SSHD().host_key.convert_to_public()
    trust = resolve(SSHSettings("edge", host_keys=(public_line(key), "SHA256:abc="))).trust
    assert trust.keys.host == (key,)
    assert not trust.pinned(key)
    with pytest.raises(HostKeyUnknownError, match="neither"):
        resolve(SSHSettings("edge", host_keys=("nonsense",)))


def test_algorithms(home: Home) -> None:
    found = resolve(SSHSettings("edge"))
    assert found.extra["encryption_algs"].startswith("^aes128-gcm@openssh.com")
    assert found.trust.algorithms()[0] == "ssh-ed25519"
    home.write(
        "config",
        "Host *\n  Ciphers aes256-ctr,no-such\n  KexAlgorithms curve25519-sha256\n  Compression yes\n"
        "  HostKeyAlgorithms +ssh-rsa,no-such\n",
    )
    found = resolve(SSHSettings("edge"))
    assert found.extra["encryption_algs"] == ["aes256-ctr"]
    assert found.extra["kex_algs"] == ["curve25519-sha256"]
    assert found.extra["compression_algs"][0] == "zlib@openssh.com"
    assert found.trust.algorithms() == "+ssh-rsa"
    home.write("config", "Host *\n  HostKeyAlgorithms no-such\n")
    assert resolve(SSHSettings("edge")).trust.algorithms()[0] == "ssh-ed25519"


def test_the_ssh_command_of_the_hints(home: Home, tmp_path: Path) -> None:
    config = tmp_path / "a config"
    config.write_text("Host edge\n  ProxyJump x@b1:2022,b2\n")
    settings = SSHSettings("edge", port=2222, user="ops", private_key=home.path / ".ssh" / "id_ed25519")
    found = resolve(settings, SSHOptions(config_files=(config,)))
    assert found.command == f"ssh -v -F '{config}' -i ~/.ssh/id_ed25519 -p 2222 -J x@b1:2022,b2 ops@edge"
    assert not found.trust.scan
    nested = SSHSettings("edge", jump=SSHSettings("2001:db8::1", port=22))
    assert resolve(nested).command == "ssh -v -J '[2001:db8::1]:22' edge"


async def test_proxy_command(sshd: SSHD, daemon: Daemon, home: Home) -> None:
    home.write("config", f"Host edge\n  HostName 127.0.0.1\n  ProxyCommand {home.relay()} %h %p\n")
    server = a_server("edge", ssh(sshd.port, "edge"), daemon.endpoint)
    async with Transport([server], OPTIONS) as transport, transport.channel(server) as stream:
        assert await stream.read() == GREETING
    await sshd.gone()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such/command %h", "the ProxyCommand cannot be run: No such file or directory"),
        ("false", "the ProxyCommand gave no SSH greeting, 5 times in a row"),
        ("ls /no/such/%h", "the ProxyCommand gave no SSH greeting, 5 times in a row: ls: "),
    ],
)
async def test_a_proxy_command_that_fails(daemon: Daemon, home: Home, command: str, said: str) -> None:
    home.write("config", f"Host edge\n  ProxyCommand {command}\n")
    server = a_server("edge", SSHSettings("edge"), daemon.endpoint)
    with pytest.raises(Exception, match="ProxyCommand") as caught:
        async with Transport([server], OPTIONS) as transport, transport.channel(server):
            pass
    assert caught.value.args[0].startswith(said)
