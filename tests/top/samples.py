"""Samples of servers, as the rounds would give them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet.engine import Outcome
from fleet.errors import ConnectRefusedError, ServerError
from fleet.inventory.model import Server, TCPEndpoint
from fleet.management.replies import LogLine, State
from fleet.management.status import Client
from fleet.operations.rounds import Sample
from fleet.operations.status import ServerStatus
from fleet.top.glance import Glance

BEGIN = datetime(2026, 11, 22, 8, tzinfo=UTC)
REFUSED = ConnectRefusedError("port 22 refuses connections")


def server(name: str) -> Server:
    return Server(name, name, None, TCPEndpoint("127.0.0.1", 7505))


def client(name: str, number: int = 0, received: int | None = 0, sent: int | None = 0, **more: Any) -> Client:
    values = {"real_address": f"203.0.113.9:{40000 + number}", "virtual_address": f"10.8.0.{number + 2}", **more}
    return Client(name, bytes_received=received, bytes_sent=sent, connected_since=BEGIN, client_id=number, **values)


def status(clients: Sequence[Client] = (), received: int = 0, sent: int = 0, **more: Any) -> ServerStatus:
    values: dict[str, Any] = {"state": State(BEGIN, "CONNECTED"), "version": "2.6.14", **more}
    return ServerStatus(
        "OpenVPN", BEGIN, tuple(clients), (), {}, nclients=len(clients), bytes_in=received, bytes_out=sent, **values
    )


def sample(
    of: Server,
    what: ServerStatus | ServerError,
    at: float = 0.0,
    log: tuple[LogLine, ...] | None = None,
) -> Sample[Glance]:
    """What became of a server `at` seconds after the begin."""
    error = what if isinstance(what, ServerError) else None
    value = None if isinstance(what, ServerError) else Glance(what, log)
    return Sample(of, Outcome(of, 0.1, value, error), BEGIN + timedelta(seconds=at), at)
