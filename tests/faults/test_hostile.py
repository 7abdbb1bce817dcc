"""Nothing that a daemon or a client says acts on who reads it: every command, in every form, about liars."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cli.harness import FarmThread, Fleet, Result, daemon
from faults.liar import NAMES, TERMINAL, everybody
from fleet.cli import complete, remembered
from fleet.demo.farm import Farm
from fleet.demo.serve import ManagementServer, listening

FORMATS = ("table", "wide", "json", "ndjson", "yaml", "csv", "name")
CLOCKS = ("--reply-timeout", "500ms", "--host-timeout", "5s")
READING = (
    ("status",), ("clients",), ("routes",), ("state",), ("version",), ("pid",), ("load-stats",), ("log", "all"),
    ("echo", "all"), ("find", "*"), ("verb",), ("mute",), ("hold",), ("help",), ("net",), ("ping",), ("auth-retry",),
    ("remote-entry-count",), ("remote-entry-get", "all"), ("exec", "anything"),
)  # fmt: skip
CHANGING = (
    ("verb", "4", "--all"), ("mute", "4", "--all"), ("hold", "release", "--all"), ("signal", "SIGUSR2", "--all"),
    ("kill", "evil*"), ("kill", "cid:0", "-l", "believable"), ("exec", "verb 4", "--all"),
    ("verb", "4", "--all", "--serial", "1", "--max-fail", "100%"), ("verb", "5", "--all", "--for", "1ms"),
    ("unlock", "--all", "--wait-timeout", "200ms"), ("drain", "believable", "--grace", "10ms"),
    ("forget-passwords", "--all"), ("needok", "x", "ok", "--all"),
)  # fmt: skip


@pytest.fixture
def lied(fleet: Fleet) -> Fleet:
    """fleet, and servers all of which lie."""
    fleet.thread = thread = FarmThread(Farm(), fleet.folder / "farm")
    stack, honest = AsyncExitStack(), daemon("2.6.14", ["alice"])

    async def begin() -> dict[str, object]:
        servers = {**everybody(), "honest": ManagementServer(honest)}
        return {name: await stack.enter_async_context(listening(one)) for name, one in servers.items()}

    hosts = "".join(f"    {name}: {{management: '{at}'}}\n" for name, at in thread.do(begin()).items())
    secret = fleet.folder / "secret"
    secret.write_text("pw\n")
    secret.chmod(0o600)
    hosts = hosts.replace("locked: {", f"locked: {{management_password_file: {secret}, ")
    fleet.inventory(f"all:\n  vars: {{connection: local}}\n  hosts:\n{hosts}")
    stop = thread.stop

    def stop_all() -> None:
        thread.do(stack.aclose())
        stop()

    thread.stop = stop_all
    fleet.honest = honest
    return fleet


def harmless(result: Result, where: object) -> None:
    """Nothing acts on a terminal, and nothing is a bug."""
    for text in (result.out, result.err):
        acting = {character for character in text if not character.isprintable() and character != "\n"}
        assert not acting, (where, acting, text)
    assert "Traceback" not in result.err, (where, result)
    assert "a bug in fleet" not in result.err, (where, result)
    assert result.status != 3, (where, result)


def no_formula(text: str, where: object) -> None:
    rows = list(csv.reader(io.StringIO(text)))
    for row in rows:
        assert len(row) == len(rows[0]), (where, row)
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "@")), (where, cell)
            assert not cell.startswith("-") or cell.removeprefix("-").replace(".", "").isdigit(), (where, cell)


@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_what_reads(lied: Fleet, args: tuple[str, ...]) -> None:
    for form in FORMATS:
        result = lied(*args, *CLOCKS, "-o", form)
        if result.status == 2 and "has no" in result.err:
            continue
        harmless(result, (args, form))
        if form == "csv":
            no_formula(result.out, args)
    for more in (("-q",), ("-v",), ("-b",), ("--diff",), ("--table-format", "html")):
        harmless(lied(*args, *CLOCKS, *more), (args, more))
    html = lied(*args, *CLOCKS, "--table-format", "html").out
    assert "<script" not in html


@pytest.mark.parametrize("args", CHANGING, ids=" ".join)
def test_what_changes(lied: Fleet, args: tuple[str, ...]) -> None:
    for form in ("table", "json"):
        harmless(lied(*args, *CLOCKS, "--yes", "-o", form), (args, form))
    harmless(lied(*args, *CLOCKS, "--dry-run"), args)
    harmless(lied("history", "show", "last"), args)
    harmless(lied("history", "show", "last", "-o", "wide"), args)
    harmless(lied("history", "list"), args)


def test_what_one_says_no_other_is_sent(lied: Fleet) -> None:
    """An honest daemon beside the liars hears what the operator wrote, and no word of theirs."""
    for args in (*READING, *CHANGING, ("snapshot",), ("metrics",), ("check",), ("collect", "--once")):
        lied(*args, *CLOCKS, *(("--yes",) if args in CHANGING else ()))
    assert len(lied.honest.executed) > 20
    for text in lied.honest.executed:
        assert text.isascii(), text
        assert text.isprintable(), text
        assert not re.search("owned|script|SUM|bold|HELP|=evil|=1|calc", text), text
    (row,) = (one for one in lied("clients", "honest", "--json").document["servers"])
    assert [client["common_name"] for client in row["result"]["clients"]] == ["alice"]


def test_no_hint_has_a_daemons_words(lied: Fleet) -> None:
    """A hint is a command that people copy into their shell."""
    for args in (*READING, *CHANGING):
        result = lied(*args, *CLOCKS, *(("--yes",) if args in CHANGING else ()), "--json")
        if not result.out:
            continue
        for server in result.document["servers"]:
            hint = (server["error"] or {}).get("hint") or ""
            assert not re.search(r"evil|owned|\\x1b|cmd|<script", hint), (args, hint)


def test_samples_of_it_all(lied: Fleet) -> None:
    """Commands that keep, compare or count what was said."""
    for args in (
        ("check", *CLOCKS), ("check", *CLOCKS, "--clients-warning", "1"), ("metrics", *CLOCKS),
        ("collect", "--once", *CLOCKS), ("collect", "--once", *CLOCKS), ("usage",), ("usage", "-o", "csv"),
        ("usage", "-o", "json"), ("usage", "--by", "server"), ("trust", "--dry-run"),
    ):  # fmt: skip
        harmless(lied(*args), args)
    shot = lied("snapshot", *CLOCKS)
    harmless(shot, "snapshot")
    (lied.folder / "a.json").write_bytes(shot.stdout)
    document = json.loads(shot.out)
    for server in document["servers"]:
        for client in (server["result"] or {}).get("clients", ()):
            client["real_address"], client["client_id"] = "198.51.100.1:1", client["client_id"] + 100
    (lied.folder / "b.json").write_text(json.dumps(document))
    for form in ("table", "json", "csv"):
        result = lied("diff", "a.json", "b.json", "-o", form)
        harmless(result, form)
        if form == "csv":
            no_formula(result.out, form)


def test_metrics_have_only_their_own_lines(lied: Fleet) -> None:
    text = lied("metrics", *CLOCKS).out
    assert all(
        line.startswith(("# HELP openvpn_", "# TYPE openvpn_", "openvpn_", "# HELP fleet_", "# TYPE fleet_", "fleet_"))
        for line in text.splitlines()
    )


def test_plugin_output_has_one_bar(lied: Fleet) -> None:
    """Behind `|` stand performance data, and what a client is called is none."""
    first = lied("check", *CLOCKS).out.splitlines()[0]
    assert first.count("|") == 1


def test_a_follow(lied: Fleet) -> None:
    """Every real-time message there is, in people's form and as JSON."""
    for args in (("events",), ("events", "-o", "ndjson"), ("log", "-f"), ("state", "-f"), ("bytecount",)):
        timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            harmless(lied(*args, *CLOCKS), args)
        finally:
            timer.cancel()
            timer.join()


