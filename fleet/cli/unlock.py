"""`fleet unlock`: who waits for what, and bringing them up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from fleet.cli.answers import Asker, Choices, Need, choices
from fleet.cli.asking import Interrupts, access_to, transport_options
from fleet.cli.options import Options, duration, with_options
from fleet.cli.output import output_for, say
from fleet.cli.progress import show_progress
from fleet.cli.run import Target, admit, run
from fleet.cli.terminal import Terminal, terminal
from fleet.engine import EXIT_INTERRUPTED, Outcome, Report, fan_out
from fleet.errors import CommandFailedError, InterruptedRunError, RunTimeoutError, ServerError, UsageError
from fleet.inventory.model import Server
from fleet.operations.conversation import work_on
from fleet.operations.operation import Answer, Operation
from fleet.operations.unlock import Unlocked, unlock
from fleet.operations.waiting import LOOK, Waiting
from fleet.transport import Transport

T = TypeVar("T")

ROUNDS_LIMIT = 20
"""Security limit: sessions with a daemon in one run; one that asks for ever new things is left waiting."""

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to bring up.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("unlock")(with_options(_unlock))


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
            help="For a daemon to be CONNECTED once it was answered.",
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

    A secret is never an argument: it would be in the list of processes.
    """
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
    return bring_up(chosen, options, Target(args=args, explicit=True), wait_timeout, terminal())


def bring_up(chosen: Choices, options: Options, target: Target, wait_timeout: float, person: Terminal | None) -> int:
    """Brings up the servers that are meant, and shows what came of it.

    Args:
        chosen: what the command line says of the answers.
        options: the common ones.
        target: whom it is for.
        wait_timeout: seconds for a daemon to be CONNECTED, or to ask for something new, once it was answered.
        person: who can be asked, or None.

    Returns:
        The exit status.

    Raises:
        RefusedError: nothing was changed on any server.
    """
    asker = Asker(chosen, person)
    operation = unlock(asker.answers, wait_timeout)
    servers = admit(operation, options, target)
    if servers is None:
        return 0
    job = _BringingUp(operation, servers, options, target, asker=asker, wait_timeout=wait_timeout)
    try:
        job.run()
    except KeyboardInterrupt:
        job.interrupt()
    report = job.report()
    try:
        return job.output.finish(report)
    except KeyboardInterrupt:
        say("interrupted while the outcomes were being written; every server has its own")
        return EXIT_INTERRUPTED


@dataclass(slots=True)
class _Standing:
    """How far one server is that has no outcome yet.

    Attributes:
        wants: what it waits for.
        done: what earlier sessions did, or None.
        elapsed: seconds of its sessions, not of people's thinking.
        warnings: of its sessions.
    """

    wants: tuple[Any, ...] = ()
    done: Unlocked | None = None
    elapsed: float = 0.0
    warnings: tuple[str, ...] = ()


