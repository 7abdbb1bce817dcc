"""Whether the rest of a group can take the clients of the servers that are about to drop them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.inventory.model import Inventory, Server

_EVERYBODY = ("all", "ungrouped")  # groups that nobody has made


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Servers of one group that drop their clients, and those that could take them.

    Attributes:
        group: its name.
        leaving: the servers that drop their clients.
        staying: the other servers of the group.
    """

    group: str
    leaving: tuple[Server, ...]
    staying: tuple[Server, ...]

    @property
    def servers(self) -> tuple[Server, ...]:
        """All of them."""
        return (*self.leaving, *self.staying)

    @property
    def guarded(self) -> bool:
        """Whether it can be told what the group can take: somebody's places are known, and it is more than one."""
        return len(self.servers) > 1 and any(server.max_clients is not None for server in self.servers)


@dataclass(frozen=True, slots=True)
class Shortage:
    """A group whose rest cannot take the clients of a batch.

    Attributes:
        group: its name.
        servers: those that drop their clients.
        clients: how many clients these have.
        free: how many more the rest of the group can take.
        unknown: servers of the rest whose places are not known: without `max_clients`, or without an answer.
    """

    group: str
    servers: tuple[str, ...]
    clients: int
    free: int
    unknown: tuple[str, ...] = ()


def group_of(server: Server, inventory: Inventory) -> str:
    """The group in which a server's clients find another one: the smallest that it is in, `all` where it is in none.

    Of several that are equally small it is the innermost.
    """
    own = [name for name in reversed(server.groups) if name not in _EVERYBODY]
    return min(own, key=lambda name: len(inventory.groups[name].servers), default="all")


class Groups:
    """The groups of an inventory, to look for room in."""

    def __init__(self, inventory: Inventory) -> None:
        """Finds the group of each server once."""
        self._by_name = {server.name: server for server in inventory.servers}
        self._members = {name: group.servers for name, group in inventory.groups.items()}
        self._group = {server.name: group_of(server, inventory) for server in inventory.servers}

    def neighbourhoods(self, batch: Iterable[str]) -> list[Neighbourhood]:
        """The groups of servers that drop their clients at the same time; those that can be guarded."""
        leaving: dict[str, list[str]] = {}
        for name in batch:
            leaving.setdefault(self._group[name], []).append(name)
        gone = {name for names in leaving.values() for name in names}
        found = (
            Neighbourhood(
                group,
                tuple(self._by_name[name] for name in names),
                tuple(self._by_name[name] for name in self._members[group] if name not in gone),
            )
            for group, names in leaving.items()
        )
        return [neighbourhood for neighbourhood in found if neighbourhood.guarded]


def shortages(found: Iterable[Neighbourhood], clients: Mapping[str, int | None]) -> list[Shortage]:
    """The groups whose rest cannot take the clients that are dropped.

    Args:
        found: the groups to look at.
        clients: how many clients each server has; None, or nothing, for one that does not say. It has no free place.
    """
    weighed = (_weigh(neighbourhood, clients) for neighbourhood in found)
    return [shortage for shortage in weighed if shortage.clients > shortage.free]


def _weigh(found: Neighbourhood, clients: Mapping[str, int | None]) -> Shortage:
    places = {server.name: _places(server, clients.get(server.name)) for server in found.staying}
    leaving = tuple(server.name for server in found.leaving)
    return Shortage(
        found.group,
        leaving,
        clients=sum(clients.get(name) or 0 for name in leaving),
        free=sum(free for free in places.values() if free is not None),
        unknown=tuple(name for name, free in places.items() if free is None),
    )


def _places(server: Server, clients: int | None) -> int | None:
    if server.max_clients is None or clients is None:
        return None
    return max(0, server.max_clients - clients)
