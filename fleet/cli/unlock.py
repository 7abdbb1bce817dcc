"""`fleet unlock`: who waits for what, and bringing them up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fleet.cli.answers import Asker, Choices, Need, choices
from fleet.cli.asking import Asked, Interrupts, access_to, ask_over, transport_options
from fleet.cli.choosing import Target, admit
from fleet.cli.consent import confirm, foresee, must_ask, question, somebody
from fleet.cli.options import Options, duration, with_options
from fleet.cli.output import error_style, output_for, say
from fleet.cli.run import end_refused, finish, open_journal, perform, run
from fleet.cli.terminal import terminal
from fleet.engine import EXIT_FAILED, EXIT_OK, Outcome, Report
from fleet.errors import CommandFailedError, InterruptedRunError, RefusedError, RunTimeoutError, ServerError, UsageError
from fleet.inventory.model import Server
from fleet.journal.journal import Journal
from fleet.operations.operation import Answer, Operation
from fleet.operations.preview import preview_of
from fleet.operations.unlock import UP, Unlocked, left_changed, unlock
from fleet.operations.waiting import LOOK, Waiting, Want
from fleet.render.text import escape
from fleet.transport import Transport

ROUNDS_LIMIT = 20
"""Security limit: sessions with a daemon in one run; one that asks for ever new things is left waiting."""

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to bring up.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("unlock")(with_options(_unlock, changes=True))


def _unlock(
    *,
    patterns: Patterns = None,
    listing: Annotated[bool, typer.Option("--list", help="Show who waits for what, and change nothing.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Ask for each server by itself, not once for all.")] = False,
    secret_file: Annotated[
        str | None,
        typer.Option("--secret-file", metavar="PATH", help="The secret is the first line of this file (mode 0600)."),
    ] = None,
    secret_command: Annotated[
        str | None,
        typer.Option(
            "--secret-command",
            metavar="COMMAND",
            help="The secret is the first line that this prints; no shell; {server} and {realm} are replaced.",
        ),
    ] = None,
    response_command: Annotated[
        str | None,
        typer.Option(
            "--response-command",
            metavar="COMMAND",
            help="The answer to a challenge, for example a one-time code, is the first line that this prints; run "
            "once for each server and question; otherwise as --secret-command.",
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="Where a username is wanted too.")
    ] = None,
    ok: Annotated[bool, typer.Option("--ok", help="Confirm what daemons want confirmed (NEED-OK).")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Decline it.")] = False,
    string: Annotated[
        str | None, typer.Option("--string", metavar="TEXT", help="The text that daemons want (NEED-STR); no secret.")
    ] = None,
    wait_timeout: Annotated[
        Any,
        typer.Option(
            "--wait-timeout",
            metavar="DURATION",
            callback=duration,
            help="For a daemon to be CONNECTED, or to ask for something new.",
        ),
    ] = "30s",
    options: Options,
) -> int:
    """Bring up daemons that wait: release holds, give passphrases and passwords.

    Shows with --list who waits for what. Without it holds are released, and secrets are asked for at the terminal,
    without echo, once for all servers that want the same; or they come from a file or a command. A wrong one gets
    another try: the daemon's auth-retry is set to interact meanwhile, and put back. Wants --limit or --all, or
    patterns.

    A daemon may ask a question along with the password (static-challenge), and a server one after it (CRV1). Each is
    asked for each server by itself, seen as it is typed where the question allows that, or answered by
    --response-command.

    Where more than one server is changed without anybody typing a secret for it, the list is shown and asked for
    first; without a terminal that wants --yes. A daemon that is not up and waits for nothing is waited for.

    A secret is never an argument: it would be in the list of processes.
    """
    if options.in_batches:
        raise UsageError(
            "unlock does not roll: a server that waits has no clients to lose",
            hint="leave --serial and its like out; -l names fewer servers",
        )
    chosen = choices(
        secret_file=secret_file,
        secret_command=secret_command,
        response_command=response_command,
        username=username,
        each=each,
        ok=ok,
        cancel=cancel,
        string=string,
    )
    args = tuple(patterns or ())
    if listing:
        if chosen != Choices():
            raise UsageError("--list answers nothing", hint="leave the answers out, or leave --list out")
        return run(LOOK, options, Target(args=args))
    return bring_up(chosen, options, Target(args=args, explicit=True), wait_timeout)


def bring_up(chosen: Choices, options: Options, target: Target, wait_timeout: float) -> int:
    """Brings up the servers that are meant, and shows what came of it.

    Args:
        chosen: what the command line says of the answers.
        options: the common ones.
        target: whom it is for.
        wait_timeout: seconds for a daemon to be CONNECTED, or to ask for something new.

    Returns:
        The exit status.

    Raises:
        RefusedError: nothing was changed on any server.
    """
    asker = Asker(chosen, terminal())
    owed: dict[str, str] = {}
    operation = unlock(asker.answers, wait_timeout, owed)
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    if options.dry_run:
        return perform(preview_of(operation), servers, options, target)
    clock = _Clock(options.timeout)
    with clock.running():
        found = foresee(operation, servers, options)
    asker.check(_needs_of(found))
    _agree(operation, found, asker, options)
    journal = open_journal(operation, servers, options, target)
    job = _BringingUp(operation, servers, options, asker=asker, owed=owed, clock=clock, journal=journal)
    try:
        job.run(found, options.host_timeout + wait_timeout)
    except KeyboardInterrupt:
        job.interrupt()
    except RefusedError as error:
        end_refused(journal, error)
        raise
    report = job.report(target)
    say(journal.end(report.exit_status, interrupted=report.interrupted) or "")
    return finish(report, job.output, journal.run_id)


def _agree(
    operation: Operation[Unlocked], found: Sequence[Outcome[Answer[Waiting]]], asker: Asker, options: Options
) -> None:
    """Asks before several servers are changed that nobody types anything for.

    Raises:
        UsageError: nobody can be asked here, or the person said no. Nothing was changed.
    """
    unasked = [outcome for outcome in found if _is_open(outcome) and not any(map(asker.types, _needs_of([outcome])))]
    servers = [outcome.server for outcome in unasked]
    if must_ask(operation, servers, options):
        person = somebody(operation, servers)
        say(question(operation, servers, unasked, options))
        confirm(operation, servers, options, person)


def _is_open(outcome: Outcome[Answer[Waiting]]) -> bool:
    """Whether a look showed a daemon that is not up: one that waits, or has not got there yet."""
    if outcome.value is None:
        return False
    found = outcome.value.value
    return bool(found.waiting_for) or found.state.name != UP


def _needs_of(found: Iterable[Outcome[Answer[Waiting]]]) -> list[Need]:
    return [
        Need(outcome.server.name, want)
        for outcome in found
        if outcome.value is not None
        for want in outcome.value.value.waiting_for
    ]


class _Clock:
    """The clock of the whole run, which stands still while people are asked.

    Attributes:
        begun: when the run began, on the clock that never stops.
        started: the same, as a time of day.
    """

    def __init__(self, timeout: float | None) -> None:
        self.begun = time.monotonic()
        self.started = datetime.now(UTC)
        self._timeout = timeout
        self._spent = 0.0

    @property
    def left(self) -> float | None:
        """Seconds that servers may still be asked; None for as many as it takes."""
        return None if self._timeout is None else self._timeout - self._spent

    @contextmanager
    def running(self) -> Iterator[None]:
        """Lets it run."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - begun