def test_names_that_are_remembered(lied: Fleet) -> None:
    """A shell is told no name that acts on a terminal; the others are one word of it, and no option."""
    lied("clients", *CLOCKS)
    assert remembered.common_names() == ["alice"]  # each of the others has something that is not printed
    assert all(not name.isprintable() for name in NAMES)
    for shell in (["bash", "fleet kill ", " :=@"], ["zsh", "kill", ""], ["fish", "kill", ""]):
        lied.capture.readouterr()
        complete.main(shell)
        assert lied.capture.readouterr().out.decode().split() == ["done", "alice"]


_KEYS = {
    "top": (b"\t", b"\r"),
    "console": (b"status 3\r", b"state\r", b"log all\r", b"verb\r", b"log on all\r", b"\t\t", b"=\t\t"),
}
_PIECES = [piece.encode() for piece in ("\x1b]0;owned", "\x9b31m", "\u202e", "\x1b[2J\x9b")]


def on_a_terminal(fleet: Fleet, *args: str, keys: tuple[bytes, ...] = (), seconds: float = 2.0) -> bytes:
    """What a command line writes to a terminal until it was interrupted, or has ended."""
    master, slave = pty.openpty()
    environment = fleet.child_environment(TERM="xterm-256color", LINES="40", COLUMNS="200")
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet", *args, *CLOCKS], env=environment, cwd=fleet.folder,
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:
                return
            if not data:
                return
            seen.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 60
    while process.poll() is None and b"believable" not in seen and time.monotonic() < end:
        time.sleep(0.05)
    for key in keys:
        time.sleep(seconds / 4)
        os.write(master, key)
    time.sleep(seconds)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    reader.join(10)
    os.close(master)
    return bytes(seen)


@pytest.mark.parametrize(
    "args",
    [("clients",), ("clients", "--watch", "500ms"), ("status", "-o", "raw"), ("log", "all", "-o", "raw"), ("events",),
     ("top", "--interval", "500ms"), ("console", "--all")],
    ids=" ".join,
)  # fmt: skip
def test_at_a_terminal(lied: Fleet, args: tuple[str, ...], tmp_path: Path) -> None:
    seen = on_a_terminal(lied, *args, keys=_KEYS.get(args[0], ()))
    (tmp_path / "seen").write_bytes(seen)  # for a look where it fails
    assert b"evil" in seen
    assert [piece for piece in _PIECES if piece in seen] == []
    assert TERMINAL.encode() not in seen
    assert b"Traceback" not in seen
