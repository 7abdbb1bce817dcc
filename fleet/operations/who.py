"""Who is meant: clients by common name, username, address or client id, in a daemon's own list of them.

The daemons spell addresses in many ways and leave out what they do not know (protocol-facts 3, 4, 10.3), so clients
are looked for in the list that the daemon gives, and never by what its `kill` would make of a text.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import ClassVar

from fleet.errors import CommandFailedError, UsageError
from fleet.management import commands
from fleet.management.status import Client, RealAddress, Route, Status, parse_real_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_WITHOUT_USERNAMES = re.compile(r"OpenVPN 2\.[0-2]\b")
_USERNAME_LIMIT = 4096  # bytes, of builds with PKCS11 (protocol-facts 3)


class Who(ABC):
    """Whom a command is about.

    Attributes:
        lasting: it means the same client later too, whatever connects and leaves in between.
    """

    __slots__ = ()
    lasting: ClassVar[bool] = True

    @abstractmethod
    def __str__(self) -> str:
        """In words, to go behind "no" or "1": `client 'alice'`."""

    @abstractmethod
    def find(self, status: Status) -> list[Client]:
        """The clients of a daemon that are meant, in its order.

        Raises:
            CommandFailedError: it cannot be told which are meant.
        """


@dataclass(frozen=True, slots=True)
class NameOrAddress(Who):
    """A common name, or a real address with its port that may also be a common name.

    Attributes:
        text: as the operator wrote it.
        address: the same read as a real address, or None where it is none.
    """

    text: str
    address: RealAddress | None

    def __str__(self) -> str:
        """`client 'alice'`."""
        return f"client '{self.text}'"

    def is_name_of(self, client: Client) -> bool:
        """The client's common name is exactly this text."""
        return client.common_name == self.text

    def find(self, status: Status) -> list[Client]:  # noqa: D102 - as the base says
        by_name = [client for client in status.clients if self.is_name_of(client)]
        by_address = [client for client in status.clients if self._is_address_of(client)]
        if by_name and any(client not in by_name for client in by_address):
            raise CommandFailedError(
                f"'{self.text}' is the common name of one client and the real address of another; nothing was killed",
                hint="kill the second by its common name, or with --real-address: fleet clients shows both",
            )
        if len(by_address) > 1:
            raise CommandFailedError(
                f"{len(by_address)} clients come from '{self.text}', and this daemon does not tell them apart by "
                "address; nothing was killed",
                hint="kill by common name: fleet clients shows them; or all of them with --real-address",
            )
        return by_name or by_address

    def _is_address_of(self, client: Client) -> bool:
        return client.real_address == self.text or (
            self.address is not None and comes_from(client, self.address, any_port=False)
        )


@dataclass(frozen=True, slots=True)
class Username(Who):
    """A username, exactly."""

    text: str

    def __str__(self) -> str:
        """`client with username 'bob'`."""
        return f"client with username '{self.text}'"

    def find(self, status: Status) -> list[Client]:  # noqa: D102 - as the base says
        if status.clients and _WITHOUT_USERNAMES.match(status.title):
            raise CommandFailedError(
                "this daemon does not report usernames (they came with OpenVPN 2.3); nothing was killed",
                hint="kill by common name: fleet clients shows them",
            )
        return [client for client in status.clients if client.username == self.text]


@dataclass(frozen=True, slots=True)
class From(Who):
    """A real address in any spelling; without a port everybody who comes from it."""

    text: str
    address: RealAddress

    def __str__(self) -> str:
        """`client from 203.0.113.9`."""
        return f"client from {self.text}"

    def find(self, status: Status) -> list[Client]:  # noqa: D102 - as the base says
        return [client for client in status.clients if comes_from(client, self.address, any_port=True)]


@dataclass(frozen=True, slots=True)
class VirtualAddress(Who):
    """A client's own address in the tunnel, which the server gives to another when the client has left."""

    lasting: ClassVar[bool] = False
    address: Address

    def __str__(self) -> str:
        """`client with virtual address 10.8.0.6`."""
        return f"client with virtual address {self.address}"

    def find(self, status: Status) -> list[Client]:  # noqa: D102 - as the base says
        return owners(status, self.address)


@dataclass(frozen=True, slots=True)
class ClientID(Who):
    """A client id, which means something on one server only, and until its tunnel restarts (protocol-facts 4)."""

    lasting: ClassVar[bool] = False
    number: int

    def __str__(self) -> str:
        """`client with id 5`."""
        return f"client with id {self.number}"

    def find(self, status: Status) -> list[Client]:  # noqa: D102 - as the base says
        if status.clients and all(client.client_id is None for client in status.clients):
            raise CommandFailedError(
                "this daemon reports no client ids (they came with OpenVPN 2.4); nothing was killed",
                hint="kill by common name: fleet clients shows them",
            )
        return [client for client in status.clients if client.client_id == self.number]


# What the command line says


def name_or_address(text: str) -> NameOrAddress:
    """A common name, or `IP:port` in any of the daemons' spellings.

    Raises:
        UsageError: it is empty, has a control character, is longer than a daemon can match (127 bytes), or is
            `UNDEF`, which is how the daemons write "no name".
    """
    if not text:
        raise UsageError("whom to kill is empty", hint="give a common name or a real address: fleet clients shows both")
    commands.check_argument(text, "the common name", limit=commands.COMMON_NAME_LIMIT)
    _refuse_undefined(text)
    spelled = as_daemons_spell(text)
    return NameOrAddress(spelled, parse_real_address(spelled))


