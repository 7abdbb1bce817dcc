"""What a monitoring plugin says of a fleet: from what each server answered and the thresholds, pure.

Every threshold but those of reachability is for each server on its own, and the worst level wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fleet.engine import Outcome
from fleet.errors import InternalError, InterruptedRunError, LockedError
from fleet.operations.limits import Limits, release_numbers
from fleet.operations.operation import Answer
from fleet.operations.probe import Probe
from fleet.operations.thresholds import Level, Range, Threshold, worst

Outcomes = Sequence[Outcome[Answer[Probe]]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not all right.

    Attributes:
        level: WARNING, CRITICAL or UNKNOWN.
        check: what was looked at: `unreachable`, `state`, `clients`, `capacity`, `traffic`, `restart`, `version`.
        servers: whom it is about.
        text: what it is, as half a sentence; equal ones of several servers are told as one.
    """

    level: Level
    check: str
    servers: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Measure:
    """One value for a graph.

    Attributes:
        server: whose it is; None for all servers together.
        name: of the value.
        value: None where it is not known.
        unit: as perfdata has it: empty for a number, `%`, `B`, `s`, `c` for a counter.
        threshold: the ranges it was held against.
        minimum: the least it can be.
        maximum: the most it can be, where there is such.
    """

    server: str | None
    name: str
    value: float | None
    unit: str = ""
    threshold: Threshold = field(default_factory=Threshold)
    minimum: float | None = 0
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said.

    Attributes:
        level: the worst there is.
        problems: the worst ones first, equal ones of several servers gathered.
        measures: those of the fleet, then those of each server.
        servers: how many were to be asked.
        clients: how many clients those that answered have.
    """

    level: Level
    problems: tuple[Problem, ...]
    measures: tuple[Measure, ...]
    servers: int
    clients: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not all right with a server.

    Attributes:
        level: WARNING, CRITICAL or UNKNOWN.
        check: what was looked at: `state`, `clients`, `capacity`, `traffic`, `restart` or `version`.
        message: what it is.
    """

    level: str
    check: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckedServer:
    """What JSON shows of one server that answered.

    Attributes:
        level: the worst of its findings, else OK.
        findings: what is not all right with it.
        state: of its tunnel, or HOLD.
        since: when it came into this state.
        nclients: established clients.
        bytes_in: bytes that it received since its process began.
        bytes_out: bytes that it sent.
        received_per_second: null where traffic was not measured.
        sent_per_second: null where traffic was not measured.
        version: OpenVPN's release.
    """

    level: str
    findings: tuple[Finding, ...]
    state: str
    since: datetime | None
    nclients: int
    bytes_in: int
    bytes_out: int
    received_per_second: float | None
    sent_per_second: float | None
    version: str


def found(outcome: Outcome[Answer[Probe]], problems: Iterable[Problem]) -> CheckedServer:
    """What was found of a server that answered.

    Args:
        outcome: of the server.
        problems: of all servers.
    """
    probe = outcome.require().value
    own = [problem for problem in problems if outcome.server.name in problem.servers]
    return CheckedServer(
        level=worst(problem.level for problem in own).name,
        findings=tuple(Finding(problem.level.name, problem.check, problem.text) for problem in own),
        state=probe.state,
        since=probe.since,
        nclients=probe.nclients,
        bytes_in=probe.bytes_in,
        bytes_out=probe.bytes_out,
        received_per_second=probe.rates.received if probe.rates else None,
        sent_per_second=probe.rates.sent if probe.rates else None,
        version=probe.version,
    )


def judge(outcomes: Outcomes, limits: Limits, now: datetime) -> Verdict:
    """Holds what the servers answered against the limits.

    Args:
        outcomes: one for each server.
        limits: what is all right.
        now: where a daemon's own clock is not known, what an age is told by; UTC.
    """
    answered = [(outcome, outcome.value.value) for outcome in outcomes if outcome.value is not None]
    problems = [*_unreachable(outcomes, limits), *_versions(answered, limits)]
    for outcome, probe in answered:
        problems.extend(_of_server(outcome, probe, limits, now))
    return Verdict(
        level=worst(problem.level for problem in problems),
        problems=_gathered(problems),
        measures=(*_fleet_measures(outcomes, answered, limits), *_server_measures(outcomes, limits, now)),
        servers=len(outcomes),
        clients=sum(probe.nclients for _outcome, probe in answered),
    )


