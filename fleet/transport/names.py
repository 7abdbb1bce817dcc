"""From a host's name to a connected socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from fleet.transport.threads import Threads

MAX_LOOKUPS = 64
"""Names looked up at a time: as many as the default number of forks."""

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
Addresses = Sequence[Address]


class Names:
    """Looks up names in daemon threads: a resolver that hangs holds up neither the loop nor the end of the run."""

    def __init__(self) -> None:
        self._threads = Threads(MAX_LOOKUPS)

    async def lookup(self, host: str, port: int, family: int) -> Addresses:
        """The addresses of a name, in the system's order.

        Raises:
            OSError: socket.gaierror, the name has none.
            UnicodeError: the name cannot be one.
        """
        with contextlib.suppress(socket.gaierror):
            return _addresses(host, port, family, socket.AI_NUMERICHOST)
        return await self._threads.run(partial(_addresses, host, port, family, 0), f"look up {host}")


def _addresses(host: str, port: int, family: int, flags: int) -> Addresses:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)


async def connect_tcp(addresses: Addresses, local_address: tuple[str, int] | None, deadline: float) -> socket.socket:
    """A socket connected to the first address that answers.

    An address that does not answer has its share of the time only, so that the next one has some left.

    Args:
        addresses: where to; at least one.
        local_address: where from (BindAddress), or None.
        deadline: in the loop's time.

    Raises:
        OSError: what the last address said.
    """
    loop = asyncio.get_running_loop()
    for left in range(len(addresses) - 1, 0, -1):
        share = (deadline - loop.time()) / (left + 1)
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(share):
                return await _connect(addresses[-1 - left], local_address)
    return await _connect(addresses[-1], local_address)


async def _connect(address: Address, local_address: tuple[str, int] | None) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if local_address:
            sock.bind(local_address)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
