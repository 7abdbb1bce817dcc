"""Shards on processes of this machine.

The processes are forked from one that has imported what all of them need (multiprocessing's forkserver): the first
costs what an import of asyncssh costs, each other a hundredth of that. None of them reads the terminal or is ended by
a signal that the whole process group gets; they end with their work, when they are told to, or when the operator's
process is gone.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from typing import Any, Final, NoReturn

from fleet.engine import EXIT_INTERRUPTED
from fleet.shards.fan import NO_ANSWER, Gone, Heard
from fleet.shards.shard import Shard, decode, encode, work_off

_SIZE = struct.Struct("!I")  # before each message, how many bytes it has
_READ_AHEAD = 2**20  # bytes of a worker's messages that wait here; then the worker waits
_CLOSE_TIMEOUT = 5.0  # seconds for a process to end by itself
_LOOK_EVERY = 0.01  # seconds between two looks whether it has

# What a worker imports to ask anybody; what it does there beside that comes with its shard.
_PRELOADED: Final = ("fleet.shards.local", "fleet.transport.connector", "fleet.operations.status")

_ANSWER, _END = "answer", "end"


class Processes:
    """A crew of processes, one for each shard."""

    def __init__(self) -> None:
        self._shards: list[bytes] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(_PRELOADED))
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._started = 0
        self._heard: Heard
        self._gone: Gone

    async def open(self, shards: Sequence[Shard], heard: Heard, gone: Gone) -> None:
        """Keeps what there is to do, and whom to tell."""
        self._shards = [pickle.dumps(shard, pickle.HIGHEST_PROTOCOL) for shard in shards]
        self._heard, self._gone = heard, gone

    def start(self, index: int) -> None:
        """Starts a process that works off a shard."""
        ours, theirs = socket.socketpair()
        arguments = (theirs, self._shards[index], dict(os.environ))
        process = self._context.Process(target=_serve, args=arguments, name=f"fleet shard {index}", daemon=True)
        try:
            process.start()
        except OSError as error:
            ours.close()
            why = f"no process could be started: {error.strerror}"
            asyncio.get_running_loop().call_soon(self._gone, index, None, why)
            return
        finally:
            theirs.close()
        self._started += 1
        task = asyncio.create_task(self._follow(index, f"{self._started}", process, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self, _index: int, token: str | None) -> None:
        """Tells the process of a shard to end; one that has not begun finds nothing to do."""
        writer = self._writers.get(token or "")
        if writer is not None:
            _write(writer, (_END,))

    async def close(self) -> None:
        """Waits for the processes that have ended their work, and ends the others: they miss the operator's end."""
        for writer in self._writers.values():
            writer.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, index: int, token: str, process: ForkServerProcess, ours: socket.socket) -> None:
        """Listens to a process until it ends, in whatever way."""
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_READ_AHEAD)
        self._writers[token] = writer
        try:
            why = await self._listen(index, token, reader, writer)
            writer.close()
            why = why or await _ended(process)
        finally:
            del self._writers[token]
            writer.close()
            if process.exitcode is None:
                await _make_end(process)
            process.close()
        self._gone(index, token, why)

    async def _listen(self, index: int, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Hears what a process says to its end; gives why it is not listened to any more, where it might say more."""
        try:
            while True:
                (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
                answer = self._heard(index, token, decode(await reader.readexactly(size)))
                if answer is not NO_ANSWER:
                    _write(writer, (_ANSWER, answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        except Exception as error:  # noqa: BLE001 - a bug there or here; every server has to have an outcome
            return f"a bug in fleet: {type(error).__name__}: {error}"


def _write(writer: asyncio.StreamWriter, message: tuple[Any, ...]) -> None:
    data = encode(*message)
    writer.write(_SIZE.pack(len(data)) + data)


async def _ended(process: ForkServerProcess) -> str:
    """Waits for a process that has nothing more to say, and tells how it ended."""
    await _wait(process)
    code = process.exitcode
    if code is None:
        return f"process {process.pid} said no more"
    if code < 0:
        return f"process {process.pid} was ended by {signal.Signals(-code).name}"
    return f"process {process.pid} ended with {code}"


async def _wait(process: ForkServerProcess) -> None:
    for _ in range(round(_CLOSE_TIMEOUT / _LOOK_EVERY)):
        if process.exitcode is not None:
            return
        await asyncio.sleep(_LOOK_EVERY)


async def _make_end(process: ForkServerProcess) -> None:
    """Waits for a process to end, since nobody listens to it any more; one that does not is killed."""
    try:
        await _wait(process)
    finally:
        if process.exitcode is None:
            process.kill()
            process.join()


# In a worker


def _serve(theirs: socket.socket, shard: bytes, environment: dict[str, str]) -> None:
    """What a process does."""
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # the operator's process gets them, and says what to do
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(environment)
    line = SocketLine(theirs)
    work_off(pickle.loads(shard), line)  # noqa: S301 - the operator's process wrote it
    theirs.close()


class SocketLine:
    """The line over a socket. Where nobody is at its other end, this process ends at once, as the operator's did."""

    def __init__(self, theirs: socket.socket) -> None:
        self._socket = theirs
        self._end: Callable[[], None] | None = None
        self._end_wanted = False

    def tell(self, message: bytes) -> None:
        """Sends a message; waits where the operator's process has not read the ones before it."""
        try:
            self._socket.sendall(_SIZE.pack(len(message)) + message)
        except OSError:
            _leave()

    def ask(self, message: bytes) -> Any:
        """Sends a message, and gives the answer."""
        self.tell(message)
        while True:
            word, *rest = self._read()
            if word == _ANSWER:
                return rest[0]
            self._want_end()

    def listen(self, end: Callable[[], None]) -> None:
        """Calls `end` in the running loop when it is wanted."""
        self._end = end
        asyncio.get_running_loop().add_reader(self._socket, self._heard)
        if self._end_wanted:
            self._want_end()

    def _heard(self) -> None:
        self._read()  # answers are read where they are waited for
        self._want_end()

    def _want_end(self) -> None:
        self._end_wanted = True
        if self._end is not None:
            asyncio.get_running_loop().call_soon(self._end)

    def _read(self) -> tuple[Any, ...]:
        (size,) = _SIZE.unpack(self._exactly(_SIZE.size))
        return decode(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = self._socket.recv(size - len(data))
            except OSError:
                _leave()
            if not more:
                _leave()
            data += more
        return data


def _leave() -> NoReturn:
    os._exit(EXIT_INTERRUPTED)
