"""The commands that read, over real SSH: tables, JSON, lines and raw text."""

from __future__ import annotations

import re

import pytest

from cli.harness import Fleet, client, daemon, farm_with_a_server_down, small_farm
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ReplyFault
from fleet.operations.queries import QUERIES


def test_status_as_a_table_in_inventory_order(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply_delay=0.05)  # it completes last, and stands first
    result = small("status")
    assert (result.status, result.err) == (0, "")
    header, *rows, total = [line.split() for line in result.out.splitlines()]
    assert header == ["SERVER", "STATE", "SINCE", "CLIENTS", "IN", "OUT", "VERSION"]
    assert [(row[0], row[-1]) for row in rows] == [("edge-1", "2.6.14"), ("gw/udp", "2.7.6"), ("gw/tcp", "2.4.12")]
    assert total == ["3", "servers", "5", "0", "B", "0", "B"]
    assert result.out.splitlines()[1].split() == ["edge-1", "CONNECTED", "1d", "1h", "2", "0", "B", "0", "B", "2.6.14"]
    assert not any(line.endswith(" ") for line in result.out.splitlines())


def test_status_of_one_server_has_no_total(small: Fleet) -> None:
    result = small("status", "edge-1")
    assert len(result.out.splitlines()) == 2


def test_wide_has_more_columns(small: Fleet) -> None:
    result = small("status", "edge-1", "-o", "wide")
    assert "LOCAL ADDRESS" in result.out
    assert re.search(r"10\.8\.0\.1 +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", result.out.splitlines()[1])


