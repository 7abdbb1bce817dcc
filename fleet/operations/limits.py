"""What is all right with a fleet, and what `fleet check` is to tell of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fleet.operations.probe import CONNECTED
from fleet.operations.thresholds import Range, Threshold

_ANY_UNREACHABLE = Threshold(critical=Range(0, 0))
_RELEASE_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}")


@dataclass(frozen=True, slots=True)
class Release:
    """A release of OpenVPN that others are compared with.

    Attributes:
        text: as it was typed.
        numbers: `2.6.14` is 2, 6 and 14.
    """

    text: str
    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Release:
        """A release such as `2.6` or `2.6.14`.

        Raises:
            ValueError: it is none.
        """
        if not _RELEASE_NUMBER.fullmatch(text):
            raise ValueError(f"{text!r} is not a release: write 2.6, or 2.6.14")
        return cls(text, release_numbers(text))


def release_numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: `2.7_rc1` is 2 and 7; none where it names no release."""
    match = _RELEASE_NUMBER.match(version)
    return tuple(map(int, match[0].split("."))) if match else ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is all right, and what is not.

    Attributes:
        unreachable: how many servers may give no answer; any is critical where nothing is said.
        state_ok: the states that are all right.
        state_warning: the states that are a warning; all others are critical.
        clients: established clients of a server.
        capacity: the same in percent of its `max_clients`.
        received: bytes per second that a server receives.
        sent: bytes per second that it sends.
        restart_warning: seconds; a server that came into its state less than that ago is a warning.
        restart_critical: seconds; or critical.
        version_skew: more than one release among the servers is a warning.
        version_minimum: an older release is a warning.
    """

    unreachable: Threshold = _ANY_UNREACHABLE
    state_ok: frozenset[str] = frozenset({CONNECTED})
    state_warning: frozenset[str] = frozenset()
    clients: Threshold = field(default_factory=Threshold)
    capacity: Threshold = field(default_factory=Threshold)
    received: Threshold = field(default_factory=Threshold)
    sent: Threshold = field(default_factory=Threshold)
    restart_warning: float | None = None
    restart_critical: float | None = None
    version_skew: bool = False
    version_minimum: Release | None = None

    @property
    def restart(self) -> bool:
        """Whether the age of the last restart counts."""
        return self.restart_warning is not None or self.restart_critical is not None

    @property
    def traffic(self) -> bool:
        """Whether traffic counts, which takes two samples."""
        return bool(self.received or self.sent)
