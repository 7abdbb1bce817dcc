"""Rows are made when they are asked for, many at a time: nobody can tell, but by the time that it takes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleet.management.late import Late, unmade
from fleet.management.status import Status, parse_status

TITLE = "TITLE\tOpenVPN 2.6.14"
COLUMNS = "Common Name\tReal Address\tBytes Received\tConnected Since (time_t)\tWeather"
HEADER = f"HEADER\tCLIENT_LIST\t{COLUMNS}"
ROUTES = "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tLast Ref (time_t)"


def row(number: int) -> str:
    return f"CLIENT_LIST\tclient-{number}\t192.0.2.1:{number}\t{number * 7}\t{1795336592 + number}\tfair"


ROWS = st.one_of(
    st.integers(0, 9999).map(row),
    st.sampled_from(
        [
            "CLIENT_LIST\tshort\t::1\t7",
            "CLIENT_LIST\tlong\t::1\t7\t1795336592\tfair\tmore",
            "CLIENT_LIST\tlong\t::1\t7\t1795336592\tfair\t\n\tCLIENT_LIST",
            "CLIENT_LIST\ta\t::1\t7\t1795336592\tfair\t\n\tCLIENT_LIST\tb\t::1\t8\t1795336593\tfair",
            "CLIENT_LIST\t\n\t::1\t7\t1795336592\tfair",
            "CLIENT_LIST\tUNDEF\t::1\t\t\t",
            "CLIENT_LIST\tcounts\t::1\t-7\t1795336592\t",
            "CLIENT_LIST\tcounts\t::1\t\N{FULLWIDTH DIGIT ONE}\t1795336592\t",
            f"CLIENT_LIST\tcounts\t::1\t{'9' * 5000}\t1795336592\t",
            "CLIENT_LIST\ttimes\t::1\t7\t253402300800\t",
            "CLIENT_LIST\ttimes\t::1\t7\t253402300799\t",
        ]
    ),
)


def of(rows: list[str]) -> Status:
    return parse_status((TITLE, HEADER, *rows))


@given(st.lists(ROWS, max_size=8), st.integers(0, 450), st.integers(0, 8))
def test_each_row_is_read_as_if_alone(odd: list[str], usual: int, split: int) -> None:
    rows = [*odd[:split], *map(row, range(usual)), *odd[split:]]
    status, alone = of(rows), [of([one]) for one in rows]
    assert status.clients == tuple(client for one in alone for client in one.clients)
    assert sorted(status.problems) == sorted(problem for one in alone for problem in one.problems)


def test_problems_are_known_before_the_rows_are_made() -> None:
    odd = row(1).replace("\t7\t", "\tseven\t")
    status = of([*map(row, range(300)), "CLIENT_LIST\tshort", odd])
    assert isinstance(unmade(status, "clients"), Late)
    assert status.problems == (
        "fewer values than the header has columns in the row: CLIENT_LIST\tshort",
        f"Bytes Received is not a number in the row: {odd}",
    )
    assert [client.bytes_received for client in status.clients[-2:]] == [299 * 7, None]


def test_rows_are_made_once() -> None:
    status = of([row(1)])
    assert type(status.clients) is tuple
    assert status.clients is status.clients
    assert replace(status, title="x").clients is status.clients


def test_routes_are_not_made_for_clients() -> None:
    status = parse_status((TITLE, HEADER, row(1), ROUTES, "ROUTING_TABLE\t10.8.0.2\tclient-1\t1795336592"))
    assert len(status.clients) == 1
    late = unmade(status, "routes")
    assert isinstance(late, Late)
    assert status.routes is late.value()


def test_a_status_is_sent_to_another_process_as_it_came() -> None:
    status = of([row(number) for number in range(300)])
    sent = pickle.dumps(status)
    received = pickle.loads(sent)  # noqa: S301 - our own bytes
    assert isinstance(unmade(received, "clients"), Late)
    assert received == status
    assert len(pickle.dumps(status)) > len(sent)  # they are made now
    assert pickle.loads(pickle.dumps(status)) == status  # noqa: S301 - our own bytes


def test_what_is_given_is_what_is_unmade(tmp_path: Path) -> None:
    assert unmade(Status("x", clients=()), "clients") == ()
    assert unmade(tmp_path, "name") == tmp_path.name


def test_names_are_told_without_the_rows() -> None:
    status = of(["CLIENT_LIST\tUNDEF\t::1\t\t\t", *map(row, range(250))])
    clients = unmade(status, "clients")
    names = [None, *(f"client-{number}" for number in range(250))]
    assert list(clients.common_names()) == names
    assert not clients.made
    assert [client.common_name for client in status.clients] == names
    assert clients.made
    assert list(clients.common_names()) == names


def test_two_short_rows_are_not_one() -> None:
    header = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tUsername\tWeather"
    status = parse_status((TITLE, header, "CLIENT_LIST\ta", "CLIENT_LIST\tb"))
    assert status.clients == ()
    assert len(status.problems) == 2
