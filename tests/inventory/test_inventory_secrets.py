"""Passwords and keys: refused before anything is sent, read when asked, never shown, nothing left running."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import InventoryError, ManagementPasswordError
from fleet.inventory import secrets
from fleet.inventory.model import Inventory, PasswordCommand, PasswordFile, Server, SSHSettings, UnixEndpoint
from fleet.inventory.secrets import Passwords, check_secrets, read_password

Read = Callable[..., Inventory]


def problem(servers: tuple[Server, ...]) -> tuple[str, str | None]:
    with pytest.raises(InventoryError) as caught:
        check_secrets(servers)
    return caught.value.message, caught.value.hint


def secret(folder: Path, name: str, text: bytes = b"hunter2\n", mode: int = 0o600) -> Path:
    path = folder / name
    path.write_bytes(text)
    path.chmod(mode)
    return path


def with_password(read: Read, variables: str) -> tuple[Server, ...]:
    return read(f"all: {{hosts: {{'a[1:2]': {{management: /s, {variables}}}}}}}\n").servers


def test_nothing_to_check() -> None:
    check_secrets(())
    check_secrets([Server("a", "a", None, UnixEndpoint("/s"))])


def test_what_is_right_passes(read: Read, folder: Path) -> None:
    secret(folder, "pw")
    secret(folder, "key", mode=0o400)
    check_secrets(with_password(read, "management_password_file: pw, private_key: key"))
    check_secrets(with_password(read, "management_password_command: cat pw"))


def test_a_missing_file_is_refused_once_for_all_its_servers(read: Read, folder: Path) -> None:
    servers = with_password(read, "management_password_file: pw")
    assert problem(servers) == (
        f"inv.yaml:1:42: management password file {folder}/pw cannot be read: No such file or directory",
        "create it, or correct the path; a relative one starts at the inventory",
    )
    check_secrets(())  # servers that are not selected may lack theirs


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_file_that_others_may_read_is_refused(read: Read, folder: Path, mode: int) -> None:
    path = secret(folder, "pw", mode=mode)
    servers = with_password(read, "management_password_file: pw")
    place = f"inv.yaml:1:42: management password file {path}"
    assert problem(servers) == (f"{place} may be read by others (mode {mode:04o})", f"chmod 600 {path}")


def test_a_folder_is_no_password_file(read: Read, folder: Path) -> None:
    (folder / "pw").mkdir(mode=0o700)
    message, hint = problem(with_password(read, "management_password_file: pw"))
    assert message == f"inv.yaml:1:42: management password file {folder}/pw is not a regular file"
    assert hint == "name the file itself"


def test_a_file_of_somebody_else_is_refused(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secret(folder, "pw")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    message, hint = problem(with_password(read, "management_password_file: pw"))
    assert message == f"inv.yaml:1:42: management password file {path} cannot be read: Permission denied"
    assert hint == "make yourself its owner"


def test_a_command_that_is_not_there_is_refused(read: Read, folder: Path) -> None:
    servers = with_password(read, "management_password_command: [no-such-program, hunter2]")
    assert problem(servers) == (
        "inv.yaml:1:42: management password command no-such-program is no program that can be run",
        "install it, or name it with its path",
    )
    secret(folder, "show", mode=0o600)
    message, _ = problem(with_password(read, "management_password_command: ./show hunter2"))
    assert message == f"inv.yaml:1:42: management password command {folder}/show is no program that can be run"


def test_private_keys_of_the_server_and_its_jump_hosts(read: Read, folder: Path) -> None:
    inventory = read(
        """
all:
  hosts:
    a: {management: /s, ansible_ssh_private_key_file: own, jump: b}
    b: {management: null, private_key: theirs, jump: c}
    c: {management: null, private_key: open}
