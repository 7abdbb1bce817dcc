"""--for: a setting that is put back when the time is over, on Ctrl-C and SIGTERM, and said where it is not."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar

import pytest

from cli.harness import TIMEOUT, Fleet, daemon, farm_with_a_server_down
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults, ReplyFault
from fleet.journal.places import state_folder

SHORT = ("--for", "300ms", "--yes")
LONG = ("--for", "10m", "--yes")


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def three(fleet: Fleet) -> None:
    """Daemons with a log level of their own each."""
    farm = Farm()
    for number in (1, 2, 3):
        farm.add(f"edge-{number}", daemon(verb=number + 2))
    fleet.start(farm)


def verbs(fleet: Fleet) -> list[int]:
    return [fleet.daemon(name).verb for name in fleet.farm.hosts]


def when_set(fleet: Fleet, *values: int) -> None:
    wait_until(lambda: verbs(fleet) == list(values))


def said(process: subprocess.Popen[bytes], text: str) -> None:
    """Until stderr says it."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line.decode():
            return
    raise AssertionError(f"never said: {text}")


def end(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out.decode(), err.decode()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Something done in a thread, while fleet runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        yield
        done.result(TIMEOUT)


def when_all_wait(fleet: Fleet, *values: int) -> None:
    """Until every value is set, and the run waits for its time to be over."""
    when_set(fleet, *values)
    wait_until(lambda: not any(host.open_connections for host in fleet.farm.hosts.values()))


def ctrl_c() -> None:
    """In this process."""
    os.kill(os.getpid(), signal.SIGINT)


# Put back


def test_each_gets_its_own_value_back(fleet: Fleet) -> None:
    three(fleet)
    result = fleet("verb", "5", "--all", *SHORT)
    assert result.status == 0
    assert verbs(fleet) == [3, 4, 5]
    assert [line.split() for line in result.out.splitlines()] == [
        ["SERVER", "VERB", "BEFORE", "PUT", "BACK"],
        ["edge-1", "5", "3", "done"], ["edge-2", "5", "4", "done"], ["edge-3", "5", "5", "-"],
    ]  # fmt: skip
    assert result.err.startswith("verb 5 on 2 servers until ")
    assert "Ctrl-C puts it back now\n" in result.err
    for name, commands in {"edge-1": ["verb", "verb 5", "verb", "verb 3"], "edge-3": ["verb"]}.items():
        assert fleet.daemon(name).executed == commands
        assert fleet.farm[name].sessions == len(commands) / 2 or commands == ["verb"]


def test_the_management_interface_is_free_meanwhile(fleet: Fleet) -> None:
    three(fleet)
    with fleet.spawn("verb", "6", "-l", "edge-1", *LONG) as process:
        said(process, "verb 6 on 1 server until ")
        assert fleet("verb", "-l", "edge-1", "--json").document["servers"][0]["result"] == {"verb": 6}
        wait_until(lambda: not any(host.open_connections for host in fleet.farm.hosts.values()))
        process.send_signal(signal.SIGINT)
        assert end(process)[0] == 130
    assert verbs(fleet) == [3, 4, 5]


def test_what_json_says_of_it(fleet: Fleet) -> None:
    three(fleet)
    document = fleet("mute", "40", "--all", *SHORT, "--json").document
    assert (document["command"], document["args"]) == ("mute", ["40"])
    assert document["servers"][0]["result"] == {
        "setting": "mute", "before": 0, "now": 40, "answer": "mute level changed", "put_back": "done", "found": 40,
    }  # fmt: skip
    held = fleet("hold", "on", "-l", "edge-1", *SHORT, "-o", "ndjson").lines[0]["result"]
    assert (held["before"], held["now"], held["put_back"]) == (False, True, "done")
    assert not fleet.daemon("edge-1").hold_flag


def test_an_end_in_this_process_too(fleet: Fleet) -> None:
    three(fleet)

    def end_it() -> None:
        when_all_wait(fleet, 7, 7, 7)
        ctrl_c()

    with meanwhile(end_it):
        result = fleet("verb", "7", "--all", *LONG)
    assert result.status == 130
    assert verbs(fleet) == [3, 4, 5]
    assert "putting verb back; again to leave at once" in result.err


def test_one_that_cannot_be_asked_in_time_is_said_with_what_repairs_it(fleet: Fleet) -> None:
    three(fleet)

    def shut() -> None:
        when_set(fleet, 3, 7, 5)
        fleet.farm.hosts["edge-2"].forwarding = False

    shutter = threading.Thread(target=shut)
    shutter.start()
    result = fleet("verb", "7", "-l", "edge-2", "--for", "1s", "--host-timeout", "3s", "--json")
    shutter.join()
    server = result.document["servers"][0]
    assert (result.status, server["error"]["code"]) == (4, "forwarding-refused")
    assert server["error"]["hint"] == "fleet verb 4 -l edge-2"
    assert (server["result"]["now"], server["result"]["put_back"]) == (7, None)
    assert fleet.farm.hosts["edge-2"].channels >= 3  # it was tried again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_before_its_time_puts_back(fleet: Fleet, number: signal.Signals) -> None:
    three(fleet)
    with fleet.spawn("verb", "7", "--all", *LONG) as process:
        said(process, "verb 7 on 3 servers until ")
        assert verbs(fleet) == [7, 7, 7]
        process.send_signal(number)
        status, out, err = end(process)
    assert status == 130
    assert verbs(fleet) == [3, 4, 5]
    assert out.count("done") == 3
    assert "putting verb back; again to leave at once, and leave it as it is\n" in err


def test_an_end_while_it_is_being_set_puts_back_what_was_set(fleet: Fleet) -> None:
    three(fleet)
    fleet.farm["edge-2"].faults = Faults(reply=ReplyFault.SILENCE, command="verb")

    def end_it() -> None:
        when_set(fleet, 7, 4, 7)
        ctrl_c()

    with meanwhile(end_it):
        result = fleet("verb", "7", "--all", *LONG, "--json")
    assert (result.status, verbs(fleet)) == (130, [3, 4, 5])
    first, second, _ = result.document["servers"]
    assert first["result"]["put_back"] == "done"  # whether its answer had been read by then or not
    assert (second["error"]["code"], second["error"]["sent"], second["result"]) == ("interrupted", None, None)


class LosesAnAnswer(socketserver.StreamRequestHandler):
    """A daemon that is set, and then hangs up without having said so."""

    verb: ClassVar[bytes] = b"3"

    def handle(self) -> None:
        self.wfile.write(b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n")
        for line in self.rfile:
            name, _, value = line.strip().partition(b" ")
            if not value:
                self.wfile.write(b"SUCCESS: verb=%s\r\n" % self.verb)
                continue
            assert name == b"verb"
            type(self).verb = value
            if value == b"7":
                return
            self.wfile.write(b"SUCCESS: verb level changed\r\n")


def test_a_lost_answer_is_put_back_too(fleet: Fleet) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), LosesAnAnswer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        fleet.inventory(f"all: {{hosts: {{edge: {{management: '127.0.0.1:{port}', connection: local}}}}}}")
        try:
            result = fleet("verb", "7", "--all", *SHORT, "--json")
        finally:
            server.shutdown()
            thread.join()
    first = result.document["servers"][0]
    assert (result.status, first["error"]["code"], first["error"]["sent"]) == (4, "connection-lost", "verb 7")
    assert first["result"]["put_back"] == "done"
    assert LosesAnAnswer.verb == b"3"


# Not put back


def test_a_value_that_somebody_else_has_set_stays(fleet: Fleet) -> None:
    three(fleet)

    def set_and_end_it() -> None:
        when_all_wait(fleet, 7, 4, 5)
        fleet.daemon("edge-1").verb = 9
        ctrl_c()

    with meanwhile(set_and_end_it):
        result = fleet("verb", "7", "-l", "edge-1", *LONG)
    assert verbs(fleet)[0] == 9
    assert "left at 9" in result.out
    assert "warning: edge-1: somebody has set verb 9 meanwhile, so it was left; before it was 3\n" in result.err


def test_a_server_that_cannot_be_asked_any_more(fleet: Fleet) -> None:
    three(fleet)

    def shut_and_end_it() -> None:
        when_all_wait(fleet, 7, 7, 7)
        fleet.farm.hosts["edge-2"].forwarding = fleet.farm.hosts["edge-3"].forwarding = False
        ctrl_c()

    with meanwhile(shut_and_end_it):
        result = fleet("verb", "7", "--all", *LONG, "--host-timeout", "3s")
    assert (result.status, verbs(fleet)) == (4, [3, 7, 7])
    assert result.out.splitlines()[1].split() == ["edge-1", "7", "3", "done"]
    lines = result.err.splitlines()
    for name, before in (("edge-2", 4), ("edge-3", 5)):
        position = next(i for i, line in enumerate(lines) if line.startswith(f"forwarding-refused: {name}: verb 7 "))
        assert f"verb 7 ({before} before) was not put back: " in lines[position]
        assert lines[position + 1] == f"  try: fleet verb {before} -l {name}"


def test_one_that_comes_back_in_time_is_put_back(fleet: Fleet) -> None:
    three(fleet)

    def shut_for_a_while() -> None:
        when_all_wait(fleet, 7, 4, 5)
        before = fleet.farm.hosts["edge-1"].channels
        fleet.farm.hosts["edge-1"].forwarding = False
        ctrl_c()
        wait_until(lambda: fleet.farm.hosts["edge-1"].channels > before)  # it has tried once
        fleet.farm.hosts["edge-1"].forwarding = True

    with meanwhile(shut_for_a_while):
        assert fleet("verb", "7", "-l", "edge-1", *LONG).status == 130
    assert verbs(fleet)[0] == 3


def test_a_second_end_leaves_at_once_and_says_what_stays(fleet: Fleet) -> None:
    three(fleet)
    with fleet.spawn("verb", "7", "--all", *LONG) as process:
        said(process, "verb 7 on 3 servers until ")
        for name in ("edge-1", "edge-2", "edge-3"):
            fleet.farm.hosts[name].forwarding = name == "edge-1"
        process.send_signal(signal.SIGINT)
        when_set(fleet, 3, 7, 7)
        said(process, "putting verb back; again to leave at once")
        wait_until(lambda: fleet.farm.hosts["edge-2"].channels >= 3)  # set, tried, and tried again: edge-1 is done
        process.send_signal(signal.SIGINT)
        status, _, err = end(process)
    assert status == 130
    assert err.splitlines()[-2:] == [
        "left: edge-2: verb 7 (4 before) stays; try: fleet verb 4 -l edge-2",
        "left: edge-3: verb 7 (5 before) stays; try: fleet verb 5 -l edge-3",
    ]


def test_of_a_run_that_was_killed_each_former_value_is_written_down(fleet: Fleet) -> None:
    three(fleet)

    def answers() -> dict[str, str]:
        shown = fleet("history", "show", "last", "--json")
        return {} if shown.status else {one["name"]: one["answer"] for one in shown.document["servers"]}

    with fleet.spawn("verb", "7", "--all", *LONG) as process:
        said(process, "verb 7 on 3 servers until ")
        wait_until(lambda: len(answers()) == 3 and all(answers().values()))
        process.kill()
        end(process)
    assert verbs(fleet) == [7, 7, 7]
    assert answers() == {
        f"edge-{number}": f"SUCCESS: verb={number + 2}\nSUCCESS: verb level changed\n" for number in (1, 2, 3)
    }
    audit = (state_folder(os.environ) / "audit.ndjson").read_text("utf-8").splitlines()
    assert {line["server"]: line["answer"] for line in map(json.loads, audit)} == answers()
    assert "SUCCESS: verb=4" in fleet("history", "show", "last").out


def test_what_fleet_itself_refuses_ends_the_run_too(fleet: Fleet) -> None:
    three(fleet)
    folder = fleet.folder / "run/fleet"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    fleet.set("XDG_RUNTIME_DIR", str(folder.parent))
    result = fleet("verb", "7", "--all", *LONG)
    assert (result.status, result.out) == (2, "")
    assert "can be written by others" in result.err
    assert verbs(fleet) == [3, 4, 5]
    assert fleet("history", "show", "last", "--json").document["exit_status"] == 2


def test_a_server_that_was_down_from_the_start(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("verb", "5", "-l", "edge-1,down", *SHORT)
    assert result.status == 4
    assert result.err.splitlines()[0].startswith("connect-refused: down: ")  # at once, and again at the end
    assert result.err.count("connect-refused: down: ") == 2
    assert fleet.daemon("edge-1").verb == 3
    alone = fleet("verb", "5", "-l", "down", *SHORT)
    assert (alone.status, "until" in alone.err) == (4, False)


# Asked for in vain


def test_what_cannot_be_put_back_is_refused(small: Fleet) -> None:
    for args, message in {
        ("verb", "--for", "1m"): "--for puts a value back later, and nothing is set here",
        ("hold", "--for", "1m"): "--for puts a value back later, and nothing is set here",
        (
            "hold",
            "release",
            "--all",
            "--for",
            "1m",
        ): "--for puts a value back later, and a release cannot be taken back",
        ("verb", "5", "--all", "--for", "0"): "a duration is more than 0",
        ("verb", "5", "--all", "--for", "soon"): "'soon' is not a duration",
        ("verb", "5", "--for", "1m"): "this changes daemons: say which",
        ("verb", "5", "--all", "--for", "1m", "--serial", "1"): "--for sets a value everywhere at once",
        ("verb", "16", "--all", "--for", "1m"): "'16' is not a number that 'verb' takes",
        ("verb", "5", "--all", "--for", "1m", "--readonly"): "this run is read-only",
        ("verb", "5", "--all", "--for", "1m"): "there is no terminal to ask at",
    }.items():
        result = small(*args)
        assert (result.status, result.out) == (2, "")
        assert message in result.err
    assert not small.daemon("edge-1").executed


def test_a_dry_run_sets_nothing(small: Fleet) -> None:
    result = small("verb", "5", "--all", "--for", "1h", "--dry-run")
    assert (result.status, small.daemon("edge-1").verb) == (0, 3)
    assert result.out.count("verb 5") == 3
    assert small("verb", "5", "--all", "--for", "1h", "--list-hosts").out.splitlines() == ["edge-1", "gw/udp", "gw/tcp"]


def test_one_that_was_told_to_outlive_its_terminal_does(fleet: Fleet) -> None:
    three(fleet)
    with fleet.spawn(
        "verb", "7", "-l", "edge-1", "--for", "1s", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ) as process:
        said(process, "verb 7 on 1 server until ")
        process.send_signal(signal.SIGHUP)
        assert end(process)[0] == 0
    assert verbs(fleet)[0] == 3
