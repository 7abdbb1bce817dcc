"""Status of recorded daemons against expected results, the layouts that no recording has, and rows that lie."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.management import status as module
from fleet.management.status import MOST_COMMAS, Client, RealAddress, Route, Status, parse_real_address, parse_status
from support.expected import expected_results, plain, reply_to
from support.transcripts import exchanges, read_transcript, transcript

RECORDED = [
    (version, name, command, expected)
    for (version, name), results in expected_results().items()
    for command, expected in results.items()
    if "status" in command
]
NAMES = [(version, name) for version, name in expected_results() if name[:2] in ("20", "22", "23")]

TIME_T = "1795336592"
TIME = datetime(2026, 11, 22, 8, 36, 32, tzinfo=UTC)
DATE = "2026-11-22 08:36:32"
OLD_DATE = "Sun Nov 22 08:36:32 2026"
CLIENT_COLUMNS = {
    "2.1": "Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,"
    "Connected Since (time_t)",
    "2.3": "Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,"
    "Connected Since (time_t),Username",
    "2.4": "Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,Bytes Sent,Connected Since,"
    "Connected Since (time_t),Username,Client ID,Peer ID",
    "2.6": "Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,Bytes Sent,Connected Since,"
    "Connected Since (time_t),Username,Client ID,Peer ID,Data Channel Cipher",
}
ROUTE_COLUMNS = "Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)"


def status_2(*client_rows: str, release: str = "2.6", routes: Sequence[str] = ()) -> Status:
    """A status in format 2 with these rows."""
    return parse_status(
        (
            f"TITLE,OpenVPN {release}",
            f"TIME,{DATE},{TIME_T}",
            f"HEADER,CLIENT_LIST,{CLIENT_COLUMNS[release]}",
            *(f"CLIENT_LIST,{row}" for row in client_rows),
            f"HEADER,ROUTING_TABLE,{ROUTE_COLUMNS}",
            *(f"ROUTING_TABLE,{row}" for row in routes),
            "GLOBAL_STATS,Max bcast/mcast queue length,0",
        )
    )


def status_3(*client_rows: str, release: str = "2.6", routes: Sequence[str] = ()) -> Status:
    """A status in format 3 with these rows, their values separated by `|` here."""
    return parse_status(
        (
            f"TITLE\tOpenVPN {release}",
            f"TIME\t{DATE}\t{TIME_T}",
            f"HEADER\tCLIENT_LIST\t{CLIENT_COLUMNS[release]}".replace(",", "\t"),
            *(f"CLIENT_LIST|{row}".replace("|", "\t") for row in client_rows),
            f"HEADER\tROUTING_TABLE\t{ROUTE_COLUMNS}".replace(",", "\t"),
            *(f"ROUTING_TABLE|{row}".replace("|", "\t") for row in routes),
        )
    )


def status_1(*client_rows: str, routes: Sequence[str] = ()) -> Status:
    """A status in format 1 with these rows."""
    return parse_status(
        (
            "OpenVPN CLIENT LIST",
            f"Updated,{DATE}",
            "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",
            *client_rows,
            "ROUTING TABLE",
            "Virtual Address,Common Name,Real Address,Last Ref",
            *routes,
            "GLOBAL STATS",
            "Max bcast/mcast queue length,0",
        )
    )


# -- recorded


@pytest.mark.parametrize(("version", "name", "command", "expected"), RECORDED)
def test_recorded_status(version: str, name: str, command: str, expected: Any) -> None:
    lines = reply_to(transcript(version, name), command)
    assert plain(parse_status(lines)) == expected


@pytest.mark.parametrize(("version", "name"), NAMES)
def test_formats_1_and_2_give_the_same_clients_as_format_3(version: str, name: str) -> None:
    first, second, third = (
        parse_status(reply_to(transcript(version, name), f"status {number}")) for number in (1, 2, 3)
    )
    identity = [(client.common_name, client.real_address) for client in third.clients]
    assert identity
    assert [(client.common_name, client.real_address) for client in first.clients] == identity
    assert [(client.common_name, client.real_address) for client in second.clients] == identity
    assert [client.client_id for client in second.clients] == [client.client_id for client in third.clients]
    assert [client.username for client in second.clients] == [client.username for client in third.clients]
    assert sorted(route[:3] for route in first.routes if route.common_name) == (
        sorted(route[:3] for route in third.routes if route.common_name)
    )
    assert not first.problems + second.problems + third.problems


@pytest.mark.parametrize("version", ["2.6.14", "2.7.6"])
def test_answer_cut_before_a_row_of_512_bytes_gives_what_came(version: str) -> None:
    # protocol-facts 3: no more rows, no END. The Debian build of 2.6.14 has PKCS11 and so long usernames.
    cut = 0
    for session in read_transcript(transcript(version, "24_long_username")):
        for exchange in exchanges(session):
            if exchange.command in (b"status 2\n", b"status 3\n"):
                status = parse_status(exchange.lines)
                assert status.problems == ()
                cut += "END" not in exchange.lines
                assert len(status.clients) == len(status.routes) <= 1
    assert (cut > 0) is (version == "2.6.14")


# -- layouts by release (protocol-facts 3)


def test_layout_of_2_1() -> None:
    status = status_2(f"Test-Client,192.0.2.1:4000,10.8.0.6,100,200,{OLD_DATE},{TIME_T}", release="2.1")
    assert status.clients == (
        Client("Test-Client", "192.0.2.1:4000", "10.8.0.6", None, 100, 200, TIME, OLD_DATE, None, None, None, None),
    )


def test_layout_of_2_3_has_a_username() -> None:
    status = status_3(f"Test-Client|192.0.2.1:4000|10.8.0.6|100|200|{OLD_DATE}|{TIME_T}|alice", release="2.3")
    assert status.clients == (
        Client("Test-Client", "192.0.2.1:4000", "10.8.0.6", None, 100, 200, TIME, OLD_DATE, "alice", None, None, None),
    )


def test_layout_of_2_4_has_ipv6_and_ids() -> None:
    row = f"Test-Client|::1|10.8.0.6|fd08::1000|100|200|{OLD_DATE}|{TIME_T}|UNDEF|5|6"
    assert status_3(row, release="2.4").clients == (
        Client("Test-Client", "::1", "10.8.0.6", "fd08::1000", 100, 200, TIME, OLD_DATE, None, 5, 6, None),
    )


def test_layout_of_2_6_has_a_cipher() -> None:
    row = f"Test-Client|::1|10.8.0.6||100|200|{DATE}|{TIME_T}|bob|5|6|AES-256-GCM"
    assert status_3(row).clients == (
        Client("Test-Client", "::1", "10.8.0.6", None, 100, 200, TIME, DATE, "bob", 5, 6, "AES-256-GCM"),
    )


def test_format_1_knows_neither_zone_nor_ids() -> None:
    status = status_1(f"Test-Client,192.0.2.1:4000,100,200,{DATE}", routes=[f"10.8.0.6,a,192.0.2.1:4000,{DATE}"])
    assert status == Status(
        title="OpenVPN CLIENT LIST",
        time=None,
        time_local=DATE,
        clients=(Client("Test-Client", "192.0.2.1:4000", None, None, 100, 200, None, DATE),),
        routes=(Route("10.8.0.6", "a", "192.0.2.1:4000", None, DATE),),
        global_stats={"Max bcast/mcast queue length": "0"},
    )


def test_columns_in_another_order_and_of_another_release() -> None:
    status = parse_status(
        (
            "TITLE\tOpenVPN 3",
            "HEADER\tCLIENT_LIST\tBytes Sent\tCommon Name\tWeather\tBytes Received",
            "CLIENT_LIST\t1\ta\tfair\t2",
            "CLIENT_LIST\t3\tb\t\t4\tsurplus\tmore",
        )
    )
    assert status.problems == ()
    assert [(client.common_name, client.bytes_sent, client.bytes_received) for client in status.clients] == [
        ("a", 1, 2),
        ("b", 3, 4),
    ]
    assert [client.extra for client in status.clients] == [
        {"Weather": "fair"},
        {"Weather": "", "column 5": "surplus", "column 6": "more"},
    ]


def test_values_behind_the_last_known_column_are_kept() -> None:
    row = f"a|::1|10.8.0.6||1|2|{DATE}|{TIME_T}|bob|5|6|AES-256-GCM|new"
    (client,) = status_3(row).clients
    assert client.data_channel_cipher == "AES-256-GCM"
    assert client.extra == {"column 13": "new"}


def test_a_second_header_counts_for_the_rows_behind_it() -> None:
    status = parse_status(
        (
            "TITLE,x",
            "HEADER,CLIENT_LIST,Common Name,Client ID",
            "CLIENT_LIST,a,1",
            "HEADER,CLIENT_LIST,Client ID,Common Name",
            "CLIENT_LIST,2,b",
        )
    )
    assert [(client.common_name, client.client_id) for client in status.clients] == [("a", 1), ("b", 2)]


def test_kinds_of_lines_that_are_unknown_are_kept() -> None:
    status = parse_status(
        ("TITLE,x", "HEADER,WEATHER,Sky", "WEATHER,fair", "GLOBAL_STATS", "", "HEADER,CLIENT_LIST,Common Name")
    )
    assert status.extra == ("HEADER,WEATHER,Sky", "WEATHER,fair", "GLOBAL_STATS")
    assert status.problems == ()


def test_global_stats_are_split_at_their_last_separator() -> None:
    assert parse_status(("TITLE,x", "GLOBAL_STATS,a, b,1")).global_stats == {"a, b": "1"}
    assert parse_status(("TITLE\tx", "GLOBAL_STATS\ta, b\t1")).global_stats == {"a, b": "1"}
    assert parse_status(("OpenVPN CLIENT LIST", "GLOBAL STATS", "a, b,1", "odd")).extra == ("odd",)


# -- client daemons (protocol-facts 3 and 10.6)


def test_statistics_of_a_client_daemon() -> None:
    status = parse_status(("OpenVPN STATISTICS", f"Updated,{DATE}", "TUN/TAP read bytes,17", "odd line", "END"))
    assert status == Status(
        title="OpenVPN STATISTICS", time_local=DATE, statistics={"TUN/TAP read bytes": "17"}, extra=("odd line",)
    )


# -- names with separators, quotes and protocol in them


def test_format_1_reads_commas_in_names_from_both_ends() -> None:
    status = status_1(
        f"Doe, John,192.0.2.1:4000,1,2,{DATE}",
        f">LOG:evil,192.0.2.2:4000,1,2,{DATE}",
        f"ROUTING TABLE,192.0.2.3:4000,1,2,{DATE}",
        f"END,192.0.2.4:4000,1,2,{DATE}",
        f"Updated,192.0.2.5:4000,1,2,{DATE}",
        f'"quoted,",a(vendor)[form],1,2,{DATE}',
        routes=[f"10.8.0.6,Doe, John,192.0.2.1:4000,{DATE}"],
    )
    assert [client.common_name for client in status.clients] == [
        "Doe, John",
        ">LOG:evil",
        "ROUTING TABLE",
        "END",
        "Updated",
        '"quoted,"',
    ]
    assert status.clients[5].real_address == "a(vendor)[form]"
    assert status.routes[0].common_name == "Doe, John"
    assert status.problems == ()


@pytest.mark.parametrize(
    ("common_name", "username"),
    [
        ("Doe, John", "jd"),
        ("jd", "Doe, John"),
        ("a,b", "c,d,e"),
        ("1,2,3", "4,5"),
        (",", ",,"),
        ("x,192.0.2.9:1", "10.8.0.9,,1,2"),
    ],
)
def test_format_2_reads_commas_in_two_names_where_the_values_tell(common_name: str, username: str) -> None:
    status = status_2(f"{common_name},udp4:192.0.2.1:4000,10.8.0.6,,100,200,{DATE},{TIME_T},{username},5,6,AES-256-GCM")
    assert status.problems == ()
    (client,) = status.clients
    assert (client.common_name, client.username) == (common_name, username)
    assert client[1:4] == ("udp4:192.0.2.1:4000", "10.8.0.6", None)
    assert client[9:12] == (5, 6, "AES-256-GCM")


def test_format_2_does_not_guess_where_a_name_looks_like_a_row() -> None:
    # The common name holds all the values of a row, the username holds as much: two readings are possible.
    values = f"192.0.2.1:4000,10.8.0.6,,100,200,{DATE},{TIME_T}"
    row = f"alice,{values},bob,{values},carol,5,6,AES-256-GCM"
    status = status_2(row, f"eve,{values},UNDEF,7,8,AES-256-GCM")
    assert [client.common_name for client in status.clients] == ["eve"]
    assert status.problems == (f"commas in a name leave open which value is which in the row: CLIENT_LIST,{row}",)


def test_format_2_reports_rows_that_fit_in_no_way() -> None:
    row = f"a,b,nowhere,10.8.0.6,,100,200,{DATE},{TIME_T},bob,5,6,AES-256-GCM"
    status = status_2(row)
    assert status.clients == ()
    assert len(status.problems) == 1


def test_format_2_tries_only_so_many_commas() -> None:
    values = f"192.0.2.1:4000,10.8.0.6,,100,200,{DATE},{TIME_T},bob,5,6,AES-256-GCM"
    most = "," * MOST_COMMAS
    status = status_2(f"{most},{values}", f"{most},,{values}")
    assert [client.common_name for client in status.clients] == [most]
    assert len(status.problems) == 1


def test_format_2_has_no_name_to_blame() -> None:
    status = parse_status(("TITLE,x", "HEADER,CLIENT_LIST,Client ID", "CLIENT_LIST,1,2", "CLIENT_LIST,3"))
    assert [client.client_id for client in status.clients] == [3]
    assert len(status.problems) == 1


def test_format_2_of_2_1_has_one_name_which_takes_all_commas() -> None:
    status = status_2(
        f"Doe, John,a vendor's own form,10.8.0.6,100,200,{OLD_DATE},{TIME_T}",
        release="2.1",
        routes=[f"10.8.0.6,Doe, John,192.0.2.1:4000,{OLD_DATE},{TIME_T}"],
    )
    assert [(client.common_name, client.real_address) for client in status.clients] == [
        ("Doe, John", "a vendor's own form")
    ]
    assert status.routes == (Route("10.8.0.6", "Doe, John", "192.0.2.1:4000", TIME, OLD_DATE),)


# -- rows and values that are not what they should be


@pytest.mark.parametrize("row", ["", "Test-Client", f"Test-Client,::1,10.8.0.6,100,200,{DATE}"])
def test_a_short_row_is_reported_and_never_shifted(row: str) -> None:
    good = f"a,::1,10.8.0.6,,100,200,{DATE},{TIME_T},bob,5,6,AES-256-GCM"
    second = status_2(row, good)
    third = status_3(row.replace(",", "|"), good.replace(",", "|"))
    for status in (second, third):
        assert [client.common_name for client in status.clients] == ["a"]
        assert len(status.problems) == 1
        assert status.problems[0].startswith("fewer values than the header has columns in the row: CLIENT_LIST")
    assert second.problems[0].endswith(row)


def test_a_short_row_and_a_long_one_that_make_up_for_each_other_are_not_mixed() -> None:
    status = parse_status(
        (
            "TITLE\tx",
            "HEADER\tCLIENT_LIST\tCommon Name\tClient ID",
            "CLIENT_LIST\tshort",
            "CLIENT_LIST\tlong\t5\tCLIENT_LIST",
        )
    )
    assert [(client.common_name, client.client_id) for client in status.clients] == [("long", 5)]
    assert len(status.problems) == 1


def test_a_bare_row_is_reported() -> None:
    status = parse_status(("TITLE,x", "HEADER,CLIENT_LIST,Common Name", "CLIENT_LIST", "CLIENT_LIST,a"))
    assert [client.common_name for client in status.clients] == ["a"]
    assert status.problems == ("fewer values than the header has columns in the row: CLIENT_LIST",)


def test_rows_before_their_header_are_reported() -> None:
    status = parse_status(("TITLE,x", "CLIENT_LIST,a", "HEADER,CLIENT_LIST,Common Name", "CLIENT_LIST,b"))
    assert [client.common_name for client in status.clients] == ["b"]
    assert status.problems == ("a row before its header: CLIENT_LIST,a",)


def test_format_1_without_its_lists() -> None:
    assert parse_status(("OpenVPN CLIENT LIST",)) == Status("OpenVPN CLIENT LIST")
    cut = parse_status(("OpenVPN CLIENT LIST", "Common Name,Real Address", "a,::1"))
    assert [client.common_name for client in cut.clients] == ["a"]


@pytest.mark.parametrize("number", ["x", "-1", "+1", " 1", "1_0", "1.5", "\uff11", "9" * 5000])
def test_a_number_that_is_none_is_reported_and_the_row_kept(number: str) -> None:
    rest = f"200|{DATE}|{TIME_T}|bob|5|6|AES-256-GCM"
    status = status_3(f"a|::1|10.8.0.6||{number}|{rest}", f"b|::1|10.8.0.7||7|{rest}")
    assert [client.bytes_received for client in status.clients] == [None, 7]
    assert [client.common_name for client in status.clients] == ["a", "b"]
    (problem,) = status.problems
    assert problem.startswith("Bytes Received is not a number in the row: CLIENT_LIST\ta\t")


@pytest.mark.parametrize("time", ["x", "-1", "1.5", "9" * 12, "9" * 25, "9" * 5000])
def test_a_time_that_is_none_is_reported_and_the_row_kept(time: str) -> None:
    rest = "bob|5|6|AES-256-GCM"
    status = status_3(
        f"a|::1|10.8.0.6||1|2|{DATE}|{time}|{rest}",
        f"b|::1|10.8.0.7||1|2|{DATE}|{TIME_T}|{rest}",
    )
    assert [client.connected_since for client in status.clients] == [None, TIME]
    assert [client.connected_since_local for client in status.clients] == [DATE] * 2
    assert len(status.problems) == 1
    assert "Connected Since (time_t) is not a time" in status.problems[0]


def test_an_empty_value_is_none_and_no_problem() -> None:
    status = status_3("a|::1||||||||||", f"b|::1|10.8.0.7||1|2|{DATE}|{TIME_T}|bob|5|6|AES-256-GCM")
    assert status.problems == ()
    assert status.clients == (
        Client("a", "::1"),
        Client("b", "::1", "10.8.0.7", None, 1, 2, TIME, DATE, "bob", 5, 6, "AES-256-GCM"),
    )


@pytest.mark.parametrize("line", ["TIME", f"TIME,{DATE}", f"TIME,{DATE},noon"])
def test_a_time_line_without_a_time_is_reported(line: str) -> None:
    status = parse_status(("TITLE,x", line))
    assert status.time is None
    assert status.time_local == (DATE if DATE in line else None)
    assert status.problems == (f"no time in the line: {line}",)


# -- handshaking (protocol-facts 10.1)


def test_handshaking_has_neither_name_nor_address() -> None:
    rest = f"1|2|{DATE}|{TIME_T}"
    status = status_3(
        f"UNDEF|::1|||{rest}|UNDEF|1|1|BF-CBC",
        f"UNDEF|::1|10.8.0.6||{rest}|UNDEF|2|2|AES-256-GCM",
        f"UNDEF|::1||fd08::6|{rest}|UNDEF|3|3|AES-256-GCM",
        f"UNDEF|::1|||{rest}|alice|4|4|AES-256-GCM",
        f"bob|::1|||{rest}|UNDEF|5|5|AES-256-GCM",
        f"|::1|||{rest}||6|6|",
    )
    assert [client.handshaking for client in status.clients] == [True, False, False, False, False, True]
    assert [client.common_name for client in status.clients] == [None, None, None, None, "bob", None]


def test_handshaking_before_there_were_usernames() -> None:
    row = f"UNDEF|192.0.2.1:4000||1|2|{OLD_DATE}|{TIME_T}"
    assert [client.handshaking for client in status_3(row, release="2.1").clients] == [True]


def test_handshaking_in_format_1_has_no_route() -> None:
    status = status_1(
        f"UNDEF,::1,1,2,{DATE}",
        f"UNDEF,192.0.2.1:4000,1,2,{DATE}",
        f"bob,::1,1,2,{DATE}",
        routes=[f"10.8.0.6,bob,::1,{DATE}", f"10.8.0.7,UNDEF,192.0.2.1:4000,{DATE}"],
    )
    assert [client.handshaking for client in status.clients] == [True, False, False]


# -- routes (protocol-facts 3 and 10.5)


@pytest.mark.parametrize(
    ("text", "address", "cached"),
    [
        ("10.8.0.6", "10.8.0.6", False),
        ("10.55.0.7C", "10.55.0.7", True),
        ("10.55.0.0/24", "10.55.0.0/24", False),
        ("fd55::/64", "fd55::/64", False),
        ("fd55::cC", "fd55::c", True),
        ("02:00:5e:00:00:0c", "02:00:5e:00:00:0c", False),
        ("02:00:5e:00:00:0c@7", "02:00:5e:00:00:0c", False),
        ("02:00:5e:00:00:0c@7C", "02:00:5e:00:00:0c", True),
        ("", None, False),
        ("C", None, True),
    ],
)
def test_route_addresses(text: str, address: str | None, cached: bool) -> None:
    status = status_3(routes=[f"{text}|a|::1|{DATE}|{TIME_T}", f"10.9.9.9C|UNDEF|::1|{DATE}|{TIME_T}"])
    assert status.routes == (
        Route(address, "a", "::1", TIME, DATE, cached),
        Route("10.9.9.9", None, "::1", TIME, DATE, cached=True),
    )


def test_a_route_may_name_a_client_that_has_no_row() -> None:
    status = status_2(routes=[f"10.8.0.6,gone,192.0.2.1:4000,{DATE},{TIME_T}"])
    assert status.clients == ()
    assert [route.common_name for route in status.routes] == ["gone"]


# -- real addresses (protocol-facts 3 and 10.3)


@pytest.mark.parametrize(
    ("text", "protocol", "address", "port"),
    [
        ("192.0.2.1:4000", None, "192.0.2.1", 4000),
        ("192.0.2.1", None, "192.0.2.1", None),
        ("::1", None, "::1", None),
        ("2001:db8::5:4000", None, "2001:db8::5:4000", None),
        ("::ffff:192.0.2.1", None, "::ffff:192.0.2.1", None),
        ("fe80::1%eth0", None, "fe80::1%eth0", None),
        ("192.0.2.1(4000)", None, "192.0.2.1", 4000),
        ("2001:db8::5(4000)", None, "2001:db8::5", 4000),
        ("udp4:192.0.2.1:4000", "udp4", "192.0.2.1", 4000),
        ("tcp4-server:192.0.2.1:4000", "tcp4-server", "192.0.2.1", 4000),
        ("udp6:[2001:db8::5]:4000", "udp6", "2001:db8::5", 4000),
        ("tcp6-server:[::1]:4000", "tcp6-server", "::1", 4000),
        ("udp6:192.0.2.1:4000", "udp6", "192.0.2.1", 4000),
        ("[::1]:4000", None, "::1", 4000),
    ],
)
def test_real_address(text: str, protocol: str | None, address: str, port: int | None) -> None:
    assert parse_real_address(text) == RealAddress(protocol, ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UNDEF",
        "nowhere",
        "192.0.2.1:65536",
        "192.0.2.1:" + "9" * 5000,
        "192.0.2.256:1",
        "192.0.2.1:port",
        "192.0.2.1:\uff11",
        "sctp:192.0.2.1:1",
        "[]:1",
        "[192.0.2.1",
        "1:2:3",
        "192.0.2.1:4000 ",
        "192.0.2.1:4000\n",
    ],
)
def test_what_is_no_real_address(text: str) -> None:
    assert parse_real_address(text) is None


# -- files and saved replies


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("end", ["", "\r", "\n", "\r\n"])
def test_a_file_reads_as_the_reply(number: int, end: str) -> None:
    lines = reply_to(transcript("2.7.6", "23_evil_names"), f"status {number}")
    expected = parse_status(lines)
    assert len(expected.clients) == 7
    assert parse_status([line + end for line in lines]) == expected
    assert parse_status([*(line + end for line in (*lines, "END")), ""]) == expected


def test_a_saved_reply_may_begin_with_real_time_lines_and_go_on_behind_end() -> None:
    lines = reply_to(transcript("2.7.6", "23_evil_names"), "status 1")
    greeting = ">INFO:OpenVPN Management Interface Version 6 -- type 'help' for more info"
    assert parse_status([greeting, "", ">HOLD:x", *lines, "END", "SUCCESS: pid=1"]) == parse_status(lines)


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("",),
        (">INFO:OpenVPN Management Interface Version 6",),
        ("END",),
        ("SUCCESS: pid=4",),
        ("ERROR: The 'status' command is not supported by the current daemon mode",),
        ("TITLE",),
        ("HEADER,CLIENT_LIST,Common Name", "CLIENT_LIST,a"),
        ("x" * 100_000,),
    ],
)
def test_what_is_no_status_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^expected a status that begins with .* or TITLE, got ") as raised:
        parse_status(lines)
    assert len(str(raised.value)) < 250


def test_a_status_can_be_sent_to_another_process() -> None:
    status = parse_status(reply_to(transcript("2.6.14", "20_names_udp4"), "status 3"))
    assert pickle.loads(pickle.dumps(status)) == status  # noqa: S301 - our own bytes


# -- properties

MARKER = st.sampled_from(
    [
        "TITLE,x",
        "TITLE\tx",
        "OpenVPN CLIENT LIST",
        "OpenVPN STATISTICS",
        "ROUTING TABLE",
        "GLOBAL STATS",
        "END",
        "",
        f"HEADER,CLIENT_LIST,{CLIENT_COLUMNS['2.6']}",
        f"HEADER\tCLIENT_LIST\t{CLIENT_COLUMNS['2.6']}".replace(",", "\t"),
        f"HEADER,ROUTING_TABLE,{ROUTE_COLUMNS}",
        f"HEADER\tROUTING_TABLE\t{ROUTE_COLUMNS}".replace(",", "\t"),
        "HEADER,CLIENT_LIST,Common Name,Username,Common Name,Common Name",
        "HEADER,CLIENT_LIST",
        "HEADER,",
    ]
)
PIECE = st.sampled_from(
    ["CLIENT_LIST", "ROUTING_TABLE", "HEADER", "TIME", "GLOBAL_STATS", "", "1", TIME_T, DATE, "::1", "a", "UNDEF", "C"]
) | st.text(max_size=5)
ROW = st.tuples(st.lists(PIECE, max_size=16), st.sampled_from(",\t")).map(lambda row: row[1].join(row[0]))


@given(st.lists(MARKER | ROW | st.text(max_size=30), max_size=12))
@example(["TITLE,x", "HEADER,CLIENT_LIST", "CLIENT_LIST,a"])
def test_any_lines_give_a_status_or_a_value_error(lines: list[str]) -> None:
    with contextlib.suppress(ValueError):
        assert parse_status(lines).title is not None


CELL = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")) | st.text(
    "abc,;:'\"\\ #>é日", max_size=20
)
NAME = CELL.map(lambda text: text.translate(dict.fromkeys((*range(32), 127), "_"))).filter(lambda text: text)
COUNTER = st.integers(0, 2**64 - 1)


@st.composite
def clients(draw: st.DrawFn) -> Client:
    since = draw(st.integers(0, 4_000_000_000))
    address = draw(st.sampled_from(["10.8.0.6", None]))
    return Client(
        common_name=draw(NAME.filter(lambda name: name != "UNDEF")),
        real_address=draw(st.sampled_from(["udp4:192.0.2.1:4000", "::1", "192.0.2.1:4000"])),
        virtual_address=address,
        virtual_ipv6_address=draw(st.sampled_from(["fd08::6", None])),
        bytes_received=draw(COUNTER),
        bytes_sent=draw(COUNTER),
        connected_since=datetime.fromtimestamp(since, UTC),
        connected_since_local=DATE,
        username=draw(NAME.filter(lambda name: name != "UNDEF") | st.none()),
        client_id=draw(st.integers(0, 2**32)),
        peer_id=draw(st.integers(0, 2**24)),
        data_channel_cipher="AES-256-GCM",
    )


def written(client: Client) -> str:
    """A client's row in format 3, as a daemon of 2.6 writes it."""
    assert client.connected_since
    values = (
        client.common_name,
        client.real_address,
        client.virtual_address or "",
        client.virtual_ipv6_address or "",
        client.bytes_received,
        client.bytes_sent,
        client.connected_since_local,
        int(client.connected_since.timestamp()),
        "UNDEF" if client.username is None else client.username,
        client.client_id,
        client.peer_id,
        client.data_channel_cipher,
    )
    return "\t".join(("CLIENT_LIST", *map(str, values)))


@given(st.lists(clients(), max_size=6))
def test_format_3_round_trip(connected: list[Client]) -> None:
    header = f"HEADER\tCLIENT_LIST\t{CLIENT_COLUMNS['2.6']}".replace(",", "\t")
    lines = ("TITLE\tOpenVPN 2.6.14", header, *map(written, connected))
    wire = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    received = wire.decode("utf-8", "surrogateescape").split("\n")
    status = parse_status(received)
    assert status.clients == tuple(connected)
    assert status.problems == ()


def test_times_of_one_thousand_seconds() -> None:
    module._seconds.cache_clear()  # another test may have had it made
    rows = [f"a{second},1.2.3.4:5,,,1,1,x,1795336{second},u,1,1,c" for second in ("000", "001", "592", "999")]
    found = [client.connected_since for client in status_2(*rows).clients]
    assert found == [datetime.fromtimestamp(1795336000 + second, UTC) for second in (0, 1, 592, 999)]
