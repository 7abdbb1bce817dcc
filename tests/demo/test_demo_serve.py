"""The simulated daemon behind a plain socket: one session at a time, and the faults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.demo.clients import SimulatedClient, believable_clients
from fleet.demo.clock import ManualClock
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import GARBAGE, Faults, ManagementServer, ReplyFault
from fleet.inventory.model import TCPEndpoint, UnixEndpoint
from support.farm import Listen

BANNER = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(endpoint: object) -> Streams:
    if isinstance(endpoint, UnixEndpoint):
        return await asyncio.open_unix_connection(endpoint.path)
    assert isinstance(endpoint, TCPEndpoint)
    return await asyncio.open_connection(endpoint.host, endpoint.port)


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.1):
            return not await reader.read(1)
    except TimeoutError:
        return True


async def leave(*streams: Streams) -> None:
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()


async def test_a_session_over_tcp_and_over_a_unix_socket(listen: Listen, tmp_path: Path) -> None:
    for path in (None, tmp_path / "mgmt.sock"):
        daemon = SimulatedDaemon()
        streams = reader, writer = await connect(await listen(daemon, path))
        assert await reader.readline() == BANNER
        writer.write(b"pid\n")
        assert await reader.readline() == f"SUCCESS: pid={daemon.pid}\r\n".encode()
        writer.write(b"pid\nexit\n")
        assert await reader.read() == b""
        await leave(streams)


async def test_others_hear_nothing_and_are_served_in_order(listen: Listen) -> None:
    server = ManagementServer(SimulatedDaemon())
    endpoint = await listen(server)
    first = await connect(endpoint)
    assert await first[0].readline() == BANNER
    second, third, fourth = [await connect(endpoint) for _ in range(3)]
    second[1].write(b"verb\n")  # runs once it is served
    assert await silent(second[0])
    assert await silent(fourth[0])
    await leave(third)  # gave up; it is skipped
    await leave(first)
    assert await second[0].readline() == BANNER
    assert await second[0].readline() == b"SUCCESS: verb=3\r\n"
    await leave(second)
    assert await fourth[0].readline() == BANNER
    await leave(fourth)


class _Gone:
    """A stream whose other end has closed, as asyncssh's is in the turn before its EOF is read."""

    written = closed = False

    def __init__(self) -> None:
        self.greeted = asyncio.Event()

    def write(self, data: bytes, /) -> None:
        if data != BANNER:
            self.written = True
            raise BrokenPipeError("Channel not open for sending")
        self.greeted.set()

    async def drain(self) -> None: ...

    def close(self) -> None:
        self.closed = True


async def test_what_happens_as_the_session_is_closed_happens() -> None:
    daemon = SimulatedDaemon()
    reader, gone = asyncio.StreamReader(), _Gone()
    session = asyncio.create_task(ManagementServer(daemon).serve(reader, gone))
    await gone.greeted.wait()
    daemon.connect(SimulatedClient("Test-Client"))
    assert gone.written
    assert [one.client.common_name for one in daemon.instances] == ["Test-Client"]
    reader.feed_eof()
    await session
    assert gone.closed


async def test_a_busy_interface(listen: Listen) -> None:
    server = ManagementServer(SimulatedDaemon())
    await server.occupy()
    reader, writer = await connect(await listen(server))
    assert await silent(reader)
    assert server.sessions == 0
    server.vacate()
    assert await reader.readline() == BANNER
    assert server.sessions == 1
    await leave((reader, writer))


async def test_what_comes_unasked_is_written_at_once(listen: Listen) -> None:
    clock = ManualClock()
    daemon = SimulatedDaemon(clients=believable_clients(1), clock=clock)
    reader, writer = await connect(await listen(daemon))
    assert await reader.readline() == BANNER
    writer.write(b"kill anna-laptop\n")
    assert (await reader.readline()).startswith(b"SUCCESS")
    clock.advance(32)
    assert await reader.readline() == b">CLIENT:ESTABLISHED,1\r\n"
    await leave((reader, writer))


async def test_sigterm_ends_the_session_and_those_who_wait(listen: Listen) -> None:
    clock = ManualClock()
    server = ManagementServer(SimulatedDaemon(clock=clock))
    endpoint = await listen(server)
    first, second = [await connect(endpoint) for _ in range(2)]
    first[1].write(b"state on\nsignal SIGTERM\n")
    received = [await first[0].readline() for _ in range(3)]
    assert received[-1] == b"SUCCESS: signal SIGTERM thrown\r\n"
    clock.advance(1)
    assert b",EXITING,SIGTERM," in await first[0].read()
    assert await second[0].read() == b""
    assert not server.listens
    await leave(first, second)


