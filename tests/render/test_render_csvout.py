"""CSV for programs and spreadsheets."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.operations.columns import Column, Instead, Kind
from fleet.render.csvout import csv_header, csv_rows, value
from fleet.render.text import escape

COLUMNS = (Column("server"), Column("bytes_in", Kind.SIZE, header="IN"), Column("virtual_address", wide=True))


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def test_the_header_has_the_keys_of_the_json() -> None:
    assert csv_header(COLUMNS, [0, 1, 2]) == "server,bytes_in,virtual_address\n"
    assert csv_header(COLUMNS, [2, 0]) == "virtual_address,server\n"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (Instead("(handshaking)"), ""),
        (0, "0"),
        (-5, "-5"),
        (10**18, "1000000000000000000"),
        (0.1234, "0.123"),
        (True, "true"),
        (False, "false"),
        (datetime(2026, 11, 22, 8, tzinfo=UTC), "2026-11-22T08:00:00Z"),
        (Kind.SIZE, "size"),
        (ip_address("10.8.0.2"), "10.8.0.2"),
        (("edge-1", "edge-2"), "edge-1,edge-2"),
        ("1e5", "1e5"),
        (" a ", " a "),
        ("漢字", "漢字"),
        ("\x1b[31m\n", r"\x1b[31m\n"),
    ],
)
def test_values_are_exact(cell: object, text: str) -> None:
    assert str(value(cell)) == text


@pytest.mark.parametrize(
    "text",
    ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", " =1", "\u00a0 +1"],
)
def test_a_text_is_no_formula(text: str) -> None:
    assert value(text) == f"'{text}"
    assert value((text,)) == f"'{text}"


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "\x00=1"])
def test_control_characters_before_a_formula_are_seen(text: str) -> None:
    assert str(value(text)).startswith("\\")


def test_quotes_and_commas_are_kept() -> None:
    rows = [('Doe, "Jane"', 1, "a;b"), ("", 2, None)]
    assert csv_rows(rows, [0, 1, 2]) == '"Doe, ""Jane""",1,a;b\n,2,\n'
    assert csv_rows([("", 2, None)], [0]) == '""\n'


@given(st.lists(st.tuples(st.text(), st.integers(), st.text()), min_size=1))
def test_a_record_is_a_line_and_reads_back(rows: list[tuple[str, int, str]]) -> None:
    text = csv_rows(rows, [0, 1, 2])
    assert (text.count("\n"), "\r" in text) == (len(rows), False)
    for record, (first, number, last) in zip(read(text), rows, strict=True):
        assert record[1] == str(number)
        assert [record[0].removeprefix("'"), record[2].removeprefix("'")] == [
            escape(first).removeprefix("'"),
            escape(last).removeprefix("'"),
        ]
        assert not record[0].startswith(("=", "+", "-", "@"))
