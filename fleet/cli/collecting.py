"""Rounds of `fleet collect`: ask the servers, record what they answer, say what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fleet.cli.asking import Asked, Interrupts, access_to, transport_options
from fleet.cli.choosing import Target, admit
from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import error_style, say, write
from fleet.cli.run import Ending, perform
from fleet.cli.sshing import forks_for
from fleet.engine import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Outcome, Report
from fleet.errors import InterruptedRunError, RefusedError, UsageError
from fleet.inventory.model import Server
from fleet.operations.collect import Counters, collect
from fleet.operations.operation import Answer
from fleet.operations.rounds import Round, Rounds
from fleet.render.jsonout import ndjson_server, ndjson_summary
from fleet.render.outcomes import errors_text, warnings_text
from fleet.render.text import escape
from fleet.render.units import size
from fleet.transport import Transport
from fleet.usage.database import Database, RecordingError, create_or_open
from fleet.usage.record import position, record
from fleet.usage.samples import Recorded, Sample

Outcomes = Sequence[Outcome[Answer[Counters]]]

_UNREADABLE = -1  # no server has so many samples: what is asked now is not recorded


class Collecting:
    """One run of `fleet collect`.

    Args:
        path: of the database.
        keep: how long what is recorded stays.
        options: of the command line.
        target: whom it is for.
    """

    def __init__(self, path: Path, keep: timedelta, options: Options, target: Target) -> None:
        self._path = path
        self._keep = keep
        self._options = options
        self._target = target
        self._operation = collect(self._position)
        self._database: Database | None = None
        self._failed = ""

    def once(self) -> int:
        """One round, with an answer for each server as other commands give it.

        It has no entry in the history of runs, which would soon have no other.

        Raises:
            RefusedError: nothing was sent to any server.
        """
        if self._options.watch is not None:
            raise UsageError("--watch shows; collect records", hint="take --every 60s")
        servers = admit(self._operation, self._options, self._target)
        if servers is None:
            return EXIT_OK
        with self._opened() as self._database:
            ending = Ending(answer_status=self._status, settle=self._settle)
            return perform(self._operation, servers, self._options, self._target, ending=ending)

    def every(self, interval: float) -> int:
        """Rounds until somebody wants an end, over connections that stay open.

        Args:
            interval: seconds from round to round.

        Returns:
            The exit status of the last complete round.

        Raises:
            RefusedError: nothing was sent to any server.
        """
        if self._options.output not in (OutputFormat.TABLE, OutputFormat.NDJSON) or self._options.watch is not None:
            raise UsageError("--every tells of each round as it ends", hint="take -o ndjson, or none for words alone")
        servers = admit(self._operation, self._options, self._target)
        if servers is None:
            return EXIT_OK
        with self._opened() as self._database, Interrupts() as interrupts:
            return asyncio.run(self._rounds(servers, interval, interrupts))

    def _opened(self) -> Database:
        return create_or_open(self._path, busy_timeout=self._options.lock_timeout)

    # One round

    def _position(self, server: str) -> int:
        if self._database is None:
            return _UNREADABLE
        try:
            return position(self._database, server)
        except RefusedError:
            return _UNREADABLE

    def _status(self, _values: Sequence[Counters]) -> int:
        return EXIT_FAILED if self._failed else EXIT_OK

    def _settle(self, asked: Asked[Counters], _options: Options, _interrupts: Interrupts) -> Asked[Counters]:
        recorded = self._record(asked.outcomes)
        if self._failed:
            say(escape(self._failed))
        return replace(asked, outcomes=[*recorded])

    def _record(self, outcomes: Outcomes) -> Outcomes:
        """Records the outcomes of a round, and gives them with what became of each."""
        samples = [_sample(outcome.server.name, outcome.value.value) for outcome in outcomes if outcome.value]
        missed = [outcome.server.name for outcome in outcomes if _is_missed(outcome)]
        assert self._database is not None  # noqa: S101 - it is open while servers are asked
        try:
            recorded = record(self._database, samples, missed, now=datetime.now(UTC), keep=self._keep)
        except RecordingError as error:
            self._failed = f"{error}; nothing of this round is recorded"
            return outcomes
        self._failed = ""
        return [_with(outcome, recorded) for outcome in outcomes]

    # Rounds

    async def _rounds(self, servers: Sequence[Server], interval: float, interrupts: Interrupts) -> int:
        over = asyncio.Event()
        interrupts.end_with(over.set)
        if self._options.timeout is not None:
            asyncio.get_running_loop().call_later(self._options.timeout, over.set)
        teller = _Teller(self._operation, self._options, self._target)
        async with Transport(servers, replace(transport_options(self._options), keep=True)) as transport:
            rounds = Rounds(
                access_to(transport, self._options),
                servers,
                self._operation.perform,
                interval=interval,
                forks=forks_for(self._options, servers),
                host_timeout=self._options.host_timeout,
            )
            seen: dict[str, float] = {}
            async with rounds:
                while (ended := await _next(rounds, over)) is not None:
                    outcomes = self._record([*_fresh(ended, seen)])
                    # In a thread: a reader that pauses must not keep the servers of the next round from being let go.
                    if not await asyncio.to_thread(teller.tell, ended, outcomes, self._failed):
                        break
        teller.end(self._path)
        return teller.exit_status


async def _next(rounds: Rounds[Any], over: asyncio.Event) -> Round[Any] | None:
    """The next complete round, or None where somebody wants an end."""
    ended, wanted = asyncio.ensure_future(rounds.next_round()), asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((ended, wanted), return_when=asyncio.FIRST_COMPLETED)
        return None if over.is_set() else ended.result()
    finally:
        for task in (ended, wanted):
            task.cancel()
        await asyncio.gather(ended, wanted, return_exceptions=True)


def _fresh(ended: Round[Answer[Counters]], seen: dict[str, float]) -> Outcomes:
    """What this round has that the one before had not; a server that is late has it later, or fails."""
    fresh = [sample for name, sample in ended.samples.items() if seen.get(name) != sample.at]
    seen.update((sample.server.name, sample.at) for sample in fresh)
    return [sample.outcome for sample in fresh]


def _is_missed(outcome: Outcome[Any]) -> bool:
    """The server was asked, and there is nothing to record; an interruption is nobody's gap."""
    return outcome.value is None and outcome.attempted and not isinstance(outcome.error, InterruptedRunError)


