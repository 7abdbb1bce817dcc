"""A change that rolls through a fleet in batches, as a pure state machine: which servers next, go on or stop.

    rollout = Rollout(batches(names, parse_serial("1,25%,100%")), max_fail=1)
    while batch := rollout.next_batch():
        for name in batch:
            if rollout.start(name):             # False once too many have failed
                rollout.settle(name, fate)      # when its work has ended

No I/O, no clock: the driver does the work, and says what came of each server. Whatever it says, every server has
exactly one fate when the rollout is over, and no server is started after the rollout has stopped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from fleet.errors import UsageError

_SHARE = re.compile(r"([0-9]{1,9})(%?)")
_WHOLE = 100  # per cent


class Fate(StrEnum):
    """What became of one server."""

    DONE = "done"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNCONFIRMED = "not confirmed"
    """The change was sent, and its effect was not seen."""
    NOT_ATTEMPTED = "not attempted"


_FAILURES = (Fate.FAILED, Fate.UNREACHABLE, Fate.UNCONFIRMED)


@dataclass(frozen=True, slots=True)
class Share:
    """A number of servers, or a part of them all.

    Attributes:
        count: servers, or per cent.
        percent: which of them.
    """

    count: int
    percent: bool = False

    def of(self, total: int) -> int:
        """How many of so many that is; a part of one is none."""
        return total * self.count // _WHOLE if self.percent else self.count

    def __str__(self) -> str:
        return f"{self.count}%" if self.percent else str(self.count)


def parse_share(text: str) -> Share:
    """`3` or `25%`.

    Raises:
        ValueError: it is neither, or more than 100 %.
    """
    match = _SHARE.fullmatch(text)
    if match is None or (match[2] and int(match[1]) > _WHOLE):
        raise ValueError(f"'{text}' is neither a number nor a percentage up to 100%")
    return Share(int(match[1]), percent=bool(match[2]))


def parse_serial(text: str) -> tuple[Share, ...]:
    """The sizes of batches, as Ansible's `serial` has them: `1`, `25%`, `1,25%,100%`.

    Raises:
        UsageError: it is none of these, or a size is 0.
    """
    try:
        sizes = tuple(parse_share(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--serial: {error}", hint=_SERIAL_HINT) from error
    if not all(size.count for size in sizes):
        raise UsageError("--serial: a batch of no servers never ends", hint=_SERIAL_HINT)
    return sizes


_SERIAL_HINT = "write the sizes of the batches: 1, or 25%, or 1,25%,100%; the last one repeats"


def parse_max_fail(text: str) -> Share:
    """How many servers may fail before a rollout stops: `2`, or `10%` of all its servers.

    Raises:
        UsageError: it is neither.
    """
    try:
        return parse_share(text)
    except ValueError as error:
        raise UsageError(f"--max-fail: {error}", hint="write how many servers may fail: 2, or 10%") from error


def batches(names: Sequence[str], serial: Sequence[Share]) -> tuple[tuple[str, ...], ...]:
    """The servers in batches, in their order; the last size repeats until none is left.

    A percentage is of all servers, rounded down, and at least one server [Ansible].
    """
    sizes = iter(serial)
    size = 1
    cut: list[tuple[str, ...]] = []
    begin = 0
    while begin < len(names):
        share = next(sizes, None)
        size = size if share is None else max(1, share.of(len(names)))
        cut.append(tuple(names[begin : begin + size]))
        begin += size
    return tuple(cut)


class Rollout:
    """The decisions of one rollout.

    Attributes:
        batches: all of them, in their order.
        max_fail: so many servers may fail; with one more it stops.
    """

    def __init__(self, cut: Sequence[Sequence[str]], max_fail: int = 0, *, skip_unreachable: bool = False) -> None:
        """A rollout of which nothing has begun.

        Args:
            cut: the batches; no name twice.
            max_fail: how many servers may fail.
            skip_unreachable: a server that could not be asked does not count as failed.

        Raises:
            ValueError: a name stands twice.
        """
        self.batches = tuple(tuple(batch) for batch in cut)
        self.max_fail = max_fail
        self._counted = tuple(fate for fate in _FAILURES if not (skip_unreachable and fate is Fate.UNREACHABLE))
        self._names = [name for batch in self.batches for name in batch]
        if len(set(self._names)) != len(self._names):
            raise ValueError("a server stands in two batches")
        self._fates: dict[str, Fate] = {}
        self._counts: Counter[Fate] = Counter()
        self._begun = 0  # batches
        self._in_flight: set[str] = set()
        self._stopped: str | None = None

    @property
    def begun(self) -> int:
        """How many batches were begun; the number of the one that runs, counted from 1."""
        return self._begun

    @property
    def in_flight(self) -> frozenset[str]:
        """The servers that were started and not settled."""
        return frozenset(self._in_flight)

    @property
    def stopped(self) -> str | None:
        """Why no more servers are started, in words: `1 failed, --max-fail 0`. None where nothing has stopped it."""
        return self._stopped

    @property
    def fates(self) -> Mapping[str, Fate]:
        """What became of each server so far, in their order; those that a stop has left out are among them."""
        left = None if self._stopped is None else Fate.NOT_ATTEMPTED
        fates = ((name, self._fates.get(name, None if name in self._in_flight else left)) for name in self._names)
        return MappingProxyType({name: fate for name, fate in fates if fate is not None})

    def next_batch(self) -> tuple[str, ...]:
        """Begins the next batch; an empty tuple where there is none, or none is to be begun any more.

        Raises:
            RuntimeError: the batch before it is not over: a bug of the caller.
        """
        if self._open:
            raise RuntimeError("a batch is over when each of its servers is settled")
        if self._stopped is not None or self._begun == len(self.batches):
            return ()
        self._begun += 1
        return self._current

    def start(self, name: str) -> bool:
        """Whether the work on a server of this batch may be started; if so it is under way until it is settled.

        Raises:
            RuntimeError: the server does not wait to be started: a bug of the caller.
        """
        if name not in self._current or name in self._fates or name in self._in_flight:
            raise RuntimeError(f"{name} does not wait to be started")
        if self._stopped is not None:
            return False
        self._in_flight.add(name)
        return True

    def settle(self, name: str, fate: Fate) -> None:
        """The work on a server has ended, or never began (NOT_ATTEMPTED).

        Raises:
            RuntimeError: it was not under way: a bug of the caller.
        """
        begun = name in self._in_flight
        if not begun and (fate is not Fate.NOT_ATTEMPTED or name not in self._current or name in self._fates):
            raise RuntimeError(f"{name} is not under way")
        self._in_flight.discard(name)
        self._fates[name] = fate
        self._counts[fate] += 1
        self._weigh()

    def gate_failed(self) -> None:
        """The batch did not do its users well: what was done of it has failed.

        Raises:
            RuntimeError: it is not over yet: a bug of the caller.
        """
        if self._open:
            raise RuntimeError("a gate is for a batch of which each server is settled")
        done = [name for name in self._current if self._fates.get(name) is Fate.DONE]
        self._fates.update(dict.fromkeys(done, Fate.FAILED))
        self._counts[Fate.DONE] -= len(done)
        self._counts[Fate.FAILED] += len(done)
        self._weigh()

    def stop(self, reason: str) -> None:
        """No more servers are started. The first reason stays."""
        if self._stopped is None:
            self._stopped = reason

    def interrupt(self) -> None:
        """The operator has had enough."""
        self.stop("interrupted")

    @property
    def _current(self) -> tuple[str, ...]:
        return self.batches[self._begun - 1] if self._begun else ()

    @property
    def _open(self) -> bool:
        """The batch that runs has servers that are under way, or that are still to be started."""
        if self._stopped is not None:
            return bool(self._in_flight)
        return any(name not in self._fates for name in self._current)

    def _weigh(self) -> None:
        if sum(self._counts[fate] for fate in self._counted) > self.max_fail:
            told = [f"{self._counts[fate]} {fate.value}" for fate in _FAILURES if self._counts[fate]]
            self.stop(f"{', '.join(told)}, --max-fail {self.max_fail}")
