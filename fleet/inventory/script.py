"""Runs an executable inventory."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from typing import IO, NamedTuple, cast

from fleet.errors import InventoryError
from fleet.inventory.tree import MAX_BYTES

SCRIPT_TIMEOUT = 60.0
"""Seconds that an executable inventory may run."""

_STDERR_KEPT = 64 * 1024  # security limit: bytes of its stderr that are kept


class Deadline(NamedTuple):
    """When a program must have said all.

    Attributes:
        at: on the monotonic clock.
        limit: the seconds that it had.
    """

    at: float
    limit: float

    @property
    def left(self) -> float:
        """Seconds until then; 0 where it is past."""
        return max(0.0, self.at - time.monotonic())


def script_deadline(run_timeout: float | None = None) -> Deadline:
    """When a program must have said all, from now on.

    Args:
        run_timeout: seconds that the whole run may take, or None: a program has no more, and `SCRIPT_TIMEOUT` at most.
    """
    limit = SCRIPT_TIMEOUT if run_timeout is None else min(SCRIPT_TIMEOUT, run_timeout)
    return Deadline(time.monotonic() + limit, limit)


def run_script(path: str, deadline: Deadline) -> bytes:
    """What `PATH --list` prints; it is run without a shell, with nothing on its stdin.

    Args:
        path: the program.
        deadline: from `script_deadline`; it is killed then, with what it started.

    Raises:
        InventoryError: it cannot be started, fails, prints too much or takes too long.
    """
    return _run(path, ["--list"], deadline)


def ask_script(path: str, host: str, deadline: Deadline) -> bytes:
    """What `PATH --host HOST` prints: the variables of one host, of a program that prints no `_meta`.

    Raises:
        InventoryError: as `run_script`.
    """
    return _run(path, ["--host", host], deadline)


def _run(path: str, arguments: list[str], deadline: Deadline) -> bytes:
    try:
        process = subprocess.Popen(  # noqa: S603 - the inventory that the operator named, without a shell
            [os.path.abspath(path), *arguments],  # noqa: PTH100 - a name without a slash would be looked up in PATH
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise InventoryError(
            f"executable inventory {path} cannot be started: {error.strerror}",
            hint="the program that its first line names must be there; a file to read is not executable",
        ) from error
    command = shlex.join([path, *arguments])
    with process:
        try:
            output, errors = _collect(process, path, command, deadline)
        finally:
            _kill_group(process)
    if process.returncode != 0:
        raise _failed(path, command, process.returncode, errors)
    return output


def _collect(process: subprocess.Popen[bytes], path: str, command: str, deadline: Deadline) -> tuple[bytes, bytes]:
    """Reads both pipes to their ends, then waits for the exit."""
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(_pipe(process.stdout), selectors.EVENT_READ, output)
        selector.register(_pipe(process.stderr), selectors.EVENT_READ, errors)
        while selector.get_map():
            ready = selector.select(deadline.left)
            if not ready:
                raise _too_long(path, command, deadline)
            for key, _events in ready:
                chunk = os.read(key.fd, 65536)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fd)
            del errors[:-_STDERR_KEPT]
            if len(output) > MAX_BYTES:
                raise InventoryError(
                    f"executable inventory {path} prints more than {MAX_BYTES} bytes, which is fleet's security limit"
                )
    try:
        process.wait(deadline.left)
    except subprocess.TimeoutExpired:
        raise _too_long(path, command, deadline) from None
    return bytes(output), bytes(errors)


def _pipe(pipe: IO[bytes] | None) -> int:
    """Both were asked for, so neither is None."""
    return cast("IO[bytes]", pipe).fileno()


def _too_long(path: str, command: str, deadline: Deadline) -> InventoryError:
    limit = f"{deadline.limit:g} s"
    return InventoryError(f"executable inventory {path} did not end within {limit}", hint=f"run it by hand: {command}")


def _failed(path: str, command: str, status: int, errors: bytes) -> InventoryError:
    how = f"was ended by signal {-status}" if status < 0 else f"failed with exit status {status}"
    said = last_line(errors)
    return InventoryError(
        f"executable inventory {path} {how}" + (f": {said}" if said else ""), hint=f"run it by hand: {command}"
    )


def last_line(data: bytes) -> str:
    """The last line of a program's stderr that is not blank, as one printable line of at most 200 characters."""
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    text = lines[-1].strip() if lines else ""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the program, if it still runs, and all it started: they are a session of their own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
