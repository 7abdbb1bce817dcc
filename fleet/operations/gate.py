"""The gate of a rolling restart: a server is through when its daemon is CONNECTED anew, and its users are back.

`SUCCESS: signal SIGUSR1 thrown` comes before the effect and is no proof of health: a daemon may die of the signal
(protocol-facts 5). So the signal is thrown in a session that has `state on`, and the session goes on until the daemon
says RECONNECTING and then CONNECTED. Only then clients count: with explicit-exit-notify the old ones are listed for two
seconds more (protocol-facts 11.2). They are counted over all servers of the run, since they move.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from fleet.engine import Attempt
from fleet.errors import CommandFailedError, ConnectionLostError, ManagementClosedError, ServerError, UsageError
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.notifications import FatalNotification, HoldNotification, Notification, StateNotification
from fleet.management.protocol import shown
from fleet.management.replies import State
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Access, Conversation, converse
from fleet.operations.operation import Answer, Operation, Row, texts
from fleet.operations.signals import refuse_harm, throw
from fleet.operations.waiting import want_of

WAIT_TIMEOUT = 90.0
"""Seconds for a daemon to be CONNECTED and for its clients to be back; the slowest way back takes 62 (facts 11.2)."""

POLL_INTERVAL = 2.0
"""Seconds between two counts of the clients."""

_LOOKS = 3  # at a daemon that hung up: it may be about to close its port, or to be started again
_LOOK_INTERVAL = 1.0  # seconds between them
_WHOLE = 100  # per cent
_WAIT = re.compile(r"connected(?:,clients=([0-9]{1,3})%)?")


@dataclass(frozen=True, slots=True)
class Wait:
    """What is waited for behind each batch.

    Attributes:
        clients: per cent of the batch's clients that have to be back; None where they are not counted.
    """

    clients: int | None = None


def parse_wait(text: str) -> Wait | None:
    """`connected`, `connected,clients=80%`, or `none` (None).

    Raises:
        UsageError: it is none of these.
    """
    if text == "none":
        return None
    match = _WAIT.fullmatch(text)
    clients = int(match[1]) if match and match[1] else None
    if match is None or clients not in (None, *range(1, _WHOLE + 1)):
        raise UsageError(
            f"--wait: '{text}' is nothing to wait for", hint="write connected, connected,clients=80%, or none"
        )
    return Wait(clients)


@dataclass(frozen=True, slots=True)
class Restart:
    """How far one server came.

    Attributes:
        signal: what was thrown.
        state_before: the daemon's state when it was asked.
        clients_before: how many clients it had then.
        state: the last that it told of itself after the signal; None where it told nothing.
        connected_after: seconds from the answer to the signal until it was CONNECTED.
        clients: how many clients it had when the gate was decided; None where they were not counted.
    """

    signal: str
    state_before: State
    clients_before: int
    state: State | None = None
    connected_after: float | None = None
    clients: int | None = None


RESTART_COLUMNS = (
    Column("signal", Kind.TEXT),
    Column("state_before", Kind.TEXT, wide=True),
    Column("state", Kind.TEXT, keep=True),
    Column("connected_after", Kind.SECONDS),
    Column("clients_before", Kind.COUNT),
    Column("clients", Kind.COUNT),
)


def restart_rows(value: Restart) -> list[Row]:
    """The row of one server."""
    state = None if value.state is None else value.state.name
    return [
        (
            value.signal,
            value.state_before.name,
            state,
            value.connected_after,
            value.clients_before,
            value.clients,
        )
    ]


# One server


def restart(name: str, wait_timeout: float) -> Operation[Restart]:
    """The signal, and the wait until the daemon is CONNECTED anew, in one session.

    Args:
        name: SIGUSR1 or SIGHUP.
        wait_timeout: seconds from the signal's answer until CONNECTED.

    Raises:
        UsageError: it is no signal.
    """
    command = commands.signal(name)

    async def perform(conversation: Conversation) -> Answer[Restart]:
        return await _Watch(conversation.attempt, command, wait_timeout).restart(conversation)

    thrown = throw(name)
    return Operation(
        thrown.name,
        perform,
        RESTART_COLUMNS,
        restart_rows,
        changes=True,
        sends=thrown.sends,
        confirm=thrown.confirm,
        effect=thrown.effect,
    )


@dataclass(frozen=True, slots=True)
class Restarting:
    """What the engine does on each server of a rolling restart: `restart`, and a second look where its session ends.

    Attributes:
        access: the way to the daemons.
        command: the signal, one that restarts.
        wait_timeout: seconds from the signal's answer until CONNECTED.
    """

    access: Access
    command: Command[str]
    wait_timeout: float

    async def __call__(self, attempt: Attempt) -> Answer[Restart]:
        """Throws the signal, and watches in the same session until the daemon is CONNECTED anew.

        Until then the signal is `sent` and not confirmed. `attempt.partial` has how far it came.

        Raises:
            ServerError: nothing was sent, the daemon died of it, waits for somebody, or was not CONNECTED in time.
        """
        watch = _Watch(attempt, self.command, self.wait_timeout)
        try:
            async with converse(self.access, attempt) as conversation:
                return await watch.restart(conversation)
        except ConnectionLostError as lost:
            if attempt.sent is None:
                raise
            with attempt.off_the_clock():
                return await self._look_again(watch, lost)

    async def _look_again(self, watch: _Watch, lost: ConnectionLostError) -> Answer[Restart]:
        """Finds out what it means that the session ended: the daemon has gone, or the way to it was lost.

        Raises:
            ServerError: it did not survive, is not CONNECTED anew, or none of that can be seen.
        """
        watch.attempt.phase = "looking whether the daemon lives"
        try:
            found = await self._look(watch.attempt)
        except ManagementClosedError as closed:
            raise watch.died("nobody listens on its management port any more") from closed
        except ServerError:
            found = None  # what is known is that the session was lost
        if found is not None:
            return watch.found(*found, lost)
        lost.sent = watch.attempt.sent
        raise lost

    async def _look(self, attempt: Attempt) -> tuple[int, State]:
        """The daemon's pid and state, in a session of their own.

        Raises:
            ServerError: it cannot be asked; one that is about to close its port, or to open it, was asked again.
        """
        left = _LOOKS
        while True:
            left -= 1
            try:
                async with converse(self.access, attempt) as conversation:
                    pid, state = await conversation.ask(commands.pid(), commands.state())
                    return pid.result(), state.result()
            except ConnectionLostError:
                if not left:
                    raise
            await asyncio.sleep(_LOOK_INTERVAL)


class _Watch:
    """What is seen of one daemon from the signal on."""

    def __init__(self, attempt: Attempt, command: Command[str], wait_timeout: float) -> None:
        self.attempt = attempt
        self._command = command
        self._wait_timeout = wait_timeout
        self._pid = 0
        self._begun = 0.0  # loop time, seconds
        self._value: Restart | None = None
        self._raw = ""

    async def restart(self, conversation: Conversation) -> Answer[Restart]:
        (name,) = self._command.arguments
        live, state, pid, load = await conversation.ask(
            commands.state_live(), commands.state(), commands.pid(), commands.load_stats()
        )
        live.result()
        refuse_harm(name, state.result(), conversation)
        self._pid = pid.result()
        self._note(Restart(name, state.result(), load.result().nclients))
        while await conversation.session.wait(0) is not None:
            pass  # what was said before the signal says nothing of its effect
        try:
            (reply,) = await conversation.ask(self._command)
            reply.result()
            self._raw = texts(reply)
            self._sent()
            with self.attempt.off_the_clock():
                return await self._watch(conversation)
        except ConnectionLostError as lost:
            fatal = next(
                (note for note in conversation.session.notifications if isinstance(note, FatalNotification)), None
            )
            if fatal is None:
                raise
            raise self.died(f"FATAL: {shown(fatal.text)}") from lost

    def _sent(self) -> None:
        """The answer says that the signal was taken, and nothing of what it does."""
        self.attempt.sent = self._command.text
        self.attempt.confirmed.remove(self._command.text)

    def _confirmed(self) -> None:
        """It had its effect, whatever came of that."""
        self.attempt.sent = None
        if self._command.text not in self.attempt.confirmed:
            self.attempt.confirmed.append(self._command.text)

    async def _watch(self, conversation: Conversation) -> Answer[Restart]:
        clock = asyncio.get_running_loop().time
        self._begun = clock()
        self.attempt.phase = "waiting for CONNECTED"
        restarting = False
        while True:
            left = self._begun + self._wait_timeout - clock()
            notification = await conversation.session.wait(left) if left > 0 else None
            if notification is None:
                raise self._late()
            self._refuse_waiting(notification)
            if isinstance(notification, StateNotification):
                state = notification.state
                self._saw(state)
                restarting = restarting or state.name == "RECONNECTING"
                if restarting and state.name == "CONNECTED":
                    return self._connected(state)

    def _saw(self, state: State) -> None:
        self._note(replace(self._restart, state=state))

    def _connected(self, state: State) -> Answer[Restart]:
        """The daemon is up.

        Raises:
            CommandFailedError: with errors, and it was not so before.
        """
        self._confirmed()
        after = asyncio.get_running_loop().time() - self._begun
        self._note(replace(self._restart, state=state, connected_after=after))
        if state.description not in ("SUCCESS", self._restart.state_before.description):
            raise CommandFailedError(
                f"the daemon is CONNECTED with {state.description}",
                hint=f"see what went wrong with {self._here('fleet log 20')}",
            )
        return Answer(self._restart, self._raw)

    def _refuse_waiting(self, notification: Notification) -> None:
        """Raises where the daemon waits for somebody, and would do so for ever."""
        want = want_of(notification)
        if want is None:
            return
        self._confirmed()
        if isinstance(notification, HoldNotification):
            raise CommandFailedError(
                "the daemon went into hold: its tunnel is down",
                hint=f"bring it up with {self._here('fleet hold release')}",
            )
        raise CommandFailedError(
            f"the daemon waits for its {want}: its tunnel is down",
            hint=f"bring it up with {self._here('fleet unlock')}",
        )

    def _late(self) -> CommandFailedError:
        return CommandFailedError(
            f"no CONNECTED within {self._wait_timeout:g} s; {self._last_state}",
            hint=f"see why with {self._here('fleet log 20')}, or wait longer with --wait-timeout",
            sent=self.attempt.sent,
        )

    def _here(self, command: str) -> str:
        """The command for this server, to be typed as it stands."""
        return f"{command} -l {shlex.quote(self.attempt.server.name)}"

    def died(self, reason: str) -> CommandFailedError:
        """The daemon did not survive the signal."""
        self._confirmed()
        return CommandFailedError(
            f"the daemon died of {self._restart.signal}: {reason}; {self._last_state}",
            hint="start it on its host; its log there says why it ended",
        )

    def found(self, pid: int, state: State, lost: ConnectionLostError) -> Answer[Restart]:
        """What a second look has shown.

        Raises:
            ServerError: another daemon, or the same one not CONNECTED anew.
        """
        if pid != self._pid:
            raise self.died(f"another one runs now (pid {pid})")
        self._saw(state)
        if state.name == "CONNECTED" and state.time > self._restart.state_before.time:
            return self._connected(state)
        lost.sent = self.attempt.sent
        raise lost

    @property
    def _restart(self) -> Restart:
        assert self._value is not None  # noqa: S101 - noted before the signal is sent
        return self._value

    def _note(self, value: Restart) -> None:
        self._value = value
        self.attempt.partial = Answer(value, self._raw)

    @property
    def _last_state(self) -> str:
        state = self._restart.state
        if state is None:
            return "it told no state after it"
        return f"its last state was {state.name}" + (f" ({state.description})" if state.description else "")


# Their clients


async def count_clients(conversation: Conversation) -> int:
    """How many clients a daemon has; it says so in its restart too (protocol-facts 11.2).

    Raises:
        ServerError: it could not be asked.
    """
    conversation.attempt.phase = "counting its clients"
    return (await conversation.run(commands.load_stats())).nclients


async def _count(conversation: Conversation) -> Answer[int]:
    return Answer(await count_clients(conversation), "")


COUNT_CLIENTS: Operation[int] = Operation(
    "clients", _count, (Column("nclients", Kind.COUNT),), lambda count: [(count,)]
)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Whether the clients of a batch are back, wherever they are.

    Attributes:
        before: how many clients each server had before the batch; a server that did not say is left out, then and now.
        batch: the servers of the batch.
        percent: so much of the batch's clients is wanted back.
    """

    before: Mapping[str, int]
    batch: frozenset[str]
    percent: int

    @property
    def dropped(self) -> int:
        """How many clients the batch had."""
        return sum(count for name, count in self.before.items() if name in self.batch)

    @property
    def others(self) -> int:
        """How many clients the other servers had."""
        return sum(self.before.values()) - self.dropped

    def back(self, now: Mapping[str, int | None]) -> int:
        """How many are back: on their own servers, or beyond what the other servers had.

        Args:
            now: counts of servers, of the others too or not; None for one that does not answer, which counts as 0.
        """
        counts = {name: now.get(name) or 0 for name in self.before}
        own = sum(count for name, count in counts.items() if name in self.batch)
        return max(own, sum(counts.values()) - self.others)

    def is_enough(self, back: int) -> bool:
        """Whether so many are the share that is wanted."""
        return back * _WHOLE >= self.dropped * self.percent


