"""Shards on the workers of a Dask cluster.

Dask decides which worker gets which shard, and gives it to another one when that is lost. It may be worked off twice
by that: Dask does not promise at most once. So nobody on a worker sends a change before the operator's process has
written it down and said so, which it does for one worker only (`fleet.shards.fan`).

Messages go over queues that the scheduler keeps for the time of the run: one to the operator's process, one to each
who works off a shard. Workers and operator need no way to each other but the scheduler's port.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import threading
import uuid
import warnings
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from fleet import __version__
from fleet.errors import RefusedError, UsageError
from fleet.shards.fan import NO_ANSWER, Gone, Heard
from fleet.shards.shard import END, Home, NotSentError, Shard, decode, encode, look_around, work_off

if TYPE_CHECKING:
    from distributed import Client, Future, Queue

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for the scheduler to answer."""

_HERE_EVERY = 2.0  # seconds between two signs of life of the operator's process
_GONE_AFTER = 20.0  # seconds without one; then nobody waits for it any more
_SAID_AFTER = 10.0  # seconds for the last words of a worker whose work has ended
_CLOSE_TIMEOUT = 5.0  # seconds for the connection to the scheduler to be closed
_MOST_AT_ONCE = 100  # messages in one
_ANSWER, _WANT_END, _HERE = "answer", "end", "here"
_NO_DASK = "pip install 'openvpn-fleet[dask]', here and on the workers"


