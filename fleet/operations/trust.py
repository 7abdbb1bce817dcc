"""`trust`: what became of the keys of the hosts on the way to each server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import (
    HostKeyChangedError,
    HostKeyUnknownError,
    InterruptedRunError,
    JumpFailedError,
    ServerError,
)
from fleet.operations.columns import Column
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation, Row
from fleet.transport.host_keys import HostKey, Standing

ADDED = "added"
REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """The key of one host.

    Attributes:
        host: the host as known_hosts has it: `edge-1`, or `[edge-1]:2222`.
        type: `ssh-ed25519` and so on; `certificate` where an authority of known_hosts has certified the host.
        fingerprint: `SHA256:...`; empty of a certified one.
        result: `known`, `certified`, `pinned` (in the inventory), `added`, `replaced`; with --dry-run `new` for what
            would be added, and `changed` for what would be replaced.
        known_hosts: where it stands, or the file that it was added to; null of a pinned one.
        replaced: type and fingerprint of the keys that were known before.
    """

    host: str
    type: str
    fingerprint: str
    result: str
    known_hosts: str | None
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trusted:
    """The keys on the way to one server.

    Attributes:
        host: as in known_hosts; null of a server of this machine, which has no way.
        type: of its key.
        fingerprint: `SHA256:...`.
        result: as of a jump host; `local` of a server of this machine.
        known_hosts: where the key stands, or the file that it was added to.
        replaced: the keys that were known before.
        jump_hosts: the keys of the jump hosts before it, the first one first.
    """

    host: str | None
    type: str | None
    fingerprint: str | None
    result: str
    known_hosts: str | None
    replaced: tuple[str, ...]
    jump_hosts: tuple[TrustedKey, ...]

    @classmethod
    def of(cls, keys: Sequence[TrustedKey]) -> Trusted:
        """The keys of a chain, that of the server last."""
        if not keys:
            return cls(None, None, None, "local", None, (), ())
        own = keys[-1]
        return cls(own.host, own.type, own.fingerprint, own.result, own.known_hosts, own.replaced, tuple(keys[:-1]))


def refused(key: HostKey, server: str, *, replace: bool) -> ServerError | None:
    """Why a key cannot be trusted by adding it, or None.

    Args:
        key: what the host shows.
        server: whose way it is on, for the hint.
        replace: other keys of the host may be replaced.
    """
    shown = f"{key.type} {key.fingerprint}"
    if key.standing is Standing.REVOKED:
        return HostKeyChangedError(
            f"the host key of {key.entry} is revoked in {', '.join(key.places)}: {shown}",
            hint="give the host a new key",
        )
    expected = ", ".join(key.expected)
    if key.standing is Standing.NOT_PINNED:
        return HostKeyChangedError(
            f"the host key of {key.entry} is not one that the inventory pins: expected {expected}, got {shown}",
            hint="if the host was rebuilt, correct host_keys in the inventory",
        )
    if key.standing is Standing.CHANGED and not replace:
        return HostKeyChangedError(
            f"the host key of {key.entry} differs from the one in {', '.join(key.places)}: expected {expected}, "
            f"got {shown}; nothing was added",
            hint=f"if the host was rebuilt: fleet trust {server} --replace",
        )
    if not key.standing.trusted and not key.files:
        return HostKeyUnknownError(
            f"ssh_config names no file for the key of {key.entry}",
            hint="set UserKnownHostsFile there, or pin the key with host_keys in the inventory",
        )
    return None


def behind(error: ServerError, host: str) -> ServerError:
    """The error of a server behind a jump host whose key cannot be had or trusted."""
    if isinstance(error, JumpFailedError | InterruptedRunError):
        return error
    return JumpFailedError(f"jump host {host}: {error.message}", hint=error.hint)


def result_of(key: HostKey, place: str | None, *, written: bool) -> TrustedKey:
    """What became of a key.

    Args:
        key: what the host shows.
        place: the file that it was added to, as a user would write it.
        written: it was; else it would be.
    """
    if key.standing.trusted:
        return TrustedKey(key.entry, key.type, key.fingerprint, key.standing, ", ".join(key.places) or None)
    changed = key.standing is Standing.CHANGED
    done = (REPLACED if changed else ADDED) if written else key.standing.value
    return TrustedKey(key.entry, key.type, key.fingerprint, done, place, key.expected if changed else ())


async def _asked_too_late(_conversation: Conversation) -> Answer[Trusted]:
    """Host keys come before any conversation with a daemon: whoever performs this like other operations is wrong."""
    raise RuntimeError("host keys are fetched by fleet.transport.host_keys, not in a conversation")


def _row(value: Trusted) -> Row:
    return (value.host, value.type, value.fingerprint, value.result, value.known_hosts)


TRUST: Operation[Trusted] = Operation(
    "trust",
    _asked_too_late,
    (
        Column("host"),
        Column("type"),
        Column("fingerprint"),
        Column("result", keep=True),
        Column("known_hosts", wide=True),
    ),
    lambda value: [_row(value)],
)
"""How the outcomes are shown; what is done does not go by way of a daemon."""
