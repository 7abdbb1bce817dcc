"""`--for`: a setting that is changed for a time, and put back on each server when that is over or on Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar

import typer

from fleet.cli.asking import Interrupts, access_to, ask_over, transport_options
from fleet.cli.choosing import Target, admit
from fleet.cli.consent import agree
from fleet.cli.options import Options, duration
from fleet.cli.output import error_style, output_for, say
from fleet.cli.run import finish, open_journal, perform, recorded
from fleet.engine import Fan, Outcome, Report
from fleet.errors import ServerError, UnreachableError, UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.operation import Answer, Operation
from fleet.operations.preview import preview_of
from fleet.operations.settings import word
from fleet.operations.temporary import Setting, Temporary, put_back, repair, set_for_a_time
from fleet.render import units
from fleet.render.fold import fold
from fleet.render.outcomes import errors_text
from fleet.render.progress import Progress
from fleet.render.text import escape
from fleet.transport import Transport

T = TypeVar("T")

_RETRY_INTERVAL = 2.0  # seconds before servers that could not be asked are asked again


ForATime = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="Put back what each daemon had before, after that time.")
]
"""The option of commands that set something."""


def run_for(setting: Setting[T], value: T, text: str, options: Options, target: Target) -> int:
    """Sets it on the servers that are meant, waits without a connection to any of them, and puts it back.

    Args:
        setting: what is set.
        value: to what.
        text: how long it stays, as `--for` was given.
        options: the common ones.
        target: whom it is for.

    Returns:
        The exit status: that of setting and putting back together.

    Raises:
        RefusedError: nothing was sent to any server.
    """
    seconds = duration(text)
    assert seconds is not None  # noqa: S101 - for mypy: only None gives None
    _refuse_batches(options)
    operation = set_for_a_time(setting, value)
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    if options.dry_run:
        return perform(preview_of(operation), servers, options, target)
    agree(operation, servers, options)
    journal = open_journal(operation, servers, options, target)
    job = _ForATime(setting, value, servers, options, journal=journal, seconds=seconds)
    with recorded(journal):
        return job.run(target)


class _ForATime(Generic[T]):
    """One setting on many servers for a time; `owed` is what is still to be put back."""

    def __init__(
        self,
        setting: Setting[T],
        value: T,
        servers: Sequence[Server],
        options: Options,
        *,
        journal: Journal,
        seconds: float,
    ) -> None:
        self._setting = setting
        self._text = setting.text(value)
        self._operation = set_for_a_time(setting, value)
        self._servers = servers
        self._options = options
        self._journal = journal
        self._seconds = seconds
        self._owed: dict[str, Temporary[T]] = {}
        self._outcomes: dict[str, Outcome[Answer[Temporary[T]]]] = {}
        self._failed: dict[str, ServerError] = {}

    def run(self, target: Target) -> int:
        """All of it, to the exit status."""
        started, begun = datetime.now(UTC), time.monotonic()
        output = output_for(self._operation, self._options)
        with Interrupts() as interrupts:
            interrupts.leave_with(self._left_text)
            asyncio.run(self._run(interrupts))
            report = Report.of(
                self._servers,
                self._outcomes.values(),
                command=self._operation.name,
                args=target.args,
                started=started,
                elapsed=time.monotonic() - begun,
                interrupted=interrupts.came and not self._owed,  # what is left changed is the worse news
            )
            say(self._journal.end(report.exit_status, interrupted=interrupts.came) or "")
        for outcome in report.outcomes:
            output.outcome(outcome)
        return finish(report, output, self._journal.run_id)

    def _left_text(self) -> str:
        """What is not put back, and how to: a line for each former value."""
        lines = []
        for command, names in self._groups(self._owed).items():
            lines.append(
                f"left: {escape(' '.join(fold(names)))}: {self._changed(self._owed[names[0]])} stays; try: {command}"
            )
        return "\n".join(lines)

    def _groups(self, changes: Mapping[str, Temporary[T]]) -> dict[str, list[str]]:
        """The servers by the command that repairs them, complete with their names."""
        groups: dict[str, list[str]] = {}
        for name in (server.name for server in self._servers if server.name in changes):
            groups.setdefault(repair(self._setting, changes[name]), []).append(name)
        return {f"{command} -l {shlex.quote(','.join(fold(names)))}": names for command, names in groups.items()}

    def _changed(self, change: Temporary[T]) -> str:
        """`verb 5 (3 before)`."""
        return f"{self._setting.text(change.now)} ({word(change.before)} before)"

    # The three parts

    async def _run(self, interrupts: Interrupts) -> None:
        await self._ask(self._operation, self._servers, self._options, interrupts, self._took)
        if self._owed and not interrupts.came:
            self._tell_until()
            await self._pause(interrupts)
        if self._owed:
            interrupts.end_with(self._tell_going_back)
            await self._put_back()
        self._settle_failures()

    def _took(self, outcome: Outcome[Answer[Temporary[T]]]) -> None:
        """Keeps what a server has to get back; also where it was told, or may have been, and the run was broken off."""
        name = outcome.server.name
        self._outcomes[name] = outcome
        answer = outcome.value or outcome.partial
        if answer is None or answer.value.before == answer.value.now:
            return
        if outcome.value is not None or outcome.sent is not None or outcome.confirmed:
            self._owed[name] = answer.value

    async def _pause(self, interrupts: Interrupts) -> None:
        over = asyncio.Event()
        interrupts.end_with(over.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await over.wait()

    async def _put_back(self) -> None:
        """Tries until every server has its own value again, or the host timeout is over."""
        options = replace(self._options, timeout=None)
        clock = asyncio.get_running_loop().time
        until = clock() + options.host_timeout
        while self._owed:
            servers = [server for server in self._servers if server.name in self._owed]
            operation = put_back(self._setting, self._owed)
            # Nobody breaks this off but by leaving at once: what was changed is to be put back.
            await self._ask(operation, servers, options, Interrupts(), self._put)
            again = any(isinstance(self._failed[name], UnreachableError) for name in self._owed)
            if not again or clock() + _RETRY_INTERVAL >= until:
                return
            await asyncio.sleep(_RETRY_INTERVAL)
            options = replace(options, host_timeout=max(until - clock(), _RETRY_INTERVAL))

    def _put(self, outcome: Outcome[Answer[Temporary[T]]]) -> None:
        """Takes what became of one server's former value."""
        name = outcome.server.name
        before = self._outcomes[name]
        warnings = tuple(dict.fromkeys((*before.warnings, *outcome.warnings)))
        settled = replace(before, elapsed=before.elapsed + outcome.elapsed, warnings=warnings)
        self._outcomes[name] = settled
        if outcome.error is not None:
            self._failed[name] = outcome.error
            return
        del self._owed[name]
        if before.value is None:  # it was never known whether it was set
            self._outcomes[name] = replace(settled, partial=outcome.value)
        else:
            self._outcomes[name] = replace(settled, value=outcome.value)

    def _settle_failures(self) -> None:
        for command, names in self._groups(self._owed).items():
            for name in names:
                error, before = self._failed[name], self._outcomes[name]
                told = f"{self._changed(self._owed[name])} was not put back: {error.message}"
                failure = type(error)(told, hint=command, sent=error.sent)
                failure.__cause__ = error.__cause__
                self._outcomes[name] = replace(
                    before, value=None, partial=before.value or before.partial, error=failure, sent=error.sent
                )

    async def _ask(
        self,
        operation: Operation[Temporary[T]],
        servers: Sequence[Server],
        options: Options,
        interrupts: Interrupts,
        take: Callable[[Outcome[Answer[Temporary[T]]]], None],
    ) -> None:
        """Asks over connections of their own; each outcome is taken as it completes, since an end may come any time."""

        def listen(outcome: Outcome[Any], _fan: Fan[Any], _progress: Progress) -> None:
            take(outcome)

        async with Transport(servers, transport_options(options)) as transport:
            access = access_to(transport, options, changes=True, journal=self._journal)
            await ask_over(access, operation, servers, options, interrupts, journal=self._journal, listen=listen)

    # What is said meanwhile

    def _tell_until(self) -> None:
        if self._options.quiet:
            return
        say(errors_text(self._outcomes.values(), style=error_style(self._options)))
        count = len(self._owed)
        where = f"{count} {'server' if count == 1 else 'servers'}"
        until = datetime.now(UTC).astimezone() + timedelta(seconds=self._seconds)
        say(
            f"{self._text} on {where} until {until:%H:%M:%S} ({units.duration(self._seconds)}); Ctrl-C puts it back now"
        )

    def _tell_going_back(self) -> None:
        say(f"putting {self._setting.name} back; again to leave at once, and leave it as it is")


def _refuse_batches(options: Options) -> None:
    if options.in_batches:
        raise UsageError("--for sets a value everywhere at once, not in batches", hint="leave --for out, or --serial")


def refuse_for(text: str | None, why: str) -> None:
    """Refuses `--for` where there is nothing to put back.

    Raises:
        UsageError: it was given.
    """
    if text is not None:
        raise UsageError(f"--for puts a value back later, and {why}", hint="leave --for out")
