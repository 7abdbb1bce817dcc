"""Which host keys are trusted: known_hosts files read once per run, or the inventory's pins."""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class Keys:
    """What known_hosts holds for one host."""

    host: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()

    def __add__(self, other: Keys) -> Keys:
        return Keys(self.host + other.host, self.authorities + other.authorities, self.revoked + other.revoked)


@dataclass(frozen=True, slots=True)
class _Line:
    file: Path
    number: int
    marker: str
    names: str
    key: str

    @property
    def text(self) -> str:
        return f"{self.marker} {self.names} {self.key}".lstrip()

    @property
    def base64(self) -> str:
        """The key itself; other spellings of it than the usual one are not worth to be told in an error message."""
        return self.key.partition(" ")[2].partition(" ")[0]

    def keys(self, name: str) -> Keys:
        try:
            return _match(asyncssh.import_known_hosts(self.text), name)
        except ValueError:
            return Keys()


@dataclass(frozen=True, slots=True)
class _Hashed:
    salt: bytes
    digest: bytes
    line: _Line


class KnownHosts:
    """The lines of some known_hosts files.

    A host is looked up by its name as it was given (or its HostKeyAlias), never by its address alone: an entry for
    the address does not vouch for a name, as in OpenSSH. With another port than 22 `[host]:port` is looked up first and
    `host` only where that has nothing. A line that cannot be read knows nothing, as in OpenSSH.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(files)
        self._plain = asyncssh.import_known_hosts("")
        self._hashed: list[_Hashed] = []
        self._lines: list[_Line] = []
        for file in self.files:
            try:
                text = file.read_bytes().decode("utf-8", "surrogateescape")
            except OSError:
                continue  # a file that is not there knows no host, as in OpenSSH
            for number, line in enumerate(text.split("\n"), 1):
                self._load(file, number, line)

    def _load(self, file: Path, number: int, text: str) -> None:
        fields = text.split()
        if not fields or fields[0].startswith("#"):
            return
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 2:  # noqa: PLR2004 - a name and a key
            return
        line = _Line(file, number, marker, fields[0].lower(), " ".join(fields[1:]))
        if fields[0].startswith("|"):
            try:
                _, magic, salt, digest = fields[0].split("|")
                hashed = _Hashed(binascii.a2b_base64(salt), binascii.a2b_base64(digest), line)
            except ValueError:
                return
            if magic == "1":
                # asyncssh computes every hash anew for each connection, 41 ms with 10,000 lines; this takes a fifth.
                self._hashed.append(hashed)
        else:
            try:
                self._plain.load(line.text)
            except ValueError:
                return
        self._lines.append(line)

    def lookup(self, host: str, port: int) -> Keys:
        """The keys, authorities and revoked keys for a host."""
        revoked: tuple[asyncssh.SSHKey, ...] = ()
        for name in _names(host, port):
            found = self._find(name)
            revoked += found.revoked
            if found.host or found.authorities:
                return Keys(found.host, found.authorities, revoked)
        return Keys(revoked=revoked)

    def _find(self, name: str) -> Keys:
        found = _match(self._plain, name)
        for line in self._hashed_lines(name):
            found += _unhashed(line, name)
        return found

    def _hashed_lines(self, name: str) -> list[_Line]:
        encoded = name.encode("utf-8", "surrogateescape")
        return [
            hashed.line
            for hashed in self._hashed
            if hmac.compare_digest(hmac.digest(hashed.salt, encoded, "sha1"), hashed.digest)
        ]

    def places(self, host: str, port: int, keys: Sequence[asyncssh.SSHKey]) -> list[str]:
        """Where the keys of a host stand, as `file:line`; for error messages only."""
        found = []
        # To read each line's key anew would hold up all servers for seconds.
        wanted = {binascii.b2a_base64(key.public_data, newline=False).decode("ascii") for key in keys}
        lines = [line for line in self._lines if line.base64 in wanted]
        for name in _names(host, port):
            hashed = {id(line) for line in self._hashed_lines(name)}
            for line in lines:
                held = _unhashed(line, name) if id(line) in hashed else line.keys(name)
                if any(key in held.host + held.authorities + held.revoked for key in keys):
                    found.append(f"{short(line.file)}:{line.number}")
        return list(dict.fromkeys(found))  # `*` names a host with and without its port


def _names(host: str, port: int) -> list[str]:
    host = host.lower()
    return [host] if port == SSH_PORT else [f"[{host}]:{port}", host]


def _match(known: asyncssh.SSHKnownHosts, name: str) -> Keys:
    host, authorities, revoked, *_ = known.match(name, "", None)
    return Keys(tuple(host), tuple(authorities), tuple(revoked))


def _unhashed(line: _Line, name: str) -> Keys:
    return _Line(line.file, line.number, line.marker, name, line.key).keys(name)


def short(path: Path) -> str:
    """A path as a user would write it."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # RuntimeError: no home folder is known
        return str(path)
