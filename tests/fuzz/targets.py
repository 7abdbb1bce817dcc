"""What is fuzzed: functions that take any bytes, and fail where fleet does not keep what it promises of any bytes.

Each has seeds, so that a fuzzer begins with what real daemons have said and what people write.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import category

from fleet.errors import CommandFailedError, InventoryError, ProtocolError, RefusedError, ServerError
from fleet.inventory.load import load
from fleet.inventory.model import Inventory
from fleet.inventory.pattern import select
from fleet.management import commands
from fleet.management.commands import Command
from fleet.management.notifications import Notification
from fleet.management.protocol import Event, Protocol, Reply, State
from fleet.management.status import parse_status
from fleet.operations.status import CLIENTS, ROUTES
from fleet.render.csvout import value
from fleet.render.events import describe
from fleet.render.jsonout import dumps, to_jsonable
from fleet.render.table import render_table
from fleet.render.text import escape
from support.transcripts import TRANSCRIPTS, exchanges, read_transcript

ROOT = Path(__file__).parents[2]
FORMULA = ("=", "+", "-", "@")
SEED_LIMIT = 8192
"""Bytes of a seed: a fuzzer gets nowhere with longer ones."""

_NOW = datetime(2026, 11, 22, tzinfo=UTC)
_COMMANDS: tuple[Command[Any], ...] = (
    commands.state(), commands.status(3), commands.status(1), commands.load_stats(), commands.version(), commands.pid(),
    commands.log("all"), commands.help_(), commands.hold(None), commands.verb(None), commands.kill_common_name("alice"),
    commands.client_kill(3, None), commands.auth_retry(), commands.signal("SIGUSR1"), commands.state_live(1),
    commands.log_live(history="all"),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed.

    Attributes:
        check: raises what is not promised.
        seeds: what to begin with.
    """

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def _shown(text: str) -> None:
    """Nothing in what people see acts on their terminal. Blanks of all widths are seen, though not by isprintable."""
    assert all(character.isprintable() or category(character) == "Zs" or character == "\n" for character in text), text


# The protocol: any bytes give events or the documented errors, however they are cut


def _events(sent: list[Command[Any]], chunks: list[bytes]) -> tuple[list[Event], type[ServerError] | None]:
    protocol, events = Protocol(), list[Event]()
    waiting = list(sent)
    try:
        for chunk in chunks:
            events += protocol.receive(chunk)
            while waiting and protocol.state is State.READY and protocol.error is None:
                protocol.send(waiting.pop(0))
            if protocol.state is State.EXPECT_PASSWORD:
                protocol.send_password(b"secret")
        if protocol.error is not None:
            raise protocol.error
        protocol.receive_eof()
    except ServerError as error:
        _shown(escape(error.message))
        return events, type(error)
    return events, None


def check_protocol(data: bytes) -> None:
    """The first byte is how many commands are sent, the next ones say which, one says how the rest is cut."""
    if len(data) < 2:
        return
    count = data[0] % 8
    sent = [_COMMANDS[byte % len(_COMMANDS)] for byte in data[1 : 1 + count]]
    cut, rest = data[1 + count : 2 + count], data[2 + count :]
    banner, size = b">INFO:x\r\n" if data[0] & 8 else b"", (cut[0] if cut else 0) % 61 + 1
    # When commands go out depends on what has come: they go in one write right behind the banner, or not at all.
    start = [banner] if banner else []
    sent = sent if banner else []
    whole = _events(sent, [*start, rest] if rest else start)
    pieces = _events(sent, [*start, *(rest[i : i + size] for i in range(0, len(rest), size))])
    if b"ENTER PASSWORD:" not in rest:  # the answer to a prompt goes between two chunks
        assert whole == pieces
    for event in whole[0]:
        if isinstance(event, Notification):
            _shown(escape(describe(event)))
            dumps(to_jsonable(event))
        elif isinstance(event, Reply):
            assert isinstance(event.text(), str)
            with suppress(CommandFailedError, ProtocolError):
                dumps(to_jsonable(event.result()))


def protocol_seeds() -> Iterator[bytes]:
    names = {command.text.encode(): index for index, command in enumerate(_COMMANDS)}
    for path in sorted(TRANSCRIPTS.glob("*/*.txt")):
        for session in read_transcript(path):
            yield b"\0\x10" + session.received[:SEED_LIMIT]
            for exchange in exchanges(session):
                index = names.get(exchange.command.rstrip(b"\n"))
                if index is not None:
                    yield bytes((9, index, 40)) + exchange.reply[:SEED_LIMIT]


