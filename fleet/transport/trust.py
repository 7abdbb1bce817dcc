"""The decision about one host's key, and what to say when it is no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_certificate_algs

from fleet.errors import HostKeyChangedError, HostKeyUnknownError, ServerError
from fleet.transport.host_keys import HostKey, Standing
from fleet.transport.known_hosts import SSH_PORT, Keys, KnownHosts
from fleet.transport.progress import THIS_SERVER

_PLAIN_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@cache
def _certificates() -> tuple[str, ...]:
    """Algorithms of host certificates, in asyncssh's order."""
    return tuple(algorithm.decode("ascii") for algorithm in get_default_certificate_algs())


_NOTHING = "nothing was sent"  # the key is checked before anything is


@dataclass(frozen=True, slots=True)
class Pins:
    """The keys that the inventory allows for a host, whole or as fingerprints."""

    keys: tuple[asyncssh.SSHKey, ...]
    fingerprints: frozenset[str]

    @classmethod
    def parse(cls, pins: Sequence[str]) -> Pins:
        """Read `TYPE BASE64` and `SHA256:...`.

        Raises:
            HostKeyUnknownError: a pin is neither.
        """
        keys, fingerprints = [], set()
        for pin in pins:
            if pin.startswith("SHA256:"):
                fingerprints.add(pin.rstrip("="))
                continue
            try:
                keys.append(asyncssh.import_public_key(pin))
            except asyncssh.KeyImportError as exc:
                message = "a host key of the inventory is neither 'TYPE BASE64' nor 'SHA256:...'"
                raise HostKeyUnknownError(message, hint="compare it with what ssh-keyscan prints") from exc
        return cls(tuple(keys), frozenset(fingerprints))


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted for one host.

    Attributes:
        name: the host's name in known_hosts: its HostKeyAlias, else its name.
        port: its SSH port.
        known: the known_hosts files; not asked where there are pins.
        pins: the inventory's keys, or None.
        keys: what was found for the host.
        configured: HostKeyAlgorithms of ssh_config as asyncssh takes them, or None.
    """

    name: str
    port: int
    known: KnownHosts
    pins: Pins | None
    configured: str | None
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        found = Keys(host=self.pins.keys) if self.pins else self.known.lookup(self.name, self.port)
        object.__setattr__(self, "keys", found)

    @property
    def files(self) -> tuple[Path, ...]:
        """The known_hosts files, the one that a new key belongs into first."""
        return self.known.files

    def algorithms(self, refused: Sequence[str] = ()) -> str | list[str]:
        """Host key algorithms in the order of preference, for asyncssh.

        Those of the known keys come first, certificates before them where an authority is known. The others follow, so
        that a host whose known key is gone shows the one it has now and is told apart from a broken one.

        Args:
            refused: algorithms to leave out: a fingerprint does not say of which type its key is, so that a host is
                asked for one key after the other.
        """
        if self.configured is not None and not refused:
            return self.configured
        if self.keys.host or self.keys.authorities:
            # spelled out: asyncssh would match patterns with all that it knows, for each connection
            known = [algorithm.decode("ascii") for key in self.keys.host for algorithm in key.sig_algorithms]
            return list(
                dict.fromkeys((*(_certificates() if self.keys.authorities else ()), *known, *_PLAIN_ALGORITHMS))
            )
        return [algorithm for algorithm in _PLAIN_ALGORITHMS if algorithm not in refused]

    def types(self, shown: Sequence[str]) -> list[str] | str:
        """Algorithms to ask a host for its key with, those of the known keys first.

        Args:
            shown: those that it has shown already.
        """
        if self.configured is not None and not shown:
            return self.configured
        known = [algorithm.decode("ascii") for key in self.keys.host for algorithm in key.sig_algorithms]
        ordered = dict.fromkeys((*known, *_PLAIN_ALGORITHMS))
        return [algorithm for algorithm in ordered if algorithm not in shown]

    def trusted(self, _host: str, _address: str, _port: int | None) -> tuple[list[asyncssh.SSHKey], ...]:
        """The answer to asyncssh's question for known_hosts: keys, authorities and revoked keys."""
        return list(self.keys.host), list(self.keys.authorities), list(self.keys.revoked)

    def pinned(self, key: asyncssh.SSHKey) -> bool:
        """Whether a fingerprint of the inventory vouches for the key."""
        return self.pins is not None and key.get_fingerprint().rstrip("=") in self.pins.fingerprints

    def is_pinned(self, key: asyncssh.SSHKey) -> bool:
        """Whether the inventory vouches for the key, whole or by its fingerprint."""
        return self.pinned(key) or (self.pins is not None and key in self.pins.keys)

    @property
    def entry(self) -> str:
        """The host as known_hosts has it."""
        return self.name if self.port == SSH_PORT else f"[{self.name}]:{self.port}"

    def judge(self, shown: Sequence[asyncssh.SSHKey], *, files: tuple[Path, ...], hashed: bool) -> HostKey:
        """What is known of the keys that a host has shown; none where an authority certifies it.

        Args:
            shown: the last one is the one to go by.
            files: the user's known_hosts files.
            hashed: names are to be hashed there.
        """
        if not shown:
            places = tuple(self.known.places(self.name, self.port, self.keys.authorities))
            return HostKey(self.entry, "certificate", "", "", Standing.CERTIFIED, places=places)
        key = shown[-1]
        known = self.pins.keys if self.pins else (*self.keys.host, *self.keys.revoked)
        expected = [_fingerprint(each) for each in self.keys.host] + sorted(self.pins.fingerprints if self.pins else ())
        return HostKey(
            self.entry,
            key.get_algorithm(),
            key.get_fingerprint(),
            " ".join(key.export_public_key().decode().split()[:2]),
            self._standing(key),
            tuple(expected),
            () if self.pins else tuple(self.known.places(self.name, self.port, known)),
            files,
            hashed,
        )

    def _standing(self, key: asyncssh.SSHKey) -> Standing:
        if self.pins is not None:
            return Standing.PINNED if self.is_pinned(key) else Standing.NOT_PINNED
        if key in self.keys.revoked:
            return Standing.REVOKED
        if key in self.keys.host:
            return Standing.KNOWN
        return Standing.CHANGED if self.keys.host else Standing.NEW

    def refusal(self, reason: str, offered: Sequence[asyncssh.SSHKey]) -> ServerError:
        """The error for a key that is not trusted; nothing was sent but the key exchange.

        Args:
            reason: asyncssh's own words.
            offered: the keys that the host showed, the last one last; empty where it was a revoked one.
        """
        shown = ", ".join(_fingerprint(key) for key in offered)
        if self.pins:
            message = f"the host key is not one of those that the inventory pins: got {shown or reason}; {_NOTHING}"
            return HostKeyChangedError(message, hint="if the host was rebuilt, correct host_keys in the inventory")
        if "revoked" in reason:
            where = self._places(self.keys.revoked)
            return HostKeyChangedError(
                f"the host key is revoked{where}; {_NOTHING}", hint="give the host a new key, and record that"
            )
        if self.keys.host:
            return self._changed(shown, offered)
        if self.keys.authorities:
            where = self._places(self.keys.authorities)
            cause = f"got {shown}" if shown else reason
            return HostKeyUnknownError(
                f"the host key is not certified by the authority{where}: {cause}; {_NOTHING}",
                hint="renew the host's certificate; see it with ssh-keygen -L on the host",
            )
        return self._unknown(shown)

    def _changed(self, shown: str, offered: Sequence[asyncssh.SSHKey]) -> ServerError:
        kinds = {key.get_algorithm() for key in offered}
        same = [key for key in self.keys.host if key.get_algorithm() in kinds] or list(self.keys.host)
        expected = ", ".join(_fingerprint(key) for key in same)
        return HostKeyChangedError(
            f"the host key differs from the one{self._places(same)}: expected {expected}, got {shown}; {_NOTHING}",
            hint=f"if the host was rebuilt: fleet trust {THIS_SERVER} --replace",
        )

    def _unknown(self, shown: str) -> ServerError:
        return HostKeyUnknownError(
            f"the host key is not in any known_hosts file; {_NOTHING}",
            hint=f"if {shown} is its key: fleet trust {THIS_SERVER}",
        )

    def _places(self, keys: Sequence[asyncssh.SSHKey]) -> str:
        places = self.known.places(self.name, self.port, keys)
        return f" in {', '.join(places)}" if places else ""


def _fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
