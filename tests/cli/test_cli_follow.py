"""The commands that follow, as processes of their own, on a simulated farm behind SSH."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import sys
import termios
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.harness import Fleet
from fleet.cli.main import run
from fleet.demo.clients import SimulatedClient
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm
from fleet.demo.serve import Faults
from fleet.demo.workspace import Workspace
from fleet.journal.places import state_folder
from fleet.journal.record import recent_runs
from support.farm import StartFarm

ROOT = Path(__file__).parent.parent.parent
END_TIMEOUT = 20.0
"""Seconds that fleet may take to end after a Ctrl-C."""

SERVERS = ("edge-1", "edge-2", "edge-3")


async def until(condition: Callable[[], object]) -> None:
    """Waits for what the other side does; the test's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Prefix:
    """Equal to every text that begins with it."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.startswith(self.text)

    __hash__ = None  # type: ignore[assignment]  # equal to too many


def has_something(pipe: int) -> bool:
    """Whether a program has written something that nobody has read yet."""
    waiting = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0] > 0


class Process:
    """A running fleet; its output is collected as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stdout = ""
        self.stderr = ""
        self._readers = [
            asyncio.create_task(self._read("stdout", process.stdout)),
            asyncio.create_task(self._read("stderr", process.stderr)),
        ]

    async def _read(self, name: str, stream: asyncio.StreamReader | None) -> None:
        while stream is not None and (data := await stream.read(4096)):
            setattr(self, name, getattr(self, name) + data.decode())

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def status(self) -> int:
        status = await self._process.wait()
        await asyncio.gather(*self._readers)
        return status

    async def end(self) -> None:
        """Ends what still runs: as an operator would, or else at once."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(self._process.wait(), END_TIMEOUT)
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)

    async def attached(self, count: int) -> None:
        await self.says(rf"(?s)(^\+ .*?){{{count}}}")

    async def says(self, pattern: str) -> None:
        """Waits for something on stderr; an end without it is a failure."""
        said = re.compile(pattern, re.MULTILINE)
        await until(lambda: said.search(self.stderr) or self._process.returncode is not None)
        assert said.search(self.stderr), self.stderr

    @property
    def lines(self) -> list[str]:
        """Lines of stdout that no management client caused."""
        return lines(self.stdout)


def lines(text: str) -> list[str]:
    """Lines of the text that no management client caused."""
    return [line for line in text.splitlines() if "MANAGEMENT: " not in line]


@asynccontextmanager
async def started(
    workspace: Workspace, *args: str, stdout: int = asyncio.subprocess.PIPE, before: tuple[str, ...] = ()
) -> AsyncIterator[Process]:
    process = Process(
        await asyncio.create_subprocess_exec(
            *(*before, sys.executable, "-m", "fleet", "--ssh-config", str(workspace.ssh_config), *args),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "FLEET_INVENTORY": str(workspace.inventory)},
        )
    )
    try:
        yield process
    finally:
        await process.end()


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    for name in SERVERS:
        farm.add(name, SimulatedDaemon("2.6.14", verb=3, clients=[SimulatedClient(f"client-of-{name}")]))
    return farm


async def test_logs_are_merged_and_ctrl_c_ends_it(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--tail", "0") as process:
        await process.attached(3)
        for name in SERVERS:
            farm[name].daemon.log(f"hello from {name}\x1b[2J", "W")
        await until(lambda: len(process.lines) == 3)
        process.send(signal.SIGINT)
        assert await process.status() == 130
    found = sorted(re.sub(r"\d\d:\d\d:\d\d", "TIME", line) for line in process.lines)
    assert found == [rf"{name} TIME W  hello from {name}\x1b[2J" for name in SERVERS]
    assert sorted(re.findall(r"^\+ (.*)$", process.stderr, re.MULTILINE)) == list(SERVERS)
    assert "the one management session of each of 3 servers is held" in process.stderr
    assert "\x1b" not in process.stdout + process.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_log_level_is_put_back_however_it_is_ended(
    farm: Farm, start_farm: StartFarm, number: signal.Signals
) -> None:
    workspace = await start_farm(farm)
    farm["edge-2"].daemon.verb = 6
    async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes") as process:
        await process.attached(3)
        assert [farm[name].daemon.verb for name in SERVERS] == [5, 6, 5]
        process.send(number)
        assert await process.status() == 130
    assert [farm[name].daemon.verb for name in SERVERS] == [3, 6, 3]


async def test_the_log_level_is_put_back_where_nobody_reads_any_more(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    reading, writing = os.pipe()
    async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes", stdout=writing) as process:
        os.close(writing)
        await process.attached(3)
        os.close(reading)  # and nothing is logged: it is noticed all the same
        assert await process.status() == 0
    assert [farm[name].daemon.verb for name in SERVERS] == [3, 3, 3]
    assert "Broken" not in process.stderr
    assert "interrupted" not in process.stderr


async def test_the_log_level_is_put_back_where_the_reader_has_stopped_reading(
    farm: Farm, start_farm: StartFarm
) -> None:
    workspace = await start_farm(farm)
    reading, writing = os.pipe()
    try:
        async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes", stdout=writing) as process:
            os.close(writing)
            await process.attached(3)
            for number in range(250):
                for name in SERVERS:
                    farm[name].daemon.log(f"{number} {'x' * 300}")
            await asyncio.sleep(0.5)  # the pipe is full by now; if it were not, this would show nothing
            process.send(signal.SIGINT)
            assert await process.status() == 130
        assert [farm[name].daemon.verb for name in SERVERS] == [3, 3, 3]
    finally:
        os.close(reading)


async def test_a_log_level_that_cannot_be_put_back_is_told(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(
        workspace, "log", "--follow", "--verb", "5", "--all", "--yes", "--release-every", "1h"
    ) as process:
        await process.attached(3)
        lose(farm, "edge-2")
        farm["edge-2"].closed = True
        await until(lambda: "- edge-2 (" in process.stderr)
        process.send(signal.SIGINT)
        assert await process.status() == 130
    assert (
        "left changed: edge-2: the log level was raised from 3 to 5 (fleet verb 3 sets it); it could" in process.stderr
    )
    assert [farm[name].daemon.verb for name in SERVERS] == [3, 5, 3]
    assert "is held and given to others every 3600 s" in process.stderr


async def test_who_leaves_at_once_is_told_which_log_levels_stay(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes", "--tail", "0") as process:
        await process.attached(3)
        freeze(farm, "edge-2")
        process.send(signal.SIGINT)
        await process.says("^interrupted: putting log levels back")
        await until(lambda: [farm[name].daemon.verb for name in SERVERS] == [3, 5, 3])
        await asyncio.sleep(0.2)  # the answers are on their way
        process.send(signal.SIGTERM)
        assert await process.status() == 130
    told = process.stderr.splitlines()
    assert told[-1] == "left changed: edge-2: the log level was raised from 3 to 5 (fleet verb 3 sets it)"
    assert sum(line.startswith("left changed") for line in told) == 1


async def test_a_full_disk_ends_it_and_the_log_level_is_put_back(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    full = os.open("/dev/full", os.O_WRONLY)
    async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes", stdout=full) as process:
        os.close(full)
        assert await process.status() == 1
    assert "stdout cannot be written to: No space left on device" in process.stderr
    assert [farm[name].daemon.verb for name in SERVERS] == [3, 3, 3]


async def test_nohup_is_heeded(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    hush = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    async with started(workspace, "log", "--follow", "--tail", "0", "edge-1", before=hush) as process:
        await process.attached(1)
        process.send(signal.SIGHUP)
        farm["edge-1"].daemon.log("still there")
        await until(lambda: process.lines)
        process.send(signal.SIGTERM)
        assert await process.status() == 130


async def test_who_is_not_let_in_is_not_tried_again(farm: Farm, start_farm: StartFarm) -> None:
    farm.hosts["edge-2"].accepts_key = False
    farm["edge-3"].closed = True
    workspace = await start_farm(farm)
    async with started(workspace, "state", "--follow", "-v") as process:
        await process.attached(1)
        await until(lambda: re.search(r"^- edge-2 \(auth-failed\): .+\n  try: ", process.stderr, re.MULTILINE))
        await until(lambda: re.search(r"^- edge-3 \(management-closed\): .+$", process.stderr, re.MULTILINE))
        process.send(signal.SIGINT)
        assert await process.status() == 130
    assert farm.hosts["edge-2"].connections == 1


def test_where_everybody_is_refused_it_ends(farm: Farm, fleet: Fleet) -> None:
    for name in SERVERS:
        farm[name].daemon.verb = 9
    fleet.start(farm)
    done = fleet("log", "--follow")
    assert done.status == 1
    assert done.err.count("(command-failed): the daemon's log level is 9") == 3


async def test_with_force_a_daemon_that_admits_users_is_followed_with_a_warning(
    farm: Farm, start_farm: StartFarm
) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "events", "--force", "--type", "CLIENT,LOG,BYTECOUNT,RSA_SIGN", "edge-1") as process:
        await process.attached(1)
        daemon = farm["edge-1"].daemon
        daemon.notify(
            ">CLIENT:CONNECT,0,1", ">CLIENT:ENV,username=alice", ">CLIENT:ENV,password=xyzzy", ">CLIENT:ENV,END"
        )
        daemon.notify(">PK_SIGN:abc")
        await until(lambda: "CLIENT CONNECT 0,1 alice\n" in process.stdout)
        await until(lambda: "PK_SIGN abc\n" in process.stdout)
        assert "warning: edge-1: this daemon asks its management client to admit users" in process.stderr
    assert "xyzzy" not in process.stdout + process.stderr
    assert {"bytecount 10", "log on"} <= set(farm["edge-1"].daemon.executed)
    assert not {"state on", "echo on"} & set(farm["edge-1"].daemon.executed)


def freeze(farm: Farm, name: str) -> None:
    """The daemon hangs: it reads nothing more, in this session or another."""
    session: Any = farm[name].daemon._session
    session.receive = lambda _data: []
    farm[name].faults = Faults(greeting=b"")


def lose(farm: Farm, name: str) -> None:
    """The management session is lost, the daemon goes on."""
    session = farm[name].daemon._session
    assert session is not None
    session.end()


async def test_one_server_that_is_down_or_busy_does_not_stop_the_others(farm: Farm, start_farm: StartFarm) -> None:
    farm["edge-3"].closed = True
    workspace = await start_farm(farm)
    await farm["edge-2"].occupy()
    async with started(workspace, "log", "--follow", "--tail", "0", "--reply-timeout", "500ms") as process:
        await until(lambda: "- edge-2 (management-busy)\n" in process.stderr)
        await until(lambda: "- edge-3 (management-closed)\n" in process.stderr)
        farm["edge-1"].daemon.log("still there")
        await until(lambda: process.lines)
        farm["edge-2"].vacate()
        farm["edge-3"].closed = False
        await process.attached(3)
        process.send(signal.SIGTERM)
        assert await process.status() == 130


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("--timeout", "2s"), 4, "run-timeout: edge-2: the 2 s of the whole run were over; it was waiting for"),
        ((), 130, "interrupted: edge-2: interrupted; it was waiting for the greeting of "),
    ],
)
async def test_a_server_that_was_never_followed_is_named_at_the_end(
    farm: Farm, start_farm: StartFarm, args: tuple[str, ...], status: int, said: str
) -> None:
    workspace = await start_farm(farm)
    await farm["edge-2"].occupy()
    async with started(workspace, "state", "--follow", *args, "--reply-timeout", "60s") as process:
        await process.attached(2)
        if not args:
            process.send(signal.SIGINT)
        assert await process.status() == status
    assert re.findall(r"^[a-z-]+: edge-.*$", process.stderr, re.MULTILINE) == [Prefix(said)]


def test_quiet_is_a_line_for_each_server_that_was_not_followed(farm: Farm, fleet: Fleet) -> None:
    farm.hosts["edge-1"].accepts_key = False
    farm["edge-3"].closed = True
    fleet.start(farm)
    done = fleet("state", "--follow", "-q", "--timeout", "3s")
    assert done.status == 4
    assert done.out
    assert done.err.splitlines() == [Prefix("auth-failed: edge-1: "), Prefix("management-closed: edge-3: ")]


# --- other runs of fleet on this machine


async def test_who_is_followed_by_another_run_is_waited_for(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--tail", "0", "edge-1") as first:
        await first.attached(1)
        async with started(workspace, "log", "--follow", "--lock-timeout", "100ms", "--tail", "0") as second:
            await second.says(
                r"^- edge-1 \(locked\): another run of fleet holds this server's management port: "
                rf"pid {first.pid} \(.*, 'fleet .*log --follow --tail 0 edge-1', since .*Z\)$"
            )
            await second.attached(2)
            first.send(signal.SIGINT)
            assert await first.status() == 130
            await second.attached(3)
            assert second.stderr.count("(locked)") == 1
    assert farm["edge-1"].sessions == 2


async def test_a_released_session_is_released_to_other_runs_too(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--release-every", "500ms", "--tail", "0", "edge-1") as first:
        await first.attached(1)
        async with started(workspace, "pid", "edge-1", "--lock-timeout", "60s") as second:
            assert await second.status() == 0
        farm["edge-1"].daemon.log("still there")
        await until(lambda: first.lines)
    assert "- edge-1" not in first.stderr


# --- what is kept of a follow


def audit() -> list[dict[str, Any]]:
    path = state_folder(os.environ) / "audit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_a_raised_log_level_is_in_the_audit(farm: Farm, start_farm: StartFarm) -> None:
    farm["edge-2"].daemon.verb = 6
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--verb", "5", "--all", "--yes") as process:
        await process.attached(3)
        process.send(signal.SIGINT)
        assert await process.status() == 130
    kept = {line["server"]: (line["status"], line["sent"], line["unconfirmed"]) for line in audit()}
    assert kept == {
        "edge-1": ("ok", ["verb 5", "verb 3"], None),
        "edge-2": ("ok", [], None),
        "edge-3": ("ok", ["verb 5", "verb 3"], None),
    }


async def test_a_log_level_that_stays_is_in_the_audit(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "--verb", "5", "-l", "edge-2") as process:
        await process.attached(1)
        lose(farm, "edge-2")
        farm["edge-2"].closed = True
        await process.says(r"^- edge-2 \(")
        process.send(signal.SIGINT)
        assert await process.status() == 130
    (line,) = audit()
    assert (line["server"], line["status"], line["sent"]) == ("edge-2", "failed", ["verb 5"])
    assert line["error"]["message"].startswith("the log level was raised from 3 to 5")


async def test_a_follow_is_in_the_history(farm: Farm, start_farm: StartFarm) -> None:
    farm["edge-3"].closed = True
    workspace = await start_farm(farm)
    async with started(workspace, "state", "--follow") as process:
        await process.attached(2)
        process.send(signal.SIGINT)
        assert await process.status() == 130
    (run_kept,) = recent_runs(state_folder(os.environ))
    assert (run_kept.command, run_kept.changes, run_kept.exit_status) == ("state", False, 130)
    assert {server.name: server.status for server in run_kept.servers} == {
        "edge-1": "ok",
        "edge-2": "ok",
        "edge-3": "unreachable",
    }
    assert audit() == []


def test_without_a_place_for_locks_no_log_level_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text('all: {hosts: {edge-1: {connection: local, management: "127.0.0.1:1"}}}\n')
    monkeypatch.setenv("FLEET_INVENTORY", str(inventory))
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert run(["log", "--follow", "--verb", "5", "-l", "edge-1"]) == 2
    (kept,) = recent_runs(state_folder(os.environ))
    assert (kept.changes, kept.exit_status, [server.sent for server in kept.servers]) == (True, 2, [()])


# --- a raised log level is shown and asked for as every change


def test_a_raised_log_level_is_previewed(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    done = fleet("log", "--follow", "--verb", "5", "--all", "--dry-run")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["SERVER", *SERVERS]
    assert done.out.count("verb 5") == 3
    assert not any("verb 5" in farm[name].daemon.executed for name in SERVERS)
    assert audit() == []


def test_without_a_terminal_several_log_levels_are_raised_with_yes_only(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    done = fleet("log", "--follow", "--verb", "5", "--all")
    assert done.status == 2
    assert "log changes 3 servers, and there is no terminal to ask at" in done.err
    assert not any("verb 5" in farm[name].daemon.executed for name in SERVERS)


async def test_where_no_server_can_be_followed_it_goes_on_trying_and_says_so(farm: Farm, start_farm: StartFarm) -> None:
    for name in SERVERS:
        farm[name].closed = True
    workspace = await start_farm(farm)
    async with started(workspace, "state", "--follow", "--timeout", "5s") as process:
        await until(lambda: "no server can be followed yet; fleet keeps trying" in process.stderr)
        farm["edge-1"].closed = False
        await process.attached(1)
        assert await process.status() == 4  # when the time was over, two were still not there
    assert " CONNECTED SUCCESS " in process.stdout


def test_a_follow_that_ends_with_its_time_did_what_was_asked(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    done = fleet("log", "--follow", "-y", "--timeout", "3s", "-q", "--all", "--verb", "4")
    assert done.status == 0
    assert done.err == ""
    assert [farm[name].daemon.verb for name in SERVERS] == [3, 3, 3]
    assert all("verb 4" in farm[name].daemon.executed for name in SERVERS)
    assert len(lines(done.out)) == 6  # two of each server's begin


def test_no_follow_prints_what_there_is_and_tells_who_failed(farm: Farm, fleet: Fleet) -> None:
    farm["edge-3"].closed = True
    fleet.start(farm)
    for name in SERVERS:
        farm[name].daemon.log("TLS: soft reset", "N")
        farm[name].daemon.log("something else")
    done = fleet("log", "--no-follow", "-e", "TLS", "--level", "N,W")
    assert done.status == 4
    assert sorted(line[:6] for line in lines(done.out)) == ["edge-1", "edge-2"]
    assert "management-closed: edge-3: " in done.err
    assert not re.search(r"^[+-] ", done.err, re.MULTILINE)


def test_no_follow_merges_the_lines_of_all_servers_by_their_time(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    begin = 1_700_000_000.0
    for number in range(6):
        farm[SERVERS[number % 2]].daemon._log_at(begin + number, f"line {number}")
    done = fleet("log", "--no-follow", "--tail", "3", "edge-1", "edge-2", "-e", "^line")
    assert done.status == 0
    assert re.findall(r"(edge-\d).*(line \d)$", done.out, re.MULTILINE) == [
        (SERVERS[number % 2], f"line {number}") for number in range(6)
    ]


async def test_what_nobody_reads_on_is_ended_by_ctrl_c(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    for number in range(250):  # more than a pipe takes
        farm["edge-1"].daemon.log(f"{number} {'x' * 400}")
    reading, writing = os.pipe()
    try:
        async with started(workspace, "log", "--no-follow", "--tail", "all", stdout=writing) as process:
            os.close(writing)
            await until(lambda: has_something(reading))
            process.send(signal.SIGINT)
            assert await process.status() == 130
    finally:
        os.close(reading)


async def test_lines_of_json_for_programs(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "log", "--follow", "-o", "json", "--tail", "0", "edge-1") as process:
        await process.attached(1)
        farm["edge-1"].daemon.log("name\x1b", "W")
        await until(lambda: process.lines)  # flushed: it is here while fleet still runs
    (event,) = [json.loads(line) for line in process.lines]
    assert (event["type"], event["server"]) == ("LOG", "edge-1")
    assert (event["data"]["flags"], event["data"]["text"]) == ("W", "name\x1b")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])


async def test_lines_of_the_time_without_a_session_come_once(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    daemon = farm["edge-1"].daemon
    async with started(workspace, "log", "--follow", "--tail", "0", "-o", "ndjson", "edge-1") as process:
        await process.attached(1)
        for number in range(4):
            daemon.log(f"line {2 * number}")
            lose(farm, "edge-1")
            await until(lambda: daemon._session is None)
            daemon.log(f"line {2 * number + 1}")
            await process.attached(number + 2)
        await until(lambda: len(process.lines) == 8)
    assert [json.loads(line)["data"]["text"] for line in process.lines] == [f"line {number}" for number in range(8)]
    assert process.stderr.count("- edge-1 (connection-lost)\n") == 4


async def test_events_of_chosen_types(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "events", "--type", "client,STATE", "-o", "ndjson") as process:
        await process.attached(3)
        farm["edge-1"].daemon.connect(SimulatedClient("alice"))
        farm["edge-2"].daemon.restart("SIGUSR1")
        await until(lambda: len(process.lines) >= 3)
    events = [json.loads(line) for line in process.lines]
    client = next(event for event in events if event["type"] == "CLIENT")
    assert (client["server"], client["data"]["kind"]) == ("edge-1", "ESTABLISHED")
    assert client["data"]["environment"]["common_name"] == "alice"
    states = [event["data"]["name"] for event in events if event["type"] == "STATE"]
    assert states[:2] == ["RECONNECTING", "CONNECTED"]


async def test_byte_counts(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "bytecount", "--follow", "1", "edge-1") as process:
        await until(lambda: process.lines)
    assert re.match(r"edge-1 \d\d:\d\d:\d\d client 0 in .* out .*", process.lines[0])


def test_colour_only_where_it_is_wanted(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    done = fleet("log", "--no-follow", "--color", "always", "edge-1")
    assert done.status == 0
    assert re.match("\x1b\\[[0-9]+medge-1\x1b\\[0m ", done.out)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("log", "--follow", "--verb", "8", "--all"), "--verb 8 would lock the management session"),
        (("log", "--follow", "--verb", "5"), "this changes daemons: say which"),
        (("--serial", "1", "log", "--follow", "--verb", "5", "--all"), "servers are followed all at once"),
        (("log", "--follow", "--verb", "5", "--all", "--readonly"), "this run is read-only"),
        (("log", "--verb", "5", "--all"), "--verb and --release-every are for following"),
        (("log", "--follow", "--release-every", "soon"), "'--release-every': 'soon' is not a duration"),
        (("log", "--follow", "--release-every", "0"), "'--release-every': a duration is more than 0"),
        (("log", "--follow", "--level", "X"), "'X' is not a level of log lines"),
        (("log", "--follow", "-e", "("), "-e is not a regular expression"),
        (("log", "--follow", "--tail", "few"), "'few' is not a number of lines"),
        (("log", "--follow", "10", "--tail", "5"), "two numbers of lines"),
        (("log", "--follow", "-o", "raw"), "log has no raw form where it is followed"),
        (("log", "--follow", "nobody"), "no server or group matches 'nobody'"),
        (("log", "10", "edge-1"), "log takes one number of lines"),
        (("events", "--type", "client,STATE", "eu", "edge-1"), "no server or group matches 'eu'"),
        (("events", "--type", "LOGS"), "'LOGS' is not a type of real-time messages"),
        (("bytecount",), "bytecount counts for as long as it is followed"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text('all: {hosts: {edge-1: {connection: local, management: "127.0.0.1:1"}}}\n')
    monkeypatch.setenv("FLEET_INVENTORY", str(inventory))
    assert run(args) == 2
    assert said in capsys.readouterr().err


def test_who_would_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text('all: {hosts: {edge-1: {connection: local, management: "127.0.0.1:1"}}}\n')
    monkeypatch.setenv("FLEET_INVENTORY", str(inventory))
    assert run(["log", "--follow", "--list-hosts"]) == 0
    assert capsys.readouterr() == ("edge-1\n", "")


def test_a_daemon_that_is_marked_as_exclusive_is_not_followed(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    assert fleet.thread is not None
    path = fleet.thread.workspace.inventory
    text = path.read_text()
    path.write_text(text.replace("  vars:\n", "  vars:\n    exclusive: true\n", 1))
    done = fleet("events")
    assert done.status == 2
    assert "marked as exclusive" in done.err


async def test_more_servers_than_forks_are_all_followed(farm: Farm, start_farm: StartFarm) -> None:
    workspace = await start_farm(farm)
    async with started(workspace, "state", "--follow", "--forks", "1") as process:
        await process.attached(3)
        assert "all 3 are followed at once" in process.stderr


def test_state_without_options_is_the_table_that_it_was(farm: Farm, fleet: Fleet) -> None:
    farm["edge-3"].closed = True
    fleet.start(farm)
    done = fleet("state", "edge-1")
    assert done.status == 0
    assert done.out.splitlines()[0].split()[:3] == ["SERVER", "STATE", "SINCE"]
    done = fleet("log", "--no-follow", "-q", "edge-3")
    assert done.status == 4
    assert re.fullmatch(r"management-closed: edge-3: .+ \(try: .+\)\n", done.err)


def test_the_log_without_options_is_the_table_that_it_was(farm: Farm, fleet: Fleet) -> None:
    fleet.start(farm)
    done = fleet("log", "3")
    assert done.status == 0
    assert done.out.splitlines()[0].split() == ["SERVER", "TIME", "FLAGS", "TEXT"]
