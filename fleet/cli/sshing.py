"""What the command line says of the way to the servers."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path

from fleet.cli.options import Options
from fleet.cli.output import say
from fleet.transport import SSHOptions
from fleet.transport.descriptors import fitting


def forks_for(options: Options, servers: Sized) -> int:
    """How many of the servers to ask at a time: `--forks`, or fewer and a word why, where too few files may be open."""
    forks, why = fitting(options.forks, len(servers))
    say("" if options.quiet else why)
    return forks


def ssh_options(options: Options, *, keep: bool = False) -> SSHOptions:
    """The options of a transport.

    Args:
        options: of the command line; `-F none` is no ssh_config at all, as with ssh.
        keep: the servers are asked again and again.
    """
    files = None
    if options.ssh_config is not None:
        files = () if options.ssh_config.lower() == "none" else (Path(options.ssh_config).expanduser(),)
    return SSHOptions(
        config_files=files,
        connect_timeout=options.connect_timeout,
        user=options.user,
        private_key=None if options.private_key is None else Path(options.private_key).expanduser(),
        jump=options.jump,
        keep=keep,
    )
