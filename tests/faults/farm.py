"""Two hundred servers of which every tenth misbehaves, each in its own way; to be run in a process of its own.

    python -m faults.farm FOLDER        # writes the inventory there, prints a line when all listen, ends with its stdin

In a process of its own, because what is judged is fleet's memory, fleet's tasks and fleet's share of a processor.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import NEVER, SimulatedDaemon
from fleet.demo.farm import DEFAULT_ENDPOINT, Farm, KnownKey, Reach
from fleet.demo.serve import GARBAGE, Faults, ManagementServer, Reader, ReplyFault, Writer
from fleet.demo.workspace import write_workspace

SERVERS = 200
EVERY = 10

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\x08x"
"""What a terminal would obey: a title, a cleared screen, an 8-bit escape, a turned line, a return."""

Script = Callable[[Reader, Writer], Awaitable[None]]
Port = Callable[[], AbstractAsyncContextManager[int]]

_GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
_STATE = b"1795336588,CONNECTED,SUCCESS,10.8.0.1,,,,\r\nEND\r\n"
_HEADERS = (
    "TITLE\tOpenVPN 2.6.14 x86_64-pc-linux-gnu\r\nTIME\t2026-11-22 12:00:00\t1795336588\r\n"
    "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\tBytes Sent"
    "\tConnected Since\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher\r\n"
)
_ROW = (
    "CLIENT_LIST\t{0}\t203.0.113.9:5000\t10.8.0.6\t\t1\t2\t2026-11-22 12:00:00\t1795336588\t{1}\t0\t0\tAES-256-GCM\r\n"
)


# What the ends of a fleet may be


class _Scripted(ManagementServer):
    """A management interface that says what a function says."""

    def __init__(self, script: Script) -> None:
        super().__init__(SimulatedDaemon(), DEFAULT_ENDPOINT)
        self._script = script

    async def serve(self, reader: Reader, writer: Writer) -> None:
        try:
            with suppress(OSError):
                await self._script(reader, writer)
        finally:
            writer.close()


def _with_status(status: str) -> Script:
    """A daemon with this reply to `status 3`."""
    answers = {
        b"state": _STATE,
        b"status 3": status.encode("utf-8", "surrogateescape"),
        b"load-stats": b"SUCCESS: nclients=1,bytesin=1,bytesout=2\r\n",
        b"version": b"OpenVPN Version: OpenVPN 2.6.14 x86_64-pc-linux-gnu\r\nManagement Version: 5\r\nEND\r\n",
        b"pid": b"SUCCESS: pid=9\r\n",
        b"verb": b"SUCCESS: verb=3\r\n",
        b"verb 4": b"SUCCESS: verb level changed\r\n",
    }

    async def serve(reader: Reader, writer: Writer) -> None:
        writer.write(_GREETING)
        rest = b""
        while data := await reader.read(4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                writer.write(answers.get(line.strip(), b"ERROR: unknown command, enter 'help' for more options\r\n"))
            await writer.drain()

    return serve


async def _byte_a_second(reader: Reader, writer: Writer) -> None:
    writer.write(_GREETING)
    await reader.read(4096)
    for byte in _STATE.removesuffix(b"END\r\n") * 100:  # no reply's end, however long somebody waits
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def _flood(reader: Reader, writer: Writer) -> None:
    """Real-time messages without end: for a second as fast as they are taken, and then, for whoever pays, slower."""
    writer.write(_GREETING)
    await reader.read(4096)
    loop = asyncio.get_running_loop()
    until = loop.time() + 1
    while True:
        writer.write(b">LOG:1795336588,D,MANAGEMENT: a line of a flood\r\n" * 300)
        await writer.drain()
        await asyncio.sleep(0 if loop.time() < until else 0.1)


async def _endless_reply(reader: Reader, writer: Writer) -> None:
    writer.write(_GREETING)
    await reader.read(4096)
    while True:
        writer.write(b"1795336588,CONNECTED\r\n" * 700)
        await writer.drain()
        await asyncio.sleep(0)


async def _prompts(reader: Reader, writer: Writer) -> None:
    writer.write(b"ENTER PASSWORD:")
    while await reader.read(4096):
        writer.write(b"ENTER PASSWORD:")
        await writer.drain()


@asynccontextmanager
async def _black_hole() -> AsyncIterator[int]:
    """A port that takes no connection and refuses none: the queue of who listens there is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        async with AsyncExitStack() as stack:
            for _ in range(8):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                try:
                    async with asyncio.timeout(0.5):
                        await asyncio.get_running_loop().sock_connect(waiting, listener.getsockname())
                except TimeoutError:
                    break
            yield listener.getsockname()[1]


