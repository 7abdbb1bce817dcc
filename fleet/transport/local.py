"""A management endpoint on this machine, without SSH (`connection: local`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from fleet.errors import ConnectionLostError, DNSError, ManagementBusyError, ManagementClosedError
from fleet.inventory.model import ManagementEndpoint, UnixEndpoint
from fleet.transport.names import Names, connect_tcp

READ_SIZE = 256 * 1024
"""Security limit: the most bytes that one read gives."""

CLOSE_TIMEOUT = 1.0
"""Seconds for what was written to leave when a socket is closed."""

QUEUE_PAUSE = 0.05
"""Seconds between two looks at a unix socket whose queue is full."""


class LocalStream:
    """A socket of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """What has come, or b"" once the daemon has hung up.

        Raises:
            ConnectionLostError: the connection was reset.
        """
        try:
            return await self._reader.read(READ_SIZE)
        except OSError as exc:
            raise _lost(exc) from exc

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer takes no more.

        Raises:
            ConnectionLostError: the daemon has gone.
        """
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as exc:
            raise _lost(exc) from exc

    async def close(self) -> None:
        """Close the socket."""
        self._writer.close()
        try:
            with contextlib.suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._writer.wait_closed()
        finally:
            self._writer.transport.abort()


async def open_local(endpoint: ManagementEndpoint, names: Names, connect_timeout: float) -> LocalStream:
    """A connection to a management endpoint of this machine.

    Args:
        endpoint: where to.
        names: looks up the endpoint's host.
        connect_timeout: seconds.

    Raises:
        ManagementClosedError: nobody listens there, or the socket may not be used.
        ManagementBusyError: the endpoint's queue stayed full (protocol-facts 6.2).
        DNSError: the endpoint's host has no address.
    """
    deadline = asyncio.get_running_loop().time() + connect_timeout
    try:
        async with asyncio.timeout_at(deadline):
            if isinstance(endpoint, UnixEndpoint):
                streams = await asyncio.open_unix_connection(sock=await _connect_unix(endpoint.path))
            else:
                addresses = await names.lookup(endpoint.host, endpoint.port, socket.AF_UNSPEC)
                streams = await asyncio.open_connection(sock=await connect_tcp(addresses, None, deadline))
    except TimeoutError as exc:
        raise ManagementBusyError(
            f"{endpoint} took no connection within {connect_timeout:g} s: another management client holds it",
            hint="see who is connected: ss -tnp and ss -xp",
        ) from exc
    except (socket.gaierror, UnicodeError) as exc:
        raise DNSError(f"the host of {endpoint} has no address", hint="correct management in the inventory") from exc
    except OSError as exc:
        raise ManagementClosedError(
            f"nobody can be reached on {endpoint}: {os.strerror(exc.errno) if exc.errno else exc}",
            hint="start the daemon, or correct management in the inventory; see ss -tlnp and ss -xlp",
        ) from exc
    return LocalStream(*streams)


async def _connect_unix(path: str) -> socket.socket:
    """A connected unix socket; a full queue is waited for, which asyncio takes for a connection that stands."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                await asyncio.sleep(QUEUE_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _lost(exc: OSError) -> ConnectionLostError:
    return ConnectionLostError(f"the connection to the daemon was lost: {exc.strerror or exc}", hint="try again")
