"""A farm of SSH servers with simulated daemons, in a process of its own.

    python -m bench.farmhouse FOLDER COUNT CLIENTS

It writes inventory, key and known_hosts into FOLDER, says `ready`, and goes on until its standard input ends.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from pathlib import Path

from bench.daemons import RELEASE
from fleet.demo.clients import believable_clients
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.workspace import write_workspace


async def serve(folder: Path, count: int, clients: int) -> None:
    """Serves until standard input ends."""
    farm = Farm()
    connected = list(believable_clients(clients))
    for number in range(count):
        farm.add(f"edge-{number:05}", SimulatedDaemon(RELEASE, clients=connected))
    async with farm:
        write_workspace(farm, folder, pins=False)
        gc.collect()
        gc.freeze()  # what ten thousand servers are made of is looked at no more: for seconds nobody would be served
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))  # each server listens on a port of its own
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
