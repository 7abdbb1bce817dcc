"""Tables as screens show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from fleet.operations.columns import Column, Kind
from fleet.render.table import cell, render_table

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
GIB = 1024**3
MIB = 1024**2
STATUS = (
    Column("server"),
    Column("state"),
    Column("since", Kind.AGE),
    Column("nclients", Kind.COUNT, header="CLIENTS"),
    Column("bytes_in", Kind.SIZE, header="IN"),
    Column("bytes_out", Kind.SIZE, header="OUT"),
    Column("version"),
    Column("time", Kind.TIME, wide=True),
)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


ROWS = [
    ("edge-1", "CONNECTED", ago(days=12, hours=3), 214, int(1.2 * GIB), int(9.8 * GIB), "2.6.14", NOW),
    ("gw/udp", "CONNECTED", ago(minutes=4), 31, int(1.9 * MIB), 22 * MIB, "2.7.6", None),
    ("gw/tcp", "HOLD", None, None, None, None, "2.7.6", None),
]
TOTAL = ("3 servers", None, None, 245, int(1.2 * GIB), int(9.8 * GIB), None, None)


def test_a_table_looks_as_it_should() -> None:
    assert render_table(STATUS, ROWS, TOTAL, now=NOW).split("\n") == [
        "SERVER     STATE      SINCE   CLIENTS       IN      OUT  VERSION",
        "edge-1     CONNECTED  12d 3h      214  1.2 GiB  9.8 GiB  2.6.14",
        "gw/udp     CONNECTED  4m           31  1.9 MiB   22 MiB  2.7.6",
        "gw/tcp     HOLD       -             -        -        -  2.7.6",
        "3 servers                         245  1.2 GiB  9.8 GiB",
    ]


def test_wide_shows_the_wide_columns() -> None:
    first, second, *_ = render_table(STATUS, ROWS, now=NOW, wide=True).split("\n")
    assert first.endswith("VERSION  TIME")
    assert second.endswith("2.6.14   2026-11-22T08:00:00Z")


def test_without_headers_only_rows_are_left() -> None:
    assert render_table(STATUS[:2], [row[:2] for row in ROWS], headers=False).split("\n") == [
        "edge-1  CONNECTED",
        "gw/udp  CONNECTED",
        "gw/tcp  HOLD",
    ]


def test_no_rows_leave_the_headings_or_nothing() -> None:
    assert render_table(STATUS[:2], []) == "SERVER  STATE"
    assert render_table(STATUS[:2], [], headers=False) == ""
    assert render_table((), [()]) == ""
    assert render_table((Column("x", wide=True),), [("y",)]) == ""


@pytest.mark.parametrize("text", ["1e5", "0x1f", "007", "1,234", "nan", "None", "True", " padded ", "<b>", "a  b"])
def test_names_that_look_like_something_else_stay(text: str) -> None:
    columns = (Column("common_name"), Column("pid", Kind.COUNT))
    assert render_table(columns, [(text, 1)], headers=False) == f"{text}  1"


def test_a_name_drives_no_terminal_and_makes_no_lines() -> None:
    table = render_table((Column("common_name"), Column("n")), [("\x1b[31m\n", "x"), ("b", "\u202e")], headers=False)
    assert table.split("\n") == [r"\x1b[31m\n  x", r"b           \u202e"]


@given(st.lists(st.tuples(st.text("ab漢é한🙂 \u0301\u202e\x1b\t", max_size=6), st.integers(0, 10**7)), min_size=1))
def test_wide_characters_line_up(rows: list[tuple[str, int]]) -> None:
    table = render_table((Column("name"), Column("n", Kind.COUNT), Column("end")), [(*row, "|") for row in rows])
    widths = {wcswidth(line.removesuffix("|").removesuffix("END")) for line in table.split("\n")}
    assert len(widths) == 1
    assert len(table.split("\n")) == len(rows) + 1


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells for 2 columns"):
        render_table(STATUS[:2], [("edge-1",)])


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Kind.TEXT, None, "-"),
        (Kind.TEXT, "", ""),
        (Kind.TEXT, 7, "7"),
        (Kind.TEXT, Colour.RED, "red"),
        (Kind.TEXT, True, "yes"),
        (Kind.TEXT, False, "no"),
        (Kind.COUNT, 0, "0"),
        (Kind.COUNT, 10_000, "10000"),
        (Kind.SIZE, 0, "0 B"),
        (Kind.SIZE, "lots\x07", r"lots\x07"),
        (Kind.SECONDS, 0.018, "18 ms"),
        (Kind.SECONDS, "soon", "soon"),
        (Kind.AGE, ago(hours=2), "2h"),
        (Kind.AGE, "Sun Nov 22 08:55:21 2026", "Sun Nov 22 08:55:21 2026"),
        (Kind.TIME, NOW, "2026-11-22T08:00:00Z"),
    ],
)
def test_cells(kind: Kind, value: object, text: str) -> None:
    assert cell(kind, value, NOW) == text


def test_an_age_without_a_now_is_the_time_itself() -> None:
    assert cell(Kind.AGE, NOW) == "2026-11-22T08:00:00Z"


def test_headings_follow_the_keys_of_the_json() -> None:
    assert Column("virtual_ipv6_address").title == "VIRTUAL IPV6 ADDRESS"
    assert Column("bytes_in", header="IN").title == "IN"
    assert [kind for kind in Kind if kind.right] == [Kind.COUNT, Kind.SIZE, Kind.SECONDS]
