"""A drain while it goes on: clients are told to go, and servers are looked at until everybody is somewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from fleet.cli.asking import Interrupts, access_to, ask_over, transport_options
from fleet.cli.options import Options
from fleet.cli.output import say
from fleet.engine import Outcome
from fleet.errors import InterruptedRunError, ServerError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.conversation import Access
from fleet.operations.cordon import cordon
from fleet.operations.drain import LOOK, Drain, Draining, drain
from fleet.operations.operation import Answer, Confirm, Operation
from fleet.operations.signals import throw
from fleet.operations.verify import Look
from fleet.render import units
from fleet.transport import Transport

_POLL_INTERVAL = 2.0  # seconds between two looks at where everybody is


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says of a drain.

    Attributes:
        message: what clients are told.
        interval: seconds between two of them.
        grace: seconds to wait for those who were told.
        cordon: keep new ones out in the end.
        then: the signal to send in the end, or None.
        unchecked: do not look whether there is room elsewhere.
    """

    message: str
    interval: float
    grace: float
    cordon: bool
    then: str | None
    unchecked: bool

    @property
    def finale(self) -> str:
        """What it does when none is left; empty for nothing."""
        if self.cordon:
            return "keeps new clients out"
        return f"sends {self.then}" if self.then else ""

    def operation(self, draining: Draining) -> Operation[Drain]:
        """The drain, with the question that it takes."""
        made = drain(draining)
        typed = self.then in ("SIGTERM", "SIGHUP")
        effect = f"{made.effect}, and then {self.finale}" if self.finale else made.effect
        return replace(made, effect=effect, confirm=Confirm.NAME if typed else made.confirm)


class Driver:
    """Drains one server.

    Attributes:
        result: what was done, and where everybody was seen last.
        error: what ended it, or None.
        sent: a change that was sent and never confirmed, or None.
        confirmed: of what was broken off, the changes that were done before.
        interrupted: the operator broke it off.
        warnings: what the operator should know beside that.
        raw: the daemon's own words.
    """

    def __init__(
        self,
        server: Server,
        neighbours: Sequence[Server],
        wish: Wish,
        options: Options,
        *,
        journal: Journal,
        interrupts: Interrupts,
    ) -> None:
        """Nothing is done yet.

        Args:
            server: is drained.
            neighbours: may take its clients; each has answered before.
            wish: of the command line.
            options: the common ones.
            journal: is told of each change.
            interrupts: break it off.
        """
        self._server = server
        self._neighbours = tuple(neighbours)
        self._wish = wish
        self._options = options
        self._journal = journal
        self._interrupts = interrupts
        self._draining = Draining(server.name, wish.message, wish.interval)
        self.result = self._draining.result()
        self.error: ServerError | None = None
        self.sent: str | None = None
        self.confirmed: tuple[str, ...] = ()
        self.interrupted = False
        self.warnings: list[str] = []
        self.raw = ""
        self._unseen: dict[str, str] = {}  # neighbours that could not be asked any more, with the codes of their errors

    async def run(self) -> None:
        """All of it."""
        servers = (self._server, *self._neighbours)
        async with Transport(servers, transport_options(self._options), keep=True) as transport:
            access = access_to(transport, self._options, changes=True, journal=self._journal)
            whole = await self._move(access)
            self.result = self._draining.result()
            if whole and not self._draining.remaining:
                await self._end(access)
        self.warnings += [f"who went to {name} is not known: {code}" for name, code in self._unseen.items()]
        if not whole:
            self.result = replace(self.result, nclients=None)  # the last that was seen of it is history
        if self.interrupted and self.error is None:
            self.error = InterruptedRunError("interrupted before everybody was elsewhere")

    async def _move(self, access: Access) -> bool:
        """Tells everybody to go, and those who come meanwhile; says whether it came to its end."""
        await self._look(access, self._neighbours, before=True)
        clock = asyncio.get_running_loop().time
        end = None if self._options.timeout is None else clock() + self._options.timeout
        until: float | None = None
        while await self._change(access, self._wish.operation(self._draining), self._draining.progress):
            if until is None:
                until = clock() + self._wish.grace if end is None else min(end, clock() + self._wish.grace)
                self._tell_waiting()
            newcomers = await self._watch(access, until)
            if self.interrupted or not newcomers or clock() >= until:
                break
        return self.error is None and not self.interrupted

    async def _watch(self, access: Access, until: float) -> bool:
        """Looks where everybody is until that is known, or the time is over; says whether somebody new has come."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._look(access, (self._server, *self._neighbours))
            if self.interrupted or self._draining.has_newcomers:
                return self._draining.has_newcomers
            left = until - clock()
            if left <= 0 or self._draining.settled(clock()):
                return False
            await self._pause(min(_POLL_INTERVAL, left))

    async def _look(self, access: Access, servers: Sequence[Server], *, before: bool = False) -> None:
        """Looks at servers. One that cannot be asked is looked at the next time; what counts is the last look."""
        if self.interrupted:
            return
        asked = await ask_over(access, LOOK, servers, self._options, self._interrupts)
        self.interrupted = asked.interrupted
        for outcome in asked.outcomes:
            self._saw(outcome)
            if outcome.value is None:
                continue
            if before:
                self._draining.before(outcome.value.value)
            else:
                self._draining.saw(outcome.value.value)

    def _saw(self, outcome: Outcome[Answer[Look]]) -> None:
        """Keeps in mind whom the last look could not ask."""
        name = outcome.server.name
        if name == self._server.name:
            self.error = outcome.error
        elif outcome.error is None:
            self._unseen.pop(name, None)
        else:
            self._unseen[name] = outcome.error.code

    async def _change(self, access: Access, operation: Operation[Any], words: Callable[[], str] = str) -> bool:
        """Does something to the server, and shows these words meanwhile; says whether it was done."""
        if self.interrupted:
            return False
        servers = (self._server,)
        asked = await ask_over(
            access, operation, servers, self._options, self._interrupts, journal=self._journal, words=words
        )
        (outcome,) = asked.outcomes
        self.interrupted = asked.interrupted
        self.error, self.sent, self.confirmed = outcome.error, outcome.sent, outcome.confirmed
        self.warnings += [warning for warning in outcome.warnings if warning not in self.warnings]
        if outcome.value is not None:
            self.raw += outcome.value.raw
        return outcome.value is not None

    async def _end(self, access: Access) -> None:
        """What is to be done when none is left."""
        if self._wish.cordon:
            done = await self._change(access, cordon(force=self._options.force))
            self.result = replace(self.result, cordoned=done)
        elif self._wish.then and await self._change(access, throw(self._wish.then)):
            self.result = replace(self.result, signal=self._wish.then)

    async def _pause(self, seconds: float) -> None:
        over = asyncio.Event()

        def end() -> None:
            say("interrupted: where everybody was last seen is shown; again to leave at once")
            self.interrupted = True
            over.set()

        self._interrupts.end_with(end)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await over.wait()

    def _tell_waiting(self) -> None:
        count = self._draining.told_count
        if count and not self._options.quiet:
            clients = "1 client was" if count == 1 else f"{count} clients were"
            say(f"{clients} told to go; waiting up to {units.duration(self._wish.grace)} for them to be elsewhere")
