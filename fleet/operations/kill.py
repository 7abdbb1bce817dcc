"""`kill`: disconnect a client wherever it is, and never another one.

What the daemons do with `kill` decides this module (protocol-facts 4, 10.8): up to 2.6 a common name with a colon
is read as an address, from 2.7 on an address without protocol is read as a common name, and `UNDEF` stands for
everybody without a name. So the client is looked up in the daemon's own list first, and where `kill` would hit
somebody else it is done by `client-kill CID`, or not at all.

Client ids begin again at 0 when the tunnel restarts (protocol-facts 4), so an id is as good as the look-up that it
comes from: see `_kill_by_ids`.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from fleet.errors import CommandFailedError, UsageError
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.protocol import Reply
from fleet.management.status import Client, RealAddress, parse_real_address
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Operation, Row, texts
from fleet.operations.status import STATUS_FORMAT, list_connected

_REMAPPED = re.compile(rb"[^A-Za-z0-9_.@/-]")  # bytes of a name for which daemons before 2.3 have `_`


@dataclass(frozen=True, slots=True)
class Who:
    """Whom to kill: a common name, or a real address that may also be a common name.

    Attributes:
        text: as the operator wrote it.
        address: the same read as a real address, or None where it is none.
    """

    text: str
    address: RealAddress | None

    def matches_name(self, client: Client) -> bool:
        """The client's common name is exactly this text."""
        return client.common_name == self.text

    def matches_address(self, client: Client) -> bool:
        """The client comes from this address, in whatever spelling its daemon has for it."""
        if self.address is None or client.real_address is None:
            return False
        if client.real_address == self.text:
            return True
        real = parse_real_address(client.real_address)
        if real is None or (real.address, real.port) != (self.address.address, self.address.port):
            return False
        return self.address.protocol is None or _is_of_protocol(real, self.address.protocol)


def _is_of_protocol(real: RealAddress, wanted: str) -> bool:
    """`udp:` and `tcp:`, as 2.7's own `kill` has them, fit both address families; a daemon up to 2.6 tells neither."""
    families = {"udp": ("udp4", "udp6"), "tcp": ("tcp4-server", "tcp6-server")}
    return real.protocol in families.get(wanted.removesuffix("-server"), (wanted,))


@dataclass(frozen=True, slots=True)
class KilledClient:
    """One client that was found, as it was before, and what became of it: `killed` or `gone` before it was done."""

    common_name: str | None
    real_address: str | None
    virtual_address: str | None
    connected_since: datetime | None
    client_id: int | None
    result: str


@dataclass(frozen=True, slots=True)
class Killed:
    """What `kill` did on one server.

    Attributes:
        killed: how many sessions the daemon says it killed.
        clients: those that were found.
    """

    killed: int
    clients: tuple[KilledClient, ...]


def kill(who: str) -> Operation[Killed]:
    """Disconnects the client with this common name, or at this `IP:port`, on each server that has it.

    Raises:
        UsageError: the name is empty, has a control character, is longer than a daemon can match (127 bytes),
            or is `UNDEF`, which is how the daemons write "no name".
    """
    _check(who)
    columns = (
        Column("common_name", Kind.TEXT),
        Column("real_address", Kind.TEXT),
        Column("virtual_address", Kind.TEXT),
        Column("connected_since", Kind.AGE, header="SINCE"),
        Column("result", Kind.TEXT),
        Column("client_id", Kind.COUNT, wide=True),
    )

    def rows(value: Killed) -> list[Row]:
        return [tuple(getattr(client, column.name) for column in columns) for client in value.clients]

    # Whatever the locale made of the bytes that were typed, the daemon's names are compared as UTF-8.
    text = who.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return Operation("kill", partial(_perform, Who(text, parse_real_address(text))), columns, rows, changes=True)


def _check(who: str) -> None:
    if not who:
        raise UsageError("whom to kill is empty", hint="give a common name or a real address: fleet clients shows both")
    commands.check_argument(who, "the common name", limit=commands.COMMON_NAME_LIMIT)
    if who == "UNDEF":
        raise UsageError(
            "UNDEF is what OpenVPN writes for a client without a name: a kill would hit everybody without one",
            hint="kill it by its real address: fleet clients shows it",
        )


async def _perform(who: Who, conversation: Conversation) -> Answer[Killed]:
    listed = (await list_connected(conversation)).value
    found = _find(who, listed.clients)
    if not found:
        _warn_of_remapped(who, listed.clients, conversation)
        return Answer(Killed(0, ()), "")
    if not who.matches_name(found[0]):
        return await _kill_at_address(who, found[0], listed.clients, conversation)
    if ":" in who.text:
        return await _kill_by_ids(who, found, conversation)
    return await _kill_by_name(who.text, found, conversation)


def _find(who: Who, clients: Sequence[Client]) -> list[Client]:
    """The clients that are meant.

    Raises:
        CommandFailedError: it cannot be told which client is meant.
    """
    by_name = [client for client in clients if who.matches_name(client)]
    by_address = [client for client in clients if who.matches_address(client)]
    if by_name and any(client not in by_name for client in by_address):
        raise CommandFailedError(
            f"'{who.text}' is the common name of one client and the real address of another; nothing was killed",
            hint="kill the second by its common name: fleet clients shows both",
        )
    if len(by_address) > 1:
        raise CommandFailedError(
            f"{len(by_address)} clients come from '{who.text}', and this daemon does not tell them apart by address; "
            "nothing was killed",
            hint="kill by common name: fleet clients shows them",
        )
    return by_name or by_address


