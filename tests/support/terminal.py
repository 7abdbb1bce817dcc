"""A program at a terminal of its own, and the person who sits there."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

SEE_TIMEOUT = 60.0
"""Seconds until something must be seen."""


class Person:
    """Who sits at the terminal: reads what it shows and types.

    Attributes:
        seen: what was shown and not looked for yet.
        hidden: what is typed next is typed only once the terminal shows it no more.
    """

    def __init__(self, master: int) -> None:
        self.seen = ""
        self.hidden = True
        self._master = master
        self._pieces: asyncio.Queue[str] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self._pieces.put_nowait(data.decode())

    async def sees(self, text: str) -> None:
        """Waits until the text is on the screen, behind what was looked for before."""
        async with asyncio.timeout(SEE_TIMEOUT):
            while text not in self.seen:
                piece = await self._pieces.get()
                assert piece, f"never seen: {text!r}; unread: {self.seen!r}"
                self.seen += piece
        self.seen = self.seen.partition(text)[2]

    async def types(self, text: str) -> None:
        """Types, as soon as the program is ready for that."""
        # getpass drops what was typed before it had switched the echo off, so that is waited for.
        async with asyncio.timeout(SEE_TIMEOUT):
            while self._echoes() and self.hidden:  # noqa: ASYNC110 - a terminal has no such event
                await asyncio.sleep(0.01)
        os.write(self._master, text.encode())

    def _echoes(self) -> bool:
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)


@asynccontextmanager
async def at_a_terminal(
    argv: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[tuple[Person, asyncio.subprocess.Process]]:
    """Runs a program with a new terminal as its own, standard input and error; its standard output is a pipe."""
    setsid = shutil.which("setsid")
    assert setsid is not None, "setsid (of util-linux) gives a program a terminal of its own"
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(setsid, "--ctty", "--wait", *argv),
        stdin=slave,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    person = Person(master)
    try:
        yield person, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
