"""What is kept of one run while it goes on: its file in the history and, of a change, the audit."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet.engine import Attempt, Outcome
from fleet.errors import RefusedError, UsageError
from fleet.journal.audit import Audit
from fleet.journal.lines import SCHEMA, login_user, settings, stamp
from fleet.journal.places import state_folder
from fleet.journal.runs import RunFile, prune

ANSWER_LIMIT = 1024
"""Characters of a daemon's answer that are kept."""

_SYNC_AFTER = 1.0  # seconds that a line of the audit may not be on the disk yet


class Journal:
    """What is kept of one run. Made by `begin`; nothing but that raises.

    Attributes:
        run_id: the name of the run in the history; empty where nothing is kept.
        has_sent: a change was written to a daemon, or was just about to be.
    """

    def __init__(self, run: RunFile | None, audit: Audit | None, head: Mapping[str, object]) -> None:
        self.run_id = "" if run is None else run.run_id
        self._run = run
        self._audit = audit
        self._head = head
        self._begun = time.monotonic()
        self._sent: dict[str, list[str]] = {}
        self.has_sent = False
        self._timer: asyncio.TimerHandle | None = None
        self._problem = ""
        self._ended = False

    @classmethod
    def begin(
        cls,
        *,
        argv: Sequence[str],
        command: str,
        args: Sequence[str],
        command_line: str,
        servers: Sequence[str],
        changes: bool,
        inventory: str,
        syslog: bool,
        environ: Mapping[str, str],
    ) -> Journal:
        """Opens the journal of a run that is just to ask its servers.

        Args:
            argv: the words behind `fleet`; none where a secret may be among them.
            command: the subcommand's name.
            args: its own arguments; not kept where there is no `argv`.
            command_line: as it was typed, without what may be a secret.
            servers: names of those that are meant, in inventory order.
            changes: it changes something; then no server may be asked without a journal.
            inventory: its path.
            syslog: whether the audit goes to syslog as well.
            environ: the environment of the process.

        Raises:
            UsageError: the run changes something, and that cannot be written down.
        """
        run: RunFile | None = None
        try:
            state = state_folder(environ)
            audit = Audit(state, syslog_too=syslog) if changes else None
            if audit is not None:
                from fleet.journal.killed import settle_killed  # noqa: PLC0415 - a run that reads has no audit

                settle_killed(state, audit)
            run = RunFile(state, changes=changes)
            who = {
                "user": login_user(environ),
                "sudo_user": environ.get("SUDO_USER"),
                "host": os.uname().nodename,
            }
            run.write(
                {
                    "type": "begin",
                    "schema": SCHEMA,
                    "argv": list(argv),
                    "cwd": _working_folder(),
                    "environment": settings(environ),
                    "command": command,
                    "args": list(args if argv else ()),
                    "command_line": command_line,
                    "started": stamp(),
                    **who,
                    "pid": os.getpid(),
                    "changes": changes,
                    "inventory": inventory,
                    "servers": list(servers),
                }
            )
            run.flush()
            prune(state)
        except (OSError, RefusedError) as error:
            if not changes:
                return cls(None, None, {})
            raise _refusal(error) from error
        head = {"run": run.run_id, **who, "command": command_line}
        return cls(run, audit, head)

    def sent(self, attempt: Attempt) -> None:
        """Writes down a change that goes out right after this."""
        self.has_sent = True
        if self._run is None or attempt.sent is None:
            return
        name = attempt.server.name
        self._sent.setdefault(name, []).append(attempt.sent)
        with self._survived():
            self._run.write({"type": "sent", "time": stamp(), "server": name, "text": attempt.sent})

    def outcome(self, outcome: Outcome[Any], answer: str) -> None:
        """Writes down what became of a server.

        Args:
            outcome: of the server.
            answer: the daemon's own words; empty where there are none.
        """
        if self._run is None:
            return
        name = outcome.server.name
        error = outcome.error
        what: dict[str, object] = {
            "status": outcome.status,
            "answer": answer[:ANSWER_LIMIT] if self._audit is not None else "",
            "error": None if error is None else {"code": error.code, "message": error.message},
            "confirmed": list(outcome.confirmed),
            "unconfirmed": outcome.sent,
        }
        sent = self._sent.pop(name, [])
        if self._audit is not None:
            with self._survived():
                self._audit.append({"time": stamp(), **self._head, "server": name, "sent": sent, **what})
        with self._survived():
            self._run.write({"type": "outcome", "server": name, "elapsed": round(outcome.elapsed, 3), **what})
        self._sync_soon()

    def end(self, exit_status: int, *, interrupted: bool) -> str | None:
        """Writes down how the run ended, the first time. On return all of a change is on the disk.

        Returns:
            What could not be written, as a sentence, or None.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._run is None or self._ended:
            return None
        self._ended = True
        elapsed = round(time.monotonic() - self._begun, 3)
        with self._survived():
            self._run.end({"type": "end", "exit_status": exit_status, "elapsed": elapsed, "interrupted": interrupted})
        self._sync()
        if self._audit is not None:
            with self._survived():
                self._run.sync()
            self._audit.close()
        self._run.close()
        return f"what this run did was not written down whole: {self._problem}" if self._problem else None

    def _sync_soon(self) -> None:
        """Sees to it that what was written is on the disk in a while; in an event loop the next lines wait for it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._sync()
            return
        if self._timer is None:
            self._timer = loop.call_later(_SYNC_AFTER, self._sync)

    def _sync(self) -> None:
        self._timer = None
        with self._survived():
            if self._run is not None:
                self._run.flush()
        with self._survived():
            if self._audit is not None:
                self._audit.sync()

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """A disk that fails in mid-run ends no run: what it does is told at the end."""
        try:
            yield
        except OSError as error:
            self._problem = self._problem or error.strerror or str(error)


def _working_folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _refusal(error: OSError | RefusedError) -> UsageError:
    if isinstance(error, RefusedError):
        message, hint = error.message, error.hint
    else:
        where = f"{error.filename}: " if error.filename else ""
        message, hint = f"{where}{error.strerror}", "nothing was sent; mend that, or give XDG_STATE_HOME another folder"
    return UsageError(f"a change is not made where it cannot be written down: {message}", hint=hint)
