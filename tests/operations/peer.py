"""Operations against daemons that live in memory: simulated ones of each release, and recorded or scripted ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.management import READ_BYTES, ManagementSession
from fleet.engine import Attempt
from fleet.inventory.model import Server, TCPEndpoint
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation
from fleet.session import Session, Stream
from support.replay import Daemon

T = TypeVar("T")

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
SERVER = Server("edge-1", "edge-1", None, TCPEndpoint("127.0.0.1", 7505))
REPLY_TIMEOUT = 20.0  # seconds, where a test does not want one to pass


class Peer:
    """A Stream to a simulated daemon.

    Attributes:
        written: every write, as it was made.
        before: called with each write before the daemon reads it: what happens on the way.
    """

    def __init__(self, daemon: SimulatedDaemon, before: Callable[[bytes], object] = lambda _data: None) -> None:
        self.written: list[bytes] = []
        self.before = before
        self._unread = bytearray()
        self._something = asyncio.Event()
        self._session = ManagementSession(daemon, self._wake)
        self._wake()

    @property
    def commands(self) -> list[str]:
        """The lines that were written."""
        return b"".join(self.written).decode("utf-8", "surrogateescape").splitlines()

    async def read(self) -> bytes:
        await self._something.wait()
        data = bytes(self._unread)
        self._unread.clear()
        if not self._session.ended:
            self._something.clear()
        return data

    async def write(self, data: bytes) -> None:
        self.before(data)
        self.written.append(data)
        for start in range(0, len(data), READ_BYTES):
            for answer in self._session.receive(data[start : start + READ_BYTES]):
                self._unread += answer.data
        self._wake()

    async def close(self) -> None:
        self._session.close()

    def _wake(self) -> None:
        self._unread += self._session.take()
        if self._unread or self._session.ended:
            self._something.set()


async def perform(
    operation: Operation[T], stream: Stream, *, attempt: Attempt | None = None, reply_timeout: float = REPLY_TIMEOUT
) -> Answer[T]:
    """What the operation makes of this daemon; what it warns of and has done is in `attempt`."""
    attempt = attempt or Attempt(SERVER)

    def sent(text: str | None) -> None:
        attempt.sent = text

    async with Session.open(
        stream, reply_timeout=reply_timeout, on_sent=sent, on_confirmed=attempt.confirmed.append
    ) as session:
        return await operation.perform(Conversation(session, attempt))


def scripted(
    answers: Mapping[str, str | list[str]], greeting: bytes = BANNER, *, hang_up_at: str | None = None
) -> Daemon:
    """A daemon that answers each line with its text, or with the next one of its texts; lines end in LF here."""

    def answer(line: bytes) -> bytes | None:
        command = line.decode("utf-8", "surrogateescape")
        if command == hang_up_at:
            daemon.hang_up()
        if daemon.eof:
            return None
        text = answers.get(command)
        if isinstance(text, list):
            text = text.pop(0)
        return None if text is None else text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")

    daemon = Daemon(greeting, answer)
    return daemon


def client(name: str, address: str = "10.0.0.1", port: int | None = None, **more: object) -> SimulatedClient:
    return SimulatedClient(name, address, port, **more)  # type: ignore[arg-type]  # a test's shorthand
