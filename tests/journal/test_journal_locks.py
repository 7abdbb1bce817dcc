"""Locks: one holder at a time among real processes, and none that a dead one leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import LockedError, RunLockedError
from fleet.inventory.model import Server, SSHSettings, TCPEndpoint, UnixEndpoint
from fleet.journal.locks import RunLock, Slots
from journal.processes import TIMEOUT, line_of, program

EDGE = Server("edge-1", "edge-1", SSHSettings("edge-1.example.net", 22), TCPEndpoint("127.0.0.1", 7505))

HOLDER = """
import asyncio, sys
from pathlib import Path
from fleet.inventory.model import *
from fleet.journal.locks import RunLock, Slots
edge = Server("edge-1", "edge-1", SSHSettings("edge-1.example.net", 22), TCPEndpoint("127.0.0.1", 7505))
async def main():
    folder, what, timeout, command = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
    if what == "rolling":
        lock = RunLock(folder, what, command, timeout).hold()
    else:
        lock = Slots(folder, command, timeout).hold(edge)
    async with lock:
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print("gone", flush=True)
asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "locks"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the management port of `EDGE`."""
    with program(HOLDER, str(folder), "slot", "0", "fleet log --follow -l eu") as process:
        assert line_of(process) == "held"
        yield process


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


async def take(folder: Path, server: Server = EDGE, patience: float = 0.0) -> None:
    async with Slots(folder, "fleet status", patience).hold(server):
        pass


async def test_the_holder_is_named(folder: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockedError) as caught:
        await take(folder)
    assert caught.value.code == "locked"
    assert caught.value.message.startswith(
        f"another run of fleet holds this server's management port: pid {holder.pid} ("
    )
    assert ", 'fleet log --follow -l eu', since " in caught.value.message
    assert caught.value.hint == (
        "wait longer with --lock-timeout 5m, or end it; one that asks again and again (top, metrics, collect, --watch) "
        "lets go by itself: try again"
    )


async def test_others_are_free(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    for other in (
        replace(EDGE, management=TCPEndpoint("127.0.0.1", 7506)),
        replace(EDGE, management=UnixEndpoint("/run/m.sock")),
        replace(EDGE, ssh=None),
        replace(EDGE, ssh=SSHSettings("edge-1.example.net", 2222)),
        replace(EDGE, ssh=SSHSettings("edge-1.example.net", 22, jump=SSHSettings("gw"))),
    ):
        await take(folder, other)


async def test_another_name_of_the_same_daemon_is_not(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    same = replace(EDGE, name="other", host="other", ssh=SSHSettings("Edge-1.example.net", 22, user="root"))
    with pytest.raises(LockedError):
        await take(folder, same)


async def test_a_killed_process_leaves_no_lock(folder: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait(TIMEOUT)
    file = only_file(folder)
    assert json.loads(file.read_text())["pid"] == holder.pid  # what it said stays, and is not believed
    await take(folder)
    assert file.read_bytes().startswith(b"\n")


async def test_two_who_wait_are_both_served(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    waiting = [asyncio.create_task(take(folder, patience=TIMEOUT)) for _ in range(2)]
    with program(HOLDER, str(folder), "slot", str(TIMEOUT), "fleet kill x") as other:
        await asyncio.sleep(0.2)
        assert not any(task.done() for task in waiting)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert line_of(holder) == "gone"
        assert await asyncio.to_thread(line_of, other) == "held"
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*waiting)


async def test_one_who_waits_can_be_cancelled(folder: Path, holder: subprocess.Popen[str]) -> None:
    waiting = asyncio.create_task(take(folder, patience=TIMEOUT))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    holder.kill()
    holder.wait(TIMEOUT)
    await take(folder)


async def test_two_servers_of_one_run_wait_for_each_other(folder: Path) -> None:
    slots = Slots(folder, "fleet status", TIMEOUT)
    inside = 0

    async def work(server: Server) -> None:
        nonlocal inside
        async with slots.hold(server):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.05)
            inside -= 1

    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*(work(replace(EDGE, name=f"edge-{number}")) for number in range(4)))


async def test_a_run_that_waits_for_itself_says_so(folder: Path) -> None:
    slots = Slots(folder, "fleet status", 0.05)
    async with slots.hold(EDGE):
        with pytest.raises(LockedError) as caught:
            await take(folder)
    assert caught.value.message == (
        "this run itself holds this server's management port, for another name of the same daemon"
    )


async def test_sixty_four_at_a_time(folder: Path) -> None:
    slots = Slots(folder, "fleet status", 0.0)
    servers = [replace(EDGE, management=TCPEndpoint("127.0.0.1", port)) for port in range(7000, 7064)]
    every = asyncio.Event()
    held = 0

    async def work(server: Server) -> None:
        nonlocal held
        async with slots.hold(server):
            held += 1
            if held == len(servers):
                every.set()
            await every.wait()

    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*map(work, servers))


async def test_an_error_inside_gives_the_lock_back(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Slots(folder, "fleet status", 0.0).hold(EDGE):
            raise ZeroDivisionError
    await take(folder)


async def test_a_program_that_is_started_meanwhile_does_not_inherit_it(folder: Path) -> None:
    """A ProxyCommand, a password command: it may outlive the run."""
    code = "import os, sys; print(*[os.path.realpath(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')])"
    async with Slots(folder, "fleet status", 0.0).hold(EDGE):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, close_fds=False
        )
        out, _ = await child.communicate()
    assert child.returncode == 0
    assert str(folder) not in out.decode()


async def test_a_forked_child_does_not_keep_it(folder: Path) -> None:
    code = """
