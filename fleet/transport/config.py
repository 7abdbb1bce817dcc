"""ssh_config as asyncssh reads it, but each file is read and taken apart once per run.

asyncssh does that anew for each host: 20 ms with a hundred `Host` blocks, 2 s with ten thousand, and no other thread
gets on meanwhile. What the lines mean stays its business: its own handlers are called, in the order of the lines.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from glob import glob
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.config import SSHClientConfig

from fleet.inventory.model import SSHSettings

_HANDLERS = {
    **SSHClientConfig._handlers,  # noqa: SLF001 - asyncssh has no public way to its handlers
    "hashknownhosts": ("HashKnownHosts", SSHClientConfig._set_bool),  # noqa: SLF001 - as above; asyncssh writes no file
}
_CONDITIONS = frozenset({"host", "match"})
_WHOLE = frozenset({"proxycommand", "remotecommand"})
"""Options whose value is the rest of the line, quotes and all."""
_NEVER_NONE = frozenset({"User", "HostKeyAlias", "BindAddress", "Tag"})
"""Options of which asyncssh takes `none` for no value at all, where ssh takes it for a name like others."""
_TIMES = frozenset({"ConnectTimeout", "ServerAliveInterval"})
"""Options whose value ssh takes as `90`, `1m30s` or `none`, and asyncssh only as a number."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TIME = re.compile(r"(\d{1,9})([smhdw]?)", re.IGNORECASE)
SYSTEM_FILE = Path("/etc/ssh/ssh_config")
"""What is read after the user's own file, as ssh does."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line that says something: its option in lower case, and the rest taken apart."""

    number: int
    option: str
    arguments: tuple[str, ...]


class _Patterns:
    """The patterns of a `Host` line: names, some of them with * and ?, some with a ! before."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._names: dict[bool, set[str]] = {True: set(), False: set()}
        self._globs: dict[bool, list[re.Pattern[str]]] = {True: [], False: []}
        for pattern in patterns:
            wanted, text = not pattern.startswith("!"), pattern.removeprefix("!")
            if "*" in text or "?" in text:
                self._globs[wanted].append(re.compile(translate(re.sub(r"[\[\]]", r"[\g<0>]", text))))
            else:
                self._names[wanted].add(text)

    def match(self, host: str) -> bool:
        return self._any(host, wanted=True) and not self._any(host, wanted=False)

    def _any(self, host: str, *, wanted: bool) -> bool:
        return host in self._names[wanted] or any(glob.match(host) for glob in self._globs[wanted])


@dataclass(slots=True)
class _Block:
    """The lines from one `Host` or `Match` to the next; the first block of a file has neither."""

    condition: _Line | None
    hosts: _Patterns | None
    lines: list[_Line]


@dataclass(frozen=True, slots=True)
class _File:
    """A file up to the first line whose quote has no other half, and what is wrong there.

    Attributes:
        is_plain: nothing in it can run a program or look for files.
    """

    blocks: list[_Block]
    broken: tuple[int, str] | None
    is_plain: bool


def _is_plain(blocks: Sequence[_Block]) -> bool:
    options = {block.condition.option for block in blocks if block.condition is not None}
    options |= {line.option for block in blocks for line in block.lines}
    return not options & {"match", "include"}


class Files:
    """The files of ssh_config, each read once."""

    def __init__(self) -> None:
        self._read: dict[Path, _File] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> _File:
        """A file, taken apart.

        Raises:
            OSError: it cannot be read.
            UnicodeDecodeError: it is no text.
        """
        with self._lock:  # many hosts are resolved at once; the file is read by the first
            if path not in self._read:
                with path.open() as file:  # in the locale's encoding, as asyncssh does
                    self._read[path] = _take_apart(file)
            return self._read[path]


class WouldBlockError(Exception):
    """A file has to be read, or a program run, which may take any time."""


class ReadFiles(Files):
    """Files that were read already, for those who must not be held up."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self._read = files._read  # noqa: SLF001 - the same files

    def read(self, path: Path) -> _File:
        """A file, taken apart.

        Raises:
            WouldBlockError: it was not read yet, or it may run a program (`Match exec`) or look for files (`Include`).
        """
        file = self._read.get(path)
        if file is None or not file.is_plain:
            raise WouldBlockError(path)
        return file


