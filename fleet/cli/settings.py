"""Defaults of options from files: who keeps them where, and which of them are taken.

A file holds `option: value` with the options' long names: `reply-timeout: 5s`. What stands on the command line wins
over a variable, that over the user's file, and that over the system's. A file that is named, by --config or
$FLEET_CONFIG, takes the place of both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import UsageError

if TYPE_CHECKING:
    from fleet.inventory.tree import Entry, Node

SYSTEM = Path("/etc/fleet/config.yaml")
MAX_BYTES = 2**20
"""Security limit: bytes of a file of settings."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PATHS = frozenset({"inventory", "ssh-config", "private-key", "db", "textfile"})


@dataclass(frozen=True, slots=True)
class Given:
    """What a file says of one option.

    Attributes:
        value: a text, or several where there was a list.
        origin: `file:line`.
        place: `file:line:column`, for errors.
    """

    value: str | tuple[str, ...]
    origin: str
    place: str


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that may hold settings.

    Attributes:
        path: where it is looked for.
        state: `read`, `not there`, or `ignored: ...` with the reason.
    """

    path: str
    state: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the files say.

    Attributes:
        given: by the options' long names.
        files: those that were looked for, the weaker ones first.
        warnings: what to tell the user.
    """

    given: Mapping[str, Given]
    files: tuple[ConfigFile, ...] = ()
    warnings: tuple[str, ...] = ()


def settings_for(args: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """As `read_settings`; what there is to warn of is said."""
    settings = read_settings(args, environ)
    if settings.warnings:
        from fleet.cli.output import say  # noqa: PLC0415 - there is seldom something to warn of

        say("\n".join(f"warning: {text}" for text in settings.warnings))
    return settings


def read_settings(args: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings for a command line.

    Args:
        args: the words behind `fleet`; --config is looked for among them.
        environ: the environment.

    Raises:
        UsageError: a file cannot be read, or says what is no setting.
    """
    named = _named(args) or environ.get("FLEET_CONFIG") or None
    if named == os.devnull:
        return Settings({})
    given: dict[str, Given] = {}
    files: list[ConfigFile] = []
    warnings: list[str] = []
    for path in (SYSTEM, _users_file(environ)) if named is None else (Path(named).expanduser(),):
        danger = _danger(path)
        if danger is None and not path.exists():
            if named is not None:
                raise UsageError(f"{path} is not there", hint="--config and FLEET_CONFIG name a file with settings")
            files.append(ConfigFile(str(path), "not there"))
        elif danger is not None:
            files.append(ConfigFile(str(path), f"ignored: {danger}"))
            warnings.append(f"the settings of {path} are ignored: {danger}")
        else:
            files.append(ConfigFile(str(path), "read"))
            given |= _read(path)
    return Settings(given, tuple(files), tuple(warnings))


def _named(args: Sequence[str]) -> str | None:
    """The last --config of the command line."""
    named = None
    words = list(args[: args.index("--")] if "--" in args else args)
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == "--config":
            named = following
        elif word.startswith("--config="):
            named = word.removeprefix("--config=")
    return named


def _users_file(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME", "")
    if base.startswith("/"):  # a relative path is to be ignored, by the specification
        return Path(base) / "fleet" / "config.yaml"
    return Path(environ.get("HOME") or os.path.expanduser("~")) / ".config" / "fleet" / "config.yaml"  # noqa: PTH111 - Path.home() raises where there is no user


def _danger(path: Path) -> str | None:
    """Why somebody else may have written the file; None where nobody can have, or there is none.

    In a folder with the sticky bit others can make files, and not replace those of the user.
    """
    try:
        real = path.resolve()
        file, folder = real.stat(), real.parent.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:
        return f"it cannot be looked at: {getattr(error, 'strerror', None) or error}"
    return _others_can("it", real, file, sticky=False) or _others_can("its folder", real.parent, folder, sticky=True)


def _others_can(what: str, path: Path, status: os.stat_result, *, sticky: bool) -> str | None:
    """Why others can change it; the sticky bit of a folder keeps what is the user's own there."""
    if status.st_uid not in {0, os.getuid()}:
        return f"{what} belongs to another user (uid {status.st_uid})"
    if status.st_mode & _OTHERS_WRITE and not (sticky and status.st_mode & stat.S_ISVTX):
        return f"others can write {what} (mode {stat.S_IMODE(status.st_mode):04o}); chmod go-w {path}"
    return None


def _read(path: Path) -> dict[str, Given]:
    from fleet.cli.words import flags  # noqa: PLC0415 - where there is no file, nobody asks what could stand in it
    from fleet.inventory.tree import MappingNode, WrongValueError  # noqa: PLC0415 - as above
    from fleet.inventory.yaml_tree import read_yaml  # noqa: PLC0415 - as above

    try:
        root = read_yaml(_text(path), str(path))
    except WrongValueError as error:
        wrong = error.complaint
        raise UsageError(f"{wrong.position}: {wrong.text}", hint=wrong.hint) from None
    if root is None:
        return {}
    if not isinstance(root, MappingNode):
        raise UsageError(f"{root.position}: settings are `option: value` lines", hint="for example `forks: 16`")
    known = flags() - {"config"}
    found: dict[str, Given] = {}
    for entry in root.entries:
        name = _known(entry, known)
        if name in found:
            raise UsageError(f"{entry.key_position}: '{name}' stands here twice", hint="leave one out")
        value = _value(entry, name, path)
        if value is not None:
            position = entry.key_position
            found[name] = Given(value, f"{position.file}:{position.line}", str(position))
    return found


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES >> 20} MiB", hint="it is to hold `option: value` lines")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error


def _known(entry: Entry, known: frozenset[str]) -> str:
    name = entry.key.replace("_", "-").removeprefix("--")
    if name in known:
        return name
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "fleet config show lists the settings"
    raise UsageError(f"{entry.key_position}: '{entry.key}' is no setting", hint=hint)


def _value(entry: Entry, name: str, path: Path) -> str | tuple[str, ...] | None:
    """The value as text; None where it says nothing."""
    from fleet.inventory.tree import SequenceNode  # noqa: PLC0415 - known by now

    if isinstance(entry.value, SequenceNode):
        return tuple(_located(_scalar(item, name), name, path) or "" for item in entry.value.items)
    return _located(_scalar(entry.value, name), name, path)


def _scalar(node: Node, name: str) -> str | None:
    from fleet.inventory.tree import ScalarNode  # noqa: PLC0415 - known by now

    if not isinstance(node, ScalarNode) or node.vaulted:
        raise UsageError(f"{node.position}: '{name}' takes a text, a number or a list of them")
    return None if node.value is None else str(node.value)


def _located(text: str | None, name: str, path: Path) -> str | None:
    """A path that is relative is so to the file that it stands in."""
    if text is None or name not in _PATHS or text.startswith(("/", "~")) or text == "none":
        return text
    return str(path.parent / text)
