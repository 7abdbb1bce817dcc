"""A channel through an SSH connection, as a session wants it: read, write, close."""

from __future__ import annotations

from typing import Any

import asyncssh

from fleet.errors import ConnectionLostError
from fleet.inventory.model import ManagementEndpoint, UnixEndpoint
from fleet.transport import failures
from fleet.transport.tasks import Tasks

READ_SIZE = 256 * 1024
"""Security limit: the most bytes that one read gives."""

WINDOW = 2 * 1024 * 1024
"""Security limit: bytes that the SSH server may send ahead of what was read, per channel."""

_LOST = ("the SSH connection was lost", "try again; sshd's log on the host may say why")


class SSHStream:
    """A channel to a management endpoint."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        reader: asyncssh.SSHReader[bytes],
        writer: asyncssh.SSHWriter[bytes],
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """What has come, or b"" once the daemon has hung up.

        Raises:
            ConnectionLostError: the SSH connection was lost, which asyncssh may show as an end of file.
        """
        try:
            data = await self._reader.read(READ_SIZE)
        except (asyncssh.Error, OSError) as exc:
            raise ConnectionLostError(_LOST[0], hint=_LOST[1]) from exc
        if not data and self._connection.is_closed():
            raise ConnectionLostError(_LOST[0], hint=_LOST[1])
        return data

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer takes no more.

        Raises:
            ConnectionLostError: the channel or the SSH connection is gone.
        """
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (asyncssh.Error, OSError) as exc:
            raise ConnectionLostError("the channel was closed before all was sent", hint=_LOST[1]) from exc

    async def close(self) -> None:
        """Close the channel: sshd leaves the daemon, whose one session is free again. Waits for nothing."""
        self._writer.close()


async def open_channel(
    connection: asyncssh.SSHClientConnection, endpoint: ManagementEndpoint, *, tasks: Tasks, connect_timeout: float
) -> SSHStream:
    """A channel from the host to its management endpoint; no socket listens on this machine for it.

    Raises:
        ServerError: see `failures.of_channel`.
    """

    def abort(late: tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]) -> None:
        late[1].channel.abort()

    if isinstance(endpoint, UnixEndpoint):
        opening: Any = connection.open_unix_connection(endpoint.path, encoding=None, window=WINDOW)
    else:
        opening = connection.open_connection(endpoint.host, endpoint.port, encoding=None, window=WINDOW)
    try:
        reader, writer = await tasks.run(opening, late=abort, clock_timeout=connect_timeout)
    except Exception as exc:
        connected = not connection.is_closed()
        raise failures.of_channel(exc, endpoint, connect_timeout, connected=connected) from exc
    return SSHStream(connection, reader, writer)
