"""fleet in a process of its own: pipes, signals, full disks, locales, terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.harness import TIMEOUT, Fleet, daemon, small_farm
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ReplyFault

MUTE = Faults(reply=ReplyFault.SILENCE)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def executed(fleet: Fleet, server: str, command: str) -> bool:
    return command in fleet.daemon(server).executed


# pipes and disks


@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv", "raw"])
def test_a_closed_pipe_is_silent(small: Fleet, form: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = small.child("clients", "-o", form, stdout=writer)
    os.close(writer)
    assert result.err == ""
    assert result.status == 0


def test_a_pipe_that_closes_in_mid_run_is_silent(fleet: Fleet) -> None:
    farm = Farm()
    for number in range(6):
        farm.add(f"edge-{number}", daemon())
        farm[f"edge-{number}"].faults = Faults(reply_delay=1.0 if number else 0.0)
    fleet.start(farm)
    with fleet.spawn("pid", "-o", "ndjson", "--forks", "2") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["name"] == "edge-0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT) == 0
    assert not executed(fleet, "edge-5", "pid")


def test_a_change_goes_on_when_nobody_reads(fleet: Fleet) -> None:
    farm = Farm()
    for number in range(4):
        farm.add(f"edge-{number}", daemon())
    fleet.start(farm)
    reader, writer = os.pipe()
    os.close(reader)
    result = fleet.child("verb", "4", "--all", "--yes", "-o", "ndjson", "--forks", "1", stdout=writer)
    os.close(writer)
    assert (result.status, result.err) == (0, "")
    assert [fleet.daemon(f"edge-{number}").verb for number in range(4)] == [4, 4, 4, 4]


def test_everything_into_one_closed_pipe(small: Fleet) -> None:
    small.farm["edge-1"].closed = True
    reader, writer = os.pipe()
    os.close(reader)
    result = small.child("pid", stdout=writer, stderr=writer)
    os.close(writer)
    assert result.status == 4


def test_help_into_a_closed_pipe(fleet: Fleet) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = fleet.child("--help", stdout=writer)
    os.close(writer)
    assert result.err == ""


@pytest.mark.parametrize("args", [("pid",), ("pid", "--json"), ("pid", "-o", "ndjson"), ("pid", "-o", "raw"),
                                  ("inventory", "list"), ("status", "--list-hosts"), ("status", "nope", "--json"),
                                  ("--help",), ("--version",)])  # fmt: skip
def test_a_full_disk_is_told(small: Fleet, args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = small.child(*args, stdout=full)
    assert result.status in (1, 2)
    assert result.err.splitlines()[-1] == "stdout cannot be written to: No space left on device"
    assert "bug" not in result.err
    assert "Exception ignored" not in result.err


def test_a_full_disk_does_not_hide_what_happened(small: Fleet) -> None:
    small.farm["edge-1"].closed = True
    with Path("/dev/full").open("wb") as full:
        result = small.child("verb", "4", "--all", "--yes", "-o", "ndjson", stdout=full)
    assert result.status == 4
    assert "management-closed: edge-1: " in result.err
    assert result.err.splitlines()[-1] == "stdout cannot be written to: No space left on device"
    assert small.daemon("gw/udp").verb == 4


def closed(*numbers: int) -> Callable[[], None]:
    """For preexec_fn: what `fleet ... >&-` does."""

    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def test_stdout_that_is_closed(small: Fleet) -> None:
    result = small.child("pid", preexec_fn=closed(1))
    assert (result.status, result.err) == (1, "stdout cannot be written to: Bad file descriptor\n")


@pytest.mark.parametrize("numbers", [(2,), (0, 2)])
def test_stderr_that_is_closed(small: Fleet, numbers: tuple[int, ...]) -> None:
    small.farm["edge-1"].closed = True
    result = small.child("pid", "--json", preexec_fn=closed(*numbers))
    assert (result.status, result.document["exit_status"]) == (4, 4)


def test_stdin_that_is_closed(fleet: Fleet) -> None:
    result = fleet.child("status", "--file", "-", preexec_fn=closed(0))
    assert result.status == 2
    assert "got nothing" in result.err


def test_stderr_that_is_full(small: Fleet) -> None:
    small.farm["edge-1"].closed = True
    with Path("/dev/full").open("wb") as full:
        result = small.child("pid", "-v", stderr=full)
    assert result.status == 4
    assert len(result.out.splitlines()) == 3


# Ctrl-C and SIGTERM


def interrupted(fleet: Fleet, number: signal.Signals, *args: str) -> tuple[int, str, str]:
    """Runs until edge-1 is done and gw/udp was asked and is mute, then interrupts."""
    fleet.farm["gw/udp"].faults = MUTE
    with fleet.spawn("-v", *args) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"edge-1: ok after ")
        wait_until(lambda: executed(fleet, "gw/udp", "verb"))
        process.send_signal(number)
        if number == signal.SIGHUP:  # the kernel tells of a closed terminal, and a shell tells it again
            process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_interrupted_reports(small: Fleet, number: signal.Signals) -> None:
    status, out, err = interrupted(small, number, "verb", "4", "--all", "--yes", "--forks", "2", "-x", "gw/tcp")
    assert status == 130
    assert [line.split()[0] for line in out.splitlines()] == ["SERVER", "edge-1"]
    lines = err.splitlines()
    assert lines[0] == "interrupted: closing what is open; again to leave at once"
    assert lines[1].startswith("gw/udp: unreachable after ")
    assert lines[2].startswith("interrupted after ")
    assert lines[3:5] == ["  done     edge-1", "  pending  gw/udp"]
    assert lines[5].startswith("2 servers: 1 ok, 1 unreachable, in ")


def test_an_interrupted_run_tells_what_was_not_attempted(small: Fleet) -> None:
    small.farm["edge-1"].faults = Faults(reply=ReplyFault.SILENCE, command="signal")
    with small.spawn("signal", "SIGUSR2", "--all", "--yes", "--forks", "1", "--json") as process:
        wait_until(lambda: executed(small, "edge-1", "signal SIGUSR2"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["exit_status"] == 130
    assert [one["status"] for one in document["servers"]] == ["unreachable", "not_attempted", "not_attempted"]
    assert document["servers"][0]["error"]["sent"] == "signal SIGUSR2"
    assert {one["error"]["code"] for one in document["servers"]} == {"interrupted"}
    assert err.decode().splitlines()[2:4] == [
        "  not confirmed  edge-1  signal SIGUSR2 was sent: interrupted; it was waiting for the reply to signal SIGUSR2",
        "  not attempted  gw/udp gw/tcp",
    ]


def test_the_second_ctrl_c_ends_at_once(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm["edge-1"].faults = MUTE
    fleet.start(farm)
    # A run that does not end by itself: stdout is a pipe that nobody empties while the first Ctrl-C is handled.
    code = (
        "import fleet.cli.run as run, signal, os, time\n"
        "with run.Interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], env=fleet.child_environment(), timeout=TIMEOUT, check=False)
    assert process.returncode == 130


def test_ctrl_c_while_an_inventory_program_runs(fleet: Fleet) -> None:
    program = fleet.folder / "inventory"
    program.write_text(f"#!/bin/sh\ntouch {fleet.folder}/started\nexec sleep 60\n")
    program.chmod(0o755)
    with fleet.spawn("status", "-i", str(program), "--json") as process:
        wait_until((fleet.folder / "started").exists)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert err == b"interrupted before anything was sent\n"
    assert json.loads(out)["error"]["code"] == "interrupted"


# locales


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}],
)
def test_odd_names_in_any_locale(fleet: Fleet, locale: dict[str, str]) -> None:
    farm = Farm()
    both = os.fsdecode("Zoë-日本-".encode() + b"caf\xe9")
    farm.add("edge", daemon("2.6.14", ["Zoë-日本", "caf\udce9", both]))
    fleet.start(farm)
    table = fleet.child("clients", environment=locale)
    assert (table.status, table.err) == (0, "")
    assert rb"caf\xe9" in table.stdout
    raw = fleet.child("status", "-o", "raw", environment=locale)
    assert "Zoë-日本".encode() in raw.stdout
    assert b"caf\xe9\t" in raw.stdout
    assert fleet("kill", "Zoë").status == 1
    killed = fleet.child("kill", both, "--json", environment=locale)
    assert killed.status == 0
    assert killed.document["servers"][0]["result"]["killed"] == 1
    assert fleet.daemon("edge").common_names() == ["Zoë-日本", "caf\udce9"]


# terminals


def on_a_terminal(fleet: Fleet, *args: str, environment: dict[str, str] | None = None, both: bool = False) -> str:
    """What comes on a terminal that is stderr, and stdout too if `both`."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    more = {"stdout": slave} if both else {}
    with fleet.spawn(*args, environment={"TERM": "xterm", **(environment or {})}, stderr=slave, **more) as process:
        os.close(slave)
        text = b""
        try:
            while data := os.read(master, 4096):
                text += data
        except OSError:  # EIO: nobody has the terminal open any more
            pass
        process.communicate(timeout=TIMEOUT)
    os.close(master)
    return text.decode()