# Status: rows or a reason, never an exception; and what is shown of it does no harm


def check_status(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    try:
        status = parse_status(lines)
    except ValueError as error:
        _shown(escape(str(error)))
        return
    dumps(to_jsonable(status))
    for problem in status.problems:
        _shown(escape(problem))
    for operation in (CLIENTS, ROUTES):
        rows = [list(row) for row in operation.rows(status)]
        _shown(render_table(operation.columns, rows, now=_NOW))
        for cell in (cell for row in rows for cell in row):
            text = value(cell)
            if isinstance(cell, str) and isinstance(text, str):
                _shown(text)
                assert not text.startswith(FORMULA), text


def status_seeds() -> Iterator[bytes]:
    for path in sorted(TRANSCRIPTS.glob("*/*.txt")):
        for session in read_transcript(path):
            for exchange in exchanges(session):
                if exchange.command.startswith(b"status"):
                    yield exchange.reply.replace(b"END\r\n", b"")[:SEED_LIMIT]


# Inventories: one, or a complaint with its place

_NAMES = ("inventory.yaml", "inventory.ini", "inventory.json")


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))  # noqa: PTH112, S108 - of this process


def check_inventory(data: bytes) -> None:
    """The first byte says of which format the rest is."""
    path = _folder() / _NAMES[data[0] % len(_NAMES) if data else 0]
    path.write_bytes(data[1:])
    try:
        inventory = load(str(path))
    except InventoryError as error:
        _shown(escape(error.message).replace("\\n", ""))
        return
    finally:
        path.unlink()
    names = [server.name for server in inventory.servers]
    assert len(names) == len(set(names))
    for server in inventory.servers:
        _shown(server.name)


def inventory_seeds() -> Iterator[bytes]:
    yield b"\0" + (ROOT / "inventory.example.yaml").read_bytes()
    yield b"\0all:\n  vars: {ssh_user: ops, management: '127.0.0.1:7505'}\n  hosts: {edge-[1:3].example.net: {}}\n"
    yield b"\0all:\n  children:\n    eu: {hosts: {a: {management: {udp: /run/u.sock, tcp: '[::1]:7505'}}}}\n"
    yield b"\x01[eu]\nedge-[01:09] management=127.0.0.1:7505\n[eu:vars]\nssh_user=ops\n[all:children]\neu\n"
    yield b'\x02{"_meta": {"hostvars": {"a": {"management": "127.0.0.1:7505"}}}, "eu": {"hosts": ["a"]}}'


# Patterns: servers of the inventory, or a refusal


@cache
def _inventory() -> Inventory:
    path = _folder() / "patterns.yaml"
    path.write_text(
        "all:\n  vars: {management: '127.0.0.1:7505'}\n  children:\n"
        "    eu: {hosts: {'edge-[01:12].eu.example.net': {}}}\n"
        "    us: {hosts: {gw.us: {management: {udp: '127.0.0.1:1', tcp: '127.0.0.1:2'}}}}\n",
        "utf-8",
    )
    return load(str(path))


def check_patterns(data: bytes) -> None:
    inventory = _inventory()
    limits = [text for text in data.decode("utf-8", "surrogateescape").split("\0") if not text.startswith("@")]
    if any("@" in text for text in limits):
        return  # names a file
    try:
        chosen = select(inventory, limits)
    except RefusedError as error:
        _shown(escape(error.message).replace("\\n", ""))
        return
    assert [server for server in inventory.servers if server in chosen] == list(chosen)


def pattern_seeds() -> Iterator[bytes]:
    texts = (
        "eu", "eu:!edge-01*", "all:&us", "edge-[01:05].eu.example.net", "~edge-0[1-3].*", "gw.us/udp", "eu[0:2]", "*",
        "edge-{01,02}*", "eu,us", "!us", "eu\0!edge-0*", "edge-[1-3,5]*", "~(a|b)+$",
    )  # fmt: skip
    for text in texts:
        yield text.encode()


TARGETS = {
    "protocol": Target(check_protocol, protocol_seeds),
    "status": Target(check_status, status_seeds),
    "inventory": Target(check_inventory, inventory_seeds),
    "patterns": Target(check_patterns, pattern_seeds),
}
