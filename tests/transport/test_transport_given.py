"""What the command line says of the way: --user, --private-key, -J and -F, as ssh takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from fleet.errors import ConnectRefusedError, UsageError
from fleet.inventory.model import Origin, SSHSettings, TCPEndpoint
from fleet.transport import Setting, SSHOptions, Transport, config, explain
from fleet.transport.given import parse_jump, settings_for
from fleet.transport.identities import Keyring
from fleet.transport.options import DEFAULT_CONNECT_TIMEOUT
from fleet.transport.resolve import Resolver
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ssh


def resolve(settings: SSHSettings, options: SSHOptions) -> object:
    return Resolver(options, Keyring()).resolve(settings_for(settings, options))


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("bastion", SSHSettings("bastion")),
        ("ops@bastion:2222", SSHSettings("bastion", port=2222, user="ops")),
        ("a@one, [2001:db8::1]:22", SSHSettings("2001:db8::1", port=22, jump=SSHSettings("one", user="a"))),
        ("ssh://ops@bastion:2222/", SSHSettings("bastion", port=2222, user="ops")),
    ],
)
def test_jump_hosts(text: str, jump: SSHSettings) -> None:
    assert parse_jump(text) == jump


@pytest.mark.parametrize("text", ["", "a,", "a:b", "a:70000", "-oProxyCommand=x", "ops@", "a b@"])
async def test_what_is_no_jump_host_is_refused_before_anything_is_sent(text: str, daemon: Daemon) -> None:
    with pytest.raises(UsageError, match="-J "):
        async with Transport([a_server("edge", ssh(1), daemon.endpoint)], SSHOptions(jump=text)):
            pytest.fail("entered")


async def test_a_key_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="--private-key /no/such/file cannot be read: No such file"):
        async with Transport([], SSHOptions(private_key=Path("/no/such/file"))):
            pytest.fail("entered")


async def test_the_command_line_wins(daemon: Daemon, home: Home) -> None:
    """Over the inventory, which wins over ssh_config; and as with ssh, not for the jump hosts."""
    mine = asyncssh.generate_private_key("ssh-ed25519")
    file = home.write("mine", mine.export_private_key().decode())
    async with SSHD().running() as bastion, SSHD(authorized=(mine,)).running() as sshd:
        home.know(bastion.known(), sshd.known())
        home.write("config", "Host *\n  User config\n  ProxyJump nowhere\nHost bastion\n")
        server = a_server("edge", ssh(sshd.port, user="inventory"), daemon.endpoint)
        options = replace(OPTIONS, user="me", private_key=file, jump=f"jumper@127.0.0.1:{bastion.port}")
        home.write("config", f"Host *\n  User config\n  HostKeyAlias 127.0.0.1\n  Port {bastion.port}\n")
        async with Transport([server], options) as transport, transport.channel(server) as stream:
            assert await stream.read() == GREETING
        assert (bastion.users, sshd.users) == (["jumper"], ["me"])


def test_no_jump_host_and_no_proxy_at_all(home: Home) -> None:
    home.write("config", "Host a\n  ProxyJump bastion\nHost b\n  ProxyCommand nc %h %p\n")
    for settings in (SSHSettings("a"), SSHSettings("b"), SSHSettings("c", jump=SSHSettings("bastion"))):
        found = Resolver(SSHOptions(jump="none"), Keyring()).resolve(settings_for(settings, SSHOptions(jump="None")))
        assert (found.jump, found.proxy_command) == (None, None)


def test_the_jump_host_itself_is_gone_to_directly() -> None:
    options = SSHOptions(jump="ops@bastion:2222,last")
    assert settings_for(SSHSettings("last"), options).jump is None
    assert settings_for(SSHSettings("last", port=2222), options).jump is None
    assert settings_for(SSHSettings("edge"), options).jump == parse_jump("ops@bastion:2222,last")


def test_the_machines_own_file_comes_after_the_users(home: Home) -> None:
    config.SYSTEM_FILE.parent.mkdir()
    (config.SYSTEM_FILE.parent / "more").write_text("Host edge\n  User fromthemachine\n")
    config.SYSTEM_FILE.write_text("Host edge\n  Port 2222\n  HostName machine\nInclude more\n")
    home.write("config", "Host edge\n  HostName mine\n")
    found = Resolver(SSHOptions(), Keyring()).resolve(SSHSettings("edge"))
    assert (found.host, found.port, found.user) == ("mine", 2222, "fromthemachine")
    file = home.write("own", "Host edge\n  User own\n")
    for files, user in (((file,), "own"), ((), None)):  # -F FILE, -F none
        found = Resolver(SSHOptions(config_files=files), Keyring()).resolve(SSHSettings("edge"))
        assert (found.host, found.port) == ("edge", 22)
        assert user in (None, found.user)


def test_the_settings_of_a_crypto_policy(home: Home) -> None:
    """As a Fedora has them in /etc: names that asyncssh does not know are no reason to fail."""
    home.write(
        "config",
        "Match final all\n  GSSAPIAuthentication yes\n  Ciphers aes256-gcm@openssh.com,unheard-of\n"
        "  MACs hmac-sha2-256-etm@openssh.com,umac-128@openssh.com,no-mac\n  GSSAPIKexAlgorithms gss-x-\n"
        "  KexAlgorithms mlkem768x25519-sha256,curve25519-sha256,no-kex\n  RequiredRSASize 2048\n"
        "  PubkeyAcceptedAlgorithms ssh-ed25519\n  CASignatureAlgorithms ssh-ed25519,no-signature\n"
        "  HostKeyAlgorithms ssh-ed25519,no-key\n",
    )
    found = Resolver(SSHOptions(), Keyring()).resolve(SSHSettings("edge"))
    assert "curve25519-sha256" in found.extra["kex_algs"]


@pytest.mark.parametrize("option", ["User", "HostKeyAlias"])
def test_none_is_a_name_where_ssh_takes_it_for_one(home: Home, option: str) -> None:
    home.write("config", f"Host edge\n  {option} none\n")
    found = Resolver(SSHOptions(), Keyring()).resolve(SSHSettings("edge"))
    assert "none" in (found.user, found.trust.name)


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("1m30s", 90), ("2M", 120), ("none", DEFAULT_CONNECT_TIMEOUT), ("0", 10)]
)
def test_times_as_ssh_writes_them(home: Home, text: str, seconds: float) -> None:
    home.write("config", f"Host *\n  ConnectTimeout {text}\n  ServerAliveInterval 1m\n")
    found = Resolver(SSHOptions(keep=True), Keyring()).resolve(SSHSettings("edge"))
    assert (found.connect_timeout, found.extra["keepalive_interval"]) == (seconds, 60)
    home.write("config", "Host *\n  ConnectTimeout soon\n")
    with pytest.raises(ConnectRefusedError, match="Invalid ConnectTimeout integer value: soon"):
        Resolver(SSHOptions(), Keyring()).resolve(SSHSettings("edge"))


def test_known_hosts_by_the_hosts_name(home: Home) -> None:
    home.write("config", "Host *\n  UserKnownHostsFile ~/.ssh/known.d/%k %d/other\n")
    found = Resolver(SSHOptions(), Keyring()).resolve(SSHSettings("edge"))
    assert found.user_files == (home.path / ".ssh/known.d/edge", home.path / "other")


# fleet inventory show


def explained(settings: SSHSettings | None, options: SSHOptions, **origins: Origin) -> dict[str, Setting]:
    server = replace(a_server("edge-1", settings, TCPEndpoint("127.0.0.1", 7505)), origins=origins)
    return {setting.name: setting for setting in explain(server, options)}


def test_where_everything_comes_from(home: Home) -> None:
    home.write("a", "").unlink()
    home.write(
        "config",
        "Host edge-*\n  HostName %h.example.net\n  IdentityFile ~/.ssh/id_ed25519\n  IdentityFile ~/.ssh/a\n"
        "  ProxyJump anna@bastion:2222\n  IdentitiesOnly yes\n  UserKnownHostsFile ~/.ssh/mine\n"
        "Host bastion\n  HostName 192.0.2.1\n  ProxyJump outer\n",
    )
    origin = Origin("inv.yaml", 14, 7, "group eu")
    found = explained(SSHSettings("edge-1", user="ops"), SSHOptions(), ssh_user=origin)
    assert {name: (setting.value, setting.origin) for name, setting in found.items() if name != "known_hosts"} == {
        "host": ("edge-1", "name in inventory"),
        "address": ("edge-1.example.net", "~/.ssh/config:2"),
        "port": (22, "default"),
        "user": ("ops", "inv.yaml:14:7"),
        "private_key": (
            ("~/.ssh/id_ed25519", "~/.ssh/a (cannot be read (No such file or directory))"),
            "~/.ssh/config:3, ~/.ssh/config:4",
        ),
        "identities_only": ("yes", "~/.ssh/config:6"),
        "agent": (None, "default"),
        "jump": (f"{found['jump'].value.split('@')[0]}@outer:22,anna@192.0.2.1:2222", "~/.ssh/config:5"),
        "host_key": ("none is known: fleet trust edge-1", "default"),
        "connect_timeout": (10.0, "default"),
        "ssh_config": (("~/.ssh/config",), "default"),
    }
    assert found["known_hosts"].origin == "~/.ssh/config:7"
    assert found["known_hosts"].value[0] == "~/.ssh/mine"


def test_what_the_command_line_says_is_told_as_that(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    key = home.path / ".ssh" / "id_ed25519"
    options = SSHOptions(config_files=(), user="me", private_key=key, jump="a@b,[::1]:24", connect_timeout=3.0)
    found = explained(SSHSettings("edge", user="ops"), options)
    said = {name: (found[name].value, found[name].origin) for name in ("user", "private_key", "connect_timeout")}
    assert said == {
        "user": ("me", "--user"),
        "private_key": (("~/.ssh/id_ed25519",), "--private-key"),
        "connect_timeout": (3.0, "--connect-timeout"),
    }
    assert found["agent"] == Setting("agent", "/run/agent", "SSH_AUTH_SOCK")
    assert str(found["jump"].value).startswith("a@b:22,")
    assert str(found["jump"].value).endswith("@[::1]:24")
    assert found["jump"].origin == "-J"
    assert found["ssh_config"] == Setting("ssh_config", (), "--ssh-config")
    assert explained(SSHSettings("edge"), SSHOptions(jump="none"))["jump"] == Setting("jump", None, "-J none")
    assert explained(None, SSHOptions()) == {"connection": Setting("connection", "local", "default")}


def test_the_known_key_and_the_proxy_are_told(home: Home) -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKZ4XoD9Y9SPh2ZHK2XJnqNQYvUD0Sd5gyJc1oMkRrOe"
    home.know(f"edge {line}\n")
    home.write("config", "Host edge\n  ProxyCommand nc %h %p\n  HostName 192.0.2.7\n  HostKeyAlias edge\n")
    found = explained(SSHSettings("edge"), SSHOptions())
    assert (found["proxy_command"].value, found["proxy_command"].origin) == ("nc 192.0.2.7 22", "~/.ssh/config:2")
    assert found["host_key"].origin == "~/.ssh/known_hosts:1"
    assert str(found["host_key"].value[0]).startswith("ssh-ed25519 SHA256:")
    assert found["host_key_alias"] == Setting("host_key_alias", "edge", "~/.ssh/config:4")
    pinned = explained(SSHSettings("edge", host_keys=(line,)), SSHOptions())
    assert pinned["host_keys"].value == (line,)
