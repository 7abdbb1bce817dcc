"""The way to a management endpoint: SSH connections, jump hosts and channels, or a socket of this machine.

The only room with asyncssh, which takes a third of a second to import: it is imported when the first `Transport` with
a server behind SSH is entered, never by importing this package.
"""

from fleet.inventory.model import Server
from fleet.transport.explained import Setting
from fleet.transport.options import SSHOptions
from fleet.transport.pool import Transport

__all__ = ["SSHOptions", "Setting", "Transport", "explain"]


def explain(server: Server, options: SSHOptions) -> tuple[Setting, ...]:
    """How a server is reached, and where each part of that comes from. Nothing is sent; it imports asyncssh.

    Args:
        server: of the inventory.
        options: what the command line says.

    Raises:
        UsageError: a file that the options name cannot be read, or their jump hosts cannot.
        ServerError: ssh_config cannot be used for this host.
    """
    from fleet.transport.library import load_asyncssh  # noqa: PLC0415 - ctypes, for what goes over SSH only

    load_asyncssh()
    from fleet.transport.origins import settings_of  # noqa: PLC0415 - asyncssh takes 0.3 s to import

    return settings_of(server, options)