class Cluster:
    """A crew of the workers of a cluster; made by `connect`.

    Attributes:
        workers: how many the cluster had then.
    """

    def __init__(self, client: Client, address: str, workers: int) -> None:
        self._client = client
        self.workers = workers
        self._address = address
        self._run = f"fleet-{uuid.uuid4().hex}"
        self._shards: list[bytes] = []
        self._futures: dict[int, Future[None]] = {}
        self._ended: dict[int, asyncio.Event] = {}
        self._down: dict[str, Queue | None] = {}  # to who has begun and not ended; None: nothing was said yet
        self._up: Queue | None = None
        self._tries = 0
        self._broken = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._sayings: asyncio.Queue[tuple[str, tuple[Any, ...] | None] | None] = asyncio.Queue()
        self._speaker: asyncio.Task[None] | None = None
        self._heard: Heard
        self._gone: Gone

    @classmethod
    async def connect(cls, address: str, *, warn: Callable[[str], None]) -> Cluster:
        """Connects to a scheduler, with what Dask's own configuration says of TLS.

        Args:
            address: of the scheduler, `tcp://HOST:PORT` or `tls://HOST:PORT`.
            warn: is told what the operator should know of the cluster.

        Raises:
            UsageError: there is no Dask here, or no scheduler there.
        """
        try:
            from distributed import Client  # noqa: PLC0415 - half a second of CPU
        except ImportError as error:
            raise UsageError("--scheduler wants Dask distributed, which is not installed", hint=_NO_DASK) from error
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told as outcomes
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            try:
                client = await Client(address, asynchronous=True, set_as_default=False, timeout=CONNECT_TIMEOUT)
            except (OSError, ValueError, TypeError, RuntimeError) as error:
                hint = "look whether dask scheduler runs there, and what stands in front of its port"
                raise UsageError(f"the scheduler {address} cannot be reached: {error}", hint=hint) from error
        for one in found:
            if one.category.__name__ == "VersionMismatchWarning":
                warn(f"the cluster has other versions: {' '.join(str(one.message).split())}")
        known = await client.scheduler.identity(n_workers=-1)  # what the client itself knows may be old
        return cls(client, address, len(known["workers"]))

    async def open(self, shards: Sequence[Shard], heard: Heard, gone: Gone) -> None:
        """Looks at the workers, and begins to listen.

        Raises:
            UsageError: there is none, or one of them could not do the work.
        """
        from distributed import Queue  # noqa: PLC0415 - as above

        if not self.workers:
            raise UsageError(f"the scheduler {self._address} has no workers", hint="start some: dask worker ADDRESS")
        await self._look(shards)
        home = shards[0].asking.home
        named = None if home is None else replace(home, run=self._run)
        self._shards = [_dumped(shard, named) for shard in shards]
        self._heard, self._gone = heard, gone
        self._up = await Queue(self._run, client=self._client)
        self._speaker = asyncio.create_task(self._speak())
        self._do(self._listen(self._up))
        self._do(self._live())

    async def _look(self, shards: Sequence[Shard]) -> None:
        """Finds out whether all workers can do the work, before anything is sent to any server."""
        home = shards[0].asking.home
        everything = replace(shards[0], servers=tuple(chain.from_iterable(shard.servers for shard in shards)))
        named = None if home is None else replace(home, run=self._run)
        found = await self._client.run(look, _dumped(everything, named), on_error="return")
        for worker, said in sorted(found.items()):
            _complain(worker, said)

    # --- what the run wants

    def start(self, index: int) -> None:
        """Gives a shard to Dask."""
        if self._broken:
            asyncio.get_running_loop().call_soon(self._gone, index, None, self._broken)
            return
        self._tries += 1
        self._ended[index] = asyncio.Event()
        key = f"{self._run}-{index}-{self._tries}"
        future = self._client.submit(work, self._shards[index], index, self._run, key=key, pure=False, retries=0)
        self._futures[index] = future
        self._do(self._watch(index, future, self._ended[index]))

    def end(self, index: int, token: str | None) -> None:
        """Tells who works off a shard to end; where nobody does, nobody will."""
        if token in self._down:
            self._say(token, (_WANT_END, None))
        elif token is None and index in self._futures:
            self._do(self._cancel(self._futures[index]))

    async def close(self) -> None:
        """Takes back what is not done, and closes the connection; the cluster stays."""
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):  # a scheduler that is gone has nothing left to be tidied up
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._say_the_last()
                if self._futures:
                    await self._client.cancel([*self._futures.values()])
                for line in (*filter(None, self._down.values()), *([self._up] if self._up is not None else [])):
                    line.close()
        self._futures.clear()
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), _CLOSE_TIMEOUT)

    # --- what goes on meanwhile

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cancel(self, future: Future[None]) -> None:
        with suppress(OSError):
            await self._client.cancel([future])

    async def _watch(self, index: int, future: Future[None], ended: asyncio.Event) -> None:
        """Waits until a shard is worked off, or Dask gives it up."""
        try:
            await future
            await asyncio.wait_for(ended.wait(), _SAID_AFTER)
        except TimeoutError:
            self._gone(index, None, "it ended without a word")
        except Exception as error:  # noqa: BLE001 - whatever was raised there: KilledWorker, OSError, a bug
            self._gone(index, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
        finally:
            future.release()  # until then Dask may do finished work again

    async def _listen(self, up: Queue) -> None:
        """Hears what the workers say, until the scheduler is lost."""
        try:
            while True:
                batches = [await up.get(), *await up.get(batch=True)]
                for batch in batches:
                    for index, token, message in decode(batch):
                        self._hear(index, token, decode(message))
        except Exception as error:  # noqa: BLE001 - the scheduler is lost, or a bug: every server has to have an outcome
            self._break(error)

    def _hear(self, index: int, token: str, message: tuple[Any, ...]) -> None:
        answer = self._heard(index, token, message)
        if answer is not NO_ANSWER:
            self._down.setdefault(token, None)
            self._say(token, (_ANSWER, answer))
        if message[0] == END:
            self._ended[index].set()
            self._say(token, None)

    def _break(self, error: Exception) -> None:
        self._broken = f"the scheduler was lost: {type(error).__name__}: {error}"
        for index in range(len(self._shards)):
            self._gone(index, None, self._broken)

    async def _live(self) -> None:
        """Tells the workers that there is somebody whom they work for."""
        while True:
            await asyncio.sleep(_HERE_EVERY)
            for token in self._down:
                self._say(token, (_HERE, None))

    # --- what is said

    def _say(self, token: str, message: tuple[Any, ...] | None) -> None:
        """Has a message sent, soon; None where nobody listens any more."""
        self._sayings.put_nowait((token, message))

    async def _speak(self) -> None:
        """Sends what is said, one after the other."""
        try:
            while (saying := await self._sayings.get()) is not None:
                await self._send(*saying)
        except Exception as error:  # noqa: BLE001 - a bug: every server has to have an outcome
            self._break(error)

    async def _send(self, token: str, message: tuple[Any, ...] | None) -> None:
        if message is None:
            line = self._down.pop(token, None)
            if line is not None:
                line.close()
        elif token in self._down:
            with suppress(OSError):  # who listens there is lost, or the scheduler; either is told elsewhere
                await (await self._line_to(token)).put(encode(*message))

    async def _line_to(self, token: str) -> Queue:
        line = self._down[token]
        if line is None:
            from distributed import Queue  # noqa: PLC0415 - as above

            line = self._down[token] = await Queue(f"{self._run}-{token}", client=self._client)
        return line

    async def _say_the_last(self) -> None:
        """Sends what is left to say: who waits for an answer would hold its worker until it believes to be alone."""
        for token in self._down:
            self._say(token, (_WANT_END, None))
        self._sayings.put_nowait(None)
        if self._speaker is not None:
            await self._speaker


def _dumped(shard: Shard, home: Home | None) -> bytes:
    return pickle.dumps(replace(shard, asking=replace(shard.asking, home=home)), pickle.HIGHEST_PROTOCOL)


def _complain(worker: str, said: Any) -> None:
    """Raises what a worker has against the run.

    Raises:
        RefusedError: it cannot take part.
    """
    if isinstance(said, BaseException):
        kind = "" if type(said) is Exception else f"{type(said).__name__}: "  # Dask's own words for what fleet lacks
        raise UsageError(f"the worker {worker} cannot take part: {kind}{said}", hint=_NO_DASK)
    version, refusal = said
    if version != __version__:
        raise UsageError(f"the worker {worker} has fleet {version}, and this is {__version__}", hint=_NO_DASK)
    if refusal is not None:
        raise type(refusal)(f"the worker {worker}: {refusal.message}", hint=refusal.hint)


# On a worker


def look(data: bytes) -> tuple[str, RefusedError | None]:
    """Whether this worker could ask the servers; gives fleet's version here, and what is in the way."""
    try:
        look_around(pickle.loads(data))  # noqa: S301 - whoever can reach the scheduler can run what he likes here
    except RefusedError as error:
        return __version__, error
    return __version__, None


def work(data: bytes, index: int, run: str) -> None:
    """Works off a shard."""
    from distributed import get_client  # noqa: PLC0415 - here it is loaded

    shard: Shard = pickle.loads(data)  # noqa: S301 - as above
    line = QueueLine(get_client(), run, index)
    try:
        work_off(shard, line)
    finally:
        line.close()


class QueueLine:
    """The line over the scheduler's queues, which two threads wait for.

    Args:
        client: of the worker.
        run: the name of the run.
        index: of the shard.
    """

    def __init__(self, client: Client, run: str, index: int) -> None:
        from distributed import Queue  # noqa: PLC0415 - here it is loaded

        self._index = index
        self._token = uuid.uuid4().hex
        self._up, self._down = Queue(run, client=client), Queue(f"{run}-{self._token}", client=client)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._alone = False
        self._closed = False
        self._end_wanted = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] = lambda: None
        self._sender = threading.Thread(target=self._send, name="fleet sender", daemon=True)
        self._receiver = threading.Thread(target=self._receive, name="fleet receiver", daemon=True)
        self._sender.start()
        self._receiver.start()

    def tell(self, message: bytes) -> None:
        """Sends a message, soon."""
        self._outgoing.put(message)

    def ask(self, message: bytes) -> Any:
        """Sends a message, and gives the answer.

        Raises:
            NotSentError: there is nobody who would answer.
        """
        self.tell(message)
        answer = None if self._alone else self._answers.get()
        if answer is None:
            raise NotSentError("the operator's process is not to be reached")
        return answer[0]

    def listen(self, end: Callable[[], None]) -> None:
        """Calls `end` in the running loop when it is wanted."""
        self._loop, self._end = asyncio.get_running_loop(), end
        if self._end_wanted:
            end()

    def close(self) -> None:
        """Sends what is left."""
        self._closed = True
        self._outgoing.put(None)
        self._sender.join(_GONE_AFTER)
        if not self._alone:
            with suppress(Exception):  # for the thread that waits for an answer: there will be no more
                self._down.put(encode(_HERE, None), timeout=_SAID_AFTER)
        self._receiver.join(_GONE_AFTER)
        with suppress(Exception):
            self._up.close()
            self._down.close()

    def _send(self) -> None:
        while (message := self._outgoing.get()) is not None:
            batch, last = [(self._index, self._token, message)], False
            while len(batch) < _MOST_AT_ONCE and not last:
                try:
                    more = self._outgoing.get_nowait()
                except queue.Empty:
                    break
                last = more is None
                if more is not None:
                    batch.append((self._index, self._token, more))
            try:
                self._up.put(encode(*batch))
            except Exception:  # noqa: BLE001 - the scheduler is gone, or the run's queue: nobody listens
                self._leave_off()
                return
            if last:
                return

    def _receive(self) -> None:
        while not self._closed:
            try:
                word, value = decode(self._down.get(timeout=_GONE_AFTER))
            except Exception:  # noqa: BLE001 - no sign of life for so long, or no scheduler any more
                self._leave_off()
                return
            if word == _ANSWER:
                self._answers.put((value,))
            elif word == _WANT_END:
                self._want_end()

    def _leave_off(self) -> None:
        """Nobody is there any more: nothing is begun and nothing is sent from now on."""
        self._alone = True
        self._answers.put(None)
        self._want_end()
        with suppress(Exception):  # what nobody will fetch
            self._up.get(batch=True, timeout=_SAID_AFTER)

    def _want_end(self) -> None:
        self._end_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: everything is done
                self._loop.call_soon_threadsafe(self._end)
