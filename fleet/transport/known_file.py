"""Writing known_hosts: adding a host's key, and taking its old ones out. All other lines stay byte for byte.

The file is replaced as a whole, so that nobody ever reads half of it, and under a lock of its folder, so that two runs
of fleet lose nothing of each other's. ssh and ssh-keygen take no lock; they read what there is.
"""

from __future__ import annotations

import binascii
import fcntl
import hmac
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_SALT = 20  # bytes, as ssh has it


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that is to be there.

    Attributes:
        name: `host` or `[host]:port`.
        key: `TYPE BASE64`.
    """

    name: str
    key: str


def old_lines(path: Path, entry: Entry) -> list[int]:
    """The numbers of the lines that give the name another key; a pattern that fits it by chance is not meant.

    Raises:
        OSError: the file cannot be read, but for one that is not there.
    """
    lines = _read(path).split(b"\n")
    return [number for number, line in enumerate(lines, 1) if _is_old(line, entry)]


def update(path: Path, entries: Sequence[Entry], *, replace: bool, hashed: bool) -> list[Entry]:
    """Adds entries that are not there yet, and with `replace` takes their names' other keys out.

    Lines that begin with `@` (authorities, revoked keys) are never taken out.

    Args:
        path: a symbolic link is followed; the file is made, for its owner alone, where it is missing.
        entries: each once.
        replace: take out other keys of these names.
        hashed: hash the names; so it is done too where the file has hashed names already.

    Returns:
        Those that were added.

    Raises:
        OSError: it cannot be written.
    """
    real = Path(os.path.realpath(path))
    real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(real.parent):
        data = _read(real)
        lines = data.split(b"\n")
        kept = [line for line in lines if not (replace and any(_is_old(line, entry) for entry in entries))]
        added = [entry for entry in entries if not any(_is_there(line, entry) for line in kept)]
        if len(kept) == len(lines) and not added:
            return []
        if kept and not kept[-1]:
            kept.pop()  # behind the last newline
        hashed = hashed or any(line.split(b" ")[0].startswith(b"|1|") for line in lines)
        kept += [_line(entry, hashed=hashed) for entry in added]
        _write(real, b"".join(line + b"\n" for line in kept))
        return added


def _line(entry: Entry, *, hashed: bool) -> bytes:
    name = entry.name.lower().encode("utf-8", "surrogateescape")
    if hashed:
        salt = os.urandom(_SALT)
        name = b"|1|" + _base64(salt) + b"|" + _base64(hmac.digest(salt, name, "sha1"))
    return name + b" " + entry.key.encode()


def _base64(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def _is_old(line: bytes, entry: Entry) -> bool:
    names, _, key = line.strip().partition(b" ")
    return _names(names, entry.name) and _key(key) != entry.key.encode()


def _is_there(line: bytes, entry: Entry) -> bool:
    names, _, key = line.strip().partition(b" ")
    return _names(names, entry.name) and _key(key) == entry.key.encode()


def _key(text: bytes) -> bytes:
    """Type and base64 without the comment."""
    return b" ".join(text.split()[:2])


def _names(names: bytes, name: str) -> bool:
    """Whether a line's names have this one, as it stands or hashed; never a marker, a comment or a pattern."""
    wanted = name.lower().encode("utf-8", "surrogateescape")
    if not names.startswith(b"|"):
        return not names.startswith((b"@", b"#")) and wanted in names.lower().split(b",")
    try:
        _, magic, salt, digest = names.split(b"|")
        return magic == b"1" and hmac.compare_digest(
            hmac.digest(binascii.a2b_base64(salt), wanted, "sha1"), binascii.a2b_base64(digest)
        )
    except ValueError:
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _write(path: Path, data: bytes) -> None:
    """Replaces the file, which keeps its owner and mode."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for its owner alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            with suppress(FileNotFoundError):
                before = path.stat()
                os.fchmod(file.fileno(), before.st_mode & 0o7777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    with suppress(PermissionError):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def record(entries: Iterable[Entry], files: Sequence[Path], *, replace: bool, hashed: bool) -> list[Entry]:
    """Adds entries to the first of the user's files; with `replace` their names' other keys leave all of them.

    Raises:
        OSError: a file cannot be written.
    """
    wanted = list(dict.fromkeys(entries))
    added = update(files[0], wanted, replace=replace, hashed=hashed)
    for file in files[1:]:
        if replace and any(old_lines(file, entry) for entry in wanted):
            _take_out(file, wanted)
    return added


def _take_out(path: Path, entries: Sequence[Entry]) -> None:
    real = Path(os.path.realpath(path))
    with _locked(real.parent):
        lines = _read(real).split(b"\n")
        _write(real, b"\n".join(line for line in lines if not any(_is_old(line, entry) for entry in entries)))
