"""How one server is reached, and where each part of that comes from: `fleet inventory show`.

`fleet.transport.explain` imports this module late, since it imports asyncssh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from fleet.inventory.model import Origin, Server, SSHSettings
from fleet.transport import given
from fleet.transport.config import Config
from fleet.transport.explained import Setting
from fleet.transport.identities import Identity, Keyring
from fleet.transport.known_hosts import short
from fleet.transport.options import SSHOptions
from fleet.transport.resolve import Resolved, Resolver

_DEFAULT = "default"
_UNKNOWN = "none is known: fleet trust {name}"


def settings_of(server: Server, options: SSHOptions) -> tuple[Setting, ...]:
    """See `fleet.transport.explain`."""
    if server.ssh is None:
        return (Setting("connection", "local", _inventory(server.origins, "connection") or _DEFAULT),)
    options = given.with_hosts(options, [server])
    resolver = Resolver(options, Keyring())
    resolver.check()
    settings = given.settings_for(server.ssh, options)
    return tuple(_Explained(server, settings, options, resolver).all())


class _Explained:
    """One server's way."""

    def __init__(self, server: Server, settings: SSHSettings, options: SSHOptions, resolver: Resolver) -> None:
        self._server = server
        self._settings = settings
        self._options = options
        self._resolver = resolver
        self._resolved: Resolved = resolver.resolve(settings)  # first: it says what is wrong with the configuration
        self._config: Config = resolver.config(settings)

    def all(self) -> Iterator[Setting]:
        resolved, config = self._resolved, self._config
        yield Setting("host", self._settings.host, _inventory(self._server.origins, "ssh_host") or "name in inventory")
        yield Setting("address", resolved.host, self._of("Hostname") or _DEFAULT)
        yield Setting("port", resolved.port, self._first("port", "ssh_port", "Port"))
        yield Setting("user", resolved.user, self._user())
        yield from self._keys()
        yield from self._agent()
        yield from self._way()
        yield from self._host_keys()
        timeout = "--connect-timeout" if self._options.connect_timeout else self._of("ConnectTimeout") or _DEFAULT
        yield Setting("connect_timeout", resolved.connect_timeout, timeout)
        files = self._options.config_files
        if files is not None:
            yield Setting("ssh_config", tuple(map(short, files)), "--ssh-config")
        elif config.read:
            yield Setting("ssh_config", tuple(map(short, config.read)), _DEFAULT)

    def _of(self, option: str) -> str | None:
        """Where ssh_config says it."""
        places = self._config.places.get(option, ())
        return ", ".join(f"{short(path)}:{line}" for path, line in places) or None

    def _first(self, field: str, variable: str, option: str) -> str:
        """Where a value comes from that the inventory says before ssh_config."""
        if getattr(self._settings, field) is not None:
            return _inventory(self._server.origins, variable) or "inventory"
        return self._of(option) or _DEFAULT

    def _user(self) -> str:
        if self._options.user is not None:
            return "--user"
        origin = self._first("user", "ssh_user", "User")
        return "the user of this machine" if origin == _DEFAULT else origin

    def _keys(self) -> Iterator[Setting]:
        files = self._resolved.identities.files
        if self._options.private_key is not None:
            origin = "--private-key"
        else:
            origin = self._first("private_key", "private_key", "IdentityFile")
        yield Setting("private_key", tuple(map(_key, files)), origin)
        certificates = [f"{short(i.path)}-cert.pub" for i in files if i.certificate is not None]
        if certificates:
            yield Setting("certificate", tuple(certificates), "beside the key")
        if named := self._config.get("CertificateFile"):
            found = tuple(short(Path(name).expanduser()) for name in named)  # type: ignore[attr-defined]  # a list
            yield Setting("certificate_file", found, self._of("CertificateFile") or _DEFAULT)
        if self._resolved.identities.only:
            why = origin if self._settings.private_key is not None else self._of("IdentitiesOnly")
            yield Setting("identities_only", "yes", why or _DEFAULT)

    def _agent(self) -> Iterator[Setting]:
        agent = self._resolved.identities.agent
        yield Setting("agent", agent or None, self._of("IdentityAgent") or ("SSH_AUTH_SOCK" if agent else _DEFAULT))

    def _way(self) -> Iterator[Setting]:
        if given.is_direct(self._options):
            yield Setting("jump", None, "-J none")
            return
        hops = list(self._hops())
        if self._options.jump is not None and self._settings.jump is not None:
            origin = "-J"
        elif self._settings.jump is not None:
            origin = _inventory(self._server.origins, "jump") or "inventory"
        else:
            origin = self._of("ProxyJump") or _DEFAULT
        yield Setting("jump", ",".join(hops) or None, origin if hops else _DEFAULT)
        if self._resolved.proxy_command:
            yield Setting("proxy_command", " ".join(self._resolved.proxy_command), self._of("ProxyCommand") or _DEFAULT)

    def _hops(self) -> Iterator[str]:
        """The jump hosts as `user@address:port`, the first one first."""
        chain: list[str] = []
        hop, seen = self._resolved.jump, {self._settings}
        while hop is not None and hop not in seen:
            seen.add(hop)
            resolved = self._resolver.resolve(hop)
            host = f"[{resolved.host}]" if ":" in resolved.host else resolved.host
            chain.append(f"{resolved.user}@{host}:{resolved.port}")
            hop = resolved.jump
        return reversed(chain)

    def _host_keys(self) -> Iterator[Setting]:
        trust = self._resolved.trust
        if trust.name != self._resolved.host:
            yield Setting("host_key_alias", trust.name, self._of("HostKeyAlias") or _DEFAULT)
        if self._settings.host_keys:
            yield Setting("host_keys", self._settings.host_keys, _inventory(self._server.origins, "host_keys") or "")
            return
        origins = [self._of("UserKnownHostsFile"), self._of("GlobalKnownHostsFile")]
        said = ", ".join(origin for origin in origins if origin) or _DEFAULT
        yield Setting("known_hosts", tuple(map(short, trust.files)), said)
        keys = (*trust.keys.host, *trust.keys.authorities)
        shown = tuple(f"{key.get_algorithm()} {key.get_fingerprint()}" for key in keys)
        places = ", ".join(trust.known.places(trust.name, trust.port, keys))
        yield Setting("host_key", shown or _UNKNOWN.format(name=self._server.name), places or _DEFAULT)


def _inventory(origins: Mapping[str, Origin], variable: str) -> str | None:
    origin = origins.get(variable)
    return None if origin is None else str(origin)


def _key(identity: Identity) -> str:
    return f"{short(identity.path)} ({identity.problem})" if identity.problem else short(identity.path)
