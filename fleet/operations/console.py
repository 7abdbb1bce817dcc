"""Sessions that stay open, for one who types: each line goes to every server, and messages come in between.

Each server has a task of its own that connects, answers and listens, so that whatever one of them does takes nothing
from the others. What is asked of all of them goes through the engine, as in a run: one outcome for each server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fleet.engine import Attempt, FanOut, Outcome, fan_out
from fleet.errors import CommandFailedError, ConnectionLostError, ServerError, UsageError
from fleet.inventory.model import Server
from fleet.management.commands import ANY_LINES, COMMANDS, Command, help_, parse_command, split_line, version
from fleet.management.notifications import Notification
from fleet.management.protocol import Reply
from fleet.operations.conversation import Access, Conversation, converse
from fleet.operations.execute import for_one_server, refuse_traps, send
from fleet.operations.guard import Guard

T = TypeVar("T")

LEAVE = frozenset({"exit", "quit"})
"""What leaves the console. It is never sent: the daemon would drop what it has not said yet (protocol-facts 6.1)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at a time, and how long. Times are in seconds.

    Attributes:
        forks: servers to connect to at a time.
        host_timeout: for connecting to one server, and for its whole answer to one line.
    """

    forks: int = 64
    host_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Hello:
    """What a daemon says of itself when it is connected.

    Attributes:
        openvpn: its release, "2.6.14".
        commands: the names of the commands that its `help` lists.
    """

    openvpn: str
    commands: frozenset[str]


def read_line(text: str, servers: int, *, readonly: bool = False) -> Command[Any] | None:
    """The command that a line of the console is; None for a blank line, which a daemon does not answer.

    Args:
        text: as it was typed, with the lines behind it where the command takes some.
        servers: how many servers it would go to.
        readonly: refuse what changes something.

    Raises:
        UsageError: one that cannot be sent, or must not be here.
    """
    words = split_line(text.partition("\n")[0])
    if not words:
        return None
    refuse_traps(words[0], secrets=True)
    if words[0] not in COMMANDS:
        try:
            return parse_command(text)  # says that it is unknown, and what may have been meant
        except UsageError as error:
            meant, mark, _rest = (error.hint or "").partition("? ")
            hint = "nobody knows what ends its reply; where you do, send it with fleet exec --reply"
            raise UsageError(error.message, hint=f"{meant}{mark}{hint}" if mark else hint) from error
    return admit(parse_command(text), servers, readonly=readonly)


def admit(command: Command[T], servers: int, *, readonly: bool = False) -> Command[T]:
    """The same command, if it may be sent from here.

    Raises:
        UsageError: it cannot be sent, or must not be here.
    """
    command.encode()
    if command.changes and readonly:
        raise UsageError(f"'{command.text}' changes something, and this console is read-only")
    if servers > 1 and (why := for_one_server([command])):
        raise UsageError(f"{why}, and this line would go to {servers}", hint="leave, and open one of them alone")
    return command


def wants_lines(text: str, servers: int, *, readonly: bool = False) -> bool:
    """Whether the command of a line takes the lines behind it, up to one that is END.

    Args:
        text: as it was typed.
        servers: how many servers it would go to.
        readonly: refuse what changes something.

    Raises:
        UsageError: it does, and the line itself cannot be sent, or must not be here.
    """
    words = split_line(text)
    spec = COMMANDS.get(words[0]) if words else None
    if spec is None or not spec.body:
        return False
    admit(spec.command(words[1:], ANY_LINES), servers, readonly=readonly)
    return True


def wants_secret(text: str) -> list[str] | None:
    """The words of a line that lacks just its secret, which is then to be asked for unseen; None for any other line."""
    try:
        words = split_line(text)
    except UsageError:
        return None
    spec = COMMANDS.get(words[0]) if words else None
    if spec is None or not spec.secret:
        return None
    return words if len(words) == spec.fewest else None  # its name, and all arguments but one


def may_be_remembered(text: str) -> bool:
    """Whether a line may stand in the history: a command of the table, spelled right, that takes no secret."""
    try:
        command = parse_command(text)
    except UsageError:
        return False
    spec = COMMANDS.get(command.name)
    return spec is not None and not spec.secret and not command.secret


@dataclass(slots=True)
class _Request(Generic[T]):
    """What is to be done on a session, and who waits for it."""

    attempt: Attempt
    work: Callable[[_Seat], Awaitable[T]]
    answer: asyncio.Future[T]


@dataclass(slots=True)
class _Seat:
    """An open session, as the work on it sees it."""

    conversation: Conversation
    guard: Guard


class _Member:
    """One server of the console, and the task that holds its session."""

    def __init__(self, room: Room, server: Server) -> None:
        self._room = room
        self.server = server
        self._task: asyncio.Task[None] | None = None
        self._requests: asyncio.Queue[_Request[Any]] = asyncio.Queue()

    @property
    def connected(self) -> bool:
        return self._task is not None and not self._task.done()

    async def connect(self, attempt: Attempt) -> Hello:
        """Opens the session, and asks who is there.

        Raises:
            ServerError: whatever kept the daemon from greeting, or from answering.
        """
        self._requests = asyncio.Queue()
        greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(attempt, greeted), name=f"fleet console {self.server.name}")
        try:
            await greeted
            return await self.perform(attempt, _hello)
        except BaseException:
            await self.close()
            raise

    async def perform(self, attempt: Attempt, work: Callable[[_Seat], Awaitable[T]]) -> T:
        """Does something on the session.

        Where this is cancelled the session ends: a late reply would answer the next line.

        Raises:
            ServerError: what the work raises; ConnectionLostError where the session is not there any more.
        """
        if not self.connected:
            raise ConnectionLostError("the session was lost")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait(_Request(attempt, work, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """Gives the management interface back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _hold(self, attempt: Attempt, greeted: asyncio.Future[None]) -> None:
        """The task: from the connection to its end, whoever ends it."""
        request: _Request[Any] | None = None
        try:
            async with self._room.converse(attempt) as conversation:
                greeted.set_result(None)
                seat = _Seat(conversation, Guard(force=self._room.force))
                while True:
                    request = await self._listen(conversation)
                    await self._answer(seat, request)
                    request = None
        except ServerError as error:
            self._ended(error, greeted, request)
        except Exception as error:  # noqa: BLE001 - a bug is one server's outcome too: whoever waits makes it one
            self._ended(error, greeted, request)

    def _ended(self, error: Exception, greeted: asyncio.Future[None], request: _Request[Any] | None) -> None:
        waiting = [greeted, *([request.answer] if request else [])]
        while not self._requests.empty():
            waiting.append(self._requests.get_nowait().answer)
        told = [future for future in waiting if not future.done()]
        for future in told:
            future.set_exception(error)
        if not told:
            self._room.lost(self.server, error)

    async def _listen(self, conversation: Conversation) -> _Request[Any]:
        """Hands out real-time messages until something is to be done."""
        listening = asyncio.create_task(self._hear(conversation))
        asking = asyncio.create_task(self._requests.get())
        try:
            await asyncio.wait([listening, asking], return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                listening.result()  # raises: nothing else ends it
            return asking.result()
        finally:
            for task in (listening, asking):
                task.cancel()
            await asyncio.wait([listening, asking])
            for task in (listening, asking):
                if not task.cancelled():
                    task.exception()  # seen, or asyncio would complain of it

    async def _hear(self, conversation: Conversation) -> None:
        session, lost = conversation.session, conversation.session.dropped
        while True:
            notification = await session.wait()
            if session.dropped > lost:
                self._room.dropped(self.server, session.dropped - lost)
                lost = session.dropped
            if notification is not None:
                self._room.heard(self.server, notification)
            await asyncio.sleep(0)  # a daemon that never stops leaves the others their turn

    async def _answer(self, seat: _Seat, request: _Request[T]) -> None:
        home = seat.conversation.attempt
        seat.conversation.attempt = request.attempt
        try:
            value = await request.work(seat)
        except CommandFailedError as error:  # the guard's: nothing was sent, and the session goes on
            if not request.answer.done():
                request.answer.set_exception(error)
        else:
            if not request.answer.done():
                request.answer.set_result(value)
        finally:
            seat.conversation.attempt = home
            for told, kept in ((request.attempt.warnings, home.warnings), (request.attempt.confirmed, home.confirmed)):
                told.extend(kept)
                kept.clear()


async def _hello(seat: _Seat) -> Hello:
    conversation = seat.conversation
    about, known = await conversation.ask(version(), help_())
    return Hello(about.result().openvpn, known.result().commands)


class Room:
    """All the servers of one console.

    Args:
        transport: the way to the servers; it must outlive the room.
        servers: in inventory order.
        limits: how many at a time, and how long.
        heard: called with each real-time message, as it comes.
        lost: called when a session ends that nobody was asking anything.
        dropped: called with the number of messages that were too many to keep.
        force: send signals and kills too that would do harm.

    Attributes:
        force: as it was given.
        hellos: what each server that was connected says of itself, by name. A server that could not be connected is
            not among them, and is asked no more.
    """

    def __init__(
        self,
        access: Access,
        servers: Sequence[Server],
        limits: Limits,
        *,
        heard: Callable[[Server, Notification], None],
        lost: Callable[[Server, Exception], None],
        dropped: Callable[[Server, int], None],
        force: bool = False,
    ) -> None:
        self.heard, self.lost, self.dropped = heard, lost, dropped
        self.force = force
        self.hellos: dict[str, Hello] = {}
        self._access = access
        self._limits = limits
        self._members = {server.name: _Member(self, server) for server in servers}
        self._turn = asyncio.Lock()  # connecting, asking and giving back do not mix
        self._fan: FanOut[Any] | None = None

    @property
    def names(self) -> list[str]:
        """The servers that a line goes to, in inventory order."""
        return [*self._members]

    @property
    def connected(self) -> bool:
        """Whether a management interface is held now."""
        return any(member.connected for member in self._members.values())

    @property
    def commands(self) -> frozenset[str]:
        """The commands that any of the servers knows."""
        return frozenset().union(*(hello.commands for hello in self.hellos.values()))

    async def connect(self) -> list[Outcome[Hello]]:
        """Opens the sessions that are not open. Who cannot be reached is left out from then on."""
        async with self._turn:
            return await self._connect()

    async def ask(self, command: Command[T]) -> tuple[list[Outcome[Hello]], list[Outcome[Reply[T]]]]:
        """Sends a command to all, connecting first where there is no session any more.

        Returns:
            The outcomes of connecting, and those of the command, in inventory order.
        """
        async with self._turn:
            opened = await self._connect()

            async def work(seat: _Seat) -> Reply[T]:
                conversation = seat.conversation
                await seat.guard.check(conversation, command)
                conversation.attempt.sent = command.text if command.changes else None
                reply = await send(conversation, command)
                conversation.attempt.sent = None
                return reply

            async def perform(attempt: Attempt) -> Reply[T]:
                reply = await self._members[attempt.server.name].perform(attempt, work)
                reply.result()  # raises where the daemon refused it; the session goes on
                return reply

            return opened, await self._on_all(perform, [member.server for member in self._members.values()])

    def interrupt(self) -> None:
        """Waits no longer: who has not answered gets InterruptedRunError, and its session ends."""
        if self._fan is not None:
            self._fan.interrupt()

    async def give_back(self) -> None:
        """Ends all sessions; the next line opens them again."""
        async with self._turn:
            await self.close()

    async def close(self) -> None:
        """Ends all sessions, whatever is under way."""
        await asyncio.gather(*(member.close() for member in self._members.values()))

    def converse(self, attempt: Attempt) -> AbstractAsyncContextManager[Conversation]:
        """A conversation with the server of the attempt; a context manager (operations/conversation.py)."""
        return converse(self._access, attempt)

    async def _connect(self) -> list[Outcome[Hello]]:
        missing = [member.server for member in self._members.values() if not member.connected]
        outcomes = await self._on_all(lambda attempt: self._members[attempt.server.name].connect(attempt), missing)
        for outcome in outcomes:
            name = outcome.server.name
            if outcome.value is not None:
                self.hellos[name] = outcome.value
            else:
                del self._members[name]
                self.hellos.pop(name, None)
        return outcomes

    async def _on_all(self, work: Callable[[Attempt], Awaitable[T]], servers: Sequence[Server]) -> list[Outcome[T]]:
        found: dict[str, Outcome[T]] = {}
        limits = self._limits
        async with fan_out(servers, work, forks=limits.forks, host_timeout=limits.host_timeout) as fan:
            self._fan = fan
            async for outcome in fan:
                found[outcome.server.name] = outcome
        self._fan = None
        return [found[server.name] for server in servers]
