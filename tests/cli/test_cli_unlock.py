"""`fleet unlock` on simulated daemons over sockets: options, refusals, what is shown; a process at a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fleet.cli.main import run as run_fleet
from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.requests import Request, RequestKind, login, passphrase
from fleet.demo.serve import Faults, ManagementServer, listening
from fleet.journal.places import state_folder
from support.terminal import Person, at_a_terminal

T = TypeVar("T")

RUN_TIMEOUT = 60.0
"""Seconds that one run at a terminal may take, and that something of the daemons may."""

SECRET = 's3cret "x\\ y'


@dataclass(frozen=True, slots=True)
class Run:
    status: int
    stdout: str
    stderr: str

    def servers(self) -> dict[str, Any]:
        return {server["name"]: server for server in json.loads(self.stdout)["servers"]}

    def results(self) -> dict[str, str | None]:
        return {name: server["result"] and server["result"]["result"] for name, server in self.servers().items()}


class Waiting:
    """A fleet of daemons on this machine, in a thread of their own, and fleet on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.daemons: dict[str, SimulatedDaemon] = {}
        self.lines = ["all:", "  vars: {connection: local}", "  hosts:"]
        self.secret_file = folder / "secret"
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_text(f"{SECRET}\n")
        self._capsys = capsys
        self._listening = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="daemons")
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Something done in the daemons' thread, meanwhile."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def add(self, name: str, release: str = "2.6.14", faults: Faults | None = None, **more: Any) -> SimulatedDaemon:
        """One more daemon, on a free port."""

        async def start() -> SimulatedDaemon:
            daemon = SimulatedDaemon(release, **more)
            server = ManagementServer(daemon)
            server.faults = faults or server.faults
            endpoint = await self._listening.enter_async_context(listening(server))
            self.lines.append(f'    {name}: {{management: "{endpoint}"}}')
            return daemon

        self.daemons[name] = self.begin(start()).result(RUN_TIMEOUT)
        return self.daemons[name]

    def stop(self) -> None:
        try:
            self.begin(self._listening.aclose()).result(RUN_TIMEOUT)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def options(self) -> tuple[str, str]:
        inventory = self.folder / "inventory.yaml"
        inventory.write_text("\n".join([*self.lines, ""]))
        return "-i", str(inventory)

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-m", "fleet", *self.options]

    def environment(self) -> dict[str, str]:
        root = Path(__file__).parent.parent.parent
        return {**os.environ, "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONPATH": str(root)}

    def __call__(self, *args: str) -> Run:
        """A run in this process, without a terminal."""
        self._capsys.readouterr()
        status = run_fleet((*self.options, "unlock", *args))
        return Run(status, *self._capsys.readouterr())

    def executed(self, name: str) -> list[str]:
        return self.daemons[name].executed


AddDaemon = Callable[..., SimulatedDaemon]


@pytest.fixture
def waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Waiting]:
    started = Waiting(tmp_path, capsys)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def add(waiting: Waiting) -> AddDaemon:
    return waiting.add


def three(add: AddDaemon) -> None:
    add("edge-1", requests=[passphrase(SECRET)])
    add("edge-2", hold=True, requests=[passphrase(SECRET)], release="2.7.6")
    add("edge-3")