"""
    )
    secret(folder, "open", mode=0o644)
    message, hint = problem(inventory.servers)
    assert message.split("\n") == [
        f"inv.yaml:4:9: private key {folder}/theirs of jump host b cannot be read: No such file or directory",
        "  create it, or correct the path; a relative one starts at the inventory",
        f"inv.yaml:4:9: private key {folder}/open of jump host c may be read by others (mode 0644)",
        f"  chmod 600 {folder}/open",
        f"inv.yaml:4:25: private key {folder}/own cannot be read: No such file or directory",
    ]
    assert hint == "create it, or correct the path; a relative one starts at the inventory"


def test_a_key_of_somebody_else_may_be_readable_as_ssh_has_it(
    read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret(folder, "key", mode=0o440)
    servers = with_password(read, "private_key: key")
    assert "may be read by others" in problem(servers)[0]
    monkeypatch.setattr(os, "getuid", lambda: 123456)
    check_secrets(servers)


def test_a_server_without_origins_is_refused_all_the_same() -> None:
    server = Server("a", "a", None, UnixEndpoint("/s"), PasswordFile(Path("/no/such")))
    assert problem((server,))[0].startswith("inventory:1:1: management password file /no/such cannot be read")
    server = replace(server, password=None, ssh=SSHSettings("a", private_key=Path("a\0b")))
    assert problem((server,))[0] == "inventory:1:1: private key a\0b cannot be read: embedded null byte"


# Reading


@pytest.mark.parametrize(
    ("text", "password"),
    [
        (b"hunter2\n", b"hunter2"),
        (b"hunter2", b"hunter2"),
        (b"hunter2\r\nmore\n", b"hunter2"),
        (b" with blanks \n", b" with blanks "),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"x" * 1023 + b"\r\n", b"x" * 1023),
    ],
)
async def test_the_first_line_is_the_password(folder: Path, text: bytes, password: bytes) -> None:
    path = secret(folder, "pw", text)
    assert await read_password(PasswordFile(path)) == password
    assert await read_password(PasswordCommand(("cat", str(path)))) == password


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "gives an empty first line"),
        (b"\nhunter2\n", "gives an empty first line"),
        (b"hunter2" * 147, "gives more than 1023 bytes, more than a daemon takes"),
        (b"hunter2\t\n", "gives a control character"),
        (b"hunter2\x7f\n", "gives a control character"),
    ],
)
async def test_passwords_that_no_daemon_takes(folder: Path, text: bytes, message: str) -> None:
    path = secret(folder, "pw", text)
    for source, what in (
        (PasswordFile(path), f"management password file {path}"),
        (PasswordCommand(("cat", str(path))), "management password command cat"),
    ):
        with pytest.raises(ManagementPasswordError) as caught:
            await read_password(source)
        assert caught.value.message == f"{what} {message}"
        assert "hunter2" not in f"{caught.value} {caught.value.hint}"


async def test_a_file_that_changed_since_it_was_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secret(folder, "pw", mode=0o644)
    with pytest.raises(ManagementPasswordError, match=r"may be read by others \(mode 0644\)"):
        await read_password(PasswordFile(path))
    monkeypatch.setattr(secrets, "_file_problem", lambda *_args, **_keywords: None)
    with pytest.raises(ManagementPasswordError, match="missing cannot be read: No such file or directory"):
        await read_password(PasswordFile(folder / "missing"))


def python(body: str, *arguments: str) -> PasswordCommand:
    return PasswordCommand((sys.executable, "-c", f"import os, sys, time\n{body}", *arguments))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('hunter2'); sys.exit('one\\n no key\\x1b for it ')", "failed with exit status 1: no key? for it"),
        ("sys.exit(3)", "failed with exit status 3"),
        ("os.kill(os.getpid(), 15)", "was ended by signal 15"),
        ("sys.stderr.write('x' * 500000 + '\\nlast'); sys.exit(1)", "failed with exit status 1: last"),
    ],
)
async def test_commands_that_fail(body: str, message: str) -> None:
    with pytest.raises(ManagementPasswordError) as caught:
        await read_password(python(body, "hunter2"))
    assert caught.value.message == f"management password command {sys.executable} {message}"


async def test_a_command_has_nothing_to_read_and_its_own_arguments() -> None:
    body = "assert sys.stdin.read() == ''; print(sys.argv[1]); print('x' * 500000)"
    assert await read_password(python(body, "$HOME; *")) == b"$HOME; *"


@pytest.mark.parametrize("argv", [("/no/such/program",), ("cat", "a\0b")])
async def test_commands_that_cannot_be_started(argv: tuple[str, ...]) -> None:
    with pytest.raises(ManagementPasswordError, match=f"^management password command {argv[0]} cannot be started: "):
        await read_password(PasswordCommand(argv))


SLOW = [
    "time.sleep(60)",
    "while True: os.write(1, b'x' * 65536)",
    "os.fork()\ntime.sleep(60)",
    "os.close(1); os.close(2); time.sleep(60)",
]


@pytest.mark.parametrize("body", SLOW)
async def test_a_command_that_does_not_end_is_killed(folder: Path, body: str) -> None:
    source = python(f"open({str(folder / 'pid')!r}, 'w').write(str(os.getpid()))\n{body}")
    with pytest.raises(ManagementPasswordError) as caught:
        await read_password(source, command_timeout=1.0)
    assert caught.value.message == f"management password command {sys.executable} did not end within 1 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)


@pytest.mark.parametrize("ends", [False, True])
async def test_what_left_the_command_s_session_is_not_waited_for(folder: Path, *, ends: bool) -> None:
    """It holds the pipes for as long as it lives."""
    pid = folder / "pid"
    keep = f"os.setsid(); open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    source = python(f"if not os.fork():\n {keep}\n os._exit(0)\n{'' if ends else 'time.sleep(60)'}")
    reading = asyncio.create_task(read_password(source, command_timeout=1.0))
    done, _ = await asyncio.wait([reading], timeout=20)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert done
    with pytest.raises(ManagementPasswordError, match="did not end within 1 s"):
        await reading


async def test_what_a_command_left_behind_is_killed(folder: Path) -> None:
    pid = folder / "pid"
    keep = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(ManagementPasswordError, match="did not end within 1 s"):
        await read_password(python(f"if not os.fork():\n {keep}\n"), command_timeout=1.0)
    for _ in range(1000):
        if not running(int(pid.read_text())):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it still runs")


def running(pid: int) -> bool:
    """Whether a process is there and no zombie: one who has lost its parent may find nobody who waits for its end."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()