@dataclass(frozen=True, slots=True)
class Recovered:
    """How a gate was decided.

    Attributes:
        enough: the share is back.
        back: how many clients are back.
        dropped: how many the batch had.
        elapsed: seconds that were waited.
        now: the last count of each server that was asked.
    """

    enough: bool
    back: int
    dropped: int
    elapsed: float
    now: Mapping[str, int | None]

    @property
    def silent(self) -> tuple[str, ...]:
        """The servers that did not answer the last count."""
        return tuple(name for name, count in self.now.items() if count is None)


Count = Callable[[Iterable[str]], Awaitable[Mapping[str, int | None]]]
"""How many clients each of these servers has; None for one that does not answer."""


async def wait_for_clients(
    recovery: Recovery,
    count: Count,
    wait_timeout: float,
    listen: Callable[[Recovered], None] = lambda _found: None,
) -> Recovered:
    """Counts until the share is back, or the time is over.

    The batch's own servers are asked first; the others only where those do not have enough.

    Args:
        recovery: what is wanted.
        count: asks servers.
        wait_timeout: seconds.
        listen: told of each count that is not enough, and goes on.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    own = [name for name in recovery.before if name in recovery.batch]
    others = [name for name in recovery.before if name not in recovery.batch]
    while True:
        now = dict(await count(own))
        if others and not recovery.is_enough(recovery.back(now)):
            now |= await count(others)
        back = recovery.back(now)
        found = Recovered(recovery.is_enough(back), back, recovery.dropped, clock() - begun, now)
        if found.enough or found.elapsed + POLL_INTERVAL > wait_timeout:
            return found
        listen(found)
        await asyncio.sleep(POLL_INTERVAL)
