"""Outcomes to Prometheus' text format, through its own library, which escapes what clients have chosen.

Names and units are by Prometheus' conventions: base units, `_total` for counters, `_info` for what only has labels,
times in seconds since 1970. Two rows never have equal labels: those of clients that cannot be told apart are added up.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from fleet.engine import Outcome
from fleet.management.status import Client
from fleet.operations.operation import Answer
from fleet.operations.probe import Probe
from fleet.render.text import escape

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
EXTRA: Final = "openvpn-fleet[metrics]"
"""What is installed for this module to work."""

MAX_LABEL: Final = 512
"""Security limit: characters of a label's value. A certificate's name has 64; a daemon could send a megabyte."""

_CLIENT_LABELS: Final = ("server", "common_name", "username", "client_id", "real_address")
_STATUSES: Final = ("ok", "failed", "unreachable", "not_attempted")

Outcomes = Sequence[Outcome[Answer[Probe]]]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at all servers.

    Attributes:
        outcomes: one for each server.
        ended: when the last of them was known, UTC.
        elapsed: seconds that it took.
        when: by server's name, when it was known what is known of it; those that are not named: when it ended.
        per_client: give the traffic of each client too.
    """

    outcomes: Outcomes
    ended: datetime
    elapsed: float
    when: Mapping[str, datetime] = field(default_factory=dict)
    per_client: bool = False


def available() -> bool:
    """Whether the library is installed; it is an extra."""
    return importlib.util.find_spec("prometheus_client") is not None


def metrics_text(scrape: Scrape) -> bytes:
    """The metrics of a look at all servers."""
    return _exposed([*_of_servers(scrape), *_of_clients(scrape), *_of_fleet(scrape)])


def age_text(seconds: float) -> bytes:
    """What goes behind the metrics where they are not of this moment.

    Args:
        seconds: since the look ended.
    """
    return _exposed([_gauge("fleet_round_age_seconds", "Seconds since the last complete round ended.", seconds)])


def _exposed(families: Sequence[Metric]) -> bytes:
    from prometheus_client.exposition import generate_latest  # noqa: PLC0415 - an extra, which takes 0.1 s to import
    from prometheus_client.registry import Collector  # noqa: PLC0415 - the same

    class Collected(Collector):
        def collect(self) -> Iterable[Metric]:
            return families

    return generate_latest(Collected())


def _gauge(name: str, text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - an extra, which takes 0.1 s to import

    return GaugeMetricFamily(name, text, value=value)


def _family(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Labels, float | None]]) -> Metric:
    """A counter where the name says so, else a gauge; rows without a value are left out."""
    from prometheus_client.core import (  # noqa: PLC0415 - an extra, which takes 0.1 s to import
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, text, labels=labels)
    for key, value in rows:
        if value is not None:
            family.add_metric([_label(one) for one in key], value)
    return family


def _label(text: str) -> str:
    """A label's value that any reader takes: UTF-8 without controls, and not longer than the limit."""
    return escape(text[:MAX_LABEL])


def _of_servers(scrape: Scrape) -> Iterator[Metric]:
    outcomes = scrape.outcomes
    probes = [(outcome.server, outcome.value.value) for outcome in outcomes if outcome.value is not None]

    def of_each(name: str, text: str, values: Iterable[tuple[str, float | None]]) -> Metric:
        return _family(name, text, ("server",), (((server,), value) for server, value in values))

    yield of_each(
        "openvpn_up",
        "Whether the server's daemon answered when it was last asked.",
        ((outcome.server.name, float(outcome.value is not None)) for outcome in outcomes),
    )
    yield _family(
        "openvpn_server_info",
        "The OpenVPN release of the server, and its state.",
        ("server", "version", "state"),
        (((server.name, probe.version, probe.state), 1) for server, probe in probes),
    )
    yield of_each(
        "openvpn_connected",
        "Whether the server's tunnel stands: its state is CONNECTED.",
        ((server.name, float(probe.connected)) for server, probe in probes),
    )
    yield of_each(
        "openvpn_state_since_timestamp_seconds",
        "When the server came into its state.",
        ((server.name, probe.since.timestamp() if probe.since else None) for server, probe in probes),
    )
    yield of_each(
        "openvpn_clients",
        "Established clients of the server.",
        ((server.name, probe.nclients) for server, probe in probes),
    )
    yield of_each(
        "openvpn_max_clients",
        "How many clients the server can take, as the inventory says.",
        ((outcome.server.name, outcome.server.max_clients) for outcome in outcomes),
    )
    yield of_each(
        "openvpn_received_bytes_total",
        "Bytes that the server received from clients since its process began.",
        ((server.name, probe.bytes_in) for server, probe in probes),
    )
    yield of_each(
        "openvpn_sent_bytes_total",
        "Bytes that the server sent to clients since its process began.",
        ((server.name, probe.bytes_out) for server, probe in probes),
    )


