"""How many shards a run has, and which servers are in which: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.inventory.model import Server, SSHSettings

FROM_SERVERS = 1000
"""So many servers are worth more than one process."""

SERVERS_A_WORKER = 400
"""So many outweigh what a process costs to start."""


def workers_for(servers: int, cpus: int) -> int:
    """How many processes ask so many servers where nobody says how many.

    Args:
        servers: that are asked.
        cpus: that this process may use.
    """
    return 1 if servers < FROM_SERVERS else max(1, min(cpus, servers // SERVERS_A_WORKER))


def split(servers: Iterable[Server], count: int) -> list[tuple[Server, ...]]:
    """The servers in shards of about the same size, at most `count` and none of them empty.

    All daemons of a host are in one shard: they share its connection, and two names of one daemon its lock. Hosts
    that stand beside each other in the inventory, and so may be out of reach together, are in different ones.
    """
    hosts: dict[object, list[Server]] = {}
    for server in servers:
        hosts.setdefault(_way(server), []).append(server)
    shards: list[list[Server]] = [[] for _ in range(count)]
    sizes = [0] * count
    for together in hosts.values():
        smallest = sizes.index(min(sizes))
        shards[smallest] += together
        sizes[smallest] += len(together)
    return [tuple(shard) for shard in shards if shard]


def portions(total: int, count: int) -> Sequence[int]:
    """A number in `count` parts that differ by one at most; each is 1 or more."""
    return [max(1, total // count + (index < total % count)) for index in range(count)]


def _way(server: Server) -> object:
    """What servers have in common that belong together; how the inventory spells it does not count."""
    if server.ssh is None:
        return str(server.management)
    way = []
    hop: SSHSettings | None = server.ssh
    while hop is not None:
        way.append((hop.host.lower(), hop.port))
        hop = hop.jump
    return tuple(way)
