"""Commands that ask: what they answer is the daemon's state, and nothing of the daemon changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fleet.errors import UsageError
from fleet.management.commands.command import Command, ReplyKind, as_lines, as_nothing
from fleet.management.commands.numbers import count, number
from fleet.management.replies import (
    EchoLine,
    Help,
    LoadStats,
    LogLine,
    RemoteEntry,
    State,
    Version,
    parse_echo,
    parse_help,
    parse_load_stats,
    parse_log,
    parse_nclients,
    parse_pid,
    parse_remote_entries,
    parse_remote_entry_count,
    parse_state,
    parse_state_history,
    parse_text,
    parse_version,
)
from fleet.management.status import Status, parse_status

T = TypeVar("T")

TEST_LINES_MAX = 10_000
"""Lines that fleet lets `test` produce: the daemon keeps them in memory until they are read (protocol-facts 6.8)."""


def help_() -> Command[Help]:
    """`help`: the commands that the daemon knows."""
    return Command("help", (), ReplyKind.BLOCK, parse_help)


def version() -> Command[Version]:
    """`version`: of OpenVPN and of its management interface.

    Without an argument: with one it sets the client's version and may answer nothing (protocol-facts 1.3).
    """
    return Command("version", (), ReplyKind.BLOCK, parse_version)


def pid() -> Command[int]:
    """`pid`: the daemon's process ID."""
    return Command("pid", (), ReplyKind.LINE, parse_pid)


def load_stats() -> Command[LoadStats]:
    """`load-stats`: connected clients and bytes of the whole daemon."""
    return Command("load-stats", (), ReplyKind.LINE, parse_load_stats)


def nclients() -> Command[int]:
    """`nclients`: connected clients. No `help` lists it, and every release has it (protocol-facts 7)."""
    return Command("nclients", (), ReplyKind.LINE, parse_nclients)


def net() -> Command[tuple[str, ...]]:
    """`net`: adapters and routes, of daemons on Windows. What ends the text there is not known: it has a fence."""
    return Command("net", (), ReplyKind.FENCED, as_lines)


def test(lines: int | str) -> Command[tuple[str, ...]]:
    """`test N`: N lines, without END (protocol-facts 1.6).

    Raises:
        UsageError: not a number from 0 to 10,000.
    """
    return Command("test", (number(lines, "test", 0, TEST_LINES_MAX),), ReplyKind.FENCED, as_lines)


def status(format_version: int | None = 3) -> Command[Status]:
    """`status N`: clients and routes; with None in the daemon's own format, which nobody should rely on.

    In format 3 alone no name can shift a column. A row of format 1 may begin with anything a client chose, so
    format 1, and one that is not known, has no fence (protocol-facts 3).

    Raises:
        UsageError: the format is not 1, 2 or 3.
    """
    if format_version is None:
        return Command("status", (), ReplyKind.BLOCK, parse_status)
    if format_version not in {1, 2, 3}:
        raise UsageError(f"'{format_version}' is not a status format", hint="formats are 1, 2 and 3")
    return Command("status", (str(format_version),), ReplyKind.BLOCK, parse_status, fence=format_version != 1)


def state() -> Command[State]:
    """`state`: the daemon's state."""
    return Command("state", (), ReplyKind.BLOCK, parse_state)


def state_history(lines: int | str = "all") -> Command[tuple[State, ...]]:
    """`state N` or `state all`: the last states, oldest first.

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return Command("state", (count(lines, "state"),), ReplyKind.BLOCK, parse_state_history)


def log(lines: int | str) -> Command[tuple[LogLine, ...]]:
    """`log N` or `log all`: the last lines of the daemon's log, oldest first.

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return Command("log", (count(lines, "log"),), ReplyKind.BLOCK, parse_log)


def echo(lines: int | str = "all") -> Command[tuple[EchoLine, ...]]:
    """`echo N` or `echo all`: the last parameters of `echo` directives, oldest first.

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return Command("echo", (count(lines, "echo"),), ReplyKind.BLOCK, parse_echo)


def state_live(history: int | str | None = None) -> Command[tuple[State, ...]]:
    """`state on [N|all]`: the last states, or none, and from then on each new one as `>STATE:`, without a gap.

    The setting ends with the session (protocol-facts 6.6).

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return _live("state", history, parse_state_history)


