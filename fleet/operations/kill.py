"""`kill`: disconnect a client wherever it is, and never another one.

What the daemons do with `kill` decides this module (protocol-facts 4, 10.8): up to 2.6 a common name with a colon
is read as an address, from 2.7 on an address without protocol is read as a common name, and `UNDEF` stands for
everybody without a name. So the client is looked up in the daemon's own list first, and where `kill` would hit
somebody else it is done by `client-kill CID`, or not at all.

Client ids begin again at 0 when the tunnel restarts (protocol-facts 4), so an id is as good as the look-up that it
comes from: see `_kill_by_ids`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from fleet.errors import CommandFailedError, UsageError
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.protocol import Reply
from fleet.management.status import Client, Status, parse_real_address
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation, refused_without_tunnel
from fleet.operations.operation import Answer, Confirm, Operation, Row, texts
from fleet.operations.status import STATUS_FORMAT, list_connected
from fleet.operations.verify import Look, Verified
from fleet.operations.who import From, NameOrAddress, Who

_REMAPPED = re.compile(rb"[^A-Za-z0-9_.@/-]")  # bytes of a name for which daemons before 2.3 have `_`
_FLAGS = re.compile(r"\[[NP]{1,2}\]", re.IGNORECASE)
_FLAGS_IN_PLACE = re.compile(r"RESTART,\[[NP]{1,2}\]")


@dataclass(frozen=True, slots=True)
class KilledClient:
    """One client that was found, as it was before, and what became of it.

    Attributes:
        result: `killed`, or `gone` before it was done.
        verified: what later looks have shown; None where nobody looked, or could.
    """

    common_name: str | None
    real_address: str | None
    virtual_address: str | None
    connected_since: datetime | None
    client_id: int | None
    username: str | None
    result: str
    verified: Verified | None = None


@dataclass(frozen=True, slots=True)
class Killed:
    """What `kill` did on one server.

    Attributes:
        killed: how many sessions the daemon says it killed.
        clients: those that were found.
        before: who was there right before, where the kill is to be verified.
    """

    killed: int
    clients: tuple[KilledClient, ...]
    before: Look | None = None


@dataclass(frozen=True, slots=True)
class ForeseenClient:
    """One client that would be killed, and by what."""

    common_name: str | None
    real_address: str | None
    virtual_address: str | None
    connected_since: datetime | None
    client_id: int | None
    username: str | None
    would_send: str


@dataclass(frozen=True, slots=True)
class ForeseenKill:
    """What `kill` would do on one server.

    Attributes:
        nclients: how many sessions it would end.
        clients: whose.
    """

    nclients: int
    clients: tuple[ForeseenClient, ...]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be done on each server.

    Attributes:
        who: whom to kill.
        message: what `client-kill` tells the client, or None.
        verify: whether somebody will look again later.
        shown: by server, the clients that the preview has shown.
    """

    who: Who
    message: str | None
    verify: bool
    shown: dict[str, list[Client]] = field(default_factory=dict)

    def find(self, status: Status, conversation: Conversation) -> list[Client]:
        """The clients that are meant; those that were shown, where the same words may mean others by now.

        Raises:
            CommandFailedError: it cannot be told which are meant.
        """
        found = self.who.find(status)
        shown = self.shown.get(conversation.server.name)
        if self.who.lasting or shown is None:
            return found
        same = _same(found, shown)
        if len(same) < len(found):
            conversation.warn(f"another {self.who} than the one that was shown is there by now, and was not killed")
        return same


_CLIENT_COLUMNS = (
    Column("common_name", Kind.TEXT, names=True),
    Column("real_address", Kind.TEXT),
    Column("virtual_address", Kind.TEXT),
    Column("connected_since", Kind.AGE, header="SINCE"),
)
_WIDE_COLUMNS = (Column("client_id", Kind.COUNT, wide=True), Column("username", Kind.TEXT, wide=True))


def kill(who: Who, *, message: str | None = None, verify: bool = False) -> Operation[Killed]:
    """Disconnects the clients that are meant on each server that has them.

    A person is asked before, but not for an exact name or address, which cron jobs use; for a HALT always.

    Args:
        who: whom.
        message: what they are told: RESTART or HALT, and a reason behind a comma if any (protocol-facts 11.1).
        verify: keep who was there before, so that a Judge can tell later what became of them.

    Raises:
        UsageError: the message is none that a client understands.
    """
    if message is not None:
        _check_message(message)
    halts = is_halt(message)
    wish = _Wish(who, message, verify)
    columns = (*_CLIENT_COLUMNS, Column("result", Kind.TEXT, keep=True), *_WIDE_COLUMNS)

    def row(client: KilledClient) -> Row:
        cells = {name: getattr(client, name) for name in (column.name for column in columns)}
        return tuple({**cells, "result": str(client.verified or client.result)}.values())

    return Operation(
        "kill",
        partial(_perform, wish),
        columns,
        lambda value: map(row, value.clients),
        result=lambda value: {"killed": value.killed, "clients": value.clients},
        changes=True,
        preview=_preview(wish),
        confirm=Confirm.NEVER if isinstance(who, NameOrAddress) and not halts else Confirm.ALWAYS,
        effect="ends the VPN process of {clients}" if halts else "disconnects {clients}",
    )


