"""What the command line may say about SSH for all servers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.inventory.model import SSHSettings

DEFAULT_CONNECT_TIMEOUT = 10.0
"""Seconds, where neither the command line nor ssh_config says (contract, Running)."""


@dataclass(frozen=True, slots=True)
class SSHOptions:
    """Options of a run; what the inventory says about a host wins over ssh_config, and these win over both.

    Attributes:
        config_files: ssh_config files to read; None is the user's and the system's, as far as they are there; () is
            none at all.
        known_hosts: files to read instead of those that ssh_config names and instead of the usual ones.
        connect_timeout: seconds that an SSH connection may take (name look-up, TCP, key exchange and login, tries
            after a lost handshake included), that a channel through it may take after that, and that a connection
            to a socket of this machine may take. None is ssh_config's ConnectTimeout, else 10.
        user: who logs in to the servers; as in ssh, not to the jump hosts before them.
        private_key: the only key file that the servers are offered; as in ssh, not the jump hosts before them.
        jump: the jump hosts before each server as `ssh -J` takes them, `[user@]host[:port]` with commas between, the
            first one first; `none` is no jump host and no ProxyCommand at all.
        jump_hosts: how those of them are reached that the inventory has, by their names there.
        keep: servers are asked again and again: connections stay open until the transport is left and are seen
            to be alive; one that has died, or could not be made, is made anew when it is wanted again.
    """

    config_files: tuple[Path, ...] | None = None
    known_hosts: tuple[Path, ...] | None = None
    connect_timeout: float | None = None
    user: str | None = None
    private_key: Path | None = None
    jump: str | None = None
    jump_hosts: Mapping[str, SSHSettings] = field(default_factory=dict)
    keep: bool = False
