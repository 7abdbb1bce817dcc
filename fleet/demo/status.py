"""The rows of `status` in formats 1, 2 and 3, as each release writes them (protocol-facts 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.demo.clients import ClientInstance
from fleet.demo.releases import Release

ROW_BYTES = 512  # a row of format 2 or 3 that is as long as this ends the whole answer in silence (protocol-facts 3)
_CLIENT_COLUMNS_1 = "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since"
_ROUTE_COLUMNS = ("Virtual Address", "Common Name", "Real Address", "Last Ref", "Last Ref (time_t)")
_QUEUE = "Max bcast/mcast queue length"


class StatusWriter:
    """Writes the status of one moment."""

    def __init__(self, release: Release, protocol: str, instances: Iterable[ClientInstance], now: float) -> None:
        """Takes what is to be shown.

        Args:
            release: whose ways to follow.
            protocol: of the listening socket, as 2.7 writes it before a real address.
            instances: every client instance, mid-handshake and lingering ones too.
            now: Unix time.
        """
        self._release = release
        self._protocol = protocol
        self._instances = tuple(instances)
        self._now = now

    def lines(self, status_format: int) -> list[str]:
        """The whole answer, END included unless a row was too long."""
        if status_format == 1:
            return list(self._format_1())
        lines: list[str] = []
        for line in self._format_2("\t" if status_format == 3 else ","):  # noqa: PLR2004  (the format's own number)
            if len(line.encode("utf-8", "surrogateescape")) >= ROW_BYTES:
                return lines
            lines.append(line)
        return lines

    def _format_1(self) -> Iterator[str]:
        yield "OpenVPN CLIENT LIST"
        yield f"Updated,{self._release.date(self._now)}"
        yield _CLIENT_COLUMNS_1
        for instance in self._instances:
            columns = self._client(instance)
            yield ",".join(columns[name] for name in _CLIENT_COLUMNS_1.split(","))
        yield "ROUTING TABLE"
        yield ",".join(_ROUTE_COLUMNS[:4])
        for row in self._routes():
            yield ",".join(row[:4])
        yield "GLOBAL STATS"
        yield f"{_QUEUE},0"
        yield "END"

    def _format_2(self, separator: str) -> Iterator[str]:
        columns = self._release.client_columns
        yield separator.join(("TITLE", self._release.title))
        yield separator.join(("TIME", self._release.date(self._now), str(int(self._now))))
        yield separator.join(("HEADER", "CLIENT_LIST", *columns))
        for instance in self._instances:
            values = self._client(instance)
            yield separator.join(("CLIENT_LIST", *(values[name] for name in columns)))
        yield separator.join(("HEADER", "ROUTING_TABLE", *_ROUTE_COLUMNS))
        for row in self._routes():
            yield separator.join(("ROUTING_TABLE", *row))
        yield separator.join(("GLOBAL_STATS", _QUEUE, "0"))
        if self._release.series >= (2, 6):
            yield separator.join(("GLOBAL_STATS", "dco_enabled", "0"))
        yield "END"

    def _client(self, instance: ClientInstance) -> dict[str, str]:
        client = instance.client
        return {
            "Common Name": self._common_name(instance),
            "Real Address": self._real_address(instance),
            "Virtual Address": instance.virtual_address,
            "Virtual IPv6 Address": client.virtual_ipv6_address,
            "Bytes Received": str(instance.received(self._now)),
            "Bytes Sent": str(instance.sent(self._now)),
            "Connected Since": self._release.date(instance.since),
            "Connected Since (time_t)": str(int(instance.since)),
            "Username": "UNDEF" if client.username is None else self._release.name(client.username),
            "Client ID": str(instance.client_id),
            "Peer ID": str(instance.peer_id),
            "Data Channel Cipher": "BF-CBC" if client.handshaking else client.cipher,
        }

    def _routes(self) -> Iterator[tuple[str, ...]]:
        for instance in self._instances:
            if instance.client.handshaking:
                continue
            last_ref = (self._release.date(instance.since), str(int(instance.since)))
            for address in (
                instance.virtual_address,
                *filter(None, [instance.client.virtual_ipv6_address]),
                *instance.client.routes,
            ):
                yield (address, self._common_name(instance), self._real_address(instance), *last_ref)

    def _common_name(self, instance: ClientInstance) -> str:
        return "UNDEF" if instance.client.handshaking else self._release.name(instance.client.common_name)

    def _real_address(self, instance: ClientInstance) -> str:
        return self._release.real_address(self._protocol, instance.client.address, instance.port)
