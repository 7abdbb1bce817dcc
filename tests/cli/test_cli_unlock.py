"""`fleet unlock` as a process, on simulated daemons over sockets: options, refusals, what is shown, the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.requests import Request, RequestKind, login, passphrase
from fleet.demo.serve import Faults
from fleet.journal.places import state_folder
from support.farm import Listen
from support.terminal import Person, at_a_terminal

RUN_TIMEOUT = 60.0
"""Seconds that one run may take."""

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
    """A fleet of daemons on this machine, and fleet on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, SimulatedDaemon] = {}
        self.lines = ["all:", "  vars: {connection: local}", "  hosts:"]
        self.secret_file = folder / "secret"
        self.secret_file.touch(mode=0o600)
        self.secret_file.write_text(f"{SECRET}\n")

    @property
    def argv(self) -> list[str]:
        inventory = self.folder / "inventory.yaml"
        inventory.write_text("\n".join([*self.lines, ""]))
        return [sys.executable, "-m", "fleet", "-i", str(inventory)]

    def environment(self) -> dict[str, str]:
        root = Path(__file__).parent.parent.parent
        return {**os.environ, "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONPATH": str(root)}

    async def __call__(self, *args: str) -> Run:
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            "unlock",
            *args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
        )
        async with asyncio.timeout(RUN_TIMEOUT):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Run(process.returncode, out.decode(), err.decode())

    def executed(self, name: str) -> list[str]:
        return self.daemons[name].executed


AddDaemon = Callable[..., Awaitable[SimulatedDaemon]]


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


@pytest.fixture
def add(waiting: Waiting, listen: Listen) -> AddDaemon:
    async def start(name: str, **more: Any) -> SimulatedDaemon:
        faults = more.pop("faults", None)
        daemon = SimulatedDaemon(more.pop("release", "2.6.14"), **more)
        waiting.daemons[name] = daemon
        waiting.lines.append(f'    {name}: {{management: "{await listen(daemon, faults=faults)}"}}')
        return daemon

    return start


async def three(add: AddDaemon) -> None:
    await add("edge-1", requests=[passphrase(SECRET)])
    await add("edge-2", hold=True, requests=[passphrase(SECRET)], release="2.7.6")
    await add("edge-3")


