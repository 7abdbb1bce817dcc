"""A long link to a server on this machine, which counts the round trips that its client has waited for.

    async with Link(port).running() as link:
        ...                                  # connect to 127.0.0.1, link.port
    assert link.trips == 6

Every byte is half a round trip on its way, however many there are. Round trips are not told by the clock, which also
measures how busy the machine is, but by cause and effect: what a server says may be the answer to all that had reached
it, and is one trip further than that; what a client says may follow from all that had reached it. The handshake of TCP,
which the kernel would do here at once, is waited for and counted too.

By hand, from the tests' folder; of each connection that has ended the trips are printed:

    python -m support.link ADDRESS PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

ONE_WAY = 0.1
"""Seconds from one end to the other: a link to another continent."""

_CHUNK = 256 * 1024


@dataclass
class Passage:
    """One connection over the link.

    Attributes:
        trips: round trips behind what the client has got.
        reached: round trips behind what the server has got.
        flights: what the client sent, by the trips that it had behind it then.
    """

    trips: int = 1
    reached: int = 1
    flights: dict[int, bytes] = field(default_factory=dict)

    def sent(self, data: bytes) -> int:
        """The client sends; the trips behind it."""
        self.flights[self.trips] = self.flights.get(self.trips, b"") + data
        return self.trips

    def answered(self, _data: bytes) -> int:
        """The server sends; the trips that it will be behind it."""
        return self.reached + 1

    def up(self, trips: int) -> None:
        """It has reached the server."""
        self.reached = max(self.reached, trips)

    def down(self, trips: int) -> None:
        """It has reached the client."""
        self.trips = max(self.trips, trips)


@dataclass
class Link:
    """A link to a port of this machine.

    Attributes:
        one_way: seconds from one end to the other.
        passages: its connections, in order.
        ended: told of a connection that is over.
    """

    to: int
    host: str = "127.0.0.1"
    one_way: float = ONE_WAY
    port: int = 0
    passages: list[Passage] = field(default_factory=list)
    ended: Callable[[Passage], None] = lambda _passage: None

    @property
    def trips(self) -> int:
        """Round trips of the last connection."""
        return self.passages[-1].trips

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Link]:
        """Listen on a free port of 127.0.0.1."""
        serving: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            serving.add(task)
            task.add_done_callback(serving.discard)

        listening = await asyncio.start_server(accepted, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listening.close()
            for task in serving:
                task.cancel()
            if serving:
                await asyncio.wait(set(serving))
            await listening.wait_closed()

    async def _serve(self, near: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        passage = Passage()
        self.passages.append(passage)
        writers = [client]
        try:
            await asyncio.sleep(3 * self.one_way)  # SYN, its answer, and what the client sends behind that
            far, server = await asyncio.open_connection(self.host, self.to)
            writers.append(server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(near, server, passage.sent, passage.up, at_once=True))
                both.create_task(self._carry(far, client, passage.answered, passage.down))
        except OSError:
            pass  # nobody listens there, and the client sees its connection close
        finally:
            for writer in writers:
                writer.transport.abort()
            self.ended(passage)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        leaves: Callable[[bytes], int],
        arrives: Callable[[int], None],
        *,
        at_once: bool = False,
    ) -> None:
        """Carries what comes from one end to the other, until its end.

        Args:
            reader: the end that it comes from.
            writer: the end that it goes to.
            leaves: told of each piece that sets out; gives the trips behind it.
            arrives: told of these when it is there.
            at_once: the first piece has been on its way for long enough.
        """
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, int, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            data = b"-"
            while data:
                due, trips, data = await under_way.get()
                await asyncio.sleep(max(due - loop.time(), 0.0))
                with contextlib.suppress(OSError):  # that end has hung up; the other one will see it
                    if data:
                        arrives(trips)
                        writer.write(data)
                        await writer.drain()
                    else:
                        writer.write_eof()

        async with asyncio.TaskGroup() as delivering:
            delivering.create_task(deliver())
            data = b"-"
            while data:
                try:
                    data = await reader.read(_CHUNK)
                except ConnectionError:
                    data = b""
                delay, at_once = 0.0 if at_once else self.one_way, False
                under_way.put_nowait((loop.time() + delay, leaves(data), data))


async def _by_hand(host: str, port: int) -> None:
    def ended(passage: Passage) -> None:
        sys.stdout.write(f"{passage.trips} round trips\n")
        sys.stdout.flush()

    async with Link(port, host, ended=ended).running() as link:
        sys.stdout.write(f"127.0.0.1 {link.port} leads to {host} {port}, {2 * ONE_WAY:g} s there and back\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_by_hand(sys.argv[1], int(sys.argv[2])))