def username(text: str) -> Username:
    """A username.

    Raises:
        UsageError: it is empty, has a control character, or is `UNDEF`, which is how the daemons write "no username".
    """
    if not text:
        raise UsageError("the username is empty")
    commands.check_argument(text, "the username", limit=_USERNAME_LIMIT)
    _refuse_undefined(text)
    return Username(as_daemons_spell(text))


def real_address(text: str) -> From:
    """A real address in any of the daemons' spellings, with a port or without.

    Raises:
        UsageError: it is none.
    """
    address = parse_real_address(text)
    if address is None:
        raise UsageError(f"'{text}' is no real address", hint="write IP, IP:port or [IPv6]:port, or as fleet clients")
    return From(text, address)


def virtual_address(text: str) -> VirtualAddress:
    """An IPv4 or IPv6 address.

    Raises:
        UsageError: it is none.
    """
    address = parse_address(text)
    if address is None:
        raise UsageError(f"'{text}' is no address", hint="write an IPv4 or IPv6 address as fleet clients shows it")
    return VirtualAddress(address)


def client_id(text: str) -> ClientID:
    """A client id.

    Raises:
        UsageError: it is no number that a daemon gives.
    """
    commands.client_kill(text)  # knows which numbers those are
    return ClientID(int(text))


def _refuse_undefined(text: str) -> None:
    if text == "UNDEF":
        raise UsageError(
            "UNDEF is what OpenVPN writes for a client without a name: a kill would hit everybody without one",
            hint="kill it by its real address: fleet clients shows it",
        )


def as_daemons_spell(text: str) -> str:
    """The text as a daemon's texts are read: whatever the locale made of the bytes that were typed, as UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


# Addresses of clients


def comes_from(client: Client, wanted: RealAddress, *, any_port: bool) -> bool:
    """The client comes from this address, in whatever spelling its daemon has for it.

    Args:
        client: the client.
        wanted: the address; a protocol that it names has to be the client's.
        any_port: a wanted address without a port is that of clients of any port.
    """
    real = parse_real_address(client.real_address or "")
    if real is None or real.address != wanted.address:
        return False
    if real.port != wanted.port and not (any_port and wanted.port is None):
        return False
    return wanted.protocol is None or _is_of_protocol(real, wanted.protocol)


def host_of(real_address: str | None) -> object:
    """Which machine a real address stands for, whatever the spelling and the port; a text that is none for itself."""
    real = parse_real_address(real_address or "")
    return real_address if real is None else real.address


def _is_of_protocol(real: RealAddress, wanted: str) -> bool:
    """`udp:` and `tcp:`, as 2.7's own `kill` has them, fit both address families; a daemon up to 2.6 tells neither."""
    families = {"udp": ("udp4", "udp6"), "tcp": ("tcp4-server", "tcp6-server")}
    return real.protocol in families.get(wanted.removesuffix("-server"), (wanted,))


def owners(status: Status, address: Address) -> list[Client]:
    """The clients whose own address in the tunnel this is.

    A daemon before 2.4 has IPv6 addresses in its routing table alone, and a bridge all of them.
    """
    by_row = [client for client in status.clients if address in virtual_addresses(client)]
    if by_row:
        return by_row
    routes = (route for route in status.routes if not route.cached and parse_address(route.virtual_address) == address)
    return clients_of(routes, status.clients)


def virtual_addresses(client: Client) -> tuple[Address, ...]:
    """The client's own addresses in the tunnel."""
    texts = (client.virtual_address, client.virtual_ipv6_address)
    return tuple(address for text in texts if (address := parse_address(text)) is not None)


def routes_to(status: Status, address: Address) -> list[Route]:
    """The routes to clients' subnets that cover the address, those of the longest prefix alone."""
    covering = [
        (network.prefixlen, route)
        for route in status.routes
        if not route.cached and (network := _parse_network(route.virtual_address)) is not None and address in network
    ]
    longest = max((length for length, _route in covering), default=0)
    return [route for length, route in covering if length == longest]


def clients_of(routes: Iterable[Route], clients: Sequence[Client]) -> list[Client]:
    """The clients that the routes lead to; one that has no row is made of its route (protocol-facts 10.5)."""
    found: list[Client] = []
    for route in routes:
        rows = [
            client
            for client in clients
            if (client.common_name, client.real_address) == (route.common_name, route.real_address)
        ]
        found += rows or [Client(common_name=route.common_name, real_address=route.real_address)]
    return [client for number, client in enumerate(found) if client not in found[:number]]


@lru_cache(maxsize=65_536)  # a look-up reads the addresses of thousands of clients, again with each look
def parse_address(text: str | None) -> Address | None:
    """The address, or None where the text is none: empty, a network, a MAC address."""
    try:
        return ip_address(text or "")
    except ValueError:
        return None


def _parse_network(text: str | None) -> Network | None:
    """`10.55.0.0/24`; None for what is no network."""
    if text is None or "/" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
