"""Management passwords and private keys: looked at before anything is sent, and read when a daemon asks.

No message of this module holds a password, or the arguments of a command that prints one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

from fleet.errors import ManagementPasswordError
from fleet.inventory.model import PasswordCommand, PasswordFile, PasswordSource, Position, Server, SSHSettings
from fleet.inventory.tree import Complaint, inventory_error

MAX_PASSWORD = 1023
"""Security limit: bytes of a management password. No daemon's input line holds more (protocol-facts 2, 11.9)."""

COMMAND_TIMEOUT = 10.0
"""Seconds that a password command may run."""

END_TIMEOUT = 1.0
"""Seconds for a command that was killed to end, and for its pipes to come to theirs."""

_CHUNK = 64 * 1024
_STDERR_KEPT = 4096  # security limit: bytes of a command's stderr that are kept
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_secrets(servers: Iterable[Server]) -> None:
    """Refuses what could not be read later: call it with the selected servers, before anything is sent.

    A password file must be a regular file that only its owner may read. A private key must be a regular file; where
    it is the user's own, only the user may read it, as ssh has it. A password command must exist.

    Args:
        servers: those that this run may ask; the files of others may be missing.

    Raises:
        InventoryError: every complaint, at the place in the inventory that names the file.
    """
    complaints: dict[tuple[Position | None, str], Complaint] = {}
    for server in servers:
        for complaint in _complaints(server):
            complaints.setdefault((complaint.position, complaint.text), complaint)
    if complaints:
        raise inventory_error(*complaints.values())


def _complaints(server: Server) -> Iterator[Complaint]:
    if isinstance(server.password, PasswordFile):
        place = server.origins.get("management_password_file", _nowhere(server))
        problem = _file_problem(server.password.path, owner_only=True)
        if problem is not None:
            yield Complaint(place, f"management password file {server.password.path} {problem[0]}", problem[1])
    elif isinstance(server.password, PasswordCommand):
        place = server.origins.get("management_password_command", _nowhere(server))
        program = server.password.argv[0]
        if shutil.which(program) is None:
            problem_text = f"management password command {program} is no program that can be run"
            yield Complaint(place, problem_text, "install it, or name it with its path")
    ssh = server.ssh
    while ssh is not None:
        yield from _key_complaints(server, ssh)
        ssh = ssh.jump


def _key_complaints(server: Server, ssh: SSHSettings) -> Iterator[Complaint]:
    if ssh.private_key is not None:
        place = server.origins.get("private_key", _nowhere(server)) if ssh is server.ssh else _nowhere(server)
        problem = _file_problem(ssh.private_key, owner_only=False)
        if problem is not None:
            whose = "" if ssh is server.ssh else f" of jump host {ssh.host}"
            yield Complaint(place, f"private key {ssh.private_key}{whose} {problem[0]}", problem[1])


def _nowhere(server: Server) -> Position:
    """Where there is no better place: the `management` of the server, which every server has from the inventory."""
    return server.origins.get("management", Position("inventory", 1, 1))