import asyncio, os, sys
exec(sys.argv[5].split("async def main")[0])
async def main():
    slots = Slots(Path(sys.argv[1]), "fleet status", 0)
    async with slots.hold(edge):
        child = os.fork()
        if not child:
            os.read(0, 1)
            os._exit(0)
    print("forked", flush=True)
    os.waitpid(child, 0)
asyncio.run(main())
"""
    with program(code, str(folder), "slot", "0", "x", HOLDER) as process:
        assert line_of(process) == "forked"
        await take(folder)
        assert process.poll() is None


async def test_a_holder_that_has_not_said_who_it_is(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    file = only_file(folder)
    for text in ("", "{", "[]", "{}", '{"pid": "x"}', '{"pid": 1, "user": "a", "command": "b", "since": "never"}'):
        file.write_text(text)
        with pytest.raises(LockedError) as caught:
            await take(folder)
        assert caught.value.message == "another run of fleet holds this server's management port"


async def test_since_yesterday(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.poll() is None
    file = only_file(folder)
    file.write_text('{"pid": 7, "user": "ops", "command": "fleet log", "since": "2020-02-03T04:05:06.789Z"}\n')
    with pytest.raises(LockedError, match=r": pid 7 \(ops, 'fleet log', since 2020-02-03T04:05:06Z\)$"):
        await take(folder)


async def test_a_long_command_is_cut(folder: Path) -> None:
    with program(HOLDER, str(folder), "slot", "0", "fleet exec " + "\N{GRINNING FACE}" * 2000) as process:
        assert line_of(process) == "held"
        with pytest.raises(LockedError) as caught:
            await take(folder)
    assert f"pid {process.pid} (" in caught.value.message
    assert len(caught.value.message) < 400


async def test_whole_runs(folder: Path) -> None:
    with program(HOLDER, str(folder), "rolling", "0", "fleet signal SIGUSR1 --all") as process:
        assert line_of(process) == "held"
        with pytest.raises(RunLockedError) as caught:
            async with RunLock(folder, "rolling", "fleet verb 4", 0.05).hold():
                pass
        assert caught.value.message.startswith(
            f"another run of fleet makes a rolling change from this machine: pid {process.pid} ("
        )
        async with RunLock(folder, "other", "fleet verb 4", 0.0).hold():
            pass
        process.kill()
        process.wait(TIMEOUT)
        async with RunLock(folder, "rolling", "fleet verb 4", 0.0).hold():
            pass


async def test_a_lock_that_cannot_be_had(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LockedError, match="cannot be opened: No such file or directory"):
        await take(tmp_path / "missing")
    await take(folder)
    file = only_file(folder)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LockedError, match="cannot be opened: Too many levels of symbolic links"):
        await take(folder)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_file_system_without_locks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(37, os.strerror(37))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(LockedError, match="cannot be locked: No locks available"):
        await take(folder)


async def test_files_are_of_the_user_alone_and_tell_nothing(folder: Path) -> None:
    async with Slots(folder, "fleet status", 0.0).hold(EDGE):
        file = only_file(folder)
        assert file.stat().st_mode & 0o777 == 0o600
        assert "edge" not in file.name
        assert json.loads(file.read_text().partition("\n")[0])["command"] == "fleet status"
    assert file.read_bytes().startswith(b"\n")
