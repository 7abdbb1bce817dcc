"""Commands that act on a server's VPN clients: end a session, let one in, push options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from fleet.errors import UsageError
from fleet.management.commands.command import Command, ReplyKind
from fleet.management.commands.lexer import check_argument
from fleet.management.commands.numbers import ID_MAX, UINT_MAX, number
from fleet.management.replies import parse_answers, parse_killed, parse_text

COMMON_NAME_LIMIT = 127
"""Bytes of a common name that `kill` can match (protocol-facts 4)."""

_ADDRESS = re.compile(r"(?:(?:tcp|udp):)?(?P<address>[0-9.]+):(?P<port>[0-9]{1,5})")
_PORT_MAX = 65535


def kill_common_name(common_name: str) -> Command[int]:
    """`kill CN`: ends the sessions of all clients with just this common name; the value is how many.

    Raises:
        UsageError: the name is empty, longer than 127 bytes or has a control character; or it has a colon, which
            OpenVPN 2.7 cuts the name at, so that other clients are killed; or it is `UNDEF`, which stands for
            every client in mid-handshake (protocol-facts 4 and 10.8).
    """
    if not common_name:
        raise UsageError("the common name is empty")
    check_argument(common_name, "the common name", limit=COMMON_NAME_LIMIT)
    if ":" in common_name:
        raise UsageError(
            "a common name with a colon cannot be killed by name: OpenVPN 2.7 would kill another client",
            hint="fleet kill looks the client up, and kills it by its client ID",
        )
    if common_name == "UNDEF":
        raise UsageError("'UNDEF' is no client's name: OpenVPN would kill every client that has none yet")
    return Command("kill", (common_name,), ReplyKind.LINE, parse_killed, changes=True)


def kill_address(spelling: str) -> Command[int]:
    """`kill IP:port`: ends the session of the client with this real address; the value is how many.

    Args:
        spelling: `IP:port` up to OpenVPN 2.6, `udp:IP:port` or `tcp:IP:port` from 2.7 on (protocol-facts 4).

    Raises:
        UsageError: it is none of these; IPv6 among them, which no version can kill by address.
    """
    match = _ADDRESS.fullmatch(spelling)
    try:
        valid = match is not None and bool(IPv4Address(match["address"])) and 0 < int(match["port"]) <= _PORT_MAX
    except AddressValueError:
        valid = False
    if not valid:
        raise UsageError(
            "a client can be killed by address only as IPv4:port, udp:IPv4:port or tcp:IPv4:port",
            hint="fleet kill takes any address, and names with a colon: it looks the client up first",
        )
    return Command("kill", (spelling,), ReplyKind.LINE, parse_killed, changes=True)


def kill(target: str) -> Command[int]:
    """`kill TARGET`, by address where it has a colon and by common name where not.

    Raises:
        UsageError: as `kill_address` and `kill_common_name`.
    """
    return kill_address(target) if ":" in target else kill_common_name(target)


_CLIENT_MESSAGE = re.compile(r"(?:RESTART|HALT)(?:,.*)?")


def client_kill(client_id: int | str, message: str | None = None) -> Command[str]:
    """`client-kill CID [MESSAGE]`: ends one session by its client ID.

    Args:
        client_id: the CID of a row of status 2 or 3, from OpenVPN 2.4 on.
        message: `RESTART` or `HALT`, and a reason behind a comma; HALT ends the VPN client's process. None is
            RESTART.

    Raises:
        UsageError: a negative ID; a message that is neither, which would leave the client in a black hole
            (protocol-facts 10.9), or that has control characters or more than 255 bytes.
    """
    arguments = [number(client_id, "client-kill", 0, ID_MAX)]
    if message is not None:
        check_argument(message, "the message")
        if not _CLIENT_MESSAGE.fullmatch(message):
            raise UsageError("the message to a client must be RESTART or HALT, with a reason behind a comma if any")
        arguments.append(message)
    return Command("client-kill", tuple(arguments), ReplyKind.LINE, parse_text, changes=True)


def _ids(name: str, client_id: int | str, key_id: int | str) -> tuple[str, str]:
    return number(client_id, name, 0, ID_MAX), number(key_id, name, 0, UINT_MAX)


def client_auth(client_id: int | str, key_id: int | str, lines: Sequence[str] = ()) -> Command[tuple[str, ...]]:
    """`client-auth CID KID`: lets a client in, with these lines of configuration for it.

    The daemon swallows the lines up to END (protocol-facts 1.3); where it refuses the command itself it would take each
    line for a command, so no line may be one, and a fence shows where the answers end.

    Raises:
        UsageError: an ID that is no number.
    """
    arguments = _ids("client-auth", client_id, key_id)
    return Command("client-auth", arguments, ReplyKind.FENCED, parse_answers, changes=True, body=tuple(lines))


def client_auth_nt(client_id: int | str, key_id: int | str) -> Command[str]:
    """`client-auth-nt CID KID`: lets a client in.

    Raises:
        UsageError: an ID that is no number.
    """
    arguments = _ids("client-auth-nt", client_id, key_id)
    return Command("client-auth-nt", arguments, ReplyKind.LINE, parse_text, changes=True)


def client_deny(client_id: int | str, key_id: int | str, reason: str, client_reason: str | None = None) -> Command[str]:
    """`client-deny CID KID REASON [CLIENT-REASON]`: keeps a client out.

    Args:
        client_id: the CID of the `>CLIENT:CONNECT` message.
        key_id: its KID.
        reason: for the daemon's log.
        client_reason: what the client is told.

    Raises:
        UsageError: an ID that is no number.
    """
    told = () if client_reason is None else (client_reason,)
    arguments = (*_ids("client-deny", client_id, key_id), reason, *told)
    return Command("client-deny", arguments, ReplyKind.LINE, parse_text, changes=True)


def client_pending_auth(
    client_id: int | str, key_id: int | str | None, extra: str, timeout: int | str | None
) -> Command[str]:
    """`client-pending-auth CID KID EXTRA TIMEOUT`: a client's authentication goes on elsewhere.

    Args:
        client_id: the CID of the `>CLIENT:CONNECT` message.
        key_id: its KID; None for OpenVPN 2.5, which takes CID and EXTRA alone.
        extra: what the client is told.
        timeout: seconds that the client has; None for OpenVPN 2.5.

    Raises:
        UsageError: an ID or a timeout that is no number.
    """
    name = "client-pending-auth"
    if key_id is None or timeout is None:
        arguments: tuple[str, ...] = (number(client_id, name, 0, ID_MAX), extra)
    else:
        arguments = (*_ids(name, client_id, key_id), extra, number(timeout, name))
    return Command(name, arguments, ReplyKind.LINE, parse_text, changes=True)


def client_pf(client_id: int | str, lines: Sequence[str]) -> Command[tuple[str, ...]]:
    """`client-pf CID`, of OpenVPN 2.1 to 2.5: a client's packet filter.

    Raises:
        UsageError: an ID that is no number.
    """
    arguments = (number(client_id, "client-pf", 0, ID_MAX),)
    return Command("client-pf", arguments, ReplyKind.FENCED, parse_answers, changes=True, body=tuple(lines))


def push_update_broad(options: str) -> Command[tuple[str, ...]]:
    """`push-update-broad OPTIONS`: changes options of all clients. An error has two lines (protocol-facts 1.6)."""
    return Command("push-update-broad", (options,), ReplyKind.FENCED, parse_answers, changes=True)


def push_update_cid(client_id: int | str, options: str) -> Command[tuple[str, ...]]:
    """`push-update-cid CID OPTIONS`: changes options of one client. An error has two lines (protocol-facts 1.6).

    Raises:
        UsageError: an ID that is no number.
    """
    arguments = (number(client_id, "push-update-cid", 0, ID_MAX), options)
    return Command("push-update-cid", arguments, ReplyKind.FENCED, parse_answers, changes=True)
