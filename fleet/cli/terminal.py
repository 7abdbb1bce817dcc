"""Questions to the person at the terminal; nothing is asked where there is none."""

from __future__ import annotations

import sys
import warnings

from fleet.errors import UsageError


class Terminal:
    """Asks one question at a time, between the runs of an event loop and never inside one."""

    def secret(self, prompt: str) -> str:
        """What is typed, without echo; empty where nothing is, or at Ctrl-D.

        Raises:
            UsageError: the terminal cannot hide what is typed.
            KeyboardInterrupt: Ctrl-C.
        """
        import getpass  # noqa: PLC0415 - most runs ask for no secret

        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                return getpass.getpass(prompt)
            except getpass.GetPassWarning as error:
                raise UsageError("this terminal cannot hide what is typed", hint="use --secret-file") from error
            except EOFError:
                _end_line()
                return ""
            except KeyboardInterrupt:
                _end_line()
                raise

    def line(self, prompt: str) -> str:
        """What is typed, seen as it is; empty where nothing is, or at Ctrl-D.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        sys.stderr.write(prompt)
        sys.stderr.flush()
        typed = ""
        try:
            typed = sys.stdin.readline()
        finally:
            if not typed.endswith("\n"):
                _end_line()
        return typed.removesuffix("\n")


def _end_line() -> None:
    """Nobody pressed Enter: what is written next is not to stand behind the prompt."""
    sys.stderr.write("\n")
    sys.stderr.flush()


def terminal() -> Terminal | None:
    """The terminal, or None where standard input is none: a script, a cron job, a pipe."""
    return Terminal() if sys.stdin.isatty() else None