_NOTHING = Unlocked((), (), "not waiting", None)
"""What was done with a server that no session came to."""


@dataclass(slots=True)
class _Standing:
    """How far one server is that has no outcome yet.

    Attributes:
        wants: what it waits for.
        done: what earlier sessions did, or None.
        elapsed: seconds of its sessions, not of people's thinking.
        warnings: of its sessions.
    """

    wants: tuple[Want, ...] = ()
    done: Unlocked | None = None
    elapsed: float = 0.0
    warnings: tuple[str, ...] = ()


class _BringingUp:
    """Rounds of answering all servers that wait, with questions to the operator between them."""

    def __init__(
        self,
        operation: Operation[Unlocked],
        servers: tuple[Server, ...],
        options: Options,
        *,
        asker: Asker,
        owed: Mapping[str, str],
        clock: _Clock,
        journal: Journal,
    ) -> None:
        self.output = output_for(operation, options)
        self._operation = operation
        self._servers = servers
        self._options = options
        self._asker = asker
        self._owed = owed
        self._clock = clock
        self._journal = journal
        self._open = {server.name: _Standing() for server in servers}
        self._outcomes: list[Outcome[Answer[Unlocked]]] = []
        self._interrupted = False

    def run(self, found: Iterable[Outcome[Answer[Waiting]]], host_timeout: float) -> None:
        """Goes on until every server has its outcome, or the operator breaks off.

        Args:
            found: what a look at the servers has shown, an outcome for each.
            host_timeout: seconds for one session.

        Raises:
            KeyboardInterrupt: Ctrl-C while somebody was asked.
            RefusedError: nothing was changed on any server.
        """
        for outcome in found:
            self._looked(outcome)
        for _ in range(ROUNDS_LIMIT):
            for name, error in self._asker.fill(self._needs()).items():
                self._settle(name, None, error)
            waiting = tuple(server for server in self._servers if server.name in self._open)
            if not waiting:
                return
            for answered in self._round(waiting, host_timeout):
                self._answered(answered)
            if self._interrupted:
                self.interrupt()  # also those that have just asked for more
                return
        for name in list(self._open):
            self._settle(name, None, CommandFailedError(f"it asked for {ROUNDS_LIMIT} things and wants more"))

    def interrupt(self) -> None:
        """Ctrl-C while somebody was asked: every server that still waits has that as its outcome."""
        self._interrupted = True
        for name in list(self._open):
            self._settle(name, None, InterruptedRunError("interrupted before it was answered"))

    def report(self, target: Target) -> Report[Answer[Unlocked]]:
        """The whole run; what is left changed is told now."""
        say(self._left_text())
        self.output.words(_words([o.value.value for o in self._outcomes if o.value is not None]))
        return Report.of(
            self._servers,
            self._outcomes,
            command=self._operation.name,
            args=target.args,
            started=self._clock.started,
            elapsed=time.monotonic() - self._clock.begun,
            interrupted=self._interrupted,
            answer_status=EXIT_FAILED if self._owed else EXIT_OK,
        )

    # One round

    def _round(self, servers: Sequence[Server], host_timeout: float) -> list[Outcome[Answer[Unlocked]]]:
        left = self._clock.left
        if left is not None and left <= 0:
            error = RunTimeoutError(f"the {self._options.timeout:g} s of the whole run were over before its turn came")
            return [Outcome(server, 0.0, None, error, attempted=False) for server in servers]
        options = replace(self._options, host_timeout=host_timeout, timeout=left)
        with Interrupts() as interrupts, self._clock.running():
            interrupts.leave_with(self._left_text)
            asked = asyncio.run(self._ask(servers, options, interrupts))
        self._interrupted = asked.interrupted
        return asked.outcomes

    async def _ask(self, servers: Sequence[Server], options: Options, interrupts: Interrupts) -> Asked[Unlocked]:
        """Asks without the journal's being told of the outcomes: they are those of one round."""
        async with Transport(servers, transport_options(options)) as transport:
            access = access_to(transport, options, changes=True, journal=self._journal)
            return await ask_over(access, self._operation, servers, options, interrupts)

    def _left_text(self) -> str:
        """The daemons that are left with another auth-retry than they had."""
        changed = error_style(self._options).bad("left changed")
        return "\n".join(
            f"{changed}: {escape(name)}: {escape(left_changed(former))}" for name, former in self._owed.items()
        )

    # What came of it

    def _looked(self, outcome: Outcome[Answer[Waiting]]) -> None:
        name = outcome.server.name
        if outcome.value is None:
            self._settle(name, outcome, outcome.error)
            return
        found = outcome.value.value
        if not _is_open(outcome):
            nothing = Answer(Unlocked((), (), "not waiting", found.state), outcome.value.raw)
            self._settle(name, outcome, None, nothing)
            return
        self._note(name, outcome)
        self._open[name].wants = found.waiting_for

    def _answered(self, outcome: Outcome[Answer[Unlocked]]) -> None:
        name = outcome.server.name
        if outcome.value is None:
            self._settle(name, outcome, outcome.error)
            return
        done = self._open[name].done
        value = outcome.value.value if done is None else outcome.value.value.after(done)
        if value.needs is None:
            self._settle(name, outcome, None, Answer(value, outcome.value.raw))
            return
        self._note(name, outcome)
        self._open[name].done = value
        self._open[name].wants = (value.needs,)

    def _needs(self) -> list[Need]:
        return [Need(name, want) for name, standing in self._open.items() for want in standing.wants]

    def _note(self, name: str, outcome: Outcome[Any]) -> None:
        standing = self._open[name]
        standing.elapsed += outcome.elapsed
        standing.warnings = tuple(dict.fromkeys((*standing.warnings, *outcome.warnings)))

    def _settle(
        self,
        name: str,
        outcome: Outcome[Any] | None,
        error: ServerError | None,
        value: Answer[Unlocked] | None = None,
    ) -> None:
        """The server's outcome, from its last session or from between two of them."""
        if outcome is not None:
            self._note(name, outcome)
        standing = self._open.pop(name)
        server = next(server for server in self._servers if server.name == name)
        failed = () if value is None else value.value.verification_failed
        told = (f"verification failed for '{realm}' before the right secret came" for realm in failed)
        done = _NOTHING if value is not None or standing.done is None else standing.done
        last: Outcome[Any] = Outcome(server, 0.0) if outcome is None else outcome
        settled: Outcome[Answer[Unlocked]] = Outcome(
            server,
            standing.elapsed,
            value,
            error,
            attempted=last.attempted or done is not _NOTHING,
            sent=last.sent or "; ".join(done.sent) or None,
            confirmed=(*done.done, *last.confirmed),
            warnings=tuple(dict.fromkeys((*standing.warnings, *told))),
            partial=None if done is _NOTHING else Answer(done, ""),
        )
        self._outcomes.append(settled)
        self._journal.outcome(settled, "" if settled.value is None else settled.value.raw)
        self.output.outcome(settled)


def _words(values: Iterable[Unlocked]) -> str:
    """`2 servers came up, 1 waited for nothing`."""
    counts = {"connected": 0, "not waiting": 0, "cancelled": 0}
    for value in values:
        counts[value.result] += 1
    said = {"connected": "came up", "not waiting": "waited for nothing", "cancelled": "were told to cancel"}
    parts = [f"{count} {said[result]}" for result, count in counts.items() if count]
    return ", ".join(parts)
