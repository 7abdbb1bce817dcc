"""The console's line: editing, history, completion (the only place with prompt_toolkit)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.patch_stdout import patch_stdout

from fleet.management.commands import COMMANDS

HISTORY = "console_history"
"""The file in fleet's state folder that keeps what was typed."""

HISTORY_LIMIT = 1000
"""Lines that are kept from one console to the next."""

HISTORY_SIZE_LIMIT = 2**20
"""Security limit: bytes of the file; a longer one, which fleet does not write, is begun anew."""


def history_file(environ: Mapping[str, str], home: Path) -> Path:
    """The file of the history: in `$XDG_STATE_HOME/fleet`, or `~/.local/state/fleet`."""
    state = environ.get("XDG_STATE_HOME", "")
    # A relative path is to be ignored (XDG Base Directory Specification).
    base = Path(state) if state.startswith("/") else home / ".local" / "state"
    return base / "fleet" / HISTORY


class Prompt:
    """The line that is edited, below whatever is written meanwhile.

    Args:
        text: what stands before the line; asked at each redraw.
        commands: the names to complete, asked at each completion.
        remembered: whether a line may stand in the history: no secret may.
        file: where the history is kept. Its folder is made for the user alone.
    """

    def __init__(
        self,
        text: Callable[[], str],
        commands: Callable[[], Iterable[str]],
        remembered: Callable[[str], bool],
        file: Path,
    ) -> None:
        self._text = text
        self._session: PromptSession[str] = PromptSession(
            history=_history(file, remembered),
            completer=_Completer(commands),
            complete_while_typing=False,
        )
        self._asking = self._session

    async def line(self, question: str | None = None) -> str:
        """The next line. While it is edited, what is written to stdout and stderr stands above it.

        Args:
            question: what stands before it, in place of the usual text.

        Raises:
            EOFError: Ctrl-D on an empty line, or the terminal is gone.
            KeyboardInterrupt: Ctrl-C; what was typed is dropped.
        """
        self._asking = self._session
        with patch_stdout(raw=True):
            return await self._session.prompt_async(question or self._text, handle_sigint=False)

    async def secret(self, question: str) -> str:
        """A line that is not shown, not even its length, and not remembered. Raises as `line`."""
        self._asking = PromptSession(history=InMemoryHistory(), input_processors=[_Unseen()])
        with patch_stdout(raw=True):
            return await self._asking.prompt_async(question, handle_sigint=False)

    def end(self, error: BaseException) -> bool:
        """Ends what waits for a line with an error; False where nothing does."""
        app = self._asking.app
        if not app.is_running or app.is_done:
            return False
        app.exit(exception=error)
        return True


class _Unseen(Processor):
    """Shows nothing of a line, as `ssh` and `sudo` do."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        del transformation_input  # whatever it is
        return Transformation([], source_to_display=lambda _position: 0, display_to_source=lambda _position: 0)


def _history(file: Path, remembered: Callable[[str], bool]) -> History:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.parent.chmod(0o700)
        _cut(file)
    except OSError:  # a home that cannot be written to costs the history, not the console
        return _Forgetful(remembered)
    return _Kept(file, remembered)


def _cut(file: Path) -> None:
    """Makes the file where there is none, for the user alone, and leaves the last lines of a long one.

    prompt_toolkit writes for each line a comment with the time, then the line behind a `+`, and never cuts anything.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as history:
        os.fchmod(descriptor, 0o600)
        too_long = os.fstat(descriptor).st_size > HISTORY_SIZE_LIMIT
        lines = [] if too_long else [line for line in history if line.startswith(b"+")]
        if too_long or len(lines) > HISTORY_LIMIT:
            history.truncate(0)
            history.write(b"".join(b"\n" + line for line in lines[-HISTORY_LIMIT:]))


class _Forgetful(InMemoryHistory):
    """A history of this session alone, without secrets."""

    def __init__(self, remembered: Callable[[str], bool]) -> None:
        super().__init__()
        self._remembered = remembered

    def append_string(self, string: str) -> None:
        if self._remembered(string):
            super().append_string(string)


class _Kept(FileHistory):
    """A history in a file, without secrets."""

    def __init__(self, file: Path, remembered: Callable[[str], bool]) -> None:
        super().__init__(str(file))
        self._remembered = remembered

    def append_string(self, string: str) -> None:
        if self._remembered(string):
            with suppress(OSError):  # a full disk: the line is done all the same
                super().append_string(string)


class _Completer(Completer):
    """Completes a command's name, and the words that it takes."""

    def __init__(self, commands: Callable[[], Iterable[str]]) -> None:
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        del complete_event  # Tab, or as the user types: the words are the same
        *before, begun = document.text_before_cursor.lstrip().split(" ")
        for word in completions(before, sorted(self._commands())):
            if word.startswith(begun):
                spec = COMMANDS.get(word) if not before else None
                yield Completion(word, start_position=-len(begun), display_meta=spec.help if spec else "")


_WORD = re.compile(r"SIG[A-Z0-9]+|(?<![A-Za-z:])[a-z]+(?![A-Za-z:])")
"""What stands for itself in the table's spelling of arguments: `on`, `all`, `SIGUSR1`, not `N` or `IP:port`."""


def completions(before: list[str], commands: Iterable[str]) -> list[str]:
    """The words that may stand behind those before: names of commands, or what the command takes in that place."""
    if not before:
        return [*commands]
    spec = COMMANDS.get(before[0])
    return [word for word in _WORD.findall(spec.arguments) if word not in before] if spec else []