def test_list_shows_who_waits_for_what(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    add("client", client_mode=True, requests=[login("alice", "x")])
    run = waiting("--list")
    assert run.status == 0, run.stderr
    assert [line.split(maxsplit=1) for line in run.stdout.splitlines()] == [
        ["SERVER", "WAITS FOR                 STATE"],
        ["edge-1", "'Private Key' password    CONNECTING"],
        ["edge-2", "hold release              CONNECTING"],
        ["edge-3", "nothing                   CONNECTED"],
        ["client", "'Auth' username/password  CONNECTING"],
    ]
    shown = waiting("--list", "--json", "client").servers()["client"]["result"]
    assert shown["waiting_for"] == [{"kind": "username_password", "name": "Auth", "message": None}]
    assert set(waiting.executed("edge-1")) == {"pid", "state"}


def test_a_file_brings_everybody_up(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    run = waiting("--all", "--yes", "--secret-file", str(waiting.secret_file), "--json")
    assert run.status == 0, run.stderr
    assert run.results() == {"edge-1": "connected", "edge-2": "connected", "edge-3": "not waiting"}
    assert run.servers()["edge-2"]["result"] == {
        "waited_for": [
            {"kind": "hold", "name": None, "message": None},
            {"kind": "password", "name": "Private Key", "message": None},
        ],
        "verification_failed": [],
        "result": "connected",
        "state": run.servers()["edge-2"]["result"]["state"],
    }
    assert {daemon.phase for daemon in waiting.daemons.values()} == {Phase.UP}
    assert SECRET not in run.stdout + run.stderr


def test_a_command_has_a_secret_for_each(waiting: Waiting, add: AddDaemon) -> None:
    for name in ("edge-1", "edge-2"):
        add(name, requests=[passphrase(f"of $HOME {name}; Private Key")])
    command = """printf '%s\\nmore' "of $HOME {server}; {realm}" """
    run = waiting("edge-1", "edge-2", "--yes", "--secret-command", command)
    assert run.status == 0, run.stderr
    assert [line.split() for line in run.stdout.splitlines()][1:] == [
        [name, "'Private", "Key'", "password", "connected", "CONNECTED"] for name in ("edge-1", "edge-2")
    ]
    assert "2 came up" in run.stderr


def test_a_command_that_fails_costs_its_server_alone(waiting: Waiting, add: AddDaemon) -> None:
    add("edge-1", requests=[passphrase("edge-1")])
    add("edge-2", requests=[passphrase("x")])
    command = "sh -c 'test {server} = edge-1 && echo {server}'"
    run = waiting("--all", "--yes", "--secret-command", command, "--json")
    assert run.status == 1
    assert run.results() == {"edge-1": "connected", "edge-2": None}
    error = run.servers()["edge-2"]["error"]
    assert error["code"] == "command-failed"
    assert "exit status 1" in error["message"]
    assert set(waiting.executed("edge-2")) == {"pid", "state"}


def test_a_wrong_secret_leaves_the_daemon_alive_and_is_told(waiting: Waiting, add: AddDaemon) -> None:
    daemon = add("edge-1", requests=[passphrase("another")])
    run = waiting("--all", "--secret-file", str(waiting.secret_file), "--json")
    assert run.status == 1
    server = run.servers()["edge-1"]
    assert (server["status"], server["error"]["code"]) == ("failed", "command-failed")
    assert "verification failed for 'Private Key'" in server["error"]["message"]
    assert server["result"]["verification_failed"] == ["Private Key"]
    assert (daemon.phase, daemon.auth_retry) == (Phase.WAIT, "none")
    assert SECRET not in run.stdout + run.stderr


def test_a_username_goes_with_the_secret(waiting: Waiting, add: AddDaemon) -> None:
    daemon = add("client", client_mode=True, requests=[login("al ice", SECRET)])
    refused = waiting("client", "--secret-file", str(waiting.secret_file))
    assert refused.status == 2
    assert "--username" in refused.stderr
    assert set(daemon.executed) == {"pid", "state"}
    run = waiting("client", "--secret-file", str(waiting.secret_file), "--username", "al ice")
    assert run.status == 0, run.stderr


def test_one_secret_is_for_one_kind_of_request(waiting: Waiting, add: AddDaemon) -> None:
    both = [login("alice", SECRET), passphrase("keypass")]
    daemon = add("client", client_mode=True, requests=both)
    run = waiting("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    assert run.status == 1
    assert "waits for 'Private Key' password, and was not given it" in run.servers()["client"]["error"]["message"]
    assert not any(command.startswith('password "Private Key"') for command in daemon.executed)
    add("edge-1", requests=[passphrase("x")])
    add("other", client_mode=True, requests=both)
    refused = waiting("edge-1,other", "--secret-file", str(waiting.secret_file), "--username", "alice")
    assert refused.status == 2
    assert "different secrets" in refused.stderr


TOKEN = Request(RequestKind.CONFIRMATION, "token-insertion-request", "ok", message="Insert the \x1b[31mtoken")


@pytest.mark.parametrize(("option", "result"), [("--ok", "connected"), ("--cancel", "cancelled")])
def test_confirmations(waiting: Waiting, add: AddDaemon, option: str, result: str) -> None:
    add("edge-1", requests=[TOKEN])
    run = waiting("--all", option, "--json")
    assert run.status == 0, run.stderr
    assert run.results() == {"edge-1": result}


def test_texts(waiting: Waiting, add: AddDaemon) -> None:
    add("edge-1", requests=[Request(RequestKind.TEXT, "pin", "12 34")])
    assert waiting("--all", "--string", "12 34").status == 0


def test_where_nobody_can_be_asked_nothing_is_done(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    add("token", requests=[TOKEN])
    for pattern, words in (("edge-*", "--secret-file"), ("token", "--ok")):
        run = waiting(pattern)
        assert (run.status, run.stdout) == (2, "")
        assert "there is no terminal" in run.stderr
        assert words in run.stderr
        assert "\x1b" not in run.stderr
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())


def test_a_hold_that_hides_a_question_is_released_and_told(waiting: Waiting, add: AddDaemon) -> None:
    daemon = add("edge-1", hold=True, requests=[passphrase("x")])
    run = waiting("--all", "--json")
    assert run.status == 1
    assert "waits for 'Private Key' password, and was not given it" in run.servers()["edge-1"]["error"]["message"]
    assert run.servers()["edge-1"]["result"]["waited_for"][0]["kind"] == "hold"
    assert daemon.phase is Phase.WAIT


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "say which"),
        (["--all", "--readonly"], "read-only"),
        (["--all", "--secret-file", "SECRET", "--secret-command", "x"], "contradict"),
        (["--all", "--ok", "--cancel"], "contradict"),
        (["--all", "--each", "--secret-file", "SECRET"], "--each"),
        (["--all", "--secret-file", "/nonexistent"], "cannot be read"),
        (["--all", "--secret-file", "OPEN"], "may be read by others"),
        (["--all", "--secret-file", "CONTROL"], "control character"),
        (["--all", "--secret-file", "LONG"], "longer than"),
        (["--all", "--secret-command", "'"], "cannot be read"),
        (["--all", "--secret-command", ""], "empty"),
        (["--all", "--secret-command", "no-such-program x"], "no program"),
        (["--all", "--username", "a\tb"], "control character"),
        (["--all", "--string", "x" * 256], "256 bytes"),
        (["--all", "--wait-timeout", "soon"], "soon"),
        (["--all", "--wait-timeout", "0"], "more than 0"),
        (["--list", "--ok"], "--list answers nothing"),
        (["--all", "--serial", "1"], "does not roll"),
    ],
)
def test_refused(waiting: Waiting, add: AddDaemon, args: list[str], words: str) -> None:
    daemon = add("edge-1", requests=[passphrase("x")])
    files = {"SECRET": waiting.secret_file}
    for name, mode, text in (("OPEN", 0o644, "x\n"), ("CONTROL", 0o600, "hunter2\tx\n"), ("LONG", 0o600, "y" * 256)):
        files[name] = waiting.folder / name
        files[name].write_text(text)
        files[name].chmod(mode)
    run = waiting(*(str(files.get(arg, arg)) for arg in args))
    assert (run.status, run.stdout) == (2, "")
    assert words in run.stderr
    assert "hunter2" not in run.stderr
    assert daemon.executed == []


