"""What the command line says of each server's way, over what the inventory says: --user, --private-key and -J."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from fleet.errors import UsageError
from fleet.inventory.model import Server, SSHSettings
from fleet.transport.options import SSHOptions

_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]@]+))(?::(?P<port>\d+))?/?")
_NONE = "none"


def parse_jump(text: str, hosts: Mapping[str, SSHSettings] = MappingProxyType({})) -> SSHSettings:
    """The last jump host of `[user@]host[:port],...`; those before it are its `jump`.

    Args:
        text: the list.
        hosts: how those are reached that an inventory has. As for the `jump` of an inventory, user and port of the
            list win, and the first of the list is reached through its own jump host.

    Raises:
        ValueError: it is not such a list.
    """
    jump: SSHSettings | None = None
    for hop in text.split(","):
        match = _HOP.fullmatch(hop.strip())
        port = int(match["port"]) if match and match["port"] else None
        host = (match["v6"] or match["host"]).strip() if match else ""
        if match is None or not host or host.startswith("-") or (port is not None and not 0 < port < 2**16):
            raise ValueError(f"{hop.strip()!r} is not [user@]host[:port]")
        known = hosts.get(host, SSHSettings(host))
        jump = replace(known, port=port or known.port, user=match["user"] or known.user, jump=jump or known.jump)
    assert jump is not None  # noqa: S101 - split gives one piece at least
    return jump


def hosts_of_jump(text: str | None) -> tuple[str, ...]:
    """The names or addresses in a list of jump hosts; what cannot be read is left to `check`."""
    found = (_HOP.fullmatch(hop.strip()) for hop in (text or "").split(","))
    return tuple((match["v6"] or match["host"]).strip() for match in found if match)


def with_hosts(options: SSHOptions, servers: Sequence[Server]) -> SSHOptions:
    """The options with what the servers know of the jump hosts in them; all know the same."""
    return replace(options, jump_hosts=servers[0].jump_hosts) if options.jump is not None and servers else options


def is_direct(options: SSHOptions) -> bool:
    """Whether the command line rules jump hosts and ProxyCommands out (`-J none`)."""
    return options.jump is not None and options.jump.lower() == _NONE


def check(options: SSHOptions) -> None:
    """Looks at what can be wrong before anything is sent.

    Raises:
        UsageError: jump hosts that cannot be read, or a key file that cannot.
    """
    if options.jump is not None and not is_direct(options):
        try:
            parse_jump(options.jump)
        except ValueError as exc:
            raise UsageError(f"-J {options.jump}: {exc}", hint="as in ssh: -J ops@bastion:2222,inner") from exc
    if options.private_key is not None:
        try:
            with options.private_key.open("rb"):
                pass
        except OSError as exc:
            raise UsageError(
                f"--private-key {options.private_key} cannot be read: {exc.strerror}", hint="name a file that is there"
            ) from exc


def settings_for(inventory: SSHSettings, options: SSHOptions) -> SSHSettings:
    """A server's settings with those of the command line in them.

    A server that is itself the jump host is gone to without it, as in ssh, and as the inventory says where it has it.
    """
    settings = inventory
    if options.user is not None:
        settings = replace(settings, user=options.user)
    if options.private_key is not None:
        settings = replace(settings, private_key=options.private_key)
    if options.jump is not None:
        settings = replace(settings, jump=None if is_direct(options) else _before(settings, options))
    return settings


def _before(settings: SSHSettings, options: SSHOptions) -> SSHSettings | None:
    jumps = options.jump or ""
    written, jump = parse_jump(jumps), parse_jump(jumps, options.jump_hosts)
    same = (jump.host, jump.port or settings.port) == (settings.host, settings.port)
    if same and written.user in (None, settings.user):
        return settings.jump if written.host in options.jump_hosts else None
    return jump
