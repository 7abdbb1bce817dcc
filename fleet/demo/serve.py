"""A simulated daemon behind a stream: one session at a time, and every way in which a far end may misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.management import READ_BYTES, Answer, ManagementSession
from fleet.inventory.model import ManagementEndpoint, TCPEndpoint, UnixEndpoint

GARBAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
_FLOOD_LINE = b">LOG:1795336588,D,MANAGEMENT: a line of a flood\r\n"


class Reader(Protocol):
    """What is read from: a stream of asyncio or of asyncssh."""

    async def read(self, n: int = -1, /) -> bytes:
        """Up to `n` bytes, empty at EOF."""


class Writer(Protocol):
    """What is written to: a stream of asyncio or of asyncssh."""

    def write(self, data: bytes, /) -> None:
        """Queues bytes."""

    async def drain(self) -> None:
        """Waits until the queue is short."""

    def close(self) -> None:
        """Ends the stream once everything queued is sent."""


class ReplyFault(Enum):
    """What goes wrong in place of an answer."""

    SILENCE = "nothing comes"
    HANG_UP = "EOF instead"
    HALF_THEN_SILENCE = "the first half, then nothing"
    HALF_THEN_HANG_UP = "the first half, then EOF"
    ENDLESS_LINE = "a line that never ends"
    ENDLESS_REPLY = "lines without end"
    ENDLESS_NOTIFICATIONS = "real-time messages without end, never the answer"


@dataclass(frozen=True, slots=True)
class Faults:
    """How a management interface misbehaves; without arguments it does not.

    Attributes:
        greeting: bytes in place of the greeting, after which it never answers; b"" is a mute one.
        hang_up: EOF right after `greeting`.
        reply: what goes wrong with answers.
        command: only answers to this command are touched by `reply`, `reply_delay`, `released` and `notifications`;
            "" all.
        greeting_delay: seconds before the greeting.
        reply_delay: seconds before each answer.
        released: each answer waits until it is set.
        notifications: how many real-time messages stand before each answer.
        write_bytes: each write has at most so many; 0: as much as there is.
    """

    greeting: bytes | None = None
    hang_up: bool = False
    reply: ReplyFault | None = None
    command: str = ""
    greeting_delay: float = 0.0
    reply_delay: float = 0.0
    released: asyncio.Event | None = None
    notifications: int = 0
    write_bytes: int = 0


class ManagementServer:
    """The management interface of one daemon: who connects while another session lasts hears nothing.

    Attributes:
        daemon: whose interface it is.
        endpoint: where it listens, as the inventory writes it.
        faults: may be set at any time; a session has those of its begin.
        sessions: how many sessions there were that were greeted, or whatever came in place of the greeting.
    """

    def __init__(
        self, daemon: SimulatedDaemon, endpoint: str = "127.0.0.1:7505", *, faults: Faults | None = None
    ) -> None:
        """Nothing listens yet; see `serve` and `listening`."""
        self.daemon = daemon
        self.endpoint = endpoint
        self.faults = faults or Faults()
        self.sessions = 0
        self.closed = False
        self._turn = asyncio.Lock()  # first come, first served, as in the listen backlog (protocol-facts 6.2)

    @property
    def listens(self) -> bool:
        """Whether a connection is accepted; set `closed` for a daemon that runs without its interface."""
        return not self.closed and self.daemon.phase is not Phase.EXITED

    async def occupy(self) -> None:
        """Somebody else's session begins and lasts until `vacate`: the interface is busy."""
        await self._turn.acquire()

    def vacate(self) -> None:
        """The session of `occupy` ends; who waits is served."""
        self._turn.release()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Serves one connection from its begin to its end, once those before it are through."""
        try:
            async with self._turn:
                if self.listens:  # the backlog of a daemon that has gone is reset
                    self.sessions += 1
                    await _Conversation(self, reader, writer).run()
        except OSError:
            pass  # the management client is gone, and nothing of it is left to tidy up
        finally:
            writer.close()


class _Conversation:
    """One session over one stream."""

    def __init__(self, server: ManagementServer, reader: Reader, writer: Writer) -> None:
        self._faults = server.faults
        self._reader = reader
        self._writer = writer
        self._answering = True  # what comes unasked waits until the answer is written
        self._session = ManagementSession(server.daemon, self._wake)

    async def run(self) -> None:
        try:
            await asyncio.sleep(self._faults.greeting_delay)
            if self._faults.greeting is None:
                await self._write(self._session.take())
                await self._converse()
            else:
                await self._write(self._faults.greeting)
                if not self._faults.hang_up:
                    await self._ignore()
        finally:
            self._session.close()

    async def _converse(self) -> None:
        self._answering = False
        while not self._session.ended and (data := await self._reader.read(READ_BYTES)):
            self._answering = True
            for answer in self._session.receive(data):
                if not await self._answer(answer):
                    return
            await self._write(self._session.take())
            self._answering = False

    def _wake(self) -> None:
        if self._answering:
            return
        if data := self._session.take():
            with suppress(OSError):  # the management client is gone: its EOF is what is read next
                self._writer.write(data)
        if self._session.ended:
            self._writer.close()

    async def _answer(self, answer: Answer) -> bool:
        """Writes an answer, or what comes in its place; False: nothing more is to come."""
        faults = self._faults
        if not answer.command or faults.command not in ("", answer.command):
            await self._write(answer.data)
            return True
        await asyncio.sleep(faults.reply_delay)
        if faults.released is not None:
            await faults.released.wait()
        await self._write(_FLOOD_LINE * faults.notifications)
        match faults.reply:
            case None:
                await self._write(answer.data)
                return True
            case ReplyFault.SILENCE | ReplyFault.HALF_THEN_SILENCE:
                await self._write(_half(answer.data, faults.reply))
                await self._ignore()
            case ReplyFault.HANG_UP | ReplyFault.HALF_THEN_HANG_UP:
                await self._write(_half(answer.data, faults.reply))
            case _:
                await self._write_for_ever(answer.data, faults.reply)
        return False

    async def _write_for_ever(self, data: bytes, fault: ReplyFault) -> None:
        first_line = data[: data.find(b"\n") + 1]
        block = {
            ReplyFault.ENDLESS_LINE: b"x" * 16_384,
            ReplyFault.ENDLESS_REPLY: first_line * (16_384 // len(first_line) + 1),
            ReplyFault.ENDLESS_NOTIFICATIONS: _FLOOD_LINE * 300,
        }[fault]
        while True:  # ends when the stream does: `drain` raises, or the farm cancels
            self._writer.write(block)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def _write(self, data: bytes) -> None:
        size = self._faults.write_bytes or len(data)
        for start in range(0, len(data), size or 1):
            self._writer.write(data[start : start + size])
            await self._writer.drain()
            if self._faults.write_bytes:
                await asyncio.sleep(0)

    async def _ignore(self) -> None:
        """Reads whatever comes until EOF, and does nothing about it."""
        while await self._reader.read(READ_BYTES):
            pass


def _half(data: bytes, fault: ReplyFault) -> bytes:
    return data[: len(data) // 2] if fault.name.startswith("HALF") else b""


@asynccontextmanager
async def listening(server: ManagementServer, path: Path | None = None) -> AsyncIterator[ManagementEndpoint]:
    """Puts a management interface on a free port of 127.0.0.1, or on a unix socket; gives where.

    For servers with `connection: local`, and for tests of a session without SSH.
    """
    tasks: set[asyncio.Task[None]] = set()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _task: writer.close())  # one that was cancelled before it began has not

    endpoint: ManagementEndpoint
    if path is None:
        listener = await asyncio.start_server(accepted, "127.0.0.1", 0)
        endpoint = TCPEndpoint("127.0.0.1", listener.sockets[0].getsockname()[1])
    else:
        listener = await asyncio.start_unix_server(accepted, path)
        endpoint = UnixEndpoint(str(path))
    try:
        yield endpoint
    finally:
        for _ in range(3):
            await asyncio.sleep(0)  # turns from a connection to its task: asyncio loses one of a listener that closes
        listener.close()
        server.daemon.shut_down()
        await cancel(tasks)
        await listener.wait_closed()


async def cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancels tasks and waits until each has ended."""
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    for task in waiting:
        with suppress(asyncio.CancelledError):
            await task