def log_live(history: int | str | None = None) -> Command[tuple[LogLine, ...]]:
    """`log on [N|all]`: the last log lines, or none, and from then on each new one as `>LOG:`, without a gap.

    The setting ends with the session. At verb 8 and above it locks the session (protocol-facts 6.4).

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return _live("log", history, parse_log)


def echo_live(history: int | str | None = None) -> Command[tuple[EchoLine, ...]]:
    """`echo on [N|all]`: the last parameters, or none, and from then on each new one as `>ECHO:`, without a gap.

    Raises:
        UsageError: neither a number from 1 on nor `all`.
    """
    return _live("echo", history, parse_echo)


def switch(name: str, *, on: bool) -> Command[str]:
    """`log on`, `state off` and the like: whether real-time messages come in this session."""
    return Command(name, ("on" if on else "off",), ReplyKind.LINE, parse_text)


def _live(
    name: str, history: int | str | None, parse: Callable[[tuple[str, ...]], tuple[T, ...]]
) -> Command[tuple[T, ...]]:
    if history is None:
        return Command(name, ("on",), ReplyKind.LINE, lambda _: ())
    return Command(name, ("on", count(history, name)), (ReplyKind.LINE, ReplyKind.BLOCK), parse)


_HISTORIES: dict[str, Callable[[tuple[str, ...]], Any]] = {
    "echo": parse_echo,
    "log": parse_log,
    "state": parse_state_history,
}


def listing(name: str, words: tuple[str, ...]) -> Command[Any]:
    """`log`, `state` or `echo` with one or two words: each has an answer of its own (protocol-facts 1.5).

    Raises:
        UsageError: a word is none of `on`, `off`, `all` and a number from 1 on.
    """
    switches = {"on", "off"}
    arguments = tuple(word if word in switches else _lines_or_switch(word, name) for word in words)
    kinds = tuple(ReplyKind.LINE if word in switches else ReplyKind.BLOCK for word in arguments)
    parse = parse_text if kinds == (ReplyKind.LINE,) else _HISTORIES[name]
    return Command(name, arguments, kinds if len(kinds) > 1 else kinds[0], parse)


def _lines_or_switch(word: str, name: str) -> str:
    return "all" if word == "all" else number(word, name, 1, also="all, on or off")


def bytecount(interval: int | str) -> Command[str]:
    """`bytecount N`: from now on byte counters as real-time messages every N seconds, 0 for none; per session.

    Raises:
        UsageError: not a number from 0 on.
    """
    return Command("bytecount", (number(interval, "bytecount"),), ReplyKind.LINE, parse_text)


def remote_entry_count() -> Command[int]:
    """`remote-entry-count`: how many remotes a client daemon has."""
    return Command("remote-entry-count", (), ReplyKind.BLOCK, parse_remote_entry_count)


def remote_entry_get(first: int | str = "all", stop: int | str | None = None) -> Command[tuple[RemoteEntry, ...]]:
    """`remote-entry-get I [J]`: the remotes of a client daemon from I to J - 1, or only I, or `all`.

    Raises:
        UsageError: an index is no number from 0 on, J is not above I, or there is one behind `all`.
    """
    name = "remote-entry-get"
    if first == "all":
        if stop is not None:
            raise UsageError(f"'{name} all' takes no second index")
        return Command(name, ("all",), ReplyKind.BLOCK, parse_remote_entries)
    arguments = [number(first, name, also="all")]
    if stop is not None:
        arguments.append(number(stop, name, int(arguments[0]) + 1))
    return Command(name, tuple(arguments), ReplyKind.BLOCK, parse_remote_entries)


def quit_() -> Command[None]:
    """`quit`: the daemon closes the session. Only after every reply was read: it drops them (protocol-facts 6.1)."""
    return Command("quit", (), ReplyKind.NONE, as_nothing)


def exit_() -> Command[None]:
    """`exit`: the same as `quit`."""
    return Command("exit", (), ReplyKind.NONE, as_nothing)