def _warn_of_remapped(who: Who, clients: Sequence[Client], conversation: Conversation) -> None:
    """Says where an old daemon may show this very client under another name; whether it is the same, nobody can tell.

    Daemons before 2.3 change names (protocol-facts 4). They report no client ids, as 2.3 does.
    """
    remapped = _REMAPPED.sub(b"_", who.text.encode("utf-8", "surrogateescape")).decode("ascii")
    if remapped == who.text:
        return
    if any(client.common_name == remapped and client.client_id is None for client in clients):
        on = f"-l {shlex.quote(conversation.server.name)}"
        command = f"{on} -- {remapped}" if remapped.startswith("-") else f"{remapped} {on}"
        conversation.warn(
            f"no client '{who.text}', but one is shown as '{remapped}', and OpenVPN before 2.3 shows the other so; "
            f"if it is the same client: fleet kill {command}"
        )


async def _kill_by_name(name: str, found: Sequence[Client], conversation: Conversation) -> Answer[Killed]:
    (reply,) = await conversation.ask(commands.kill_common_name(name))
    killed: int = 0 if _is_gone(reply) else reply.result()
    return Answer(Killed(killed, tuple(_fate(client, killed) for client in found)), reply.text())


async def _kill_at_address(
    who: Who, client: Client, everybody: Sequence[Client], conversation: Conversation
) -> Answer[Killed]:
    spelling = _spell_address(client, everybody)
    if spelling is not None:
        (reply,) = await conversation.ask(commands.kill_address(spelling))
        if not _is_gone(reply):
            return Answer(Killed(reply.result(), (_fate(client, 1),)), reply.text())
        # An IPv4 client of a dual-stack socket is never found by its address (protocol-facts 4).
    return await _kill_by_ids(who, [client], conversation)


async def _kill_by_ids(who: Who, before: Sequence[Client], conversation: Conversation) -> Answer[Killed]:
    """Kills exactly the clients that are meant by their client ids.

    The ids are looked up once more, together with the state, and the state is asked for again behind the kills, in
    the same write: no restart came between where both are equal, so the ids were those of the look-up. A restart
    takes a second at least, and its clients longer to come back, so that the wrong one can be hit only where the kill
    is held up on its way for that long; then it is said.

    Args:
        who: is meant.
        before: those that were found when this began.
        conversation: with their daemon.

    Raises:
        CommandFailedError: the daemon has no client ids, or began them again in between.
    """
    state, status = await conversation.ask(commands.state(), commands.status(STATUS_FORMAT))
    found = [] if refused_without_tunnel(status) else _find(who, status.result().clients)
    left = [_fate(client, 0) for client in before if not any(_is_same(client, other) for other in found)]
    if not found:
        return Answer(Killed(0, tuple(left)), "")
    *replies, state_after = await conversation.ask(*[_client_kill(who, client) for client in found], commands.state())
    counts = [0 if _is_gone(reply) else 1 for reply in replies]
    for reply, count in zip(replies, counts, strict=True):
        if count:
            reply.result()
    if any(counts) and state_after.result() != state.result():
        raise CommandFailedError(
            f"the daemon restarted just before it was told '{replies[0].command.text}'; client ids began again, so "
            "another client may have been killed",
            hint="look who is connected with fleet clients: whoever was hit comes back by itself",
        )
    clients = (*left, *(_fate(client, count) for client, count in zip(found, counts, strict=True)))
    return Answer(Killed(sum(counts), clients), texts(*replies))


def _is_same(one: Client, other: Client) -> bool:
    return (one.client_id, one.real_address, one.connected_since) == (
        other.client_id,
        other.real_address,
        other.connected_since,
    )


def _is_gone(reply: Reply[Any]) -> bool:
    """The daemon has no such client any more: not in its list, or it has lost its tunnel and all of them."""
    if refused_without_tunnel(reply):
        return True
    return reply.error is not None and reply.error.endswith(("not found", "client-kill command failed"))


def _client_kill(who: Who, client: Client) -> Command[str]:
    if client.client_id is not None:
        return commands.client_kill(client.client_id)
    spelling = _spell_address(client, ()) if who.matches_name(client) else None
    reason = "reads a name with a colon as an address" if who.matches_name(client) else "does not take this address"
    raise CommandFailedError(
        f"this daemon cannot kill '{who.text}': its `kill` {reason}, and it reports no client ids (they came with "
        "OpenVPN 2.4); nothing was killed",
        hint="kill it by its common name" if spelling is None else f"kill it by its real address, {spelling}",
    )


def _spell_address(client: Client, everybody: Sequence[Client]) -> str | None:
    """The client's address as its daemon's `kill` wants it, or None where `kill` cannot name it, or only riskily.

    Up to 2.6 that is `IP:port`; 2.7 shows and wants a protocol in front, in two spellings (protocol-facts 4).
    IPv6 cannot be named in any release.

    Args:
        client: whose address it is.
        everybody: on that daemon. Should one that shows no protocol read `IP:port` as 2.7 does, it would kill a
            client whose common name is that IP.
    """
    real = parse_real_address(client.real_address or "")
    if real is None or real.port is None or not isinstance(real.address, ipaddress.IPv4Address):
        return None
    plain = f"{real.address}:{real.port}"
    if real.protocol is None:
        risky = client.client_id is not None and any(other.common_name == str(real.address) for other in everybody)
        return plain if client.real_address == plain and not risky else None
    prefix = {"udp4": "udp", "tcp4-server": "tcp"}.get(real.protocol)
    return f"{prefix}:{plain}" if prefix else None


def _fate(client: Client, killed: int) -> KilledClient:
    return KilledClient(
        client.common_name,
        client.real_address,
        client.virtual_address,
        client.connected_since,
        client.client_id,
        "killed" if killed else "gone",
    )