def _of_fleet(scrape: Scrape) -> Iterator[Metric]:
    outcomes = scrape.outcomes
    yield _family(
        "fleet_scrape_error",
        "What kept fleet from an answer of the server, by the code of fleet's error.",
        ("server", "code"),
        (((outcome.server.name, outcome.error.code), 1) for outcome in outcomes if outcome.error is not None),
    )
    yield _family(
        "fleet_scrape_duration_seconds",
        "How long it took to ask the server.",
        ("server",),
        (((outcome.server.name,), outcome.elapsed) for outcome in outcomes),
    )
    yield _family(
        "fleet_scrape_timestamp_seconds",
        "When the server's answer or error was known.",
        ("server",),
        (((one.server.name,), scrape.when.get(one.server.name, scrape.ended).timestamp()) for one in outcomes),
    )
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in _STATUSES}
    yield _family(
        "fleet_servers",
        "Servers that were asked, by what became of it.",
        ("status",),
        (((status,), count) for status, count in counts.items()),
    )
    yield _gauge("fleet_round_duration_seconds", "How long it took to ask all servers.", scrape.elapsed)
    yield _gauge("fleet_round_timestamp_seconds", "When all servers had been asked.", scrape.ended.timestamp())


# Clients


@dataclass(slots=True)
class _Traffic:
    """The clients of equal labels, which is one client but for old daemons that do not number theirs."""

    received: int | None = None
    sent: int | None = None
    since: float | None = None

    def add(self, client: Client) -> None:
        self.received = _sum(self.received, client.bytes_received)
        self.sent = _sum(self.sent, client.bytes_sent)
        if client.connected_since is not None:
            since = client.connected_since.timestamp()
            self.since = since if self.since is None else min(self.since, since)


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second


def _of_clients(scrape: Scrape) -> Iterator[Metric]:
    if not scrape.per_client:
        return
    found: dict[Labels, _Traffic] = {}
    for outcome in scrape.outcomes:
        for client in (outcome.value.value.clients or ()) if outcome.value is not None else ():
            if not client.handshaking:
                key = tuple(map(_label, _labels(outcome.server.name, client)))
                found.setdefault(key, _Traffic()).add(client)
    yield _family(
        "openvpn_client_received_bytes_total",
        "Bytes that the server received from the client in this session.",
        _CLIENT_LABELS,
        ((key, traffic.received) for key, traffic in found.items()),
    )
    yield _family(
        "openvpn_client_sent_bytes_total",
        "Bytes that the server sent to the client in this session.",
        _CLIENT_LABELS,
        ((key, traffic.sent) for key, traffic in found.items()),
    )
    yield _family(
        "openvpn_client_connected_since_timestamp_seconds",
        "When the client's session began.",
        _CLIENT_LABELS,
        ((key, traffic.since) for key, traffic in found.items()),
    )


def _labels(server: str, client: Client) -> Labels:
    """What tells a session from all others of the server.

    That is its client ID, which daemons before 2.4 do not have: there it is the address it comes from. An empty label
    is none to Prometheus.
    """
    numbered = client.client_id is not None
    return (
        server,
        client.common_name or "",
        client.username or "",
        str(client.client_id) if numbered else "",
        "" if numbered else str(client.real_address or ""),
    )