def _take_apart(lines: Iterable[str]) -> _File:
    blocks = [_Block(None, None, [])]
    for number, text in enumerate(lines, 1):
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            line = _line(number, stripped)
        except ValueError as exc:
            return _File(blocks, (number, str(exc)), _is_plain(blocks))
        if line.option in _CONDITIONS:
            hosts = _Patterns(",".join(line.arguments).split(",")) if line.option == "host" else None
            blocks.append(_Block(line, hosts, []))
        elif line.option in _HANDLERS:
            blocks[-1].lines.append(line)
    return _File(blocks, None, _is_plain(blocks))


def _line(number: int, text: str) -> _Line:
    """`Option value`, `Option=value` and `Option = value`, as asyncssh cuts them.

    Raises:
        ValueError: a quote has no other half.
    """
    words = shlex.split(text)
    option, arguments = "", list[str]()
    for index, word in enumerate(words):
        if word.startswith("="):
            arguments += [word[1:]] if len(word) > 1 else []
        elif index and option not in _CONDITIONS:
            arguments += words[index:]
            break
        elif word.endswith("="):
            arguments.append(word[:-1])
        else:
            arguments += word.split("=", 1)
        if not index:
            option = arguments.pop(0).lower() if arguments else ""
    if option in _WHOLE:
        arguments = [text[len(option) :].strip()]
    return _Line(number, option, tuple(arguments))


class Config(SSHClientConfig):
    """asyncssh's settings for one host, from files that were taken apart before.

    Attributes:
        places: for each option, the file and line that said it; of those that add up, all of them.
        read: the files, those of `Include` among them.
    """

    def __init__(self, files: Files, settings: SSHSettings, user: str, *, final: bool) -> None:
        super().__init__(None, False, False, final, user, *_given(settings))  # type: ignore[arg-type]  # None: none yet
        self._files = files
        self.places: dict[str, list[tuple[Path, int]]] = {}
        self.read: list[Path] = []

    def parse(self, path: Path) -> None:
        """The lines of one file that are meant for this host; `Include` comes here, too.

        Raises:
            ConfigParseError: a line has an error.
        """
        self._path, self._matching, self._tokens = path, True, {"%": "%"}
        file = self._files.read(path)
        self.read.append(path)
        for block in file.blocks:
            if block.hosts is not None and block.condition is not None and block.condition.arguments:
                self._matching = block.hosts.match(self._orig_host)
            elif block.condition is not None:
                self._apply(block.condition)
            for line in block.lines if self._matching else ():
                self._apply(line)
        if file.broken is not None:
            self._line_no, problem = file.broken
            self._error(problem)

    def expand(self) -> None:
        """Puts values for the `%h` and `${HOME}` of what was read.

        Raises:
            ConfigParseError: there is no such value.
        """
        self._set_tokens()
        self._tokens["k"] = str(self._options.get("HostKeyAlias") or self._orig_host)
        for option in (self._percent_expand | {"UserKnownHostsFile"}) & self._options.keys():
            value = self._options[option]
            if isinstance(value, list):
                self._options[option] = [self._expand_val(item) for item in value]
            elif isinstance(value, str):
                self._options[option] = self._expand_val(value)

    def _apply(self, line: _Line) -> None:
        self._line_no = line.number
        option, handler = _HANDLERS[line.option]
        arguments = list(line.arguments)
        if not arguments:
            self._error(f"Missing {option} value")
        if line.option == "include":
            self._include_sorted(arguments)
            return
        path, before = self._path, _size(self._options.get(option, ()))
        if option in _TIMES:
            arguments[0] = _seconds(arguments[0])
        if option in _NEVER_NONE and arguments[0].lower() == "none":
            self._options.setdefault(option, arguments.pop(0))
        else:
            handler(self, option, arguments)
        if option in self._options and (option not in self.places or _size(self._options[option]) > before):
            self.places.setdefault(option, []).append((path, line.number))
        if arguments:
            self._error(f"Extra data at end: {' '.join(arguments)}")

    def _include_sorted(self, patterns: Sequence[str]) -> None:
        """The files of an `Include` in the order of their names, as ssh reads them; asyncssh takes any order.

        A relative one is in the user's ~/.ssh, or beside the system's file where that names it.
        """
        path, number = self._path, self._line_no
        base = SYSTEM_FILE.parent if path.is_relative_to(SYSTEM_FILE.parent) else self._default_path
        for pattern in patterns:
            found = glob(str(base / Path(pattern).expanduser()))  # noqa: PTH207 - Path.glob takes no absolute pattern
            for name in sorted(found):
                if Path(name).is_file():
                    self.parse(Path(name))
        self._path, self._line_no, self._matching = path, number, True