def is_halt(message: str | None) -> bool:
    """Whether this message ends the VPN client's process (protocol-facts 4)."""
    return message is not None and message.startswith("HALT")


def _check_message(message: str) -> None:
    commands.client_kill(0, message)
    if any(flags.start() != len("RESTART,") for flags in _FLAGS.finditer(message)) or (
        _FLAGS.search(message) and not _FLAGS_IN_PLACE.match(message)
    ):
        raise UsageError(
            "flags such as [N] mean something right behind 'RESTART,' only, and in capitals",
            hint="write RESTART,[N],reason",
        )


# What would be done


def _preview(wish: _Wish) -> Operation[ForeseenKill]:
    columns = (*_CLIENT_COLUMNS, Column("would_send", Kind.TEXT, keep=True), *_WIDE_COLUMNS)
    return Operation(
        "kill",
        partial(_foresee, wish),
        columns,
        lambda value: [tuple(getattr(client, column.name) for column in columns) for client in value.clients],
        nobody=f"no {wish.who}",
    )


async def _foresee(wish: _Wish, conversation: Conversation) -> Answer[ForeseenKill]:
    answer = await list_connected(conversation)
    found = wish.who.find(answer.value)
    wish.shown[conversation.server.name] = found
    if not found:
        _warn_of_remapped(wish.who, answer.value.clients, conversation)
    sends = _commands(wish, found, answer.value.clients)
    foreseen = (
        ForeseenClient(
            client.common_name,
            client.real_address,
            client.virtual_address,
            client.connected_since,
            client.client_id,
            client.username,
            command.text,
        )
        for client, command in zip(found, sends, strict=True)
    )
    return Answer(ForeseenKill(len(found), tuple(foreseen)), answer.raw)


def _commands(wish: _Wish, found: Sequence[Client], everybody: Sequence[Client]) -> list[Command[Any]]:
    """For each client that is meant, the command that ends its session and nobody else's.

    Raises:
        CommandFailedError: this daemon has none for one of them.
    """
    name = _plain_name(wish, found)
    if name is not None:
        return [commands.kill_common_name(name)] * len(found)
    return [_by_address(wish, client, everybody) or _client_kill(wish, client) for client in found]


def _plain_name(wish: _Wish, found: Sequence[Client]) -> str | None:
    """The common name, where the daemon's `kill` does just what is wanted with it."""
    who = wish.who
    if wish.message is None and isinstance(who, NameOrAddress) and found and who.is_name_of(found[0]):
        return None if ":" in who.text else who.text
    return None


def _by_address(wish: _Wish, client: Client, everybody: Sequence[Client]) -> Command[Any] | None:
    """The `kill` of the client's real address, where it is meant by that, or has no client id."""
    meant = isinstance(wish.who, From) or (isinstance(wish.who, NameOrAddress) and not wish.who.is_name_of(client))
    if wish.message is not None or not (meant or client.client_id is None):
        return None
    spelling = _spell_address(client, everybody)
    return None if spelling is None else commands.kill_address(spelling)


def _client_kill(wish: _Wish, client: Client) -> Command[str]:
    """The `client-kill` of the client.

    Raises:
        CommandFailedError: the daemon has no client ids, so that nothing can kill this one alone.
    """
    if client.client_id is not None:
        return commands.client_kill(client.client_id, wish.message)
    if wish.message is not None:
        raise CommandFailedError(
            "a message goes with a client id, and this daemon reports none (they came with OpenVPN 2.4); "
            "it was not killed",
            hint="leave --message out",
        )
    named = isinstance(wish.who, NameOrAddress) and wish.who.is_name_of(client)
    raise CommandFailedError(
        f"this daemon cannot kill the {wish.who}: its `kill` "
        f"{'reads a name with a colon as an address' if named else 'does not take this address'}, "
        "and it reports no client ids (they came with OpenVPN 2.4); it was not killed",
        hint=_other_way(client),
    )


def _other_way(client: Client) -> str:
    name = client.common_name
    if name is None or ":" in name:
        return "this release has no way to end that session alone"
    return "kill it by its common name, which ends every session of that name"