def _file_problem(path: Path, *, owner_only: bool) -> tuple[str, str] | None:
    """What is wrong with a secret's file, and what to do; None where nothing is.

    Its mode is looked at, since trying to read it would say nothing to root.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"cannot be read: {reason}", "create it, or correct the path; a relative one starts at the inventory"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file", "name the file itself"
    if status.st_mode & _OTHERS and (owner_only or status.st_uid == os.getuid()):
        return f"may be read by others (mode {stat.S_IMODE(status.st_mode):04o})", f"chmod 600 {path}"
    if not os.access(path, os.R_OK):
        return "cannot be read: Permission denied", "make yourself its owner"
    return None


async def read_password(
    source: PasswordSource, *, command_timeout: float = COMMAND_TIMEOUT, called: str = "management password"
) -> bytes:
    """The management password: the first line of a file or of what a command prints, without the line's end.

    Args:
        source: where it comes from.
        command_timeout: seconds that a command may run; it is killed then, and when the caller is cancelled.
        called: what an error calls it, where it is another secret.

    Raises:
        ManagementPasswordError: there is none to be had. The message never holds any of it.
    """
    if isinstance(source, PasswordFile):
        what = f"{called} file {source.path}"
        return _password(_read_file(source.path, what), what)
    what = f"{called} command {source.argv[0]}"
    return _password(await _run(source.argv, what, command_timeout), what)


class Passwords:
    """The management passwords of one run: each source is read once, however many servers share it.

    A command that every server of a fleet is given would else run once for each of them, and ask each time.
    """

    def __init__(self) -> None:
        self._locks: dict[PasswordSource, asyncio.Lock] = {}
        self._results: dict[PasswordSource, bytes | ManagementPasswordError] = {}

    async def read(self, source: PasswordSource) -> bytes:
        """As `read_password`; a failure is kept too, and raised again for each server that it concerns.

        Raises:
            ManagementPasswordError: there is none to be had.
        """
        async with self._locks.setdefault(source, asyncio.Lock()):
            if source not in self._results:
                try:
                    self._results[source] = await read_password(source)
                except ManagementPasswordError as error:
                    self._results[source] = error
        result = self._results[source]
        if isinstance(result, ManagementPasswordError):
            raise ManagementPasswordError(result.message, hint=result.hint) from result
        return result


def _read_file(path: Path, what: str) -> bytes:
    problem = _file_problem(path, owner_only=True)
    if problem is not None:
        raise ManagementPasswordError(f"{what} {problem[0]}", hint=problem[1])
    try:
        with path.open("rb") as file:
            return file.read(MAX_PASSWORD + 3)  # a line's end more, and one byte that shows that it is too long
    except OSError as error:
        raise ManagementPasswordError(f"{what} cannot be read: {error.strerror}") from error


def _password(data: bytes, what: str) -> bytes:
    """The first line, where it is one that a daemon can be sent."""
    line = data.split(b"\n", 1)[0].removesuffix(b"\r")
    if not line:
        raise ManagementPasswordError(f"{what} gives an empty first line", hint="its first line is what counts")
    if len(line) > MAX_PASSWORD:
        raise ManagementPasswordError(f"{what} gives more than {MAX_PASSWORD} bytes, more than a daemon takes")
    if any(byte < 0x20 or byte == 0x7F for byte in line):  # noqa: PLR2004 - ASCII's control characters
        hint = "OpenVPN drops control characters, so such a password never fits"
        raise ManagementPasswordError(f"{what} gives a control character", hint=hint)
    return line


async def _run(argv: tuple[str, ...], what: str, command_timeout: float) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that what it starts ends with it
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "an argument holds a NUL"
        raise ManagementPasswordError(f"{what} cannot be started: {reason}") from error
    try:
        async with asyncio.timeout(command_timeout):
            output, errors = await asyncio.gather(
                _head(cast("asyncio.StreamReader", process.stdout)), _tail(cast("asyncio.StreamReader", process.stderr))
            )
            status = await process.wait()
    except TimeoutError:
        raise ManagementPasswordError(
            f"{what} did not end within {command_timeout:g} s", hint="run it by hand; nothing can be typed into it"
        ) from None
    finally:
        await _end(process)
    if status != 0:
        how = f"was ended by signal {-status}" if status < 0 else f"failed with exit status {status}"
        from fleet.inventory.script import last_line  # noqa: PLC0415 - for this failure alone

        said = last_line(errors)
        raise ManagementPasswordError(f"{what} {how}" + (f": {said}" if said else ""), hint="run it by hand")
    return output


async def _head(stream: asyncio.StreamReader) -> bytes:
    """The beginning of what a pipe gives, as much as a password may have and a little more; the rest is dropped."""
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[: MAX_PASSWORD + 3] if len(kept) <= MAX_PASSWORD + 2 else kept
    return kept


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(_CHUNK):
        kept = (kept + chunk)[-_STDERR_KEPT:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills the command and all it started, where any of it may still run, and waits for its end.

    What has left the command's session (setsid) is not killed, and may hold the pipes for as long as it lives: so the
    wait has an end, and the pipes are let go then.
    """
    output, errors = cast("asyncio.StreamReader", process.stdout), cast("asyncio.StreamReader", process.stderr)
    if process.returncode is not None and output.at_eof() and errors.at_eof():
        return
    with suppress(ProcessLookupError, PermissionError):  # of another user: sudo, which then keeps the pipes for a while
        os.killpg(process.pid, signal.SIGKILL)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                # wait() returns only when the pipes are read to their ends. What is left in them is dropped.
                await asyncio.gather(_head(output), _tail(errors))
                await process.wait()
    finally:
        with suppress(PermissionError):
            process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no public way to let go
