"""One management session with a simulated daemon: bytes in, answers out, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet.demo import commands
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.lexer import LineReader

READ_BYTES = 256  # that a daemon reads at a time; what `exit` throws away (protocol-facts 6.1)
PASSWORD_TRIES = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What one line of input gave: the command's name, empty for none, and bytes, notifications before it included."""

    command: str
    data: bytes


class ManagementSession:
    """A management client's connection to a daemon: give it what was read, write what it gives.

    Attributes:
        realtime: which notifications are on, of `log`, `state` and `echo`.
        ended: the daemon hangs up as soon as everything that it gave is written.
    """

    def __init__(self, daemon: SimulatedDaemon, wake: Callable[[], None] = lambda: None) -> None:
        """Connects; `take` gives the greeting or the password prompt.

        Args:
            daemon: it must have no other session.
            wake: called when there is something to `take` that no `receive` asked for, or the daemon has ended.
        """
        self.realtime = {"log": False, "state": False, "echo": False}
        self.ended = False
        self._daemon = daemon
        self._wake = wake
        self._reader = LineReader()
        self._output = bytearray()
        self._receiving = False
        self._tries = 0
        self._authenticated = daemon.password is None
        self._due_at_end: str | None = None
        daemon.attach(self)
        if self._authenticated:
            self.write(*daemon.greeting())
        else:
            self._output += b"ENTER PASSWORD:"

    def close(self) -> None:
        """The management client has gone, or was hung up on."""
        self._daemon.detach()

    def take(self) -> bytes:
        """What is to be written: the greeting at first, later notifications that came between commands."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Answer]:
        """Runs what was read, at most READ_BYTES, and gives the answers in order.

        `exit` and `quit` throw away every answer of the same read (protocol-facts 6.1).
        """
        answers = []
        self._receiving = True
        for line in self._reader.feed(data):
            name = self._line(line)
            answers.append(Answer(name, self.take()))
            if self.ended:
                answers.clear()
                break
        self._receiving = False
        return [answer for answer in answers if answer.data]

    def write(self, *lines: str) -> None:
        """Puts lines behind what is to be written."""
        for line in lines:
            self._output += line.encode("utf-8", "surrogateescape") + b"\r\n"

    def emit(self, lines: Iterable[str]) -> None:
        """Real-time messages; none is sent before the password was right."""
        if self._authenticated:
            self.write(*lines)
            if not self._receiving:
                self._wake()

    def swallow(self, answer: str) -> None:
        """Takes every line up to END for the body of a multi-line command, and gives the answer then."""
        self._due_at_end = answer

    def leave(self) -> None:
        """`exit`, or the last wrong password: the daemon hangs up, what it had to say is lost."""
        self._output.clear()
        self.ended = True

    def end(self) -> None:
        """The daemon's process ends: what was said is still written, then it hangs up."""
        self.ended = True
        self._wake()

    def _line(self, line: bytes) -> str:
        if not self._authenticated:
            self._check_password(line)
            return ""
        if self._due_at_end is None:
            return commands.run(self._daemon, line, self)
        if line == b"END":
            self.write(self._due_at_end)
            self._due_at_end = None
        return ""

    def _check_password(self, line: bytes) -> None:
        self._tries += 1
        if line == self._daemon.password:
            self._authenticated = True
            self.write("SUCCESS: password is correct", *self._daemon.greeting())
        elif self._tries < PASSWORD_TRIES:
            self._output += b"ENTER PASSWORD:"
        else:
            self.leave()