async def test_list_shows_who_waits_for_what(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    await add("client", client_mode=True, requests=[login("alice", "x")])
    run = await waiting("--list")
    assert run.status == 0, run.stderr
    assert [line.split(maxsplit=1) for line in run.stdout.splitlines()] == [
        ["SERVER", "WAITS FOR                 STATE"],
        ["edge-1", "'Private Key' password    CONNECTING"],
        ["edge-2", "hold release              CONNECTING"],
        ["edge-3", "nothing                   CONNECTED"],
        ["client", "'Auth' username/password  CONNECTING"],
    ]
    shown = (await waiting("--list", "--json", "client")).servers()["client"]["result"]
    assert shown["waiting_for"] == [{"kind": "username_password", "name": "Auth", "message": None}]
    assert set(waiting.executed("edge-1")) == {"pid", "state"}


async def test_a_file_brings_everybody_up(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    run = await waiting("--all", "--yes", "--secret-file", str(waiting.secret_file), "--json")
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


async def test_a_command_has_a_secret_for_each(waiting: Waiting, add: AddDaemon) -> None:
    for name in ("edge-1", "edge-2"):
        await add(name, requests=[passphrase(f"of $HOME {name}; Private Key")])
    command = """printf '%s\\nmore' "of $HOME {server}; {realm}" """
    run = await waiting("edge-1", "edge-2", "--yes", "--secret-command", command)
    assert run.status == 0, run.stderr
    assert [line.split() for line in run.stdout.splitlines()][1:] == [
        [name, "'Private", "Key'", "password", "connected", "CONNECTED"] for name in ("edge-1", "edge-2")
    ]
    assert "2 came up" in run.stderr


async def test_a_command_that_fails_costs_its_server_alone(waiting: Waiting, add: AddDaemon) -> None:
    await add("edge-1", requests=[passphrase("edge-1")])
    await add("edge-2", requests=[passphrase("x")])
    command = "sh -c 'test {server} = edge-1 && echo {server}'"
    run = await waiting("--all", "--yes", "--secret-command", command, "--json")
    assert run.status == 1
    assert run.results() == {"edge-1": "connected", "edge-2": None}
    error = run.servers()["edge-2"]["error"]
    assert error["code"] == "command-failed"
    assert "exit status 1" in error["message"]
    assert set(waiting.executed("edge-2")) == {"pid", "state"}


async def test_a_wrong_secret_leaves_the_daemon_alive_and_is_told(waiting: Waiting, add: AddDaemon) -> None:
    daemon = await add("edge-1", requests=[passphrase("another")])
    run = await waiting("--all", "--secret-file", str(waiting.secret_file), "--json")
    assert run.status == 1
    server = run.servers()["edge-1"]
    assert (server["status"], server["error"]["code"]) == ("failed", "command-failed")
    assert "verification failed for 'Private Key'" in server["error"]["message"]
    assert server["result"]["verification_failed"] == ["Private Key"]
    assert (daemon.phase, daemon.auth_retry) == (Phase.WAIT, "none")
    assert SECRET not in run.stdout + run.stderr


async def test_a_username_goes_with_the_secret(waiting: Waiting, add: AddDaemon) -> None:
    daemon = await add("client", client_mode=True, requests=[login("al ice", SECRET)])
    refused = await waiting("client", "--secret-file", str(waiting.secret_file))
    assert refused.status == 2
    assert "--username" in refused.stderr
    assert set(daemon.executed) == {"pid", "state"}
    run = await waiting("client", "--secret-file", str(waiting.secret_file), "--username", "al ice")
    assert run.status == 0, run.stderr


async def test_one_secret_is_for_one_kind_of_request(waiting: Waiting, add: AddDaemon) -> None:
    both = [login("alice", SECRET), passphrase("keypass")]
    daemon = await add("client", client_mode=True, requests=both)
    run = await waiting("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    assert run.status == 1
    assert "waits for 'Private Key' password, and was not given it" in run.servers()["client"]["error"]["message"]
    assert not any(command.startswith('password "Private Key"') for command in daemon.executed)
    await add("edge-1", requests=[passphrase("x")])
    await add("other", client_mode=True, requests=both)
    refused = await waiting("edge-1,other", "--secret-file", str(waiting.secret_file), "--username", "alice")
    assert refused.status == 2
    assert "different secrets" in refused.stderr


TOKEN = Request(RequestKind.CONFIRMATION, "token-insertion-request", "ok", message="Insert the \x1b[31mtoken")


@pytest.mark.parametrize(("option", "result"), [("--ok", "connected"), ("--cancel", "cancelled")])
async def test_confirmations(waiting: Waiting, add: AddDaemon, option: str, result: str) -> None:
    await add("edge-1", requests=[TOKEN])
    run = await waiting("--all", option, "--json")
    assert run.status == 0, run.stderr
    assert run.results() == {"edge-1": result}


async def test_texts(waiting: Waiting, add: AddDaemon) -> None:
    await add("edge-1", requests=[Request(RequestKind.TEXT, "pin", "12 34")])
    assert (await waiting("--all", "--string", "12 34")).status == 0


async def test_where_nobody_can_be_asked_nothing_is_done(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    await add("token", requests=[TOKEN])
    for pattern, words in (("edge-*", "--secret-file"), ("token", "--ok")):
        run = await waiting(pattern)
        assert (run.status, run.stdout) == (2, "")
        assert "there is no terminal" in run.stderr
        assert words in run.stderr
        assert "\x1b" not in run.stderr
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())


async def test_a_hold_that_hides_a_question_is_released_and_told(waiting: Waiting, add: AddDaemon) -> None:
    daemon = await add("edge-1", hold=True, requests=[passphrase("x")])
    run = await waiting("--all", "--json")
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
async def test_refused(waiting: Waiting, add: AddDaemon, args: list[str], words: str) -> None:
    daemon = await add("edge-1", requests=[passphrase("x")])
    files = {"SECRET": waiting.secret_file}
    for name, mode, text in (("OPEN", 0o644, "x\n"), ("CONTROL", 0o600, "hunter2\tx\n"), ("LONG", 0o600, "y" * 256)):
        files[name] = waiting.folder / name
        files[name].write_text(text)
        files[name].chmod(mode)
    run = await waiting(*(str(files.get(arg, arg)) for arg in args))
    assert (run.status, run.stdout) == (2, "")
    assert words in run.stderr
    assert "hunter2" not in run.stderr
    assert daemon.executed == []


async def test_the_read_only_may_look(waiting: Waiting, add: AddDaemon) -> None:
    await add("edge-1", hold=True)
    assert (await waiting("--list", "--readonly")).status == 0


async def test_who_cannot_be_asked_costs_the_others_nothing(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    waiting.lines.append('    gone: {management: "127.0.0.1:1"}')
    run = await waiting("--all", "--yes", "--secret-file", str(waiting.secret_file), "-o", "ndjson")
    assert run.status == 4
    *servers, summary = map(json.loads, run.stdout.splitlines())
    assert {server["name"]: server["status"] for server in servers} == {
        **dict.fromkeys(("edge-1", "edge-2", "edge-3"), "ok"),
        "gone": "unreachable",
    }
    assert summary["summary"]["ok"] == 3


async def test_who_is_not_up_and_waits_for_nothing_is_waited_for(waiting: Waiting, add: AddDaemon) -> None:
    lost = await add("lost", client_mode=True)
    lost._set_state("WAIT", "")  # its far end is away
    late = await add("late", client_mode=True)
    late._set_state("RECONNECTING", "auth-failure")

    async def come_up() -> None:
        while "state on 1" not in late.executed:  # noqa: ASYNC110 - the daemon has no such event
            await asyncio.sleep(0.01)
        late._up()

    coming = asyncio.create_task(come_up())
    run = await waiting("--all", "--yes", "--wait-timeout", "1s", "--json")
    await coming
    assert run.status == 1
    assert run.results() == {"lost": None, "late": "connected"}
    error = run.servers()["lost"]["error"]
    assert error["message"] == "not CONNECTED within 1 s: its state is WAIT"
    assert set(lost.executed) == {"pid", "state", "state on 1"}


async def test_what_could_not_be_put_back_is_told_and_no_success(waiting: Waiting, add: AddDaemon) -> None:
    daemon = await add("edge-1", requests=[passphrase(SECRET)])
    come_up = daemon._up

    def fade() -> None:
        come_up()
        daemon.shut_down()

    daemon._up = fade  # type: ignore[method-assign]  # up, and gone before anything can be put back
    run = await waiting("--all", "--secret-file", str(waiting.secret_file), "--json")
    assert (run.status, run.results()) == (1, {"edge-1": "connected"})
    assert "left changed: edge-1: auth-retry was none and is interact (fleet auth-retry none sets it" in run.stderr
    assert run.servers()["edge-1"]["warnings"] == []


# Before anything is changed


async def test_several_that_nobody_types_for_want_a_yes(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    args = ("--all", "--secret-file", str(waiting.secret_file))
    refused = await waiting(*args)
    assert (refused.status, refused.stdout) == (2, "")
    assert "unlock changes 2 servers, and there is no terminal to ask at\n  give --yes" in refused.stderr
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())
    assert audit() == []
    assert (await waiting(*args, "--yes")).status == 0


async def test_a_dry_run_shows_who_waits(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    run = await waiting("--all", "--dry-run", "--secret-file", str(waiting.secret_file))
    assert (run.status, run.stdout) == (0, (await waiting("--list")).stdout)
    assert all(set(daemon.executed) <= {"pid", "state"} for daemon in waiting.daemons.values())
    assert audit() == []


# What is kept of it


def audit() -> list[dict[str, Any]]:
    path = state_folder(os.environ) / "audit.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_the_audit_has_a_line_for_each_server_and_no_secret(waiting: Waiting, add: AddDaemon) -> None:
    await three(add)
    await add("client", client_mode=True, requests=[login("alice", "another")])
    command = f"cat {waiting.folder}/{{realm}}"
    (waiting.folder / "Auth").write_text("hunter2\n")
    (waiting.folder / "Private Key").write_text(f"{SECRET}\n")
    run = await waiting("--all", "--yes", "--username", "alice", "--secret-command", command, "--json")
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
    await three(add)
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
        await add(name, requests=[passphrase(f"of {name}")])
    async with at_terminal("--all", "--each", "--json") as (person, process):
        for name in ("edge-1", "edge-2"):
            await person.sees(f"{name}: 'Private Key' password: ")
            await person.types(f"of {name}\n")
        run = await end(process)
    assert run.status == 0
    assert run.results() == {"edge-1": "connected", "edge-2": "connected"}


async def test_a_username_is_asked_for_and_seen(add: AddDaemon, at_terminal: AtTerminal) -> None:
    await add("client", client_mode=True, requests=[login("al ice", SECRET)])
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
    daemon = await add("edge-1", requests=[passphrase("right")])
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
    daemon = await add("edge-1", requests=[passphrase("right")])
    async with at_terminal("edge-1", "--json") as (person, process):
        await person.sees("'Private Key' password: ")
        await person.types("\n")
        run = await end(process)
    assert run.status == 1
    assert run.servers()["edge-1"]["error"]["message"].startswith("left waiting for 'Private Key' password")
    assert set(daemon.executed) == {"pid", "state"}


async def test_ctrl_c_at_the_question(waiting: Waiting, add: AddDaemon, at_terminal: AtTerminal) -> None:
    await three(add)
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
        await add(name, hold=True)
    await add("up")
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
    await add("edge-1", hold=True, requests=[passphrase(SECRET)])
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
    asks = await add("edge-1", hold=True, requests=[passphrase(SECRET)])
    mute = await add("edge-2", hold=True)
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
    daemon = await add("client", client_mode=True, requests=[login("alice", "good")], faults=slow)
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
    daemon = await add("client", client_mode=True, requests=[login("alice", "good")])
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
    await add("edge-1", requests=[TOKEN])
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


async def test_a_challenge_is_answered_by_a_command(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    static = await add("static", client_mode=True, requests=[login("alice", SEALED, challenge="SC:0,Enter the code")])
    further = login("alice", "good", further=FURTHER, answer="CRV1::5tate::123456")
    await add("dynamic", client_mode=True, requests=[further], release="2.7.6")
    args = ("--all", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    refused = await waiting(*args)
    assert refused.status == 2
    assert "--secret-file or --secret-command and --response-command" in refused.stderr
    assert set(static.executed) == {"pid", "state"}
    run = await waiting(*args, "--yes", "--response-command", "echo 123456")
    assert run.status == 0, run.stderr
    assert run.results() == {"static": "connected", "dynamic": "connected"}
    waited_for = run.servers()["dynamic"]["result"]["waited_for"]
    assert [want["message"] for want in waited_for] == [None, "Enter the PIN"]
    assert not any(secret in run.stdout + run.stderr for secret in ("123456", "5tate", SEALED))


async def test_a_wrong_answer_is_not_tried_again(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    daemon = await add("client", client_mode=True, requests=[login("alice", SEALED, challenge="SC:1,Enter the code")])
    args = ("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    run = await waiting(*args, "--response-command", "echo 1")
    assert run.status == 1
    assert "verification failed for 'Auth' (once)" in run.servers()["client"]["error"]["message"]
    assert sum(line.startswith("password") for line in daemon.executed) == 1
    assert daemon.phase is Phase.WAIT


async def test_a_question_of_the_far_end_that_nobody_answers(waiting: Waiting, add: AddDaemon) -> None:
    waiting.secret_file.write_text("good\n")
    daemon = await add("client", client_mode=True, requests=[login("alice", "good", further=FURTHER, answer="x")])
    run = await waiting("client", "--secret-file", str(waiting.secret_file), "--username", "alice", "--json")
    assert run.status == 1
    error = run.servers()["client"]["error"]
    assert error["message"] == "it waits for 'Auth' challenge: Enter the PIN, and was not given it"
    assert error["hint"].startswith("give --response-command, or run it in a terminal")
    assert (daemon.phase, daemon.auth_retry) == (Phase.WAIT, "none")
    failed = await waiting(
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
        await add(name, client_mode=True, requests=[asks])
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
    daemon = await add("client", client_mode=True, requests=[login("alice", SEALED, challenge="SC:0,Enter the code")])
    async with at_terminal("client", "--json", "--username", "alice") as (person, process):
        await person.sees("client: 'Auth' username/password: password: ")
        await person.types("good\n")
        await person.sees("client: Enter the code: ")
        await person.types("\n")
        run = await end(process)
    assert run.status == 1
    assert "nothing was given for it" in run.servers()["client"]["error"]["message"]
    assert not any(line.startswith("password") for line in daemon.executed)