def test_a_daemon_in_hold(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    farm.add("up", daemon("2.6.14", ["a"]))
    fleet.start(farm)
    result = fleet("status")
    assert result.status == 0
    assert result.out.splitlines()[1].split() == ["held", "HOLD", "-", "-", "-", "-", "2.6.14"]
    clients = fleet("clients")
    assert clients.status == 0
    assert clients.err == (
        "warning: held: the daemon is in hold: nobody can be connected; fleet hold release brings it up\n"
    )
    shown = fleet("hold")
    assert [line.split() for line in shown.out.splitlines()[1:]] == [["held", "on", "yes"], ["up", "off", "no"]]


def test_the_whole_fleet_in_json(small: Fleet) -> None:
    document = small("status", "--json").document
    assert document["summary"] == {"servers": 3, "ok": 3, "failed": 0, "unreachable": 0, "not_attempted": 0}
    first = document["servers"][0]
    assert (first["name"], first["status"], first["error"]) == ("edge-1", "ok", None)
    keys = [
        "title",
        "time",
        "clients",
        "routes",
        "global_stats",
        "state",
        "nclients",
        "bytes_in",
        "bytes_out",
        "version",
    ]
    assert list(first["result"])[: len(keys)] == keys
    assert first["result"]["clients"][1]["common_name"] == "Doe, Jane"
    assert first["result"]["clients"][1]["username"] is None


@pytest.mark.parametrize(
    "name", [query.name for query in QUERIES] + ["verb", "mute", "hold", "log", "clients", "routes"]
)
def test_every_query_in_every_format(small: Fleet, name: str) -> None:
    for form in ("table", "wide"):
        result = small(name, "-o", form)
        assert (result.status, result.err) == (0, "")
        assert result.out.splitlines()[0].startswith("SERVER ")
        assert result.out.count("\nedge-1") >= 1
    document = small(name, "-o", "json").document
    assert (document["command"], [one["status"] for one in document["servers"]]) == (name, ["ok"] * 3)
    assert all(isinstance(one["result"], dict) for one in document["servers"])
    lines = small(name, "-o", "ndjson").lines
    assert [line["type"] for line in lines] == ["server"] * 3 + ["summary"]
    raw = small(name, "-o", "raw").out
    assert [line for line in raw.splitlines() if line.startswith("==> ")] == [
        "==> edge-1 <==", "==> gw/udp <==", "==> gw/tcp <==",
    ]  # fmt: skip


def test_clients_with_odd_names(fleet: Fleet) -> None:
    farm = Farm()
    odd = ["a  b", "Zoë-日本", "x\u202ey", "\udcff", "1e5", "-", "it's", "\x85"]
    farm.add("edge", daemon("2.6.14", [*odd, client("x", handshaking=True)]))
    fleet.start(farm)
    result = fleet("clients")
    assert result.status == 0
    names = [
        re.split(r"  +(?=\d+\.\d+\.\d+\.\d+:)", line)[0].removeprefix("edge    ") for line in result.out.splitlines()
    ]
    assert names[1:] == ["a  b", "Zoë-日本", r"x\u202ey", r"\xff", "1e5", "-", "it's", r"\x85", "(handshaking)"]
    document = fleet("clients", "--json").document
    shown = [one["common_name"] for one in document["servers"][0]["result"]["clients"]]
    assert shown == [*odd, None]


def test_nobody_is_connected(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge", daemon("2.6.14"))
    fleet.start(farm)
    for command, text in (("clients", "nobody is connected\n"), ("routes", "there are no routes\n")):
        result = fleet(command)
        assert (result.status, result.out, result.err) == (0, "", text)
    assert fleet("clients", "-q").err == ""


def test_totals_of_clients(small: Fleet) -> None:
    total = small("clients").out.splitlines()[-1]
    assert total.split("  ")[0] == "3 servers"
    assert "5 clients" in total


def test_log_of_so_many_lines(small: Fleet) -> None:
    assert len(small("log", "1", "-l", "edge-1").out.splitlines()) == 2
    everything = small("log", "all", "-l", "edge-1", "--json").document
    assert len(everything["servers"][0]["result"]["lines"]) > 4
    assert everything["args"] == ["all"]


@pytest.mark.parametrize("count", ["0", "x", "-5"])
def test_log_of_what_is_no_number(small: Fleet, count: str) -> None:
    result = small("log", count)
    assert (result.status, result.out) == (2, "")
    assert small.farm["edge-1"].sessions == 0


# raw


def test_raw_of_one_server_is_the_daemons_text_alone(small: Fleet) -> None:
    result = small("version", "edge-1", "-o", "raw")
    assert result.out.splitlines()[1:] == ["Management Version: 5", "END"]
    assert small("pid", "edge-1", "-o", "raw").out == f"SUCCESS: pid={small.daemon('edge-1').pid}\n"


@pytest.mark.parametrize(
    ("version", "first"), [(1, "OpenVPN CLIENT LIST"), (2, "TITLE,OpenVPN"), (3, "TITLE\tOpenVPN")]
)
def test_raw_status_in_the_format_that_is_asked_for(small: Fleet, version: int, first: str) -> None:
    result = small("status", "edge-1", "--format-version", str(version), "-o", "raw")
    assert result.out.startswith(first)
    assert result.out.endswith("\nEND\n")


def test_raw_status_is_of_format_3(small: Fleet) -> None:
    assert small("status", "edge-1", "-o", "raw").out.startswith("TITLE\tOpenVPN")


def test_a_format_is_for_raw_only(fleet: Fleet) -> None:
    result = fleet("status", "--format-version", "3")
    assert (result.status, result.err) == (2, "--format-version is for the daemon's own text\n  add -o raw\n")
    result = fleet("status", "--format-version", "4", "-o", "raw")
    assert (result.status, result.err) == (2, "'4' is not a status format\n  formats are 1, 2 and 3\n")


def test_raw_is_exact_to_the_byte(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge", daemon("2.6.14", ["caf\udce9\udcff", "Zoë", "a\x85b\u2028c"]))
    fleet.start(farm)
    text = fleet("status", "-o", "raw").stdout
    assert b"\tcaf\xe9\xff\t" in text
    assert "a\x85b\u2028c".encode() in text


def test_raw_of_a_server_that_is_down_is_the_others(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("pid", "-o", "raw")
    assert result.status == 4
    assert result.out.count("SUCCESS: pid=") == 3
    assert "==> down <==" not in result.out
    assert result.err.startswith("connect-refused: down: ")


# what goes wrong on servers


def test_equal_errors_are_folded(fleet: Fleet) -> None:
    farm = small_farm()
    for number in range(3, 6):
        farm.add(f"edge-{number}", daemon("2.6.14"))
        farm[f"edge-{number}"].closed = True
    fleet.start(farm)
    result = fleet("pid")
    assert result.status == 4
    assert result.err.splitlines()[0].startswith("management-closed: edge-[3-5] (3): ")
    assert result.err.splitlines()[-1].startswith("6 servers: 3 ok, 3 unreachable, in ")
    assert len(result.out.splitlines()) == 4


def test_a_busy_server(small: Fleet) -> None:
    small.occupy("edge-1")
    result = small("status", "--reply-timeout", "1s")
    assert result.status == 4
    assert result.err.splitlines()[0].startswith("management-busy: edge-1: ")
    assert "  try: see who is connected on the host: ss -tnp 'sport = :7505'" in result.err.splitlines()


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Faults(reply=ReplyFault.HALF_THEN_HANG_UP), 4, "connection-lost"),
        (Faults(reply=ReplyFault.SILENCE), 4, "reply-timeout"),
        (Faults(reply=ReplyFault.ENDLESS_LINE), 1, "protocol"),
        (Faults(greeting=b"HTTP/1.1 400 Bad Request\r\n"), 1, "protocol"),
    ],
)
def test_a_daemon_that_misbehaves_costs_nobody_else(small: Fleet, fault: Faults, status: int, code: str) -> None:
    small.farm["gw/udp"].faults = fault
    result = small("version", "--reply-timeout", "2s", "--json")
    assert result.status == status
    assert [one["status"] for one in result.document["servers"]].count("ok") == 2
    assert result.document["servers"][1]["error"]["code"] == code


def test_the_clock_of_a_server(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply=ReplyFault.SILENCE)
    result = small("pid", "edge-1", "--host-timeout", "2s")
    assert result.status == 4
    assert result.err.splitlines()[:2] == [
        "host-timeout: edge-1: not done within 2 s; it was waiting for the reply to pid",
        "  try: give each server more time with --host-timeout",
    ]


def test_the_clock_of_the_run(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply=ReplyFault.SILENCE)
    result = small("pid", "--timeout", "1s", "--forks", "1", "--json")
    assert result.status == 4
    assert [one["status"] for one in result.document["servers"]] == ["unreachable", "not_attempted", "not_attempted"]
    assert {one["error"]["code"] for one in result.document["servers"]} == {"run-timeout"}


def test_short_rows_are_warned_of(fleet: Fleet) -> None:
    path = fleet.folder / "cut.txt"
    header = "HEADER,CLIENT_LIST,Common Name,Real Address,Bytes Received\n"
    path.write_text(f"TITLE,OpenVPN 2.6.14\n{header}CLIENT_LIST,a\n" + "CLIENT_LIST,\x1b[31m\n" * 6 + "END\n")
    result = fleet("status", "--file", str(path))
    assert result.status == 0
    warnings = result.err.splitlines()
    assert warnings[0].startswith(f"warning: {path}: fewer values than the header has columns in the row: ")
    assert "\x1b" not in result.err
    assert len(fleet("status", "--file", str(path), "--json").document["servers"][0]["result"]["problems"]) == 7
