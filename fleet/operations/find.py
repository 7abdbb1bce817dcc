"""`find`: where somebody is connected, by name or address, and who else goes by the same name."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from fleet.errors import UsageError
from fleet.management import commands
from fleet.management.status import Client, RealAddress, Status, parse_real_address
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation, Row
from fleet.operations.status import list_connected
from fleet.operations.who import (
    Address,
    as_daemons_spell,
    clients_of,
    comes_from,
    host_of,
    owners,
    parse_address,
    routes_to,
)

_DUPLICATES_TOLD = 5
_TIMES = {2: "twice"}
_NUMBERS = {1: "one", 2: "two"}


@dataclass(frozen=True, slots=True)
class FoundClient:
    """One session that matches.

    Attributes:
        matched_by: which of its keys matched; `route` where the address is in a subnet behind it.
        route: that subnet, or None.
        also_on: the servers of other sessions with this common name, its own server among them where it has another.
    """

    common_name: str | None
    username: str | None
    virtual_address: str | None
    virtual_ipv6_address: str | None
    real_address: str | None
    connected_since: datetime | None
    client_id: int | None
    matched_by: str
    route: str | None = None
    also_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """Who was found on one server.

    Attributes:
        clients: the sessions that match.
        everybody: all clients of the server, for others of the same name.
    """

    clients: tuple[FoundClient, ...]
    everybody: tuple[Client, ...]


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for.

    Attributes:
        text: as the operator wrote it.
        pattern: the same as a glob, for names.
        real: the same as a real address, or None.
    """

    text: str
    pattern: re.Pattern[str]
    real: RealAddress | None

    @property
    def address(self) -> Address | None:
        """The same as an address in the tunnel, or None."""
        if self.real is None or self.real.port is not None or self.real.protocol is not None:
            return None
        return self.real.address

    def names(self, name: str | None) -> bool:
        """Whether this name is meant: by the glob, or just as it is written."""
        return name is not None and (name == self.text or self.pattern.match(name) is not None)

    def reason(self, client: Client) -> str | None:
        """Which key of the client's row matches, or None."""
        if self.names(client.common_name):
            return "common_name"
        if self.names(client.username):
            return "username"
        if self.real is not None and comes_from(client, self.real, any_port=True):
            return "real_address"
        for key in ("virtual_address", "virtual_ipv6_address"):
            if self.address is not None and parse_address(getattr(client, key)) == self.address:
                return key
        return None


def find(who: str) -> Operation[Found]:
    """Finds sessions by a glob on the common name or the username, or by an address in any spelling.

    An address is a real one, one in the tunnel, or one of a subnet that is routed to a client: then the longest
    prefix of each server counts. Each server is asked for its status, once.

    Raises:
        UsageError: what to find is empty, or nothing that a daemon could show.
    """
    if not who:
        raise UsageError("whom to find is empty", hint="give a common name, a username or an address")
    commands.check_argument(who, "what to find")
    text = as_daemons_spell(who)
    search = _Search(text, re.compile(fnmatch.translate(text)), parse_real_address(text))
    return Operation(
        "find",
        partial(_perform, search),
        (
            Column("common_name", Kind.TEXT, names=True),
            Column("virtual_address", Kind.TEXT),
            Column("real_address", Kind.TEXT),
            Column("connected_since", Kind.AGE, header="SINCE"),
            Column("matched_by", Kind.TEXT),
            Column("username", Kind.TEXT, wide=True),
            Column("client_id", Kind.COUNT, wide=True),
        ),
        lambda value: map(_row, value.clients),
        result=lambda value: {"clients": value.clients},
    )


def _row(client: FoundClient) -> Row:
    matched_by = client.matched_by.replace("_", " ")
    return (
        client.common_name,
        client.virtual_address or client.virtual_ipv6_address,
        client.real_address,
        client.connected_since,
        matched_by if client.route is None else f"{matched_by} {client.route}",
        client.username,
        client.client_id,
    )


async def _perform(search: _Search, conversation: Conversation) -> Answer[Found]:
    answer = await list_connected(conversation)
    return Answer(Found(tuple(_matches(search, answer.value)), answer.value.clients), answer.raw)


def _matches(search: _Search, status: Status) -> list[FoundClient]:
    """The sessions of one server that match, each once."""
    rows = [(client, reason) for client in status.clients if (reason := search.reason(client)) is not None]
    found = [_found(client, reason) for client, reason in rows]
    if search.address is None:
        return found
    known = [client for client, _reason in rows]
    own = owners(status, search.address)
    found += [_found(client, "virtual_address") for client in own if client not in known]
    if not own:
        for route in routes_to(status, search.address):
            behind = clients_of([route], status.clients)
            found += [_found(client, "route", route.virtual_address) for client in behind if client not in known]
    return found


def _found(client: Client, matched_by: str, route: str | None = None) -> FoundClient:
    return FoundClient(
        client.common_name,
        client.username,
        client.virtual_address,
        client.virtual_ipv6_address,
        client.real_address,
        client.connected_since,
        client.client_id,
        matched_by,
        route,
    )


# The same name more than once


@dataclass(frozen=True, slots=True)
class _Place:
    """One session of a name: on which server, and from which address."""

    server: str
    host: object


Places = Mapping[str, Sequence[_Place]]


def places_of_duplicates(found: Mapping[str, Found]) -> Places:
    """Where those who were found and are connected more than once are, by their common names.

    Args:
        found: what every server said, by its name.
    """
    names = {client.common_name for value in found.values() for client in value.clients} - {None}
    places: defaultdict[str, list[_Place]] = defaultdict(list)
    for server, value in found.items():
        for client in value.everybody:
            if client.common_name is not None and client.common_name in names:
                places[client.common_name].append(_Place(server, host_of(client.real_address)))
    return {name: where for name, where in places.items() if len(where) > 1}


def with_duplicates(server: str, found: Found, places: Places) -> Found:
    """The same with `also_on` filled in."""
    clients = (
        replace(client, also_on=_others(server, places.get(client.common_name or "", ()))) for client in found.clients
    )
    return replace(found, clients=tuple(clients))


def _others(server: str, places: Sequence[_Place]) -> tuple[str, ...]:
    servers = [place.server for place in places]
    if server in servers:
        servers.remove(server)  # the session itself
    return tuple(dict.fromkeys(servers))


def say_duplicates(places: Places) -> list[str]:
    """`alice is connected twice from two addresses: a shared certificate?`, a line for each name."""
    told = [_say_duplicate(name, where) for name, where in list(places.items())[:_DUPLICATES_TOLD]]
    more = len(places) - len(told)
    if more:
        told.append(f"{more} more {'name is' if more == 1 else 'names are'} connected more than once")
    return told


def _say_duplicate(name: str, places: Iterable[_Place]) -> str:
    hosts = [place.host for place in places]
    times = _TIMES.get(len(hosts), f"{len(hosts)} times")
    different = len(set(hosts))
    addresses = f"{_NUMBERS.get(different, different)} {'address' if different == 1 else 'addresses'}"
    why = (
        "a shared certificate?" if different > 1 else "an old session that has not timed out, or a shared certificate?"
    )
    return f"{name} is connected {times} from {addresses}: {why}"
