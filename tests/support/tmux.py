"""A terminal for programs that want one: a tmux server of its own, with one window.

with Tmux(folder) as screen:
    screen.run(["fleet", "console", "edge-1"], env)
    screen.wait_for("edge-1> ")
    screen.type("verb", "Enter")
"""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

WAIT_TIMEOUT = 30.0
"""Seconds for something to be seen."""

_INTERVAL = 0.05


class Tmux:
    """Attributes: folder: where its socket is, and the exit status of what ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._socket = folder / "tmux.sock"
        self._status = folder / "exit-status"

    def __enter__(self) -> Self:
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50", "sh")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tmux("kill-server")

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Starts a program in the window, in place of what was there."""
        settings = [f"{name}={value}" for name, value in env.items()]
        command = shlex.join(["env", "-i", *settings, *argv])
        self._status.unlink(missing_ok=True)
        # Ctrl-C is for the program: the shell around it waits on.
        script = f"trap : INT; {command}; echo $? > {shlex.quote(str(self._status))}; sleep 1000"
        self._tmux("respawn-pane", "-k", "sh", "-c", script)

    def type(self, *keys: str) -> None:
        """Types text, or keys by tmux's names: Enter, C-c, C-d, Tab, Up."""
        self._tmux("send-keys", *keys)

    def line(self, text: str) -> None:
        """Types a line."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    @property
    def text(self) -> str:
        """What is to be seen, and what has scrolled away above it; lines that the window broke are whole."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-1000")

    def wait_for(self, text: str, times: int = 1) -> str:
        """Waits until the text is to be seen so many times; gives all that is."""
        until = time.monotonic() + WAIT_TIMEOUT
        while (seen := self.text).count(text) < times:
            if time.monotonic() > until:
                raise AssertionError(f"not seen {times} times: {text!r} in\n{seen}")
            time.sleep(_INTERVAL)
        return seen

    def exit_status(self) -> int:
        """Waits until the program has ended."""
        until = time.monotonic() + WAIT_TIMEOUT
        while not (self._status.exists() and self._status.read_text().strip()):
            if time.monotonic() > until:
                raise AssertionError(f"still running:\n{self.text}")
            time.sleep(_INTERVAL)
        return int(self._status.read_text())

    def _tmux(self, *args: str) -> str:
        done = subprocess.run(["tmux", "-S", str(self._socket), *args], capture_output=True, text=True, check=True)
        return done.stdout
