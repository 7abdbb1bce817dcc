"""The way to a management endpoint: SSH connections, jump hosts and channels, or a socket of this machine.

The only room with asyncssh, which takes a third of a second to import: it is imported when the first `Transport` with
a server behind SSH is entered, never by importing this package.
"""

from fleet.transport.options import SSHOptions
from fleet.transport.pool import Transport

__all__ = ["SSHOptions", "Transport"]
