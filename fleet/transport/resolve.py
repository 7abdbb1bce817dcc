"""From a host's settings in the inventory, and ssh_config, to all that one SSH connection needs.

Every host has its own resolved settings: an asyncssh options object built with a configuration file for one host and
used for another connects to the first one's HostName. So none is ever shared, and asyncssh's `connect` is given plain
values and no configuration file.
"""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import asyncssh
from asyncssh.encryption import get_default_encryption_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs

from fleet.errors import ConnectRefusedError, UsageError
from fleet.inventory.model import SSHSettings
from fleet.transport.config import Config, Files, ReadFiles, WouldBlockError, as_options, default_files, parse_config
from fleet.transport.given import is_direct, parse_jump
from fleet.transport.identities import DEFAULT_FILES, Identities, Keyring, read_certificates
from fleet.transport.known_hosts import SSH_PORT, KnownHosts, short
from fleet.transport.options import DEFAULT_CONNECT_TIMEOUT, SSHOptions
from fleet.transport.trust import Pins, Trust

_GCM = (b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com")
_GCM_FIRST = tuple(name.decode("ascii") for name in dict.fromkeys((*_GCM, *get_default_encryption_algs())))
"""A fifth less CPU for a connection than with ChaCha20, which asyncssh would prefer. Spelled out, as patterns cost."""

KEPT_ALIVE = 5.0
"""Seconds of silence after which a kept connection is asked whether it lives; after three such it is given up."""

_ALGORITHMS = {
    "kex_algs": "KexAlgorithms",
    "encryption_algs": "Ciphers",
    "mac_algs": "MACs",
    "signature_algs": "CASignatureAlgorithms",
}
_GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")


@dataclass(frozen=True, slots=True)
class Resolved:
    """All that one SSH connection needs.

    Attributes:
        host: the name or address to connect to.
        name: the host as the inventory or ssh_config calls it, for messages.
        jump: the jump host, of the inventory or of ssh_config, or None.
        user_files: the user's known_hosts files, the one that a new key belongs into first.
        hashed: names are to be hashed there.
        command: an ssh command that goes the same way, for hints.
        connect_timeout: seconds for the whole connection.
        extra: further arguments of `asyncssh.connect`.
    """

    host: str
    port: int
    user: str
    name: str
    jump: SSHSettings | None
    proxy_command: tuple[str, ...] | None
    family: int
    local_address: tuple[str, int] | None
    trust: Trust
    identities: Identities
    user_files: tuple[Path, ...]
    hashed: bool
    command: str
    connect_timeout: float
    extra: Mapping[str, Any]


class Resolver:
    """Resolves hosts; files are read once per run. Its methods block: they are called in a worker thread."""

    def __init__(self, options: SSHOptions, keyring: Keyring) -> None:
        self._options = options
        self._keyring = keyring
        self._files = Files()
        self._known: dict[tuple[Path, ...], KnownHosts] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Look at the files that the command line names, before anything is sent.

        Raises:
            UsageError: one is missing or cannot be read.
        """
        for file in (*(self._options.config_files or ()), *(self._options.known_hosts or ())):
            try:
                with file.open("rb"):
                    pass
            except OSError as exc:
                raise UsageError(f"{file} cannot be read: {exc.strerror}", hint="name a file that is there") from exc

    def resolve(self, settings: SSHSettings) -> Resolved:
        """Settings of the inventory, then of ssh_config, then SSH's own defaults.

        Raises:
            ConnectRefusedError: ssh_config has an error for this host, so that no way leads there; its text names file
                and line.
            HostKeyUnknownError: a pin cannot be read.
        """
        return self._resolved(settings, self._files)

    def resolve_at_once(self, settings: SSHSettings) -> Resolved | None:
        """The same where it takes no time, as all files have been read before; else None.

        A thread for each of thousands of hosts costs more than what it does.

        Raises:
            ConnectRefusedError: as `resolve`.
            HostKeyUnknownError: as `resolve`.
        """
        try:
            return self._resolved(settings, ReadFiles(self._files))
        except WouldBlockError:
            return None

    def _resolved(self, settings: SSHSettings, files: Files) -> Resolved:
        try:
            return self._resolve(settings, files)
        except (OSError, ValueError) as exc:  # ConfigParseError and asyncssh's other complaints are ValueErrors
            message = f"ssh_config cannot be used for this host: {exc}"
            raise ConnectRefusedError(message, hint=f"see: {command(settings, self._options)} -G") from exc

    def _resolve(self, settings: SSHSettings, files: Files) -> Resolved:
        config = self._config(settings, files)
        waits = not isinstance(files, ReadFiles)
        options = as_options(config, settings)
        port, name = options.port, options.host_key_alias or options.host
        way = None if is_direct(self._options) else _way(options)
        jump = settings.jump or (_jump(settings, options) if way == "ProxyJump" else None)
        proxy_command = options.proxy_command if way == "ProxyCommand" and jump is None else None
        timeout = self._options.connect_timeout or options.connect_timeout or DEFAULT_CONNECT_TIMEOUT
        shown = replace(settings, jump=jump)
        trust = Trust(
            name=name,
            port=port,
            known=self._known_hosts(config, waits=waits),
            pins=Pins.parse(settings.host_keys) if settings.host_keys else None,
            configured=_host_key_algorithms(cast("str | None", config.get("HostKeyAlgorithms"))),
        )
        return Resolved(
            host=options.host,
            port=port,
            user=options.username,
            name=settings.host,
            jump=jump,
            proxy_command=tuple(proxy_command) if proxy_command else None,
            family=options.family,
            local_address=cast("tuple[str, int] | None", options.local_addr),
            trust=trust,
            identities=self._identities(settings, config, waits=waits),
            user_files=self._user_files(config),
            hashed=bool(config.get("HashKnownHosts")),
            command=command(shown, self._options, verbose=True),
            connect_timeout=timeout,
            extra=_extra(options, keep=self._options.keep),
        )

    def config(self, settings: SSHSettings) -> Config:
        """What ssh_config says for a host.

        Raises:
            OSError, ValueError: as `parse_config`.
        """
        return self._config(settings, self._files)

    def _config(self, settings: SSHSettings, files: Files) -> Config:
        paths = self._options.config_files
        return parse_config(files, default_files() if paths is None else paths, settings)

    def _user_files(self, config: Any) -> tuple[Path, ...]:
        if self._options.known_hosts is not None:
            return self._options.known_hosts
        names = config.get("UserKnownHostsFile", _USER_KNOWN_HOSTS)
        return tuple(Path(name).expanduser() for name in names if name != os.devnull)

    def _known_hosts(self, config: Any, *, waits: bool = True) -> KnownHosts:
        files = self._options.known_hosts
        if files is None:
            names = config.get("GlobalKnownHostsFile", _GLOBAL_KNOWN_HOSTS)
            files = (*self._user_files(config), *(Path(name).expanduser() for name in names))
        if not waits:
            if files not in self._known:
                raise WouldBlockError(files)
            return self._known[files]
        with self._lock:  # many hosts are resolved at once; the files are read by the first
            if files not in self._known:
                self._known[files] = KnownHosts(files)
            return self._known[files]

    def _identities(self, settings: SSHSettings, config: Any, *, waits: bool = True) -> Identities:
        if settings.private_key is not None:
            paths = [settings.private_key]
        else:
            names = config.get("IdentityFile")
            paths = [Path("~/.ssh", name) for name in DEFAULT_FILES] if names is None else [Path(n) for n in names]
        paths = [path.expanduser() for path in paths]
        if not waits and (config.get("CertificateFile") or not all(map(self._keyring.has_read, paths))):
            raise WouldBlockError(paths)
        found = [self._keyring.file(path) for path in paths]
        usual = settings.private_key is None and config.get("IdentityFile") is None
        return Identities(
            files=tuple(i for i in found if not (usual and i.problem and i.public is None and not i.path.exists())),
            certificates=read_certificates([Path(name).expanduser() for name in config.get("CertificateFile") or ()]),
            agent=_agent(config.get("IdentityAgent", "SSH_AUTH_SOCK")),
            only=settings.private_key is not None or bool(config.get("IdentitiesOnly")),
        )


def _agent(configured: str | None) -> str:
    if configured == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if configured and configured.startswith("$"):
        return os.environ.get(configured[1:].strip("{}"), "")
    return str(Path(configured).expanduser()) if configured else ""


def _way(options: asyncssh.SSHClientConnectionOptions) -> str | None:
    """Which of ProxyJump and ProxyCommand ssh_config says first, perhaps as `none`: the other does not count then."""
    said = options.config.get_options(reload=False)  # in the order in which they were set
    return next((option for option in said if option in {"ProxyJump", "ProxyCommand"}), None)


def _jump(settings: SSHSettings, options: asyncssh.SSHClientConnectionOptions) -> SSHSettings | None:
    """The jump host of ssh_config's ProxyJump, the last of a list being the nearest to the host."""
    if not isinstance(options.tunnel, str):
        return None
    try:
        jump = parse_jump(options.tunnel)
    except ValueError as exc:
        raise ValueError(f"ProxyJump {exc}") from exc
    # `Host *` with a ProxyJump matches the jump host too: ssh then leaves it out, and so does this
    same = jump.host == settings.host and jump.port in (None, options.port)
    return None if same and jump.user in (None, options.username) else jump


def _host_key_algorithms(configured: str | None) -> str | None:
    """HostKeyAlgorithms without those that asyncssh does not know: it would refuse the whole list for one of them."""
    if configured is None:
        return None
    prefix = configured[:1] if configured[:1] in "+-^" else ""
    known = [algorithm.decode("ascii") for algorithm in get_public_key_algs() + get_certificate_algs()]
    patterns = configured[len(prefix) :].split(",")
    usable = [pattern for pattern in patterns if any(fnmatchcase(algorithm, pattern) for algorithm in known)]
    return prefix + ",".join(usable) if usable else None


def _extra(options: asyncssh.SSHClientConnectionOptions, *, keep: bool) -> dict[str, Any]:
    config = options.config
    kept = KEPT_ALIVE if keep and config.get("ServerAliveInterval") is None else None
    extra: dict[str, Any] = {
        "encryption_algs": _GCM_FIRST,
        "tcp_keepalive": options.tcp_keepalive,
        "keepalive_interval": kept or options.keepalive_interval,
        "keepalive_count_max": options.keepalive_count_max,
        "public_key_auth": options.public_key_auth,
    }
    for argument, option in _ALGORITHMS.items():
        if config.get(option) is not None:
            extra[argument] = [algorithm.decode("ascii") for algorithm in getattr(options, argument)]
    if config.get("Compression") is not None:
        extra["compression_algs"] = [algorithm.decode("ascii") for algorithm in options.compression_algs]
    return extra


def command(settings: SSHSettings, options: SSHOptions, *, verbose: bool = False) -> str:
    """The ssh command that goes the same way, as a user would type it."""
    words = ["ssh"]
    if verbose:
        words.append("-v")
    if options.config_files:
        words += ["-F", str(options.config_files[0])]
    elif options.config_files == ():
        words += ["-F", "none"]
    if settings.private_key is not None:
        words += ["-i", short(settings.private_key)]
    if settings.port not in (None, SSH_PORT):
        words += ["-p", str(settings.port)]
    if settings.jump is not None:
        words += ["-J", ",".join(_hops(settings.jump))]
    words.append(f"{settings.user}@{settings.host}" if settings.user else settings.host)
    return " ".join(word if word.startswith("~/") else shlex.quote(word) for word in words)


def _hops(jump: SSHSettings) -> list[str]:
    host = f"[{jump.host}]" if ":" in jump.host else jump.host
    hop = (f"{jump.user}@" if jump.user else "") + host + (f":{jump.port}" if jump.port else "")
    return [*(_hops(jump.jump) if jump.jump else []), hop]
