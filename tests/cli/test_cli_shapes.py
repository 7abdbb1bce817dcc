"""The shapes of output: tables as they are asked for, YAML, CSV and names, folded and compared answers."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.harness import Fleet, client, daemon, farm_with_a_server_down
from fleet.cli.options import Options, OutputFormat
from fleet.cli.output import OutputError, check_shape, output_for, refusal_document, show_table
from fleet.demo.farm import Farm
from fleet.engine import Outcome, Report
from fleet.errors import EmptyTargetError, UsageError
from fleet.inventory.model import Server, UnixEndpoint
from fleet.operations.columns import SERVER, Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation

BYTES = {"bytes_received": 2048, "bytes_sent": 10**9}


@pytest.fixture
def edges(fleet: Fleet) -> Fleet:
    """Eight servers of one release, and two of another."""
    farm = Farm()
    for number in range(1, 9):
        farm.add(f"edge-{number}", daemon("2.6.14"))
    farm.add("gw-1", daemon("2.7.6"))
    farm.add("gw-2", daemon("2.7.6"))
    fleet.start(farm)
    return fleet


def records(text: str) -> list[dict[str, str]]:
    assert "\r" not in text
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


# columns and order


def test_columns_are_those_that_are_named(small: Fleet) -> None:
    result = small("status", "--columns", "nclients,server", "-l", "gw")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        "CLIENTS  SERVER",
        "      2  gw/udp",
        "      1  gw/tcp",
        "      3  2 servers",
    ]
    assert small("status", "--columns", "server", "-l", "gw").out.splitlines()[-1] == "2 servers"
    assert small("clients", "--columns", "real_address", "-l", "gw/tcp").out.splitlines()[0] == "REAL ADDRESS"
    assert small("pid", "--columns", "server", "--no-headers", "--all").out == "edge-1\ngw/udp\ngw/tcp\n"


def test_rows_are_sorted_over_all_servers(small: Fleet) -> None:
    names = ["--columns", "common_name", "--no-headers"]
    assert small("clients", *names, "--sort-by", "common_name").out.splitlines() == [
        "alice", "col:on", "Doe, Jane", "Test-Client", "Test-Client",
    ]  # fmt: skip
    assert small("clients", *names, "--sort-by", "-common_name").out.splitlines()[-1] == "alice"
    assert small("status", "--sort-by", "-clients", "-o", "name").out == "edge-1\ngw/udp\ngw/tcp\n"
    assert small("verb", "--sort-by", "-verb", "-o", "name").status == 0


@pytest.mark.parametrize("output", ["table", "wide", "csv", "name", "json", "yaml", "ndjson"])
def test_an_unknown_column_is_refused_before_anything_is_sent(small: Fleet, output: str) -> None:
    for option in ("--columns", "--sort-by"):
        result = small("clients", option, "common-nam", "-o", output)
        assert result.status == 2
        known = "server, common_name, real_address, virtual_address, bytes_received, bytes_sent, connected_since"
        assert result.err.startswith(f"unknown column 'common-nam'\n  did you mean common_name? Known: {known}, ")
    assert [small.daemon(name).executed for name in ("edge-1", "gw/udp", "gw/tcp")] == [[], [], []]


def test_table_formats(small: Fleet) -> None:
    assert small("pid", "--table-format", "github", "-l", "gw").out.splitlines()[1] == "|----------|-------|"
    result = small("pid", "--table-format", "nope")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("there is no table format 'nope'\n  there are: asciidoc, ")
    assert small("pid", "--table-format", "grid", "-o", "csv").status == 2
    small.set("FLEET_TABLE_FORMAT", "grid")
    assert small("pid", "-o", "csv", "-l", "gw").status == 0


def test_exact_sizes_and_times(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon(clients=[client("a", **BYTES)]))
    fleet.start(farm)
    usual = fleet("clients").out.splitlines()[1].split()
    exact = fleet("clients", "--bytes", "--utc").out.splitlines()[1].split()
    assert (usual[4:8], exact[4:6]) == (["2.0", "KiB", "954", "MiB"], ["2048", "1000000000"])
    assert datetime.fromisoformat(exact[6]).tzinfo is not None


# csv


def test_csv_is_exact_and_has_every_column(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon(clients=[client("=1+1", **BYTES), client('Doe, "J"', **BYTES)]))
    farm.add("edge-2", daemon("2.4.12", clients=[client("漢字", "198.51.100.7")]))
    fleet.start(farm)
    result = fleet("clients", "-o", "csv")
    first, second, third = records(result.out)
    document = fleet("clients", "--json").document["servers"]
    clients = [one for server in document for one in server["result"]["clients"]]
    assert [first["common_name"], second["common_name"], third["common_name"]] == ["'=1+1", 'Doe, "J"', "漢字"]
    assert [first["server"], third["server"]] == ["edge-1", "edge-2"]
    for record, one in zip((first, second, third), clients, strict=True):
        assert {
            key: "" if one[key] is None else str(one[key]) for key in record.keys() - {"server", "common_name"}
        } == {key: record[key] for key in record.keys() - {"server", "common_name"}}
    assert third["data_channel_cipher"] == ""
    assert fleet("clients", "-o", "csv", "--no-headers").out == result.out.partition("\n")[2]
    assert fleet("clients", "-o", "csv", "--columns", "in,server").out.splitlines()[:2] == [
        "bytes_received,server", "2048,edge-1",
    ]  # fmt: skip


def test_csv_of_answers_that_no_columns_fit(small: Fleet) -> None:
    result = small("exec", "mute", "verb", "-l", "edge-1", "-o", "csv", "--yes")
    assert result.out == "server,command,text\nedge-1,mute,mute=0\nedge-1,verb,verb=3\n"
    table = small("exec", "mute", "verb", "-l", "edge-1", "--yes", "--columns", "text,command")
    assert table.out.splitlines() == ["TEXT    COMMAND", "mute=0  mute", "verb=3  verb"]


def test_csv_of_nobody_is_its_header(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("pid", "-l", "down", "-o", "csv")
    assert (result.status, result.out) == (4, "server,pid\n")
    assert fleet("pid", "-l", "down", "-o", "csv", "--no-headers").out == ""
    assert fleet("pid", "-o", "csv", "-q").out == ""
    assert [record["server"] for record in records(fleet("pid", "-o", "csv").out)] == ["edge-1", "gw/udp", "gw/tcp"]


# names


def test_names_of_servers_and_of_clients(small: Fleet) -> None:
    assert small("status", "-o", "name").out == "edge-1\ngw/udp\ngw/tcp\n"
    assert small("log", "-o", "name").out == "edge-1\ngw/udp\ngw/tcp\n"  # whatever it says: each once
    clients = ["Test-Client", "Doe, Jane", "Test-Client", "col:on", "alice"]
    assert small("clients", "-o", "name").out.splitlines() == clients
    assert small("find", "*", "-o", "name").out.splitlines() == clients
    assert small("find", "alice", "-o", "name", "--columns", "server").out == "gw/tcp\n"
    assert small("clients", "-o", "name", "--columns", "server").out == "edge-1\ngw/udp\ngw/tcp\n"
    assert small("clients", "-o", "name", "--columns", "username").out == ""
    result = small("clients", "-o", "name", "--columns", "server,username")
    assert (result.status, result.err.splitlines()[0]) == (2, "-o name prints one column")
    assert small("kill", "alice", "-o", "name").out == "alice\n"


def test_who_has_no_name_yet_is_no_name(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon(clients=[client("a"), client("b", handshaking=True)]))
    fleet.start(farm)
    assert "(handshaking)" in fleet("clients").out
    assert fleet("clients", "-o", "name").out == "a\n"
    assert [record["common_name"] for record in records(fleet("clients", "-o", "csv").out)] == ["a", ""]


# yaml


def test_yaml_is_the_document(small: Fleet) -> None:
    for args in (("status",), ("clients",), ("version", "-l", "gw")):
        read = yaml.safe_load(small(*args, "-o", "yaml").out)
        document = small(*args, "--json").document
        for one in (read, document):
            one["started"] = one["elapsed"] = None
            for server in one["servers"]:
                server["elapsed"] = None
                server["result"]["time"] = None
        assert read == document
    assert list(read) == list(document)


def test_yaml_of_a_run_that_is_refused() -> None:
    error = EmptyTargetError("no server matches 'no'", hint="did you mean: yes?")
    report: Report[Any] = Report("status", ("no",), datetime.now(UTC), 0.0, error=error)
    document = json.loads(refusal_document(report, OutputFormat.JSON))
    assert yaml.safe_load(refusal_document(report, OutputFormat.YAML)) == document
    assert document["error"]["code"] == "empty-target"
    assert json.loads(refusal_document(report, OutputFormat.NDJSON))["exit_status"] == 2
    for output in (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.CSV, OutputFormat.NAME, OutputFormat.RAW):
        assert refusal_document(report, output) == ""


def test_quiet_documents(small: Fleet) -> None:
    assert small("-q", "pid", "-o", "yaml").out == ""
    small.farm["edge-1"].closed = True
    assert yaml.safe_load(small("-q", "pid", "-o", "yaml").out)["exit_status"] == 4


# folded and compared


def test_equal_answers_are_folded(edges: Fleet) -> None:
    assert edges("version", "-b").out.splitlines() == [
        "SERVER          OPENVPN  MANAGEMENT",
        "edge-[1-8] (8)  2.6.14            5",
        "gw-[1-2] (2)    2.7.6             6",
    ]
    assert edges("status", "--gather", "--columns", "version", "--no-headers").out.splitlines() == [
        "edge-[1-8] (8)  2.6.14",
        "gw-[1-2] (2)    2.7.6",
    ]
    raw = edges("version", "-b", "-o", "raw").out
    assert [line for line in raw.splitlines() if line.startswith("==>")] == [
        "==> edge-[1-8] (8) <==",
        "==> gw-[1-2] (2) <==",
    ]
    assert edges("state", "-b", "--utc", "--columns", "state").out.splitlines()[1:] == [
        "edge-[1-8] gw-[1-2] (10)  CONNECTED"
    ]


def test_what_differs_from_most(edges: Fleet) -> None:
    difference = ["--- edge-[1-8] (8)", "+++ gw-[1-2] (2)", "@@ -1 +1 @@"]
    assert edges("version", "--diff", "--columns", "openvpn").out.splitlines() == [
        "SERVER          OPENVPN",
        "edge-[1-8] (8)  2.6.14",
        *difference,
        "-2.6.14",
        "+2.7.6",
    ]
    raw = edges("load-stats", "--diff", "-o", "raw").out.splitlines()
    assert raw == ["==> edge-[1-8] gw-[1-2] (10) <==", "SUCCESS: nclients=0,bytesin=0,bytesout=0"]
    edges("verb", "5", "-l", "gw-*", "--yes")
    assert edges("exec", "verb", "--diff", "--yes", "--all").out.splitlines() == [
        "==> edge-[1-8] (8) <==", "verb=3", *difference, "-verb=3", "+verb=5",
    ]  # fmt: skip
    several = edges("exec", "verb", "mute", "--diff", "--yes", "-l", "edge-1,gw-1").out.splitlines()
    assert several[:5] == ["==> edge-1 <==", "verb", "  verb=3", "mute", "  mute=0"]


def test_folding_is_for_tables_and_text(small: Fleet) -> None:
    for output in ("json", "ndjson", "yaml", "csv", "name"):
        for option in ("--gather", "--diff"):
            result = small("pid", option, "-o", output)
            assert (result.status, result.err) == (
                2, f"{option} is not for -o {output}\n  it is for table, wide, raw\n",
            )  # fmt: skip
    small.set("FLEET_GATHER", "1")
    assert small("pid", "--json").status == 0
    assert small("history", "list", "--diff").status == 2


def test_what_an_operation_has_not_is_refused_at_once() -> None:
    change = replace(MANY, changes=True)
    for options in (Options(columns=("bytes",)), Options(sort_by="x"), Options(diff=True, output=OutputFormat.CSV)):
        with pytest.raises(UsageError):
            check_shape(change, options)
    check_shape(change, Options(columns=("after",)))
    check_shape(change, Options(columns=("would_send",), dry_run=True))  # then the preview is what is shown
    with pytest.raises(UsageError):
        check_shape(change, Options(columns=("after",), dry_run=True))


@pytest.mark.parametrize("output", OutputFormat)
def test_events_have_lines_only(output: OutputFormat) -> None:
    if output in (OutputFormat.TABLE, OutputFormat.WIDE, OutputFormat.JSON, OutputFormat.NDJSON):
        check_shape(object(), Options(output=output))
        return
    with pytest.raises(UsageError, match=f"events have no {output.value} form"):
        check_shape(object(), Options(output=output))


# terminals


def at_a_terminal(columns: str | None, options: Options, rows: int = 1) -> str:
    """What show_table draws on a terminal of 80 columns."""
    master, slave = pty.openpty()
    try:
        with pytest.MonkeyPatch.context() as patch, open(slave, "w", closefd=False) as terminal:
            patch.setattr(sys, "__stdout__", terminal)
            if columns is not None:
                patch.setenv("COLUMNS", columns)
            with redirect_stdout(terminal):
                table = (SERVER, Column("state"), Column("text"))
                show_table(table, lambda: [("edge-1", "CONNECTED", "x" * 30)] * rows, options, dict)
        return os.read(master, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(slave)
        os.close(master)


def test_a_narrow_terminal_has_fewer_columns_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert at_a_terminal("40", Options()) == "SERVER  STATE\nedge-1  CONNECTED\n"
    assert capsys.readouterr().err == "40 columns: left out TEXT; -o wide or --columns shows them\n"
    assert at_a_terminal("40", Options(quiet=True)) == "SERVER  STATE\nedge-1  CONNECTED\n"
    for options in (Options(output=OutputFormat.WIDE), Options(columns=("server", "text"))):
        assert "x" * 30 in at_a_terminal("40", options)
    assert "x" * 30 in at_a_terminal("49", Options())
    assert capsys.readouterr().err == ""


def test_a_pipe_has_every_column(small: Fleet) -> None:
    small.set("COLUMNS", "20")
    assert small("status").out.splitlines()[0].endswith("VERSION")
    assert small("status").err == ""


# many rows


async def _perform(_conversation: Conversation) -> Answer[int]:
    return Answer(0, "")


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    return ((f"client-{number}", number, 2.5) for number in range(count))


MANY: Operation[int] = Operation(
    "many", _perform, (Column("common_name", names=True), Column("bytes_in", Kind.SIZE), Column("after")), _rows
)


def outcome_of(name: str, count: int) -> Outcome[Answer[int]]:
    return Outcome(Server(name, name, None, UnixEndpoint("/x")), 0.1, Answer(count, ""))


@pytest.mark.parametrize("output", [OutputFormat.CSV, OutputFormat.NAME])
def test_many_rows_are_written_as_their_turn_comes(tmp_path: Path, output: OutputFormat) -> None:
    outcomes = [outcome_of(f"edge-{number}", 8_000) for number in range(10)]
    order = [1, 0, 3, 4, 2, 5, 9, 8, 7, 6]
    out = output_for(MANY, Options(output=output))
    path = tmp_path / "out"
    with path.open("w", newline="") as file, redirect_stdout(file):
        out.expect([outcome.server for outcome in outcomes])
        assert out.spent
        sizes = []
        tracemalloc.start()
        for position in order:
            out.outcome(outcomes[position])
            sizes.append(path.stat().st_size)
        # What was written is not wanted again: the run may forget it.
        forgotten = tuple(replace(outcome, value=None) for outcome in outcomes)
        assert out.finish(Report("many", (), datetime.now(UTC), 1.0, forgotten)) == 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20
    assert sizes[0] == 0 < sizes[1] == sizes[2] == sizes[3] < sizes[4] < sizes[5] == sizes[8] < sizes[9]
    lines = path.read_text().splitlines()
    assert len(lines) == 80_000 + (output is OutputFormat.CSV)
    if output is OutputFormat.CSV:
        assert lines[0] == "server,common_name,bytes_in,after"
        assert [line.partition(",")[0] for line in lines[1::8_000]] == [f"edge-{number}" for number in range(10)]


def test_sorted_rows_wait_for_the_last(tmp_path: Path) -> None:
    out = output_for(MANY, Options(output=OutputFormat.CSV, sort_by="-bytes_in", columns=("bytes_in",)))
    outcomes = tuple(outcome_of(name, 3) for name in ("a", "b"))
    path = tmp_path / "out"
    with path.open("w", newline="") as file, redirect_stdout(file):
        out.expect([outcome.server for outcome in outcomes])
        assert not out.spent
        for outcome in outcomes:
            out.outcome(outcome)
        assert path.stat().st_size == 0
        out.finish(Report("many", (), datetime.now(UTC), 1.0, outcomes))
    assert path.read_text().split() == ["bytes_in", "2", "2", "1", "1", "0", "0"]


def test_who_never_answered_holds_nobody_up(tmp_path: Path) -> None:
    out = output_for(MANY, Options(output=OutputFormat.NAME))
    outcomes = tuple(outcome_of(name, 1) for name in ("a", "b", "c"))
    path = tmp_path / "out"
    with path.open("w", newline="") as file, redirect_stdout(file):
        out.expect([outcome.server for outcome in outcomes])
        out.outcome(outcomes[0])
        out.outcome(outcomes[2])
        report: Report[Answer[int]] = Report("many", (), datetime.now(UTC), 1.0, outcomes, interrupted=True)
        assert out.finish(report) == 130
    assert path.read_text() == "client-0\n" * 3


def test_a_closed_pipe_ends_a_long_output() -> None:
    read, write = os.pipe()
    os.close(read)
    made: list[int] = []

    def rows(count: int) -> Iterator[tuple[object, ...]]:
        for row in _rows(count):
            made.append(1)
            yield row

    out = output_for(replace(MANY, rows=rows), Options(output=OutputFormat.CSV))
    with open(write, "w") as file, redirect_stdout(file):  # noqa: PTH123 - a descriptor
        report = Report("many", (), datetime.now(UTC), 1.0, (outcome_of("a", 50_000),))
        assert out.finish(report) == 0
    assert out.closed
    assert len(made) <= 1000


# tables that ask no server


TABLE = (Column("name", names=True), Column("size", Kind.SIZE), Column("note", wide=True))


def listed(capsys: pytest.CaptureFixture[str], options: Options, items: str | None = "things") -> str:
    rows = [("b", 2048, None), ("a", 1, "x")]
    things = [{"name": name, "size": size} for name, size, _note in rows]
    show_table(TABLE, lambda: rows, options, lambda: {"fleet_schema": 1, "things": things}, items=items, nothing="none")
    return capsys.readouterr().out


def test_a_table_of_its_own_has_every_shape(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {
        output: listed(capsys, Options(output=output)) for output in OutputFormat if output is not OutputFormat.RAW
    }
    assert shapes[OutputFormat.TABLE] == "NAME     SIZE\nb     2.0 KiB\na         1 B\n"
    assert shapes[OutputFormat.WIDE] == "NAME     SIZE  NOTE\nb     2.0 KiB  -\na         1 B  x\n"
    assert shapes[OutputFormat.CSV] == "name,size,note\nb,2048,\na,1,x\n"
    assert shapes[OutputFormat.NAME] == "b\na\n"
    document = json.loads(shapes[OutputFormat.JSON])
    assert yaml.safe_load(shapes[OutputFormat.YAML]) == document
    assert [json.loads(line) for line in shapes[OutputFormat.NDJSON].splitlines()] == [
        {"type": "thing", "name": "b", "size": 2048},
        {"type": "thing", "name": "a", "size": 1},
        {"type": "summary", "fleet_schema": 1},
    ]
    assert json.loads(listed(capsys, Options(output=OutputFormat.NDJSON), items=None)) == document
    for output in (OutputFormat.TABLE, OutputFormat.CSV, OutputFormat.NAME):
        options = Options(output=output, sort_by="size", columns=("name",), no_headers=True)
        assert listed(capsys, options).split() == ["a", "b"]


def test_a_table_of_its_own_refuses_what_it_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (
        Options(output=OutputFormat.RAW),
        Options(columns=("nope",)),
        Options(gather=True),
        Options(table_format="nope"),
    ):
        with pytest.raises(UsageError):
            listed(capsys, options)
    assert capsys.readouterr().out == ""


def test_a_table_without_rows_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for output, out in ((OutputFormat.TABLE, ""), (OutputFormat.CSV, "name,size,note\n"), (OutputFormat.NAME, "")):
        show_table(TABLE, list, Options(output=output), dict, nothing="no thing is there")
        captured = capsys.readouterr()
        assert captured.out == out
        assert captured.err == ("no thing is there\n" if output is OutputFormat.TABLE else "")


def test_history_has_every_shape(small: Fleet) -> None:
    small("pid", "-l", "gw")
    run = small("history", "list", "-o", "name").out.strip()
    assert [record["run"] for record in records(small("history", "list", "-o", "csv").out)] == [run]
    assert yaml.safe_load(small("history", "list", "-o", "yaml").out)["runs"][0]["run"] == run
    assert small("history", "show", "last", "-o", "name").out == "gw/udp\ngw/tcp\n"
    (record, _other) = records(small("history", "show", run, "-o", "csv").out)
    assert (record["server"], record["status"], record["error"]) == ("gw/udp", "ok", "")
    assert small("history", "show", run, "--sort-by", "-server", "--columns", "server").out.split() == [
        "SERVER", "gw/udp", "gw/tcp",
    ]  # fmt: skip


def test_saved_files_have_every_shape(small: Fleet) -> None:
    path = small.folder / "saved.status"
    path.write_text(small("status", "-l", "edge-1", "-o", "raw").out)
    (record,) = records(small("status", "--file", str(path), "-o", "csv").out)
    assert (record["server"], record["nclients"], record["state"]) == (str(path), "2", "")
    assert yaml.safe_load(small("status", "--file", str(path), "-o", "yaml").out)["servers"][0]["name"] == str(path)
    snapshot = small.folder / "a.json"
    snapshot.write_bytes(small("snapshot").stdout)
    small("kill", "alice")
    assert small("diff", str(snapshot), "-o", "name").out == "alice\n"
    (record,) = records(small("diff", str(snapshot), "-o", "csv").out)
    assert (record["server"], record["change"]) == ("gw/tcp", "left")
    for output in ("yaml", "csv", "name", "ndjson", "raw"):
        assert small("snapshot", "-o", output).err == f"a snapshot is one JSON document\n  leave -o {output} out\n"


@pytest.mark.parametrize("output", [OutputFormat.CSV, OutputFormat.TABLE, OutputFormat.YAML, OutputFormat.NDJSON])
def test_a_full_disk_is_told_by_every_shape(output: OutputFormat) -> None:
    with Path("/dev/full").open("w") as full, redirect_stdout(full), pytest.raises(OutputError):
        show_table(TABLE, lambda: [("a", 1, None)], Options(output=output), dict)
