"""What the command line says of the way to the servers."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.options import Options
from fleet.transport import SSHOptions


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