@pytest.mark.parametrize("body", SLOW)
async def test_cancelling_kills_the_command_and_waits(folder: Path, body: str) -> None:
    pid = folder / "pid"
    source = python(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n{body}")
    reading = asyncio.create_task(read_password(source, command_timeout=60.0))
    while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def counting_command(folder: Path, answer: str) -> tuple[PasswordCommand, Path]:
    """A command that leaves a mark each time it is run."""
    marks = folder / "marks"
    script = f"open({str(marks)!r}, 'a').write('.'); {answer}"
    return PasswordCommand((sys.executable, "-c", script)), marks


async def test_a_run_reads_each_source_once(tmp_path: Path) -> None:
    source, marks = counting_command(tmp_path, "print('hunter2')")
    passwords = Passwords()
    assert await asyncio.gather(*[passwords.read(source) for _ in range(5)]) == [b"hunter2"] * 5
    assert marks.read_text() == "."


async def test_a_command_that_fails_is_not_run_again_for_the_next_server(tmp_path: Path) -> None:
    source, marks = counting_command(tmp_path, "raise SystemExit('locked')")
    passwords = Passwords()
    failures = await asyncio.gather(*[passwords.read(source) for _ in range(3)], return_exceptions=True)
    assert len({id(failure) for failure in failures}) == 3
    assert {str(failure) for failure in failures if isinstance(failure, ManagementPasswordError)} == {str(failures[0])}
    assert "locked" in str(failures[0])
    assert marks.read_text() == "."


async def test_a_cancelled_reader_leaves_the_next_one_to_read(tmp_path: Path) -> None:
    source, marks = counting_command(tmp_path, "import time; time.sleep(0.3); print('hunter2')")
    passwords = Passwords()
    first, second = asyncio.create_task(passwords.read(source)), asyncio.create_task(passwords.read(source))
    await asyncio.sleep(0.05)
    first.cancel()
    assert await second == b"hunter2"
    assert first.cancelled()
    assert marks.read_text() in {".", ".."}
