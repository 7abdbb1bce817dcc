"""Columns of tables: what an operation says about its values, so that render can show them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a cell's value means, which decides how people see it. JSON shows the exact value whatever the kind."""

    TEXT = "text"  # str, or anything whose text says enough; aligned left
    COUNT = "count"  # a whole number; aligned right
    SIZE = "size"  # bytes, shown in binary units; aligned right
    AGE = "age"  # an aware datetime, shown as the time since then
    TIME = "time"  # an aware datetime, shown as RFC 3339 in UTC
    SECONDS = "seconds"  # a duration in seconds, as float; aligned right

    @property
    def right(self) -> bool:
        """Whether the column is aligned right, as numbers are."""
        return self in (Kind.COUNT, Kind.SIZE, Kind.SECONDS)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: snake_case, the key that JSON has for the same value.
        kind: what its values mean.
        wide: shown only with `-o wide`.
        header: the heading, where it is not the name in upper case with blanks.
        names: what stands here is what a row is about, and what `-o name` prints; where no column is that, it is the
            server.
        keep: it stays where the table is too wide for the terminal. Of the others the last one goes first.
    """

    name: str
    kind: Kind = Kind.TEXT
    wide: bool = False
    header: str | None = None
    names: bool = False
    keep: bool = False

    @property
    def title(self) -> str:
        """The heading: `COMMON NAME` for `common_name`."""
        return self.name.upper().replace("_", " ") if self.header is None else self.header


class Instead(str):
    """Words that people see where there is no value; programs see that there is none."""

    __slots__ = ()


SERVER = Column("server", keep=True)
"""The first column of every table of servers."""
