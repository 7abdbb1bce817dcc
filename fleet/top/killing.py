"""What top needs of whoever can disconnect a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fleet.inventory.model import Server
from fleet.management.status import Client


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked before a client is disconnected.

    Attributes:
        lines: what would be done, control characters escaped.
        do: does it, and says what came of it.
    """

    lines: tuple[str, ...]
    do: Callable[[], Awaitable[str]]


class Killer(Protocol):
    """Disconnects clients, and keeps the record of it."""

    async def prepare(self, server: Server, client: Client) -> Question | str:
        """Looks at what would be done, changing nothing; or says why it cannot be."""
        ...