def _sample(server: str, counters: Counters) -> Sample:
    return Sample(
        server,
        counters.position,
        counters.when,
        counters.daemon_time,
        counters.pid,
        counters.epoch,
        counters.clients,
        counters.bytes_in,
        counters.bytes_out,
    )


def _with(outcome: Outcome[Answer[Counters]], recorded: Mapping[str, Recorded]) -> Outcome[Answer[Counters]]:
    """An outcome with what became of it."""
    if outcome.value is None:
        return outcome
    found = recorded[outcome.server.name]
    value = replace(
        outcome.value.value, standing=found.standing.value, added_in=found.bytes_in, added_out=found.bytes_out
    )
    warnings = outcome.warnings
    if found.unclear:
        rows = "1 session" if found.unclear == 1 else f"{found.unclear} sessions"
        warnings = (*warnings, f"{rows} cannot be told apart, or counted: what they transfer is unattributed")
    return replace(outcome, value=replace(outcome.value, value=value), warnings=warnings)


class _Teller:
    """What --every says of each round: as ndjson everything, else what is new of servers that cannot be asked."""

    def __init__(self, operation: Any, options: Options, target: Target) -> None:
        self._operation = operation
        self._options = options
        self._target = target
        self._said = ""
        self._known: dict[str, Outcome[Answer[Counters]]] = {}  # of each server what was seen last: one may rest
        self._rounds = self._samples = self._missed = 0
        self._begun = time.monotonic()
        self.exit_status = EXIT_INTERRUPTED

    def tell(self, ended: Round[Answer[Counters]], outcomes: Outcomes, failed: str) -> bool:
        """Tells of a round; says whether anybody reads on."""
        self._rounds += 1
        self._samples += sum(outcome.value is not None for outcome in outcomes)
        self._missed += sum(map(_is_missed, outcomes))
        self._known.update((outcome.server.name, outcome) for outcome in outcomes)
        known = [self._known[name] for name in ended.samples if name in self._known]
        report = Report(
            self._operation.name,
            self._target.args,
            ended.started,
            ended.elapsed,
            tuple(known),
            answer_status=EXIT_FAILED if failed else EXIT_OK,
        )
        self.exit_status = report.exit_status
        self._say(known, failed)
        if self._options.output is not OutputFormat.NDJSON:
            return True
        lines = [ndjson_server(outcome, self._result) for outcome in outcomes]
        return write("".join(f"{line}\n" for line in (*lines, ndjson_summary(report))))

    def _result(self, answer: Answer[Counters]) -> object:
        return self._operation.result(answer.value)

    def _say(self, outcomes: Outcomes, failed: str) -> None:
        style = error_style(self._options)
        troubles = (
            escape(failed),
            warnings_text(outcomes, style=style),
            errors_text(outcomes, style=style),
        )
        text = "\n".join(filter(None, troubles))
        if text != self._said:
            say(text or "all servers answer again")
        self._said = text
        if self._options.verbose:
            values = [outcome.value.value for outcome in outcomes if outcome.value is not None]
            received, sent = (sum(getattr(value, way) or 0 for value in values) for way in ("added_in", "added_out"))
            say(
                f"round {self._rounds}: {len(values)} of {len(outcomes)} servers, {size(received)} in, {size(sent)} out"
            )

    def end(self, path: Path) -> None:
        """Says how much there was, at the end."""
        if self._options.quiet:
            return
        rounds = "1 round" if self._rounds == 1 else f"{self._rounds} rounds"
        missing = f"; {self._missed} of {self._samples + self._missed} samples are missing" if self._missed else ""
        say(f"{rounds} recorded in {escape(str(path))}{missing}")