class _BringingUp:
    """One run: a look at all servers, then rounds of answering, with questions to the operator between them."""

    def __init__(
        self,
        operation: Operation[Unlocked],
        servers: tuple[Server, ...],
        options: Options,
        target: Target,
        *,
        asker: Asker,
        wait_timeout: float,
    ) -> None:
        self.output = output_for(operation, options)
        self._operation = operation
        self._servers = servers
        self._options = options
        self._target = target
        self._asker = asker
        self._wait_timeout = wait_timeout
        self._open = {server.name: _Standing() for server in servers}
        self._outcomes: list[Outcome[Answer[Unlocked]]] = []
        self._interrupted = False
        self._started = datetime.now(UTC)
        self._begun = time.monotonic()
        self._spent = 0.0  # seconds of all rounds

    def run(self) -> None:
        """Goes on until every server has its outcome, or the operator breaks off."""
        for outcome in self._round(LOOK, self._servers, self._options.host_timeout):
            self._looked(outcome)
        self._asker.check(self._needs())
        for _ in range(ROUNDS_LIMIT):
            for name, error in self._asker.fill(self._needs()).items():
                self._settle(name, None, error)
            waiting = tuple(server for server in self._servers if server.name in self._open)
            if not waiting or self._interrupted:
                return
            host_timeout = self._options.host_timeout + self._wait_timeout
            for answered in self._round(self._operation, waiting, host_timeout):
                self._answered(answered)
        for name in list(self._open):
            self._settle(name, None, CommandFailedError(f"it asked for {ROUNDS_LIMIT} things and wants more"))

    def interrupt(self) -> None:
        """Ctrl-C while somebody was asked: every server that still waits has that as its outcome."""
        self._interrupted = True
        for name in list(self._open):
            self._settle(name, None, InterruptedRunError("interrupted before it was answered"))

    def report(self) -> Report[Answer[Unlocked]]:
        """The whole run."""
        self.output.words(_words([o.value.value for o in self._outcomes if o.value is not None]))
        return Report.of(
            self._servers,
            self._outcomes,
            command=self._operation.name,
            args=self._target.args,
            started=self._started,
            elapsed=time.monotonic() - self._begun,
            interrupted=self._interrupted,
        )

    # One round

    def _round(
        self, operation: Operation[T], servers: Sequence[Server], host_timeout: float
    ) -> list[Outcome[Answer[T]]]:
        begun = time.monotonic()
        left = None if self._options.timeout is None else self._options.timeout - self._spent
        if left is not None and left <= 0:
            error = RunTimeoutError(f"the {self._options.timeout:g} s of the whole run were over before its turn came")
            return [Outcome(server, 0.0, None, error, attempted=False) for server in servers]
        with Interrupts() as interrupts:
            outcomes = asyncio.run(self._fan(operation, servers, host_timeout, left, interrupts))
        self._spent += time.monotonic() - begun
        return outcomes

    async def _fan(
        self,
        operation: Operation[T],
        servers: Sequence[Server],
        host_timeout: float,
        run_timeout: float | None,
        interrupts: Interrupts,
    ) -> list[Outcome[Answer[T]]]:
        options = self._options
        outcomes: list[Outcome[Answer[T]]] = []
        async with (
            Transport(servers, transport_options(options)) as transport,
            fan_out(
                servers,
                work_on(access_to(transport, options, changes=operation.changes), operation.perform),
                forks=options.forks,
                host_timeout=host_timeout,
                run_timeout=run_timeout,
            ) as fan,
            show_progress(fan, outcomes, options) as progress,
        ):

            def end() -> None:
                progress.clear()
                say("interrupted: closing what is open; again to leave at once")
                fan.interrupt()

            interrupts.end_with(end)
            async for outcome in fan:
                outcomes.append(outcome)  # noqa: PERF401 - the progress line looks at the list while it grows
        self._interrupted = self._interrupted or fan.interrupted
        return outcomes

    # What came of it

    def _looked(self, outcome: Outcome[Answer[Waiting]]) -> None:
        name = outcome.server.name
        if outcome.value is None:
            self._settle(name, outcome, outcome.error)
            return
        found = outcome.value.value
        if not found.waiting_for:
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
        partial = None if value is not None or standing.done is None else Answer(standing.done, "")
        settled: Outcome[Answer[Unlocked]] = Outcome(
            server,
            standing.elapsed,
            value,
            error,
            attempted=outcome is None or outcome.attempted,
            sent=None if outcome is None else outcome.sent,
            confirmed=() if outcome is None else outcome.confirmed,
            warnings=tuple(dict.fromkeys((*standing.warnings, *told))),
            partial=partial,
        )
        self._outcomes.append(settled)
        self.output.outcome(settled)


def _words(values: Iterable[Unlocked]) -> str:
    """`2 servers came up, 1 waited for nothing`."""
    counts = {"connected": 0, "not waiting": 0, "cancelled": 0}
    for value in values:
        counts[value.result] += 1
    said = {"connected": "came up", "not waiting": "waited for nothing", "cancelled": "were told to cancel"}
    parts = [f"{count} {said[result]}" for result, count in counts.items() if count]
    return ", ".join(parts)
