"""Simulated management daemons on loopback, one for each address: what stands behind the sshd of a benchmark.

    python -m bench.daemons FIRST COUNT PORT CLIENTS

Each of COUNT addresses of 127.0.0.0/8 has its own, on PORT. It says `ready` and goes on until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys

from fleet.demo.clients import believable_clients
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import ManagementServer, cancel

RELEASE = "2.6.14"
_BACKLOG = 64


async def serve(addresses: list[str], port: int, clients: int) -> None:
    """Serves until standard input ends."""
    tasks: set[asyncio.Task[None]] = set()
    listeners = []
    loop = asyncio.get_running_loop()
    connected = list(believable_clients(clients))
    for address in addresses:
        server = ManagementServer(SimulatedDaemon(RELEASE, clients=connected), f"{address}:{port}")

        def accepted(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: ManagementServer = server
        ) -> None:
            task = asyncio.ensure_future(server.serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        listeners.append(await asyncio.start_server(accepted, address, port, backlog=_BACKLOG))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    for listener in listeners:
        listener.close()
    await cancel(tasks)


def address(number: int) -> str:
    """The loopback address of a server, counted from 0."""
    return f"127.77.{number // 250}.{number % 250 + 1}"


if __name__ == "__main__":
    first, count, port, clients = map(int, sys.argv[1:])
    asyncio.run(serve([address(number) for number in range(first, first + count)], port, clients))
