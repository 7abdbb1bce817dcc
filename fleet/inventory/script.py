"""Runs an executable inventory."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import IO, cast

from fleet.errors import InventoryError
from fleet.inventory.tree import MAX_BYTES

SCRIPT_TIMEOUT = 60.0
"""Seconds that an executable inventory may run."""

_STDERR_KEPT = 64 * 1024  # security limit: bytes of its stderr that are kept


def run_script(path: str, *, script_timeout: float = SCRIPT_TIMEOUT) -> bytes:
    """What `PATH --list` prints; it is run without a shell, with nothing on its stdin.

    Args:
        path: the program.
        script_timeout: seconds it may run; it is killed then, with what it started.

    Raises:
        InventoryError: it cannot be started, fails, prints too much or takes too long.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the inventory that the operator named, without a shell
            [os.path.abspath(path), "--list"],  # noqa: PTH100 - a name without a slash would be looked up in PATH
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise InventoryError(
            f"executable inventory {path} cannot be started: {error.strerror}",
            hint="a program begins with #!; a file to read is named .yaml, .yml or .json, or is not executable",
        ) from error
    with process:
        try:
            output, errors = _collect(process, path, script_timeout)
        finally:
            _kill_group(process)
    if process.returncode != 0:
        raise _failed(path, process.returncode, errors)
    return output


def _collect(process: subprocess.Popen[bytes], path: str, script_timeout: float) -> tuple[bytes, bytes]:
    """Reads both pipes to their ends, then waits for the exit."""
    deadline = time.monotonic() + script_timeout
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(_pipe(process.stdout), selectors.EVENT_READ, output)
        selector.register(_pipe(process.stderr), selectors.EVENT_READ, errors)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise _too_long(path, script_timeout)
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
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_long(path, script_timeout) from None
    return bytes(output), bytes(errors)


def _pipe(pipe: IO[bytes] | None) -> int:
    """Both were asked for, so neither is None."""
    return cast("IO[bytes]", pipe).fileno()


def _too_long(path: str, script_timeout: float) -> InventoryError:
    return InventoryError(
        f"executable inventory {path} did not end within {script_timeout:g} s", hint=f"run it by hand: {path} --list"
    )


def _failed(path: str, status: int, errors: bytes) -> InventoryError:
    how = f"was ended by signal {-status}" if status < 0 else f"failed with exit status {status}"
    said = last_line(errors)
    return InventoryError(
        f"executable inventory {path} {how}" + (f": {said}" if said else ""), hint=f"run it by hand: {path} --list"
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
