"""What is recorded of one server at one time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fleet.management.status import Client
from fleet.usage.schema import LARGEST

_LONGEST_TEXT = 512
"""Characters of a name or an address. Security limit; a daemon cuts its reply before such a row (protocol-facts 3)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of one daemon, all of one moment.

    Attributes:
        server: its name in the inventory.
        position: how many samples of this server the database had before the daemon was asked.
        time: when the daemon answered, on the clock of this machine.
        daemon_time: the same on the daemon's clock, or None where it did not say.
        pid: of the daemon's process.
        epoch: since when the daemon is CONNECTED, which is what client IDs are counted from (protocol-facts 11.3).
        clients: who is connected; nobody where that cannot be known just now, as in a restart.
        bytes_in: bytes received from all clients since the process began.
        bytes_out: bytes sent to them.
    """

    server: str
    position: int
    time: datetime
    daemon_time: datetime | None
    pid: int
    epoch: datetime | None
    clients: tuple[Client, ...]
    bytes_in: int
    bytes_out: int


class Standing(StrEnum):
    """What became of a sample."""

    FIRST = "first sample"
    RECORDED = "recorded"
    RESTARTED = "restarted"
    SUPERSEDED = "recorded by another run"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a sample added.

    Attributes:
        standing: what became of it.
        bytes_in: bytes that the daemon received since the sample before; None where the sample was not taken.
        bytes_out: bytes that it sent.
        sessions: established sessions that were seen.
        unclear: rows whose session could not be told from others, or whose numbers cannot be; their bytes are
            unattributed.
    """

    standing: Standing
    bytes_in: int | None = None
    bytes_out: int | None = None
    sessions: int = 0
    unclear: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """One established session, as a sample shows it.

    Attributes:
        client_id: None up to 2.3, where the real address stands for it (protocol-facts 3).
        connected_since: Unix time.
    """

    client_id: int | None
    real_address: str | None
    connected_since: int
    common_name: str | None
    username: str | None
    bytes_received: int
    bytes_sent: int

    @property
    def identity(self) -> tuple[int, int | str | None]:
        """What no other session of this epoch has (protocol-facts 10.2)."""
        return self.connected_since, self.real_address if self.client_id is None else self.client_id


def sessions_of(clients: Iterable[Client]) -> tuple[list[Seen], int]:
    """The established sessions that can be told from each other, and how many rows are no such.

    Those in mid-handshake are neither: when they are established they are seen for the first time, with all that was
    counted for them.
    """
    seen: list[Seen] = []
    unclear = 0
    for client in clients:
        if client.handshaking:
            continue
        session = _seen(client)
        if session is None:
            unclear += 1
        else:
            seen.append(session)
    times = Counter(session.identity for session in seen)
    sure = [session for session in seen if times[session.identity] == 1]
    return sure, unclear + len(seen) - len(sure)


def counted(clients: Iterable[Client]) -> tuple[int, int]:
    """The sums of what is counted for all rows, in and out, also for those in mid-handshake."""
    rows = [(client.bytes_received, client.bytes_sent) for client in clients]
    known = [(received, sent) for received, sent in rows if _is_real(received) and _is_real(sent)]
    return sum(received or 0 for received, _ in known), sum(sent or 0 for _, sent in known)


def _seen(client: Client) -> Seen | None:
    """The session of a row; None where it cannot be told, or its numbers are none that a daemon counts."""
    numbers = (client.bytes_received, client.bytes_sent, client.client_id or 0)
    texts = (client.common_name, client.username, client.real_address)
    if client.connected_since is None or not all(map(_is_real, numbers)):
        return None
    if client.client_id is None and client.real_address is None:
        return None
    if any(text is not None and len(text) > _LONGEST_TEXT for text in texts):
        return None
    return Seen(
        client.client_id,
        client.real_address,
        int(client.connected_since.timestamp()),
        client.common_name,
        client.username,
        client.bytes_received or 0,
        client.bytes_sent or 0,
    )


def _is_real(number: int | None) -> bool:
    return number is not None and 0 <= number <= LARGEST
