"""fleet status --file: saved statuses of every format and release in the table and JSON of live ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.harness import Fleet
from support.expected import reply_to
from support.transcripts import VERSIONS, transcript


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "status.txt"


def recording(version: str, command: str) -> bytes:
    lines = reply_to(transcript(version, "20_names_udp4"), command)
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\n" for line in (*lines, "END"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["status 1", "status 2", "status 3"])
def test_the_same_table_and_json_as_of_a_live_one(fleet: Fleet, saved: Path, version: str, command: str) -> None:
    saved.write_bytes(recording(version, command))
    result = fleet("status", "--file", str(saved))
    assert result.status == 0
    header, row = result.out.splitlines()
    assert header.split() == ["SERVER", "STATE", "SINCE", "CLIENTS", "IN", "OUT", "VERSION"]
    assert row.split()[:3] == [str(saved), "-", "-"]
    assert row.split()[-1] == ("-" if command == "status 1" else version)
    document = fleet("status", "--file", str(saved), "--json").document
    assert (document["command"], document["args"]) == ("status", ["--file", str(saved)])
    (server,) = document["servers"]
    assert (server["name"], server["status"], server["error"]) == (str(saved), "ok", None)
    assert server["result"]["state"] is None
    assert server["result"]["nclients"] > 10
    names = {client["common_name"] for client in server["result"]["clients"]}
    assert {"Test-Client", "Doe, John"} & names


def test_the_text_itself_to_the_byte(fleet: Fleet, saved: Path) -> None:
    data = recording("2.6.14", "status 2").replace(b"\n", b"\r\n").replace(b"Test", b"T\xffst")
    saved.write_bytes(data)
    result = fleet("status", "--file", str(saved), "-o", "raw")
    assert (result.status, result.stdout) == (0, data)


def test_lines(fleet: Fleet, saved: Path) -> None:
    saved.write_bytes(recording("2.7.6", "status 3"))
    server, summary = fleet("status", "--file", str(saved), "-o", "ndjson").lines
    assert (server["type"], server["name"], summary["type"], summary["summary"]["ok"]) == (
        "server", str(saved), "summary", 1,
    )  # fmt: skip
    assert fleet("status", "--file", str(saved), "-q").out == ""
    assert f"{saved}: ok after " in fleet("status", "--file", str(saved), "-v").err


def test_stdin(fleet: Fleet) -> None:
    result = fleet.child("status", "--file", "-", data=recording("2.6.14", "status 3"))
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines()[1].split()[0] == "stdin"


def test_a_reply_with_its_greeting(fleet: Fleet, saved: Path) -> None:
    greeting = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"
    saved.write_bytes(greeting + recording("2.6.14", "status 3").replace(b"\n", b"\r\n"))
    result = fleet("status", "--file", str(saved))
    assert (result.status, result.err) == (0, "")


def test_a_client_daemon(fleet: Fleet, saved: Path) -> None:
    saved.write_text("OpenVPN STATISTICS\nUpdated,2026-11-22 08:00:00\nTUN/TAP read bytes,5\nEND\n")
    result = fleet("status", "--file", str(saved), "--json").document["servers"][0]["result"]
    assert (result["statistics"], result["nclients"]) == ({"TUN/TAP read bytes": "5"}, None)


@pytest.mark.parametrize("command", ["status 1", "status 2", "status 3"])
def test_a_file_that_was_cut_may_be_only_the_beginning(fleet: Fleet, saved: Path, command: str) -> None:
    data = recording("2.6.14", command)
    for cut in (data.removesuffix(b"END\n"), data[: len(data) // 2]):
        saved.write_bytes(cut)
        result = fleet("status", "--file", str(saved))
        assert result.status == 0
        assert result.err.splitlines()[0] == (
            f"warning: {saved}: no line says END, as the last one of a status does: what is shown may be only its "
            "beginning"
        )


def test_a_client_named_end_is_no_end(fleet: Fleet, saved: Path) -> None:
    saved.write_text("TITLE,x\nHEADER,CLIENT_LIST,Common Name\nCLIENT_LIST,END\n")
    assert "may be only its beginning" in fleet("status", "--file", str(saved)).err


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("", "got nothing"),
        ("hello\nworld\n", "hello"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("{}", "{}"),
        ("END\n", "nothing"),
    ],
)
def test_a_file_that_is_no_status(fleet: Fleet, saved: Path, text: str, excerpt: str) -> None:
    saved.write_text(text)
    result = fleet("status", "--file", str(saved))
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"{saved}: expected a status that begins with ")
    assert excerpt in result.err
    assert "\x1b" not in result.err
    assert fleet("status", "--file", str(saved), "--json").document["error"]["code"] == "usage"


def test_files_that_cannot_be_read(fleet: Fleet, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "missing", "No such file or directory"), (tmp_path, "Is a directory")):
        result = fleet("status", "--file", str(path))
        assert (result.status, result.out) == (2, "")
        assert result.err == f"{path}: {reason}\n  give a file that can be read, or - for stdin\n"


def test_a_file_that_is_too_large(fleet: Fleet, saved: Path) -> None:
    saved.touch()
    os.truncate(saved, (64 << 20) + 1)  # sparse: it takes no place
    result = fleet("status", "--file", str(saved))
    assert (result.status, result.err) == (2, f"{saved}: larger than 64 MiB\n  no status is as long as that\n")


@pytest.mark.parametrize("more", [("eu",), ("-l", "eu"), ("--all",)])
def test_servers_have_no_part_in_it(fleet: Fleet, saved: Path, more: tuple[str, ...]) -> None:
    saved.write_bytes(recording("2.6.14", "status 3"))
    result = fleet("status", "--file", str(saved), *more)
    assert (result.status, result.err) == (
        2,
        "--file reads one saved status and asks no server\n  leave the servers out\n",
    )


def test_servers_of_the_environment_do_no_harm(fleet: Fleet, saved: Path) -> None:
    saved.write_bytes(recording("2.6.14", "status 3"))
    fleet.set("FLEET_LIMIT", "eu")
    fleet.set("FLEET_ALL", "1")
    assert fleet("status", "--file", str(saved)).status == 0
    assert fleet("status", "--file", str(saved), "-l", "eu").status == 2


def test_no_format_is_needed(fleet: Fleet, saved: Path) -> None:
    result = fleet("status", "--file", str(saved), "--format-version", "2")
    assert (result.status, result.err) == (2, "--file takes a status of any format\n  leave --format-version out\n")