@asynccontextmanager
async def _resets() -> AsyncIterator[int]:
    """An SSH server that resets each connection in its handshake."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        with suppress(OSError):
            await reader.readline()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to misbehave.

    Attributes:
        name: the server's name has it.
        codes: what it may end with; none where it is answered all the same.
        waits: it ends when a clock of fleet's runs out, and not before.
        faults: of a simulated daemon's management interface.
        script: what stands in the place of one.
        port: what stands in the place of an SSH server.
        reach, known_key, accepts_key, forwarding: of its host.
        closed, busy, password: of its daemon.
    """

    name: str
    codes: tuple[str, ...]
    waits: bool = False
    faults: Faults | None = None
    script: Script | None = None
    port: Port | None = None
    reach: Reach = Reach.UP
    known_key: KnownKey = KnownKey.RIGHT
    accepts_key: bool = True
    forwarding: bool = True
    closed: bool = False
    busy: bool = False
    password: bytes | None = None


KINDS = (
    Kind("black-hole", ("connect-timeout",), waits=True, port=_black_hole),
    Kind("refused", ("connect-refused",), reach=Reach.DOWN),
    Kind("reset-in-the-handshake", ("connection-lost",), port=_resets),
    Kind("mute-sshd", ("connect-timeout",), waits=True, reach=Reach.SILENT),
    Kind("wrong-host-key", ("host-key-changed",), known_key=KnownKey.CHANGED),
    Kind("auth-refused", ("auth-failed",), accepts_key=False),
    Kind("forwarding-refused", ("forwarding-refused",), forwarding=False),
    Kind("management-closed", ("management-closed",), closed=True),
    Kind("busy", ("management-busy",), waits=True, busy=True),
    Kind("mute-after-the-greeting", ("reply-timeout",), waits=True, faults=Faults(reply=ReplyFault.SILENCE)),
    Kind("garbage-greeting", ("protocol",), faults=Faults(greeting=GARBAGE)),
    Kind("half-and-silence", ("reply-timeout",), waits=True, faults=Faults(reply=ReplyFault.HALF_THEN_SILENCE)),
    Kind("half-and-eof", ("connection-lost",), faults=Faults(reply=ReplyFault.HALF_THEN_HANG_UP)),
    Kind("byte-a-second", ("reply-timeout",), waits=True, script=_byte_a_second),
    Kind("endless-line", ("protocol",), faults=Faults(reply=ReplyFault.ENDLESS_LINE)),
    # Which of the two comes first, the limit or the clock, is a matter of the machine's speed.
    Kind("endless-reply", ("protocol", "reply-timeout"), script=_endless_reply),
    Kind("flood", ("reply-timeout",), waits=True, script=_flood),
    Kind("escapes", (), script=_with_status(f"{_HEADERS}{_ROW.format(EVIL, EVIL)}END\r\n")),
    Kind("row-without-end", ("protocol",), script=_with_status(_HEADERS + _ROW.format("alice", "y" * 400))),
    Kind("password-loop", ("management-password",), script=_prompts, password=b"secret"),
)


def names() -> Iterator[tuple[str, Kind | None]]:
    """Every server, and how it misbehaves if it does."""
    kinds = iter(KINDS)
    for number in range(SERVERS):
        kind = next(kinds) if number % EVERY == EVERY // 2 else None
        yield (f"s{number:03}-{kind.name}" if kind else f"s{number:03}"), kind


def _daemon(password: bytes | None = None) -> SimulatedDaemon:
    clients = [SimulatedClient(f"client-{number}", "203.0.113.9") for number in range(3)]
    return SimulatedDaemon("2.6.14", clients=clients, reconnect=NEVER, password=password)


async def _put(farm: Farm, name: str, kind: Kind | None) -> None:
    """Adds a server to the farm."""
    if kind is None:
        farm.add(name, _daemon(), group="good")
        return
    reach = Reach.DOWN if kind.port else kind.reach
    host = farm.add(name, _daemon(kind.password), group="bad", reach=reach, known_key=kind.known_key,
                    accepts_key=kind.accepts_key, forwarding=kind.forwarding)  # fmt: skip
    if kind.script is not None:
        host.management[""] = scripted = _Scripted(kind.script)
        scripted.daemon.password = kind.password
    server = host.management[""]
    server.faults = kind.faults or server.faults
    server.closed = kind.closed
    if kind.busy:
        await server.occupy()


async def serve(folder: Path) -> None:
    """Runs the farm until stdin ends; with each line that comes it says how many SSH connections are open."""
    farm = Farm()
    for name, kind in names():
        await _put(farm, name, kind)
    async with farm, AsyncExitStack() as stack:
        for name, kind in names():
            if kind is not None and kind.port is not None:
                farm.hosts[name].port = await stack.enter_async_context(kind.port())
        write_workspace(farm, folder)
        print("ready", flush=True)  # noqa: T201 - whoever started it waits for this
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(sum(host.open_connections for host in farm.hosts.values()), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