# Doing it


async def _perform(wish: _Wish, conversation: Conversation) -> Answer[Killed]:
    epoch = (await conversation.run(commands.state())).time if wish.verify else None
    listed = (await list_connected(conversation)).value
    before = None
    if epoch is not None:
        at = asyncio.get_running_loop().time()
        before = Look(conversation.server.name, at, epoch, listed.time, listed.clients)
    found = wish.find(listed, conversation)
    if not found:
        _warn_of_remapped(wish.who, listed.clients, conversation)
        return Answer(Killed(0, (), before), "")
    name = _plain_name(wish, found)
    if name is not None:
        return await _kill_by_name(name, found, before, conversation)
    fates, raw = await _kill_each(wish, found, listed.clients, conversation)
    return Answer(Killed(sum(fate.result == "killed" for fate in fates), tuple(fates), before), raw)


def _warn_of_remapped(who: Who, clients: Sequence[Client], conversation: Conversation) -> None:
    """Says where an old daemon may show this very client under another name; whether it is the same, nobody can tell.

    Daemons before 2.3 change names (protocol-facts 4). They report no client ids, as 2.3 does.
    """
    if not isinstance(who, NameOrAddress):
        return
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


async def _kill_by_name(
    name: str, found: Sequence[Client], before: Look | None, conversation: Conversation
) -> Answer[Killed]:
    (reply,) = await conversation.ask(commands.kill_common_name(name))
    killed: int = 0 if _is_gone(reply) else reply.result()
    return Answer(Killed(killed, tuple(_fate(client, killed) for client in found), before), reply.text())


async def _kill_each(
    wish: _Wish, found: Sequence[Client], everybody: Sequence[Client], conversation: Conversation
) -> tuple[list[KilledClient], str]:
    """Kills exactly these clients, by address and by client id; also gives the daemon's words."""
    pairs = list(zip(found, _commands(wish, found, everybody), strict=True))
    addressed = [(client, command) for client, command in pairs if command.name == "kill"]
    by_ids = [client for client, command in pairs if command.name != "kill"]
    replies = await conversation.ask(*(command for _client, command in addressed)) if addressed else ()
    fates = []
    for (client, _command), reply in zip(addressed, replies, strict=True):
        if _is_gone(reply):
            by_ids.append(client)  # an IPv4 client of a dual-stack socket is never found (protocol-facts 4)
        else:
            fates.append(_fate(client, reply.result()))
    raw = texts(*(reply for reply in replies if not _is_gone(reply)))
    if by_ids:
        more, words = await _kill_by_ids(wish, by_ids, conversation)
        return [*fates, *more], raw + words
    return fates, raw


async def _kill_by_ids(
    wish: _Wish, before: Sequence[Client], conversation: Conversation
) -> tuple[list[KilledClient], str]:
    """Kills exactly the clients that are meant by their client ids.

    The ids are looked up once more, together with the state, and the state is asked for again behind the kills, in
    the same write: no restart came between where both are equal, so the ids were those of the look-up. A restart
    takes a second at least, and its clients longer to come back, so that the wrong one can be hit only where the kill
    is held up on its way for that long; then it is said.

    Args:
        wish: says who is meant.
        before: those that were found when this began.
        conversation: with their daemon.

    Raises:
        CommandFailedError: the daemon has no client ids, or began them again in between.
    """
    state, status = await conversation.ask(commands.state(), commands.status(STATUS_FORMAT))
    found = [] if refused_without_tunnel(status) else wish.find(status.result(), conversation)
    if not wish.who.lasting:
        found = _same(found, before)
    still = {_session(client) for client in found}
    left = [_fate(client, 0) for client in before if _session(client) not in still]
    if not found:
        return left, ""
    *replies, state_after = await conversation.ask(*[_client_kill(wish, client) for client in found], commands.state())
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
    return [*left, *(_fate(client, count) for client, count in zip(found, counts, strict=True))], texts(*replies)


def _same(clients: Sequence[Client], others: Sequence[Client]) -> list[Client]:
    """Those of the clients that are the very sessions of the others."""
    known = {_session(client) for client in others}
    return [client for client in clients if _session(client) in known]


def _session(client: Client) -> tuple[object, ...]:
    return client.client_id, client.real_address, client.connected_since


def _is_gone(reply: Reply[Any]) -> bool:
    """The daemon has no such client any more: not in its list, or it has lost its tunnel and all of them."""
    if refused_without_tunnel(reply):
        return True
    return reply.error is not None and reply.error.endswith(("not found", "client-kill command failed"))


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
        client.username,
        "killed" if killed else "gone",
    )
