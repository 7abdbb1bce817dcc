"""What a host shows as its key, and what is known of it; light to import, as those who only show it are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Standing(StrEnum):
    """What is known of a key that a host shows."""

    KNOWN = "known"  # a known_hosts file has it
    CERTIFIED = "certified"  # an authority of a known_hosts file has certified it
    PINNED = "pinned"  # the inventory has it
    NEW = "new"  # no file has any key of the host
    CHANGED = "changed"  # the files have other keys of the host
    NOT_PINNED = "not_pinned"  # the inventory has other keys of the host
    REVOKED = "revoked"  # a known_hosts file says never to take it

    @property
    def trusted(self) -> bool:
        """Whether fleet connects to a host with such a key."""
        return self in (Standing.KNOWN, Standing.CERTIFIED, Standing.PINNED)


@dataclass(frozen=True, slots=True)
class HostKey:
    """The key that a host shows.

    Attributes:
        entry: the host as known_hosts has it: `edge-1`, or `[edge-1]:2222`.
        type: `ssh-ed25519` and so on.
        fingerprint: `SHA256:...`.
        key: `TYPE BASE64`; empty where it was certified, and its own key does not matter.
        standing: what is known of it.
        expected: type and fingerprint of the keys that are known.
        places: where they stand, as `file:line`.
        files: the user's known_hosts files; a new key belongs into the first.
        hashed: ssh_config wants names to be hashed there (HashKnownHosts).
    """

    entry: str
    type: str
    fingerprint: str
    key: str
    standing: Standing
    expected: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    hashed: bool = False
