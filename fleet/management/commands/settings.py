"""Commands that set something of the daemon, and show it where they have no argument."""

from __future__ import annotations

from typing import overload

from fleet.errors import UsageError
from fleet.management.commands.command import Command, ReplyKind
from fleet.management.commands.numbers import number
from fleet.management.replies import (
    parse_auth_retry,
    parse_client_version,
    parse_hold,
    parse_mute,
    parse_signal,
    parse_text,
    parse_verb,
)

VERB_MAX = 15
SIGNALS = ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")
AUTH_RETRY = ("none", "nointeract", "interact")


@overload
def verb(level: None = None) -> Command[int]: ...
@overload
def verb(level: int | str) -> Command[str]: ...
def verb(level: int | str | None = None) -> Command[int] | Command[str]:
    """`verb`: the log's verbosity; `verb N` sets it.

    Raises:
        UsageError: the level is not a number from 0 to 15.
    """
    if level is None:
        return Command("verb", (), ReplyKind.LINE, parse_verb)
    argument = number(level, "verb", 0, VERB_MAX)
    return Command("verb", (argument,), ReplyKind.LINE, parse_text, changes=True)


@overload
def mute(level: None = None) -> Command[int]: ...
@overload
def mute(level: int | str) -> Command[str]: ...
def mute(level: int | str | None = None) -> Command[int] | Command[str]:
    """`mute`: after how many messages of one kind the log is silent; `mute N` sets it, 0 for never.

    Raises:
        UsageError: the level is not a number from 0 on.
    """
    if level is None:
        return Command("mute", (), ReplyKind.LINE, parse_mute)
    return Command("mute", (number(level, "mute"),), ReplyKind.LINE, parse_text, changes=True)


@overload
def hold(action: None = None) -> Command[bool]: ...
@overload
def hold(action: str) -> Command[str]: ...
def hold(action: str | None = None) -> Command[bool] | Command[str]:
    """`hold`: the hold flag; `hold on` and `hold off` set it, `hold release` lets a waiting daemon go on.

    Raises:
        UsageError: the action is none of `on`, `off` and `release`.
    """
    if action is None:
        return Command("hold", (), ReplyKind.LINE, parse_hold)
    if action not in {"on", "off", "release"}:
        raise UsageError(f"'{action}' is not an action of hold", hint="actions are on, off and release")
    return Command("hold", (action,), ReplyKind.LINE, parse_text, changes=True)


def auth_retry(mode: str | None = None) -> Command[str]:
    """`auth-retry`: how a client daemon goes on after a failed authentication; `auth-retry MODE` sets it.

    Raises:
        UsageError: the mode is none of `none`, `nointeract` and `interact`; the daemon would answer twice
            (protocol-facts 1.6).
    """
    if mode is None:
        return Command("auth-retry", (), ReplyKind.LINE, parse_auth_retry)
    if mode not in AUTH_RETRY:
        raise UsageError(f"'{mode}' is not a mode of auth-retry", hint=f"modes are {', '.join(AUTH_RETRY)}")
    return Command("auth-retry", (mode,), ReplyKind.LINE, parse_text, changes=True)


def env_filter(level: int | str | None = None) -> Command[str]:
    """`env-filter [LEVEL]`: which variables `>CLIENT:ENV` lines show; without a level, 0, all of them.

    Raises:
        UsageError: the level is not a number from 0 on.
    """
    arguments = () if level is None else (number(level, "env-filter"),)
    return Command("env-filter", arguments, ReplyKind.LINE, parse_text, changes=True)


def client_version(version: int | str) -> Command[str | None]:
    """`version N`: tells the daemon which management interface its client speaks. The value is what it said.

    Up to 2.4 the daemon prints its version as if nothing had been given, 2.5 and 2.6 say nothing, 2.7 confirms from 4
    on (protocol-facts 7); so there is a fence behind it.

    Raises:
        UsageError: not a number from 1 on.
    """
    argument = number(version, "version", 1)
    return Command("version", (argument,), ReplyKind.FENCED, parse_client_version, changes=True)


def signal(name: str) -> Command[str]:
    """`signal NAME`: SIGHUP and SIGUSR1 restart, SIGTERM ends the daemon; SIGUSR2 writes a status to its log.

    SUCCESS comes before the effect, and says nothing of it (protocol-facts 5). In hold SIGUSR2 ends the daemon.

    Raises:
        UsageError: none of the four, spelled just so.
    """
    if name not in SIGNALS:
        raise UsageError(f"'{name}' is not a signal that OpenVPN takes", hint=f"signals are {', '.join(SIGNALS)}")
    answer = "HOLD" if name in {"SIGHUP", "SIGUSR1"} else None
    return Command(
        "signal",
        (name,),
        ReplyKind.LINE,
        parse_signal,
        changes=True,
        notification=answer,
        ends_waiting=name == "SIGUSR2",
    )


def forget_passwords() -> Command[str]:
    """`forget-passwords`: the daemon drops the passwords that it was given."""
    return Command("forget-passwords", (), ReplyKind.LINE, parse_text, changes=True)


def http_proxy_fallback(server: str, port: int | str, flags: str | None = None) -> Command[str]:
    """`http-proxy-fallback SERVER PORT [FLAGS]`, of OpenVPN 2.1 and 2.2: the proxy to try where nothing else works.

    Raises:
        UsageError: the port is no number from 1 to 65535.
    """
    arguments = (server, number(port, "http-proxy-fallback", 1, 65535), *([flags] if flags else []))
    return Command("http-proxy-fallback", arguments, ReplyKind.LINE, parse_text, changes=True)


def http_proxy_fallback_disable() -> Command[str]:
    """`http-proxy-fallback-disable`, of OpenVPN 2.1 and 2.2."""
    return Command("http-proxy-fallback-disable", (), ReplyKind.LINE, parse_text, changes=True)