def slow_farm(fleet: Fleet) -> None:
    fleet.start(small_farm())
    fleet.farm["edge-1"].faults = Faults(reply_delay=4.0)


def test_a_run_that_lasts_shows_its_progress(fleet: Fleet) -> None:
    slow_farm(fleet)
    text = on_a_terminal(fleet, "pid", "--connect-timeout", "20s")
    assert "\r2 of 3 servers, 1s" in text
    assert "; waiting for edge-1" in text
    assert text.endswith("\r\x1b[K")


def test_progress_counts_trouble_and_makes_way_for_lines(fleet: Fleet) -> None:
    slow_farm(fleet)
    fleet.farm["gw/udp"].closed = True
    text = on_a_terminal(fleet, "pid", "-v")
    assert "\r2 of 3 servers, 1 not ok, 1s" in text
    assert "\r\x1b[Kedge-1: ok after 4." in text


def test_no_progress_but_on_a_terminal(fleet: Fleet) -> None:
    fleet.start(small_farm())
    fleet.farm["edge-1"].faults = Faults(reply_delay=1.5)
    assert fleet("pid").err == ""  # stderr is no terminal here
    assert on_a_terminal(fleet, "pid", "-q") == ""
    assert on_a_terminal(fleet, "pid", environment={"TERM": "dumb"}) == ""


