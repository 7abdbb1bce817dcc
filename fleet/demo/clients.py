"""VPN clients of a simulated daemon: who they are, and how one of them is connected at the moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count


@dataclass(frozen=True, slots=True)
class SimulatedClient:
    """A VPN client, connected or not.

    Attributes:
        common_name: as its certificate has it; the daemon of an old release shows it remapped.
        address: its real IPv4 or IPv6 address.
        port: its source port; None for one of the simulator's choice. A client that comes back has a new one.
        username: what it logged in with, None for certificates alone.
        virtual_address: None for one from the daemon's pool.
        virtual_ipv6_address: empty where the tunnel has no IPv6.
        routes: more rows of the routing table, as the daemon writes them: `10.55.0.0/24`, `10.8.0.7C`.
        connected_for: seconds that it is connected already when the daemon starts.
        bytes_received: the daemon's count when the daemon starts.
        bytes_sent: the daemon's count when the daemon starts.
        rate: bytes a second that both counters grow by.
        handshaking: it stays in mid-handshake: shown as UNDEF, not counted (protocol-facts 10.1).
        cipher: of the data channel.
    """

    common_name: str
    address: str = "198.51.100.1"
    port: int | None = None
    username: str | None = None
    virtual_address: str | None = None
    virtual_ipv6_address: str = ""
    routes: tuple[str, ...] = ()
    connected_for: float = 3600.0
    bytes_received: int = 0
    bytes_sent: int = 0
    rate: float = 0.0
    handshaking: bool = False
    cipher: str = "AES-256-GCM"


@dataclass(slots=True, eq=False)
class ClientInstance:
    """One connection of a client, what OpenVPN calls a client instance.

    Attributes:
        since: Unix time of the connect.
        counted_from: Unix time at which the counters had their start values.
        lingering: it was killed by `client-kill` over UDP and its row is still there (protocol-facts 4).
    """

    client: SimulatedClient
    client_id: int
    peer_id: int
    port: int
    since: float
    virtual_address: str
    bytes_received: int
    bytes_sent: int
    counted_from: float
    lingering: bool = False

    def received(self, now: float) -> int:
        """Bytes received up to Unix time `now`."""
        return self.bytes_received + int(self.client.rate * (now - self.counted_from))

    def sent(self, now: float) -> int:
        """Bytes sent up to Unix time `now`."""
        return self.bytes_sent + int(self.client.rate * (now - self.counted_from))


_PLACES = ("laptop", "phone", "office", "home", "kiosk", "till", "camera", "router")
_NAMES = ("anna", "bo", "carla", "deniz", "emil", "fatima", "goran", "hana", "ivo", "jule", "kofi", "lena", "mateo")


def believable_clients(number: int, *, seed: int = 0, longest: float = 900_000.0) -> Iterator[SimulatedClient]:
    """So many clients with names, addresses and traffic such as real servers have; the same for the same seed.

    Args:
        number: how many; their names differ from each other.
        seed: another one gives other clients.
        longest: seconds that the longest connected one is connected for.
    """
    names = len(_NAMES) * len(_PLACES)
    for index in range(number):
        mixed = index * 977 + seed * 7919  # two primes: neighbours have nothing in common
        place, name = divmod((index + seed * 17) % names, len(_NAMES))
        connected_for = 60.0 + mixed * 4_099 % max(1.0, longest - 60.0)
        rate = float(mixed * 131 % 4_000)
        yield SimulatedClient(
            f"{_NAMES[name]}-{_PLACES[place]}" + (f"-{index // names}" if index >= names else ""),
            address=f"{'203.0.113' if index % 3 else '198.51.100'}.{mixed % 254 + 1}",
            connected_for=connected_for,
            bytes_received=int(connected_for * rate),
            bytes_sent=int(connected_for * rate * 7),
            rate=rate,
        )


def source_ports() -> Iterator[int]:
    """Source ports of connecting clients, one after the other, for ever."""
    return (32_768 + number * 211 % 28_000 for number in count())


class Slots:
    """Numbers from 0 up; the lowest free one is given first, as OpenVPN gives peer IDs and pool addresses."""

    def __init__(self) -> None:
        self._fresh = count()
        self._free: list[int] = []

    def take(self) -> int:
        """The lowest number that is free."""
        return heappop(self._free) if self._free else next(self._fresh)

    def give_back(self, number: int) -> None:
        """The number is free again."""
        heappush(self._free, number)
