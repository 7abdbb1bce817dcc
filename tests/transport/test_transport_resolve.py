"""ssh_config, as asyncssh reads it, under the inventory's own settings."""

from __future__ import annotations

import asyncio
import getpass
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import ConnectRefusedError, HostKeyUnknownError, JumpFailedError
from fleet.inventory.model import SSHSettings
from fleet.transport import SSHOptions, Transport
from fleet.transport.config import Files, read_config
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


@pytest.mark.parametrize(
    ("text", "jump", "command"),
    [
        ("ProxyJump bastion\nProxyCommand nc %h %p\n", SSHSettings("bastion"), None),
        ("ProxyJump none\nProxyCommand nc %h %p\n", None, None),
        ("Host edge\n  ProxyCommand nc %h %p\nHost *\n  ProxyJump bastion\n", None, ("nc", "edge", "22")),
        ("Host edge\n  ProxyCommand none\nHost *\n  ProxyJump bastion\n", None, None),
        ("Host other\n  ProxyCommand none\nHost *\n  ProxyJump bastion\n", SSHSettings("bastion"), None),
    ],
)
def test_what_comes_first_of_proxy_jump_and_proxy_command_wins(
    home: Home, text: str, jump: SSHSettings | None, command: tuple[str, ...] | None
) -> None:
    home.write("config", text)
    found = resolve(SSHSettings("edge"))
    assert (found.jump, found.proxy_command) == (jump, command)


def test_a_file_is_taken_apart_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write("more", "Host edge-1*\n  User ops\n")
    home.write("config", "Include more\n" + "".join(f"Host edge-{n}\n  Port {2000 + n}\n" for n in range(30)))
    real, lines = shlex.split, []

    def counted(text: str) -> list[str]:
        lines.append(text)
        return real(text)

    monkeypatch.setattr(shlex, "split", counted)
    resolver = Resolver(SSHOptions(), Keyring())
    found = [resolver.resolve(SSHSettings(f"edge-{n}")) for n in range(30)]
    assert [each.port for each in found] == list(range(2000, 2030))
    assert [each.host for each in found if each.user == "ops"] == ["edge-1", *(f"edge-{n}" for n in range(10, 20))]
    assert len(lines) == 63


CONFIG_LINES = [
    "Host edge", "Host edge-*", "Host * !edge", "Host=edge,x e?ge", 'Host "edge"', "Host [e]dge", "Host", "HOST EDGE",
    "Match all", "Match host edge", "Match host *.net user ops", "Match !host edge", "Match final",
    "Match final host h.net",
    'Match exec "true"', "Match exec false", "Match", "Match nonsense x", "Match originalhost edge-*", "Match user",
    "Include more", "Include mo*", "Include missing", "Include more elsewhere",
    "Port 22", "Port=2222", "Port = 23", "Port x", "Port", "Port 1 2", "port 24 # comment",
    "HostName h.net", "HostName %h.net", "HostName %z", "HostName ${HOME}",
    "User ops", "User =root", "User 'a b'", "User it's", "User a=b",
    "IdentityFile ~/.ssh/%h", "IdentityFile none", "IdentityFile %d/k", "CertificateFile=c",
    "ProxyJump bastion", "ProxyJump none", "ProxyCommand nc -x 'a b' %h %p", "ProxyCommand none", "ProxyCommand",
    "ProxyCommand=nc %h", 'RemoteCommand "x"', "SendEnv A B", "SendEnv C", "UserKnownHostsFile none", "Nonsense yes",
    "ConnectTimeout 3", "Compression maybe", "Compression yes", "Ciphers no-such", "AddressFamily inet", "Tag t",
    "Match tagged t", "Match localuser *", "# comment", "", "  ", "=", '""', "IgnoreUnknown =",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.sampled_from(CONFIG_LINES), max_size=14),
    more=st.lists(st.sampled_from([line for line in CONFIG_LINES if "Include" not in line]), max_size=5),
    host=st.sampled_from(["edge", "edge-1", "h.net", "[e]dge"]),
    user=st.sampled_from([None, "ops"]),
    port=st.sampled_from([None, 2200]),
)
def test_the_same_as_asyncssh(
    home: Home, *, lines: list[str], more: list[str], host: str, user: str | None, port: int | None
) -> None:
    """But for a line of one `=`, on which asyncssh trips; without a value it says nothing.

    And asyncssh puts values for %h and the like at the end of an included file, before it has read the rest; ssh does
    so at the end of all.
    """
    config = home.write("config", "\n".join(lines))
    home.write("more", "\n".join(more))

    def theirs() -> asyncssh.SSHClientConnectionOptions:
        options = asyncssh.SSHClientConnectionOptions(
            host=host,
            port=() if port is None else port,
            username=() if user is None else user,
            config=[str(config)],
            client_keys=None,
            agent_path=None,
            known_hosts=None,
            gss_host=None,
            client_host_keysign=False,
        )
        if options.config.has_match_final():
            options.update(host=host, reload=True, canonical=False, final=True)
        return options

    def ours() -> asyncssh.SSHClientConnectionOptions:
        return read_config(Files(), [config], SSHSettings(host, port, user))

    def said(read: Callable[[], asyncssh.SSHClientConnectionOptions]) -> object:
        try:
            options = read()
        except ValueError as exc:
            return type(exc), str(exc)
        what = (options.host, options.port, options.username, options.tunnel, options.proxy_command, options.family)
        algorithms = (options.encryption_algs, options.compression_algs, options.connect_timeout)
        return what, algorithms, list(options.config.get_options(reload=False).items())

    includes = any("Include" in line for line in lines)
    if "=" in lines or (includes and ("=" in more or any("%" in line for line in (*lines, *more)))):
        said(ours)
    else:
        assert said(ours) == said(theirs)


def test_what_stands_behind_an_include_counts_too(home: Home) -> None:
    home.write("more", "ProxyCommand nc %h %p\n")
    home.write("config", "Include more\nHost edge\n  HostName h.net\n  Port 2222\n")
    assert resolve(SSHSettings("edge")).proxy_command == ("nc", "h.net", "2222")


def test_a_local_user_without_a_name(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError

    home.write("config", "")
    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(ConnectRefusedError, match="the local user has no name"):
        resolve(SSHSettings("edge"))


def test_a_match_exec_that_hangs_holds_up_nothing(home: Home) -> None:
    """Neither the error of this host nor the end of the loop, which waits for asyncio's own threads."""
    go_on = home.path / "go on"
    home.write("config", f"Match exec \"while test ! -e '{go_on}'; do sleep 0.1; done\"\n  User x\n")
    ended = threading.Event()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await Connector(SSHOptions(), Tasks()).jump(SSHSettings("edge"))

    def run() -> None:
        asyncio.run(main())
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    in_time = ended.wait(30)
    go_on.touch()
    thread.join()
    for other in threading.enumerate():
        if other.name == "ssh_config for edge":
            other.join()
    assert in_time


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
    assert found.extra["encryption_algs"][:2] == ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
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