def test_the_read_only_may_look(waiting: Waiting, add: AddDaemon) -> None:
    add("edge-1", hold=True)
    assert waiting("--list", "--readonly").status == 0


def test_who_cannot_be_asked_costs_the_others_nothing(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    waiting.lines.append('    gone: {management: "127.0.0.1:1"}')
    run = waiting("--all", "--yes", "--secret-file", str(waiting.secret_file), "-o", "ndjson")
    assert run.status == 4
    *servers, summary = map(json.loads, run.stdout.splitlines())
    assert {server["name"]: server["status"] for server in servers} == {
        **dict.fromkeys(("edge-1", "edge-2", "edge-3"), "ok"),
        "gone": "unreachable",
    }
    assert summary["summary"]["ok"] == 3


def test_who_is_not_up_and_waits_for_nothing_is_waited_for(waiting: Waiting, add: AddDaemon) -> None:
    lost = add("lost", client_mode=True)
    lost._set_state("WAIT", "")  # its far end is away
    late = add("late", client_mode=True)
    late._set_state("RECONNECTING", "auth-failure")

    async def come_up() -> None:
        while "state on 1" not in late.executed:  # noqa: ASYNC110 - the daemon has no such event
            await asyncio.sleep(0.01)
        late._up()

    coming = waiting.begin(come_up())
    run = waiting("--all", "--yes", "--wait-timeout", "1s", "--json")
    coming.result(RUN_TIMEOUT)
    assert run.status == 1
    assert run.results() == {"lost": None, "late": "connected"}
    error = run.servers()["lost"]["error"]
    assert error["message"] == "not CONNECTED within 1 s: its state is WAIT"
    assert set(lost.executed) == {"pid", "state", "state on 1"}


def test_what_could_not_be_put_back_is_told_and_no_success(waiting: Waiting, add: AddDaemon) -> None:
    daemon = add("edge-1", requests=[passphrase(SECRET)])
    come_up = daemon._up

    def fade() -> None:
        come_up()
        daemon.shut_down()

    daemon._up = fade  # type: ignore[method-assign]  # up, and gone before anything can be put back
    run = waiting("--all", "--secret-file", str(waiting.secret_file), "--json")
    assert (run.status, run.results()) == (1, {"edge-1": "connected"})
    assert "left changed: edge-1: auth-retry was none and is interact (fleet auth-retry none sets it" in run.stderr
    assert run.servers()["edge-1"]["warnings"] == []


# Before anything is changed


def test_several_that_nobody_types_for_want_a_yes(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    args = ("--all", "--secret-file", str(waiting.secret_file))
    refused = waiting(*args)
    assert (refused.status, refused.stdout) == (2, "")
    assert "unlock changes 2 servers, and there is no terminal to ask at\n  give --yes" in refused.stderr
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())
    assert audit() == []
    assert waiting(*args, "--yes").status == 0


def test_a_dry_run_shows_who_waits(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    run = waiting("--all", "--dry-run", "--secret-file", str(waiting.secret_file))
    assert (run.status, run.stdout) == (0, waiting("--list").stdout)
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())
    assert audit() == []


# What is kept of it


def audit() -> list[dict[str, Any]]:
    path = state_folder(os.environ) / "audit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_audit_has_a_line_for_each_server_and_no_secret(waiting: Waiting, add: AddDaemon) -> None:
    three(add)
    add("client", client_mode=True, requests=[login("alice", "another")])
    command = f"cat {waiting.folder}/{{realm}}"
    (waiting.folder / "Auth").write_text("hunter2\n")
    (waiting.folder / "Private Key").write_text(f"{SECRET}\n")
    run = waiting("--all", "--yes", "--username", "alice", "--secret-command", command, "--json")
    assert run.status == 1, run.stderr
    kept = {line["server"]: line for line in audit()}
    assert len(audit()) == 4
    assert {name: line["status"] for name, line in kept.items()} == {
        **dict.fromkeys(("edge-1", "edge-2", "edge-3"), "ok"),
        "client": "failed",
    }
    assert kept["edge-2"]["sent"] == ["hold release", 'password "Private Key" [secret]']
    assert kept["edge-3"]["sent"] == []
    assert kept["client"]["error"]["message"].startswith("verification failed for 'Auth'")
    (file,) = (state_folder(os.environ) / "runs").glob("*")
    for text in (json.dumps(audit()), file.read_text(), run.stdout, run.stderr):
        assert "hunter2" not in text
        assert json.dumps(SECRET)[1:-1] not in text
        assert SECRET not in text


# At a terminal


class AtTerminal:
    """A run of `fleet unlock` at a terminal of its own."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting

    def __call__(self, *args: str) -> AbstractAsyncContextManager[tuple[Person, asyncio.subprocess.Process]]:
        return at_a_terminal([*self.waiting.argv, "unlock", *args], self.waiting.environment())


async def end(process: asyncio.subprocess.Process) -> Run:
    async with asyncio.timeout(RUN_TIMEOUT):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, out.decode(), "")


@pytest.fixture
def at_terminal(waiting: Waiting) -> AtTerminal:
    return AtTerminal(waiting)


async def test_a_secret_is_typed_once_for_all_and_not_seen(add: AddDaemon, at_terminal: AtTerminal) -> None:
    three(add)
    async with at_terminal("--all", "--json") as (person, process):
        await person.sees("edge-1: 'Private Key' password: ")
        await person.types("hunter2\n")
        await person.sees("edge-[1-2] (2): 'Private Key' password, not the one tried before: ")
        await person.types(f"{SECRET}\n")
        await person.sees("2 came up, 1 waited for nothing")
        run = await end(process)
    assert run.status == 0
    assert run.results() == {"edge-1": "connected", "edge-2": "connected", "edge-3": "not waiting"}
    assert run.servers()["edge-1"]["result"]["verification_failed"] == ["Private Key"]
    assert "hunter2" not in person.seen + run.stdout
    assert SECRET not in person.seen + run.stdout


async def test_each_server_is_asked_for(add: AddDaemon, at_terminal: AtTerminal) -> None:
    for name in ("edge-1", "edge-2"):
        add(name, requests=[passphrase(f"of {name}")])
    async with at_terminal("--all", "--each", "--json") as (person, process):
        for name in ("edge-1", "edge-2"):
            await person.sees(f"{name}: 'Private Key' password: ")
            await person.types(f"of {name}\n")
        run = await end(process)
    assert run.status == 0
    assert run.results() == {"edge-1": "connected", "edge-2": "connected"}


async def test_a_username_is_asked_for_and_seen(add: AddDaemon, at_terminal: AtTerminal) -> None:
    add("client", client_mode=True, requests=[login("al ice", SECRET)])
    async with at_terminal("client", "--json") as (person, process):
        person.hidden = False
        await person.sees("client: 'Auth' username/password: username: ")
        await person.types("al ice\n")
        await person.sees("al ice")
        await person.sees("client: 'Auth' username/password: password: ")
        person.hidden = True
        await person.types(f"{SECRET}\n")
        run = await end(process)
    assert run.status == 0
    assert run.results() == {"client": "connected"}


async def test_three_wrong_ones_are_enough(add: AddDaemon, at_terminal: AtTerminal) -> None:
    daemon = add("edge-1", requests=[passphrase("right")])
    async with at_terminal("edge-1", "--json") as (person, process):
        for _ in range(3):
            await person.sees("'Private Key' password")
            await person.types("wrong\n")
        run = await end(process)
    assert run.status == 1
    assert "(3 times); the daemon lives" in run.servers()["edge-1"]["error"]["message"]
    assert daemon.executed.count('password "Private Key" wrong') == 3
    assert daemon.auth_retry == "none"


async def test_an_empty_line_leaves_it_waiting(add: AddDaemon, at_terminal: AtTerminal) -> None:
    daemon = add("edge-1", requests=[passphrase("right")])
    async with at_terminal("edge-1", "--json") as (person, process):
        await person.sees("'Private Key' password: ")
        await person.types("\n")
        run = await end(process)
    assert run.status == 1
    assert run.servers()["edge-1"]["error"]["message"].startswith("left waiting for 'Private Key' password")
    assert set(daemon.executed) == {"pid", "state"}


async def test_ctrl_c_at_the_question(waiting: Waiting, add: AddDaemon, at_terminal: AtTerminal) -> None:
    three(add)
    async with at_terminal("--all", "--json") as (person, process):
        await person.sees("edge-1: 'Private Key' password: ")
        await person.types("\x03")
        run = await end(process)
    assert run.status == 130
    statuses = {name: (server["error"] or {}).get("code") for name, server in run.servers().items()}
    assert statuses == {"edge-1": "interrupted", "edge-2": "interrupted", "edge-3": None}
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())


async def test_holds_of_several_are_shown_and_asked_for(
    waiting: Waiting, add: AddDaemon, at_terminal: AtTerminal
) -> None:
    for name in ("edge-1", "edge-2"):
        add(name, hold=True)
    add("up")
    for answer, status in (("n\n", 2), ("y\n", 0)):
        async with at_terminal("--all") as (person, process):
            person.hidden = False
            await person.sees("This brings up 2 servers:")
            await person.sees("edge-1  hold release  CONNECTING")
            await person.sees("edge-2  hold release  CONNECTING")
            await person.sees("Go on? [y/N] ")
            assert not any("hold release" in daemon.executed for daemon in waiting.daemons.values())
            await person.types(answer)
            run = await end(process)
        assert run.status == status, person.seen
    assert [line["server"] for line in audit()] == ["up", "edge-1", "edge-2"]


async def test_ctrl_c_at_a_later_question_tells_what_was_done(add: AddDaemon, at_terminal: AtTerminal) -> None:
    add("edge-1", hold=True, requests=[passphrase(SECRET)])
    async with at_terminal("edge-1", "--json") as (person, process):
        await person.sees("edge-1: 'Private Key' password: ")
        await person.types("\x03")
        run = await end(process)
    assert run.status == 130
    error = run.servers()["edge-1"]["error"]
    assert (error["code"], error["sent"], error["confirmed"]) == ("interrupted", None, ["hold release"])
    (line,) = audit()
    assert (line["sent"], line["confirmed"]) == (["hold release"], ["hold release"])


async def test_after_ctrl_c_nobody_is_asked_any_more(add: AddDaemon, at_terminal: AtTerminal) -> None:
    asks = add("edge-1", hold=True, requests=[passphrase(SECRET)])
    mute = add("edge-2", hold=True)
    mute._start_up = lambda: None  # type: ignore[method-assign]  # released, and nothing follows
    async with at_terminal("--all", "--yes", "--json") as (person, process):
        person.hidden = False
        async with asyncio.timeout(RUN_TIMEOUT):
            while not (  # noqa: ASYNC110 - the daemons have no such event
                "hold release" in asks.executed and asks._session is None and "hold release" in mute.executed
            ):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        await person.types("\x03")
        run = await end(process)
    assert run.status == 130
    assert "password" not in person.seen
    errors = {name: server["error"] for name, server in run.servers().items()}
    assert {name: (error["code"], error["sent"], error["confirmed"]) for name, error in errors.items()} == {
        "edge-1": ("interrupted", None, ["hold release"]),
        "edge-2": ("interrupted", "hold release", []),
    }


async def test_at_the_second_ctrl_c_what_is_owed_is_told(add: AddDaemon, at_terminal: AtTerminal) -> None:
    slow = Faults(reply_delay=3.0, command="auth-retry")
    daemon = add("client", client_mode=True, requests=[login("alice", "good")], faults=slow)
    daemon._try = lambda _request: None  # type: ignore[method-assign]  # the far end does not answer
    async with at_terminal("client", "--username", "alice") as (person, process):
        await person.sees("password: ")
        await person.types("good\n")
        async with asyncio.timeout(RUN_TIMEOUT):
            while "password Auth good" not in daemon.executed:  # noqa: ASYNC110 - the daemon has no such event
                await asyncio.sleep(0.02)
            person.hidden = False
            await asyncio.sleep(0.2)
            await person.types("\x03")
            while "auth-retry none" not in daemon.executed:  # noqa: ASYNC110 - the daemon has no such event
                await asyncio.sleep(0.02)
        await person.types("\x03")
        await person.sees("left changed: client: auth-retry was none and is interact")
        run = await end(process)
    assert run.status == 130


async def test_ctrl_c_after_the_secret_was_sent(add: AddDaemon, at_terminal: AtTerminal) -> None:
    daemon = add("client", client_mode=True, requests=[login("alice", "good")])
    daemon._try = lambda _request: None  # type: ignore[method-assign]  # the far end does not answer
    async with at_terminal("client", "--json", "--username", "alice") as (person, process):
        await person.sees("password: ")
        await person.types("good\n")
        async with asyncio.timeout(RUN_TIMEOUT):
            while "password Auth good" not in daemon.executed:  # noqa: ASYNC110 - the daemon has no such event
                await asyncio.sleep(0.02)
        person.hidden = False
        await asyncio.sleep(0.2)
        await person.types("\x03")
        run = await end(process)
    assert run.status == 130
    error = run.servers()["client"]["error"]
    assert (error["code"], error["sent"]) == ("interrupted", "username Auth [secret]; password Auth [secret]")
    assert error["confirmed"] == []  # auth-retry is what it was: nothing was done
    assert daemon.executed[-1] == "auth-retry none"
    assert "left changed" not in person.seen


async def test_a_confirmation_is_asked_for(add: AddDaemon, at_terminal: AtTerminal) -> None:
    add("edge-1", requests=[TOKEN])
    async with at_terminal("edge-1", "--json") as (person, process):
        person.hidden = False
        await person.sees("'token-insertion-request' confirmation: Insert the \\x1b[31mtoken [ok/cancel]: ")
        await person.types("what\n")
        await person.sees("[ok/cancel]: ")
        await person.types("ok\n")
        run = await end(process)
    assert run.status == 0


# Challenges

SEALED = "SCRV1:Z29vZA==:MTIzNDU2"
"""`good` and the code `123456`, as the management notes seal them."""

FURTHER = "CRV1:R,E:5tate:YWxpY2U=:Enter the PIN"


def test_a_challenge_is_answered_by_a_command(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    static = add("static", client_mode=True, requests=[login("alice", SEALED, challenge="SC:0,Enter the code")])
    further = login("alice", "good", further=FURTHER, answer="CRV1::5tate::123456")
    add("dynamic", client_mode=True, requests=[further], release="2.7.6")
    args = ("--all", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    refused = waiting(*args)
    assert refused.status == 2
    assert "--secret-file or --secret-command and --response-command" in refused.stderr
    assert set(static.executed) == {"pid", "state"}
    run = waiting(*args, "--yes", "--response-command", "echo 123456")
    assert run.status == 0, run.stderr
    assert run.results() == {"static": "connected", "dynamic": "connected"}
    waited_for = run.servers()["dynamic"]["result"]["waited_for"]
    assert [want["message"] for want in waited_for] == [None, "Enter the PIN"]
    assert not any(secret in run.stdout + run.stderr for secret in ("123456", "5tate", SEALED))


def test_a_wrong_answer_is_not_tried_again(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    daemon = add("client", client_mode=True, requests=[login("alice", SEALED, challenge="SC:1,Enter the code")])
    args = ("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    run = waiting(*args, "--response-command", "echo 1")
    assert run.status == 1
    assert "verification failed for 'Auth' (once)" in run.servers()["client"]["error"]["message"]
    assert sum(line.startswith("password") for line in daemon.executed) == 1
    assert daemon.phase is Phase.WAIT


def test_a_question_of_the_far_end_that_nobody_answers(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    daemon = add("client", client_mode=True, requests=[login("alice", "good", further=FURTHER, answer="x")])
    run = waiting("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    assert run.status == 1
    error = run.servers()["client"]["error"]
    assert error["message"] == "it waits for 'Auth' challenge: Enter the PIN, and was not given it"
    assert error["hint"].startswith("give --response-command, or run it in a terminal")
    assert (daemon.phase, daemon.auth_retry) == (Phase.WAIT, "none")
    failed = waiting(
        "client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--response-command", "false"
    )
    assert (failed.status, "exit status 1; it still waits for 'Auth' challenge" in failed.stderr) == (1, True)


@pytest.mark.parametrize("echo", [True, False])
async def test_questions_at_the_terminal_are_asked_for_each_server(
    add: AddDaemon, at_terminal: AtTerminal, echo: bool
) -> None:
    further = FURTHER if echo else FURTHER.replace("R,E", "R")
    for name in ("edge-1", "edge-2"):
        asks = login("alice", "good", further=further, answer="CRV1::5tate::123456")
        add(name, client_mode=True, requests=[asks])
    async with at_terminal("--all", "--json", "--username", "alice") as (person, process):
        await person.sees("edge-[1-2] (2): 'Auth' username/password: password: ")
        await person.types("good\n")
        person.hidden = not echo
        await person.sees("edge-1: Enter the PIN: ")
        await person.types("123456\n")
        if echo:
            await person.sees("123456")
        await person.sees("edge-2: Enter the PIN: ")
        await person.types("123456\n")
        await person.sees("2 came up")
        run = await end(process)
    assert run.results() == {"edge-1": "connected", "edge-2": "connected"}


async def test_a_question_along_with_the_password_at_the_terminal(add: AddDaemon, at_terminal: AtTerminal) -> None:
    daemon = add("client", client_mode=True, requests=[login("alice", SEALED, challenge="SC:0,Enter the code")])
    async with at_terminal("client", "--json", "--username", "alice") as (person, process):
        await person.sees("client: 'Auth' username/password: password: ")
        await person.types("good\n")
        await person.sees("client: Enter the code: ")
        await person.types("\n")
        run = await end(process)
    assert run.status == 1
    assert "nothing was given for it" in run.servers()["client"]["error"]["message"]
    assert not any(line.startswith("password") for line in daemon.executed)