def _seconds(text: str) -> str:
    """A time as a number of seconds; what is no time stays for asyncssh to complain of."""
    if text.lower() == "none":
        return "0"
    if not re.fullmatch(rf"({_TIME.pattern})+", text, re.IGNORECASE):
        return text
    return str(sum(int(count) * _UNITS[unit.lower()] for count, unit in _TIME.findall(text)))


def _size(value: object) -> int:
    """How many values an option has; those that do not add up have one at most."""
    return len(value) if isinstance(value, list) else 0


class _Options(asyncssh.SSHClientConnectionOptions):
    """Options from settings that were read before, where asyncssh would read the files."""

    def prepare(self, config: Any = None, **arguments: Any) -> None:  # type: ignore[override]  # the rest passes through
        """Part of how asyncssh makes options."""
        super().prepare(config=[], **{**arguments, "last_config": config})


def default_files() -> tuple[Path, ...]:
    """The user's file and the system's, as far as they are there."""
    files = (Path("~/.ssh/config").expanduser(), SYSTEM_FILE)
    return tuple(file for file in files if os.access(file, os.R_OK))


def parse_config(files: Files, paths: Sequence[Path], settings: SSHSettings) -> Config:
    """What ssh_config, under the settings of the inventory, says for one host.

    Args:
        files: what was read before.
        paths: the files, the first one first.
        settings: the host.

    Raises:
        OSError: a file cannot be read.
        ValueError: ConfigParseError, a line has an error; or nobody knows who the local user is.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        raise ValueError("the local user has no name: set LOGNAME") from None
    config = _parsed(Config(files, settings, user, final=False), paths)
    if config.has_match_final():
        config = _parsed(Config(files, settings, user, final=True), paths)
    return config


def read_config(files: Files, paths: Sequence[Path], settings: SSHSettings) -> asyncssh.SSHClientConnectionOptions:
    """The same as the options of a connection.

    Raises:
        OSError: a file cannot be read.
        ValueError: as `parse_config`, or a value that asyncssh does not take.
    """
    return as_options(parse_config(files, paths, settings), settings)


def as_options(config: Config, settings: SSHSettings) -> asyncssh.SSHClientConnectionOptions:
    """What was read as the options of a connection.

    Raises:
        ValueError: a value that asyncssh does not take.
    """
    name, host, port = _given(settings)
    return _Options(
        host=host,
        port=port,
        username=name,
        config=config,
        client_keys=None,  # read by the Keyring, once
        agent_path=None,
        known_hosts=None,  # decided by Trust: nothing is connected with this object
        gss_host=None,
        client_host_keysign=False,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=(),
    )


def _given(settings: SSHSettings) -> tuple[Any, str, Any]:
    """User, host and port of the inventory, in asyncssh's words: () is not given."""
    user = settings.user if settings.user is not None else ()
    return user, settings.host, settings.port if settings.port is not None else ()


def _parsed(config: Config, paths: Sequence[Path]) -> Config:
    for path in paths:
        config.parse(path)
    config.expand()
    config.loaded = True
    return config
