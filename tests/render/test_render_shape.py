"""Which columns, in which order, folded, compared, and cut down to the terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from fleet.errors import UsageError
from fleet.operations.columns import SERVER, Column, Instead, Kind
from fleet.render.difference import differences
from fleet.render.shape import Look, check, chosen, draw_rows, find_column, sort_rows
from fleet.render.style import Style
from fleet.render.table import draw, grid, table_formats
from fleet.render.width import display_width, pad

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
COLUMNS = (
    SERVER,
    Column("state", keep=True),
    Column("since", Kind.AGE),
    Column("nclients", Kind.COUNT, header="CLIENTS"),
    Column("bytes_in", Kind.SIZE, header="IN"),
    Column("local_address", wide=True),
)
HOUR = NOW - timedelta(hours=1)
ROWS = [
    ("edge-1", "CONNECTED", HOUR, 21, 2048, "10.8.0.1"),
    ("edge-2", "CONNECTED", HOUR, 21, 2048, "10.8.0.1"),
    ("edge-10", "CONNECTED", NOW, 3, 10**6, "10.8.0.1"),
    ("gw/udp", "HOLD", None, None, None, None),
]


def lines(
    look: Look, total: tuple[object, ...] | None = None, rows: list[tuple[object, ...]] | None = None
) -> list[str]:
    return draw_rows(COLUMNS, ROWS if rows is None else rows, look, total, now=NOW).text.split("\n")


# columns


def test_columns_are_shown_as_they_are_named() -> None:
    assert lines(Look(columns=("nclients", "server"))) == [
        "CLIENTS  SERVER",
        "     21  edge-1",
        "     21  edge-2",
        "      3  edge-10",
        "      -  gw/udp",
    ]
    assert lines(Look(columns=("local_address",)))[0] == "LOCAL ADDRESS"
    assert lines(Look(wide=True))[0].endswith("LOCAL ADDRESS")
    assert "LOCAL ADDRESS" not in lines(Look())[0]


@pytest.mark.parametrize(
    "name", ["local_address", "local-address", "LOCAL ADDRESS", "Local_Address", " local_address "]
)
def test_a_column_has_a_name_and_a_heading(name: str) -> None:
    assert find_column(COLUMNS, name) == 5
    assert [find_column(COLUMNS, heading) for heading in ("in", "CLIENTS")] == [4, 3]


def test_an_unknown_column_is_refused_with_those_that_there_are() -> None:
    known = "server, state, since, nclients, bytes_in, local_address"
    for look in (Look(columns=("server", "stat")), Look(sort_by="stat"), Look(sort_by="-stat")):
        with pytest.raises(UsageError, match="unknown column 'stat'") as caught:
            check(COLUMNS, look)
        assert caught.value.hint == f"did you mean state? Known: {known}"
    with pytest.raises(UsageError) as caught:
        check(COLUMNS, Look(columns=("",)))
    assert caught.value.hint == f"Known: {known}"


def test_what_gathers_servers_shows_them() -> None:
    assert chosen(COLUMNS, Look(columns=("state",), gather=True)) == [0, 1]
    assert chosen(COLUMNS, Look(columns=("state", "server"), diff=True)) == [1, 0]
    assert chosen(COLUMNS[1:], Look(columns=("state",))) == [0]
    for look, flag in ((Look(gather=True), "--gather"), (Look(diff=True), "--diff")):
        check(COLUMNS, look)
        with pytest.raises(UsageError, match=f"{flag} is for answers of servers"):
            check(COLUMNS[1:], look)


# order


def column(rows: list[tuple[object, ...]], index: int) -> list[object]:
    return [row[index] for row in rows]


def test_rows_are_sorted_by_what_the_values_are() -> None:
    by = {
        name: column(list(map(tuple, sort_rows(COLUMNS, ROWS, name))), 0)
        for name in ("nclients", "-nclients", "-server")
    }
    assert by["nclients"] == ["edge-10", "edge-1", "edge-2", "gw/udp"]
    assert by["-nclients"] == ["edge-1", "edge-2", "edge-10", "gw/udp"]
    assert by["-server"] == ["gw/udp", "edge-10", "edge-2", "edge-1"]
    assert column(list(map(tuple, sort_rows(COLUMNS, ROWS, "since"))), 0) == ["edge-1", "edge-2", "edge-10", "gw/udp"]
    assert sort_rows(COLUMNS, ROWS, None) == ROWS


class Colour(Enum):
    RED = "red"


def test_any_values_can_be_sorted() -> None:
    values = [
        None,
        "b",
        3,
        Colour.RED,
        2.5,
        True,
        NOW,
        "a10",
        "a9",
        "A1",
        Instead("(none)"),
        "9" * 5000,
        "10.8.0.10",
        "10.8.0.9",
    ]
    rows = sort_rows((Column("x"),), [(value,) for value in values], "x")
    assert column(list(map(tuple, rows)), 0) == [
        True, 2.5, 3, NOW, "10.8.0.9", "10.8.0.10", "9" * 5000, "A1", "a9", "a10", "b", Colour.RED, None, "(none)",
    ]  # fmt: skip


@given(st.lists(st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False)), st.booleans())
def test_what_is_unknown_comes_last(values: list[object], reverse: bool) -> None:
    rows = [row[0] for row in sort_rows((Column("x"),), [(value,) for value in values], "-x" if reverse else "x")]
    known = [value for value in values if value is not None]
    assert rows[len(known) :] == [None] * (len(values) - len(known))
    numbers = [value for value in rows if isinstance(value, int | float)]
    assert numbers == sorted(numbers, reverse=reverse)


# folded


def test_equal_rows_are_one_under_the_names_of_their_servers() -> None:
    rows = [*ROWS, ("edge-3", *ROWS[0][1:])]
    assert lines(Look(gather=True), ("5 servers", None, None, 66, None, None), rows) == [
        "SERVER          STATE      SINCE  CLIENTS       IN",
        "edge-[1-3] (3)  CONNECTED  1h          21  2.0 KiB",
        "edge-10         CONNECTED  0s           3  977 KiB",
        "gw/udp          HOLD       -            -        -",
        "5 servers                              66",
    ]


def test_what_is_shown_decides_what_is_equal() -> None:
    assert lines(Look(columns=("state",), gather=True, headers=False)) == [
        "edge-[1-2] edge-10 (3)  CONNECTED",
        "gw/udp                  HOLD",
    ]


def test_a_row_that_a_server_has_twice_is_there_twice() -> None:
    rows: list[tuple[object, ...]] = [(name, "X", None, None, None, None) for name in ("a1", "a1", "a2")]
    assert lines(Look(columns=("state",), gather=True, headers=False), rows=rows) == ["a[1-2] (2)  X", "a1          X"]


# compared


def test_the_answer_of_most_and_what_differs() -> None:
    assert lines(Look(diff=True), ("4 servers", None, None, 45, None, None)) == [
        "SERVER          STATE      SINCE  CLIENTS       IN",
        "edge-[1-2] (2)  CONNECTED  1h          21  2.0 KiB",
        "--- edge-[1-2] (2)",
        "+++ edge-10",
        "@@ -1 +1 @@",
        "-CONNECTED  1h  21  2.0 KiB",
        "+CONNECTED  0s   3  977 KiB",
        "--- edge-[1-2] (2)",
        "+++ gw/udp",
        "@@ -1 +1 @@",
        "-CONNECTED  1h  21  2.0 KiB",
        "+HOLD       -    -        -",
    ]


def test_who_says_nothing_differs_too() -> None:
    drawn = draw_rows(
        COLUMNS, ROWS[:2], Look(diff=True, columns=("state",)), now=NOW, servers=["edge-1", "edge-2", "z"]
    )
    assert drawn.text.split("\n")[-4:] == ["--- edge-[1-2] (2)", "+++ z", "@@ -1 +0,0 @@", "-CONNECTED"]
    names = ["edge-1", "x", "y", "z"]
    drawn = draw_rows(COLUMNS, ROWS[:1], Look(diff=True, columns=("state",)), now=NOW, servers=names)
    assert drawn.text.split("\n") == [
        "SERVER  STATE",
        "x y z   -",
        "--- x y z",
        "+++ edge-1",
        "@@ -0,0 +1 @@",
        "+CONNECTED",
    ]


def test_servers_alone_do_not_differ() -> None:
    assert lines(Look(diff=True, columns=("server",), headers=False)) == ["edge-[1-2] edge-10 gw/udp (4)"]
    assert draw_rows(COLUMNS, [], Look(diff=True), now=NOW).text.startswith("SERVER")


def test_differences_in_colour() -> None:
    rows = [(*row[:1], row[1], *row[2:]) for row in ROWS]
    drawn = draw_rows(COLUMNS, rows, Look(diff=True, columns=("state",)), now=NOW, style=Style(enabled=True))
    assert drawn.text.split("\n")[-2:] == ["\x1b[31m-CONNECTED\x1b[0m", "\x1b[32m+HOLD\x1b[0m"]


def test_of_equally_many_the_first_counts() -> None:
    names, shown = differences([("a", ["1"]), ("b", ["2"]), ("c", ["2"]), ("d", ["1"])])
    assert (names, shown) == (["a", "d"], ["--- a d", "+++ b c", "@@ -1 +1 @@", "-1", "+2"])
    assert differences([]) == ([], [])


# sizes and times


def test_exact_sizes_and_times() -> None:
    assert lines(Look(exact=True, utc=True))[1] == "edge-1   CONNECTED  2026-11-22T07:00:00Z       21     2048"


# terminals


def drawn_at(width: int, **settings: object) -> tuple[list[str], tuple[str, ...]]:
    look = Look(width=width, **settings)  # type: ignore[arg-type]  # a test's own keywords
    drawn = draw_rows(COLUMNS, ROWS, look, now=NOW)
    return drawn.text.split("\n"), drawn.left_out


def test_a_narrow_terminal_has_fewer_columns() -> None:
    whole = max(map(len, lines(Look())))
    assert drawn_at(whole) == (lines(Look()), ())
    shown, left_out = drawn_at(whole - 1)
    assert (shown[0].split(), left_out) == (["SERVER", "STATE", "SINCE", "CLIENTS"], ("IN",))
    shown, left_out = drawn_at(1)
    assert (shown[0].split(), left_out) == (["SERVER", "STATE"], ("IN", "CLIENTS", "SINCE"))


def test_what_is_asked_for_is_never_left_out() -> None:
    assert drawn_at(10, columns=("server", "bytes_in"))[1] == ()
    assert drawn_at(10, wide=True)[1] == ()


def test_empty_columns_go_first() -> None:
    columns = (SERVER, Column("a"), Column("b"), Column("c"))
    for width, heading, left_out in ((18, "SERVER  B     C", ("A",)), (17, "SERVER  B", ("A", "C"))):
        drawn = draw_rows(columns, [("s", None, "bbbb", "cccc")], Look(width=width), now=NOW)
        assert (drawn.text.split("\n")[0], drawn.left_out) == (heading, left_out)


@given(st.integers(1, 80), st.sampled_from([None, "grid", "github"]), st.booleans())
def test_what_is_shown_fits_where_it_can(width: int, table_format: str | None, headers: bool) -> None:
    shown, left_out = drawn_at(width, table_format=table_format, headers=headers)
    widest = max(map(len, shown))
    least = drawn_at(1, table_format=table_format, headers=headers)[0]
    assert widest <= max(width, *map(len, least))
    assert left_out == () or max(map(len, lines(Look(table_format=table_format, headers=headers)))) > width


# looks


def test_tables_in_the_formats_of_tabulate() -> None:
    for name in table_formats():
        check(COLUMNS, Look(table_format=name))
        assert "edge-10" in draw_rows(COLUMNS, ROWS, Look(table_format=name), now=NOW).text
        assert draw_rows(COLUMNS, [], Look(table_format=name), now=NOW).text != ""
        assert "STATE" not in draw_rows(COLUMNS, ROWS, Look(table_format=name, headers=False), now=NOW).text
    assert lines(Look(table_format="github", columns=("server", "nclients")))[:3] == [
        "| SERVER   |   CLIENTS |",
        "|----------|-----------|",
        "| edge-1   |        21 |",
    ]


@pytest.mark.parametrize("name", ["nope", "unsafehtml", "latex_raw", ""])
def test_formats_that_there_are_not(name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no table format '{name}'") as caught:
        check(COLUMNS, Look(table_format=name))
    assert "github, grid" in (caught.value.hint or "")
    assert "unsafehtml" not in (caught.value.hint or "")


def test_a_client_makes_no_markup() -> None:
    name = "<script>|x"
    drawn = {name_: draw(grid((Column("a"),), [(name,)], shown=[0]), table_format=name_) for name_ in table_formats()}
    assert "&lt;script&gt;|x" in drawn["html"]
    assert r"<script>\|x" in drawn["github"]
    assert r"<script>\|x" in drawn["pipe"]


# wide characters


NAMES = [
    "漢字",
    "한국어",
    "ﾊﾝｶｸ",
    "e\u0301a\u0308",
    "👨\u200d👩\u200d👧",
    "❤\ufe0f",
    "🇩🇪",
    "ก็",
    "शक्ति",
    "\u202eabc",
    "x",
]


def test_wide_characters_line_up_in_every_column() -> None:
    columns = (SERVER, Column("common_name"), Column("n", Kind.COUNT))
    rows = [(name, name, 7) for name in NAMES]
    for name in (None, "grid", "psql"):
        drawn = draw_rows(columns, rows, Look(table_format=name), now=NOW).text.split("\n")
        assert len({wcswidth(line) for line in drawn}) == 1


def test_columns_fit_by_what_they_take_not_by_their_characters() -> None:
    columns = (SERVER, Column("a"), Column("b"))
    rows = [("漢" * 10, "x", "y")]
    assert draw_rows(columns, rows, Look(width=26), now=NOW).left_out == ()
    assert draw_rows(columns, rows, Look(width=25), now=NOW).left_out == ("B",)


def test_widths() -> None:
    assert [display_width(text) for text in ("", "abc", "漢字", "e\u0301", "🙂")] == [0, 3, 4, 1, 2]
    assert pad("漢", 4) == "漢  "
    assert pad("abc", 2) == "abc"
    assert display_width("a\x07") == 2