_WORST_FIRST = (Level.CRITICAL, Level.WARNING, Level.UNKNOWN)


def _gathered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Equal problems of several servers as one, the worst first."""
    names: dict[tuple[Level, str, str], list[str]] = {}
    for problem in problems:
        names.setdefault((problem.level, problem.check, problem.text), []).extend(problem.servers)
    found = [Problem(level, check, tuple(servers), text) for (level, check, text), servers in names.items()]
    return tuple(sorted(found, key=lambda problem: _WORST_FIRST.index(problem.level)))


# Of the whole fleet


def _unreachable(outcomes: Outcomes, limits: Limits) -> Iterator[Problem]:
    """The servers that gave no answer: told each by its error, with the level that all of them together give."""
    missing = [outcome for outcome in outcomes if outcome.value is None]
    own = {outcome.server.name for outcome in missing if isinstance(outcome.error, _OWN_FAULTS)}
    count = len(missing) - len(own)
    breach = limits.unreachable.breach(count, 100 * count / len(outcomes) if outcomes else 0)
    level = Level.OK if breach is None else breach[0]
    for outcome in missing:
        name = outcome.server.name
        if name in own or level is not Level.OK:
            yield Problem(Level.UNKNOWN if name in own else level, "unreachable", (name,), _why(outcome))
    if breach is not None and not count:  # such as --unreachable-critical 1:
        yield Problem(level, "unreachable", (), f"no server is unreachable, and {breach[1]} is the limit")


_OWN_FAULTS = (InternalError, InterruptedRunError, LockedError)
"""What says nothing of a server: a bug, an end that somebody wanted, another run of fleet that is with it."""


def _why(outcome: Outcome[Answer[Probe]]) -> str:
    return "not asked" if outcome.error is None else f"{outcome.error.code}: {outcome.error.message}"


def _versions(answered: Sequence[tuple[Outcome[Answer[Probe]], Probe]], limits: Limits) -> Iterator[Problem]:
    """Releases that differ, and old ones. Of those that differ, the ones that fewest servers have are told."""
    if limits.version_skew:
        by_version: dict[str, list[str]] = {}
        for outcome, probe in answered:
            by_version.setdefault(probe.version, []).append(outcome.server.name)
        most = max(by_version, key=lambda version: len(by_version[version]), default="")
        for version, names in by_version.items():
            if version != most:
                yield Problem(Level.WARNING, "version", tuple(names), f"{version}, where most servers are {most}")
    least = limits.version_minimum
    for outcome, probe in answered:
        if least is None:
            return
        found = release_numbers(probe.version)
        if not found:
            text = f"{probe.version} names no release to compare with {least.text}"
            yield Problem(Level.UNKNOWN, "version", (outcome.server.name,), text)
        elif found < least.numbers:
            text = f"{probe.version} is older than {least.text}"
            yield Problem(Level.WARNING, "version", (outcome.server.name,), text)


# Of one server


def _of_server(outcome: Outcome[Answer[Probe]], probe: Probe, limits: Limits, now: datetime) -> Iterator[Problem]:
    name, places = outcome.server.name, outcome.server.max_clients

    def problem(level: Level, check: str, text: str) -> Problem:
        return Problem(level, check, (name,), text)

    if probe.state not in limits.state_ok:
        level = Level.WARNING if probe.state in limits.state_warning else Level.CRITICAL
        yield problem(level, "state", f"state is {probe.state}")
    if limits.restart and (age := _age(probe, now)) is not None:
        for level, limit in ((Level.CRITICAL, limits.restart_critical), (Level.WARNING, limits.restart_warning)):
            if limit is not None and age < limit:
                yield problem(level, "restart", f"in its state for less than {limit:g} s")
                break
    if not probe.connected:
        return  # it can have no clients and no traffic, and its state has been told
    if (found := limits.clients.breach(probe.nclients)) is not None:
        yield problem(found[0], "clients", f"{_clients(probe.nclients)}, {_limit(found[1])}")
    if limits.capacity:
        if not places:
            yield problem(Level.UNKNOWN, "capacity", "no max_clients in the inventory to compare with")
        elif (found := limits.capacity.breach(percent := 100 * probe.nclients / places)) is not None:
            text = f"{probe.nclients} of {places} clients, {percent:.0f} %, {_limit(found[1], ' %')}"
            yield problem(found[0], "capacity", text)
    yield from _traffic(probe, limits, problem)


def _traffic(probe: Probe, limits: Limits, problem: Callable[[Level, str, str], Problem]) -> Iterator[Problem]:
    if not limits.traffic:
        return
    if probe.rates is None:
        yield problem(Level.UNKNOWN, "traffic", "its counters fell while they were measured")
        return
    for verb, rate, threshold in (
        ("receives", probe.rates.received, limits.received),
        ("sends", probe.rates.sent, limits.sent),
    ):
        if (found := threshold.breach(rate)) is not None:
            yield problem(found[0], "traffic", f"{verb} {rate:.0f} bytes per second, {_limit(found[1])}")


def _limit(limit: Range, unit: str = "") -> str:
    """A range that was breached, in words a person has typed."""
    return f"{'must not be in' if limit.inside else 'should be in'} {str(limit).removeprefix('@')}{unit}"


def _clients(count: int) -> str:
    return f"{count} {'client' if count == 1 else 'clients'}"


def _age(probe: Probe, now: datetime) -> float | None:
    """Seconds since it came into its state, by its own clock where that is known."""
    return None if probe.since is None else max(((probe.time or now) - probe.since).total_seconds(), 0.0)


# For graphs


def _fleet_measures(
    outcomes: Outcomes, answered: Sequence[tuple[Outcome[Answer[Probe]], Probe]], limits: Limits
) -> Iterator[Measure]:
    total = len(outcomes)
    probes = [probe for _outcome, probe in answered]
    missing = sum(outcome.value is None and not isinstance(outcome.error, _OWN_FAULTS) for outcome in outcomes)
    yield Measure(None, "servers", total)
    yield Measure(None, "unreachable", missing, threshold=_in_servers(limits.unreachable, total), maximum=total)
    connected = sum(probe.connected for probe in probes)
    yield Measure(None, "connected", connected, maximum=total)
    yield Measure(None, "clients", sum(probe.nclients for probe in probes))
    if limits.traffic:
        rates = [probe.rates for probe in probes if probe.rates is not None]
        yield Measure(None, "received_per_second", round(sum(rate.received for rate in rates)), "B")
        yield Measure(None, "sent_per_second", round(sum(rate.sent for rate in rates)), "B")
    if limits.version_skew:
        yield Measure(None, "versions", len({probe.version for probe in probes}))


def _in_servers(threshold: Threshold, total: int) -> Threshold:
    """A threshold in percent of the servers as one in servers, as the value is."""
    return Threshold(*(_absolute(limit, total) for limit in (threshold.warning, threshold.critical)))


def _absolute(limit: Range | None, total: int) -> Range | None:
    if limit is None or not limit.percent:
        return limit
    return Range(limit.start * total / 100, limit.end * total / 100, inside=limit.inside)


def _server_measures(outcomes: Outcomes, limits: Limits, now: datetime) -> Iterator[Measure]:
    for outcome in outcomes:
        name, places = outcome.server.name, outcome.server.max_clients
        probe = None if outcome.value is None else outcome.value.value
        yield Measure(name, "time", outcome.elapsed, "s")
        nclients = probe.nclients if probe is not None and probe.connected else None
        yield Measure(name, "clients", nclients, threshold=limits.clients, maximum=places)
        if places:
            percent = None if nclients is None else 100 * nclients / places
            yield Measure(name, "capacity", percent, "%", threshold=limits.capacity, maximum=100)
        yield Measure(name, "received", probe.bytes_in if probe else None, "c")
        yield Measure(name, "sent", probe.bytes_out if probe else None, "c")
        if limits.traffic:
            rates = probe.rates if probe else None
            received, sent = (None, None) if rates is None else (round(rates.received), round(rates.sent))
            yield Measure(name, "received_per_second", received, "B", threshold=limits.received)
            yield Measure(name, "sent_per_second", sent, "B", threshold=limits.sent)
        age = None if probe is None else _age(probe, now)
        yield Measure(name, "age", None if age is None else round(age), "s", threshold=_ages(limits))


def _ages(limits: Limits) -> Threshold:
    """The least age as ranges."""
    at_least = (
        None if least is None else Range(least, float("inf"))
        for least in (limits.restart_warning, limits.restart_critical)
    )
    return Threshold(*at_least)