def test_raw_text_cannot_drive_a_terminal(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge", daemon("2.6.14", ["\x9b31m\u2028\x85x"]))
    fleet.start(farm)
    text = on_a_terminal(fleet, "status", "-o", "raw", both=True)
    assert r"\t\x9b31m\u2028\x85x\t" in text
    assert not set("\x9b\u2028\x85") & set(text)
    assert text.endswith("END\r\n")


def test_colour_on_a_terminal(fleet: Fleet) -> None:
    fleet.start(small_farm())
    fleet.farm["edge-1"].closed = True
    assert "\x1b[31mmanagement-closed\x1b[0m: edge-1: " in on_a_terminal(fleet, "pid")
    assert "\x1b[31m" not in on_a_terminal(fleet, "pid", environment={"NO_COLOR": "1"})
    assert "\x1b[31m" not in on_a_terminal(fleet, "pid", "--color", "never")


# start-up


def test_start_up_imports_no_ssh(fleet: Fleet) -> None:
    fleet.inventory("all: {hosts: {a: {management: '127.0.0.1:7505'}}}")
    lines = [["--help"], ["status", "--help"], ["inventory", "list"], ["inventory", "graph"],
             ["status", "--list-hosts"], ["status", "nope"]]  # fmt: skip
    code = (
        "import json, sys; from fleet.cli.main import run\n"
        "for args in json.loads(sys.argv[1]):\n"
        "    run(args); print(args, 'asyncssh' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], env=fleet.child_environment(), capture_output=True, text=True,
        timeout=TIMEOUT, check=True,
    )  # fmt: skip
    told = done.stderr.splitlines()
    assert [line for line in told if line.endswith((" True", " False"))] == [f"{args} False" for args in lines]


def test_the_module_is_the_command(fleet: Fleet) -> None:
    result = fleet.child("--version")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("fleet ")
