"""Commands that answer what a daemon asked: passwords, confirmations, proxies, signatures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fleet.errors import UsageError
from fleet.management.commands.command import Command, ReplyKind
from fleet.management.commands.numbers import number
from fleet.management.replies import PKCS11Entry, parse_answers, parse_pkcs11_count, parse_pkcs11_entry, parse_text

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}|-----(?:BEGIN|END) CERTIFICATE-----")
_PORT_MAX = 65535


def password(realm: str, secret: str) -> Command[str]:
    """`password TYPE SECRET`: answers `>PASSWORD:Need 'TYPE' ...`. The secret is never shown.

    Args:
        realm: the type that the daemon named, for example `Private Key`.
        secret: whatever characters it holds but control characters, which the daemon would drop; up to 255 bytes, of
            which a build without PKCS11 reads 127 (protocol-facts 11.4).
    """
    return Command("password", (realm, secret), ReplyKind.LINE, parse_text, changes=True, shown=1)


def username(realm: str, name: str) -> Command[str]:
    """`username TYPE NAME`: answers `>PASSWORD:Need 'TYPE' username/password`, before `password`. Never shown."""
    return Command("username", (realm, name), ReplyKind.LINE, parse_text, changes=True, shown=1)


def needok(request: str, action: str) -> Command[str]:
    """`needok TYPE ok|cancel`: answers `>NEED-OK:`.

    Raises:
        UsageError: the action is neither.
    """
    if action not in {"ok", "cancel"}:
        raise UsageError(f"'{action}' is not an action of needok", hint="actions are ok and cancel")
    return Command("needok", (request, action), ReplyKind.LINE, parse_text, changes=True)


def needstr(request: str, text: str) -> Command[str]:
    """`needstr TYPE TEXT`: answers `>NEED-STR:`. The text may be a PIN, and is never shown."""
    return Command("needstr", (request, text), ReplyKind.LINE, parse_text, changes=True, shown=1)


def cr_response(response: str) -> Command[str]:
    """`cr-response RESPONSE`: a client daemon's answer to a challenge, in base64. Never shown."""
    return Command("cr-response", (response,), ReplyKind.LINE, parse_text, changes=True, shown=0)


def proxy(kind: str, host: str | None = None, port: int | str | None = None, flags: str | None = None) -> Command[str]:
    """`proxy NONE` or `proxy HTTP|SOCKS HOST PORT [FLAGS]`: answers `>PROXY:`.

    Raises:
        UsageError: it is neither.
    """
    if kind == "NONE" and host is None:
        return Command("proxy", ("NONE",), ReplyKind.LINE, parse_text, changes=True)
    if kind not in {"HTTP", "SOCKS"} or host is None or port is None:
        raise UsageError("'proxy' takes NONE, or HTTP or SOCKS with a host and a port")
    more = () if flags is None else (flags,)
    return Command(
        "proxy", (kind, host, number(port, "proxy", 1, _PORT_MAX), *more), ReplyKind.LINE, parse_text, changes=True
    )


def remote(action: str, *arguments: int | str) -> Command[str]:
    """`remote ACCEPT`, `remote SKIP [N]` or `remote MOD HOST PORT`: answers `>REMOTE:`.

    Raises:
        UsageError: it is none of these.
    """
    match (action, *map(str, arguments)):
        case ("ACCEPT" | "SKIP",):
            words: tuple[str, ...] = (action,)
        case ("SKIP", entries):
            words = (action, number(entries, "remote", 1))
        case ("MOD", host, port):
            words = (action, host, number(port, "remote", 1, _PORT_MAX))
        case _:
            raise UsageError("'remote' takes ACCEPT, SKIP, SKIP with a number, or MOD with a host and a port")
    return Command("remote", words, ReplyKind.LINE, parse_text, changes=True)


def signature(name: str, lines: Sequence[str]) -> Command[tuple[str, ...]]:
    """`rsa-sig`, `pk-sig` or `certificate`, with lines of base64: answers `>RSA_SIGN:`, `>PK_SIGN:` and the like.

    A daemon that did not ask answers ERROR at once and takes the lines for commands; there is a fence behind them.

    Raises:
        UsageError: there is no line, or one that is not base64.
    """
    if not lines or not all(map(_BASE64.fullmatch, lines)):
        raise UsageError(f"'{name}' wants lines of base64 behind it")
    return Command(name, (), ReplyKind.FENCED, parse_answers, changes=True, body=tuple(lines))


def pkcs11_id_count() -> Command[int]:
    """`pkcs11-id-count`: identities of a build with PKCS11. The answer is a real-time message (protocol-facts 1.6).

    In the hold that a daemon starts with, and while it waits for its first password, its PKCS11 is not set up:
    OpenVPN 2.6.14 ended there, with a failed assertion.
    """
    return Command(
        "pkcs11-id-count",
        (),
        ReplyKind.NOTIFICATION,
        parse_pkcs11_count,
        notification="PKCS11ID-COUNT",
        ends_waiting=True,
    )


def pkcs11_id_get(index: int | str) -> Command[PKCS11Entry]:
    """`pkcs11-id-get INDEX`: one identity. The answer is a real-time message (protocol-facts 1.6).

    As `pkcs11_id_count` it ends a daemon that waits.

    Raises:
        UsageError: not a number from 0 on.
    """
    return Command(
        "pkcs11-id-get",
        (number(index, "pkcs11-id-get"),),
        ReplyKind.NOTIFICATION,
        parse_pkcs11_entry,
        notification="PKCS11ID-ENTRY",
        ends_waiting=True,
    )