async def answer_to(listen: Listen, faults: Faults, command: bytes = b"status 3\n", size: int = -1) -> bytes:
    """What comes until EOF, or the first `size` bytes, with the greeting."""
    reader, writer = await connect(await listen(SimulatedDaemon(clients=believable_clients(5)), faults=faults))
    writer.write(command)
    received = await (reader.read() if size < 0 else reader.readexactly(size))
    await leave((reader, writer))
    return received


async def test_garbage_for_a_greeting(listen: Listen) -> None:
    assert await answer_to(listen, Faults(greeting=GARBAGE, hang_up=True), b"") == GARBAGE


async def test_mute_and_silent_ones(listen: Listen) -> None:
    for faults in (Faults(greeting=b""), Faults(reply=ReplyFault.SILENCE)):
        reader, writer = await connect(await listen(SimulatedDaemon(), faults=faults))
        if faults.reply:
            assert await reader.readline() == BANNER
        writer.write(b"pid\n")
        assert await silent(reader)
        await leave((reader, writer))


async def test_answers_that_break_off(listen: Listen) -> None:
    whole = len(await answer_to(listen, Faults(), b"status 3\n", 1500))
    assert whole == 1500
    assert await answer_to(listen, Faults(reply=ReplyFault.HANG_UP)) == BANNER
    half = await answer_to(listen, Faults(reply=ReplyFault.HALF_THEN_HANG_UP))
    assert b"TITLE\t" in half
    assert b"END\r\n" not in half


async def test_half_an_answer_and_then_silence(listen: Listen) -> None:
    faults = Faults(reply=ReplyFault.HALF_THEN_SILENCE, command="status")
    reader, writer = await connect(await listen(SimulatedDaemon(), faults=faults))
    assert await reader.readline() == BANNER
    writer.write(b"pid\nstatus 3\n")
    assert (await reader.readline()).startswith(b"SUCCESS: pid=")  # only `status` is touched
    assert (await reader.readline()).startswith(b"TITLE\t")
    await asyncio.sleep(0)
    rest = b""
    while not await silent(reader):
        rest += await reader.read(4096)
    assert b"END" not in rest
    await leave((reader, writer))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ReplyFault.ENDLESS_LINE, b"x" * 50_000),
        (ReplyFault.ENDLESS_REPLY, b"TITLE\tOpenVPN 2.6.14"),
        (ReplyFault.ENDLESS_NOTIFICATIONS, b">LOG:1795336588,D,"),
    ],
)
async def test_answers_that_never_end(listen: Listen, fault: ReplyFault, expected: bytes) -> None:
    received = await answer_to(listen, Faults(reply=fault), size=len(BANNER) + 500_000)
    assert received.startswith(BANNER + expected)


async def test_slow_chatty_and_chopped_answers_are_whole(listen: Listen) -> None:
    faults = Faults(greeting_delay=0.01, reply_delay=0.01, notifications=3, write_bytes=1)
    reader, writer = await connect(await listen(SimulatedDaemon(), faults=faults))
    writer.write(b"verb\nmute\n")
    received = [await reader.readline() for _ in range(9)]
    assert [line[:8] for line in received] == [
        b">INFO:Op",
        *(b">LOG:179",) * 3,
        b"SUCCESS:",
        *(b">LOG:179",) * 3,
        b"SUCCESS:",
    ]
    await leave((reader, writer))


async def test_an_answer_that_is_held(listen: Listen) -> None:
    released = asyncio.Event()
    reader, writer = await connect(await listen(SimulatedDaemon(), faults=Faults(released=released, command="mute")))
    writer.write(b"verb\nmute\n")
    assert [await reader.readline() for _ in range(2)] == [BANNER, b"SUCCESS: verb=3\r\n"]
    assert await silent(reader)
    released.set()
    assert await reader.readline() == b"SUCCESS: mute=0\r\n"
    await leave((reader, writer))


async def test_a_line_without_a_command_has_an_answer_too(listen: Listen) -> None:
    reader, writer = await connect(await listen(SimulatedDaemon(password=b"pw"), faults=Faults(reply_delay=60)))
    writer.write(b"pw\n")
    await reader.readuntil(BANNER)  # no delay: it is not a command's answer
    await leave((reader, writer))
