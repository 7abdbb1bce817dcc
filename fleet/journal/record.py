"""What the file of a run says of it, read back."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from fleet.errors import UsageError
from fleet.journal.lines import records
from fleet.journal.runs import LAST, run_id_of, run_path, run_paths


class Standing(StrEnum):
    """Where a server stands after a run. Each is in one place only.

    A server whose change was sent and not answered is UNCONFIRMED whatever else is known of it, so that doing the rest
    again does nothing twice. One of whose changes some were confirmed has FAILED, though it could not be asked for the
    others, or nobody wanted that any more: UNREACHABLE and NOT_ATTEMPTED have nothing that was done.
    """

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNCONFIRMED = "unconfirmed"
    NOT_ATTEMPTED = "not_attempted"
    PENDING = "pending"


class RunState(StrEnum):
    """How far a run is. One that was killed could not say how it ended."""

    RUNNING = "running"
    ENDED = "ended"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a run's file says of one server.

    Attributes:
        status: as in the JSON of the run; None where no outcome was written.
        elapsed: seconds.
        error: its code and message, or None.
        answer: the daemon's own words to a change, the beginning of them.
        sent: the changes that were written to the daemon.
        confirmed: of one that failed, the changes that were done before.
        unconfirmed: what was written to the daemon and not answered, or None.
    """

    name: str
    standing: Standing
    status: str | None = None
    elapsed: float | None = None
    error: Mapping[str, str] | None = None
    answer: str = ""
    sent: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    unconfirmed: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One run, as its file tells.

    Attributes:
        run: its ID.
        argv: the words behind `fleet`; none where a secret may have been among them.
        cwd: the working folder, or None where it was deleted.
        environment: the variables of the environment that are settings of fleet.
        command: the subcommand's name.
        args: its own arguments.
        command_line: as it was typed, without what may be a secret.
        user: who logged in.
        changes: it changed something, or tried to.
        inventory: the path as the user would recognise it.
        servers: those that were meant, in inventory order.
        exit_status: None where the run has not ended, or was killed.
        elapsed: seconds of the whole run; None as well.
    """

    run: str
    argv: tuple[str, ...]
    cwd: str | None
    environment: Mapping[str, str]
    command: str
    args: tuple[str, ...]
    command_line: str
    started: datetime
    user: str
    pid: int
    changes: bool
    inventory: str
    state: RunState
    servers: tuple[ServerRecord, ...]
    exit_status: int | None = None
    elapsed: float | None = None
    interrupted: bool = False

    @property
    def counts(self) -> Mapping[Standing, int]:
        """How many servers stand where."""
        return Counter(server.standing for server in self.servers)

    def named(self, standings: Collection[Standing]) -> frozenset[str]:
        """The names of the servers that stand in one of these places."""
        return frozenset(server.name for server in self.servers if server.standing in standings)


def read_run(path: Path) -> Run:
    """The run that a file tells of.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not say how the run began, or says it otherwise than this release.
    """
    with path.open("rb") as file:
        goes_on = _is_held(file.fileno())  # before the reading: what is free now has said all that it will
        told = [*records(file)]
    try:
        return Told.of(told).run(run_id_of(path), goes_on=goes_on)
    except (KeyError, TypeError) as error:
        raise ValueError("it was not written by this release of fleet") from error


def recent_runs(state: Path) -> Iterator[Run]:
    """The runs that are kept, the newest first; a file that cannot be read is left out.

    Args:
        state: the state folder.
    """
    for path in run_paths(state):
        try:
            yield read_run(path)
        except (OSError, ValueError):
            continue


def find_run(state: Path, name: str) -> Run:
    """The run with this ID, or the newest for `last`.

    Args:
        state: the state folder.
        name: the ID, or `last`.

    Raises:
        UsageError: there is none, or its file cannot be read.
    """
    if name == LAST:
        newest = next(recent_runs(state), None)
        if newest is None:
            raise UsageError("no run is kept yet", hint="each command that asks servers is a run")
        return newest
    path = run_path(state, name)
    if path is None:
        raise UsageError(f"no run '{name}' is kept", hint="fleet history list shows those that are")
    try:
        return read_run(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"what is kept of run {name} cannot be read: {error}") from error


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@dataclass(slots=True)
class Told:
    """The lines of one run's file, sorted by what they are about.

    Attributes:
        begin: how it began; empty where the file does not say.
        sent: of each server, the changes that were written to the daemon.
        outcomes: of each server, the last one.
        settled: how many outcomes each server has; a temporary change has two.
        unanswered: of each server, the `sent` lines that no outcome followed.
        end: how it ended; empty where it could not say.
    """

    begin: dict[str, Any] = field(default_factory=dict)
    sent: dict[str, list[str]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    settled: Counter[str] = field(default_factory=Counter)
    unanswered: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[dict[str, Any]]) -> Told:
        """Sorts lines.

        Raises:
            KeyError: they say something else than those of this release.
        """
        told = cls()
        for record in lines:
            kind = record.get("type")
            if kind == "begin":
                told.begin = record
            elif kind == "sent":
                told._note_sent(record["server"], record)
            elif kind == "outcome":
                told._note_outcome(record["server"], record)
            elif kind == "end":
                told.end = record
        return told

    def _note_sent(self, name: str, record: dict[str, Any]) -> None:
        self.sent.setdefault(name, []).append(record["text"])
        self.unanswered.setdefault(name, []).append(record)

    def _note_outcome(self, name: str, record: dict[str, Any]) -> None:
        self.outcomes[name] = record
        self.settled[name] += 1
        self.unanswered.pop(name, None)

    def run(self, run_id: str, *, goes_on: bool) -> Run:
        """What they tell of the run.

        Args:
            run_id: its ID.
            goes_on: somebody holds the file.

        Raises:
            KeyError, TypeError, ValueError: they say something else than those of this release.
        """
        begin = self.begin
        state = self._state(goes_on=goes_on)
        return Run(
            run_id,
            tuple(begin["argv"]),
            begin["cwd"],
            begin["environment"],
            begin["command"],
            tuple(begin["args"]),
            begin["command_line"],
            datetime.fromisoformat(begin["started"]),
            begin["user"],
            begin["pid"],
            begin["changes"],
            begin["inventory"],
            state,
            tuple(self._server(name, state) for name in begin["servers"]),
            self.end.get("exit_status"),
            self.end.get("elapsed"),
            self.end.get("interrupted", False),
        )

    def _state(self, *, goes_on: bool) -> RunState:
        if self.end:
            return RunState.KILLED if self.end.get("killed") else RunState.ENDED
        return RunState.RUNNING if goes_on else RunState.KILLED

    def _server(self, name: str, state: RunState) -> ServerRecord:
        sent = tuple(self.sent.get(name, ()))
        outcome = self.outcomes.get(name)
        if outcome is not None:
            record = _settled(name, outcome, sent)
        else:
            standing = Standing.PENDING if state is RunState.RUNNING else Standing.NOT_ATTEMPTED
            record = ServerRecord(name, standing, sent=sent)
        if name in self.unanswered and state is not RunState.RUNNING:
            return replace(record, standing=Standing.UNCONFIRMED, unconfirmed=self.unconfirmed(name))
        return record

    def unconfirmed(self, name: str) -> str:
        """What was written to a server's daemon, and nothing is known of it."""
        return "; ".join(record["text"] for record in self.unanswered[name])


def _settled(name: str, outcome: Mapping[str, Any], sent: tuple[str, ...]) -> ServerRecord:
    unconfirmed = outcome["unconfirmed"]
    standing = Standing(outcome["status"]) if unconfirmed is None else Standing.UNCONFIRMED
    if outcome["confirmed"] and standing in (Standing.UNREACHABLE, Standing.NOT_ATTEMPTED):
        standing = Standing.FAILED
    return ServerRecord(
        name,
        standing,
        outcome["status"],
        outcome["elapsed"],
        outcome["error"],
        outcome["answer"],
        sent,
        tuple(outcome["confirmed"]),
        unconfirmed,
    )
