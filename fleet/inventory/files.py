"""The files of an inventory: which of a folder count, what each of them is, and how much may be read of all."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fleet.errors import InventoryError
from fleet.inventory.model import Position
from fleet.inventory.tree import MAX_BYTES, WrongValueError

MAX_TOTAL_BYTES = 4 * MAX_BYTES
"""Security limit: bytes of all files of an inventory together."""

MAX_FILES = 100_000
"""Security limit: files of an inventory; a folder of host_vars may have one for every host."""

MAX_FOLDERS_DEPTH = 16
"""Security limit: folders inside each other; a link to a folder further out would make them endless."""

DATA_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Names that are read, never run, even where a file system marks every file as executable."""

VAULT_MARK = "$ANSIBLE_VAULT;"
VAULT_HINT = "let Ansible open it: a program that runs ansible-inventory -i {} --list is an inventory, too"

# What Ansible leaves out of a folder: INVENTORY_IGNORE_EXTS of its settings, hidden files, the folders of variables.
_IGNORED_NAMES = frozenset({"host_vars", "group_vars", "vars_plugins"})
_IGNORED_ENDS = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_COMMENTS = re.compile(r"(?:[^\S\n]*(?:[#;][^\n]*)?\n)*[^\S\n]*(?:[#;][^\n]*\Z)?")
# How a text of YAML begins: a key, a document, a directive, a list, an anchor, a tag, a flow mapping.
_YAML = re.compile(r"(?:[^\s:=\[\]\"']+|\"[^\"\n]*\"|'[^'\n]*')\s*:(?:\s|\Z)|---|%|-\s|[&!*?|>{]")


class Kind(Enum):
    """What a text is."""

    INI = "INI"
    JSON = "JSON"
    YAML = "YAML"


def kind_of(path: str, text: str) -> Kind:
    """What a file is: by its suffix where that says it, else by how its text begins."""
    suffix = os.path.splitext(path)[1]  # noqa: PTH122 - a str path, `-i <(command)` included
    if suffix == ".json":
        return Kind.JSON
    if suffix in DATA_SUFFIXES:
        return Kind.YAML
    if suffix == ".ini":
        return Kind.INI
    beginning = _COMMENTS.match(text)
    start = text[beginning.end() if beginning else 0 :][:4096]
    if re.match(r'\{\s*["}]', start):
        return Kind.JSON
    return Kind.YAML if _YAML.match(start) else Kind.INI


def is_empty(text: str) -> bool:
    """Whether a text has nothing but blank lines and comments."""
    return _COMMENTS.fullmatch(text) is not None


@dataclass(slots=True)
class Files:
    """Reads files, and counts what was read of all."""

    count: int = 0
    size: int = 0

    def read(self, path: str) -> str:
        """The text of a file, decoded, without a byte order mark.

        Raises:
            InventoryError: it cannot be read, or is over a security limit.
            WrongValueError: it is not UTF-8.
        """
        data = _read(path)
        self.count += 1
        self.size += len(data)
        if self.count > MAX_FILES:
            raise InventoryError(f"{path} is one of more than {MAX_FILES} files, which is fleet's security limit")
        if self.size > MAX_TOTAL_BYTES:
            problem = f"more than {MAX_TOTAL_BYTES} bytes of files up to {path}, which is fleet's security limit"
            raise InventoryError(problem)
        return decode(data, path)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a str path, `-i <(command)` included
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InventoryError(
            f"{path} cannot be read: {reason}", hint="name an inventory with -i PATH or $FLEET_INVENTORY"
        ) from error
    if len(data) > MAX_BYTES:
        raise InventoryError(f"{path} has more than {MAX_BYTES} bytes, which is fleet's security limit")
    return data


def decode(data: bytes, file: str) -> str:
    """Text from its bytes.

    Raises:
        WrongValueError: they are not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        position = Position(file, line, len(before) - before.rfind("\n"))
        raise WrongValueError(
            position, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8"
        ) from None


def is_program(path: str) -> bool:
    """Whether a file is run: it may be, its name is not that of data, and it begins as programs do."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a str path, and the error's text is taken from OSError
        if not stat.S_ISREG(mode) or not mode & 0o111 or os.path.splitext(path)[1] in DATA_SUFFIXES:  # noqa: PTH122 - likewise
            return False
        with open(path, "rb") as file:  # noqa: PTH123 - likewise
            return file.read(4).startswith((b"#!", b"\x7fELF"))
    except (OSError, ValueError):
        return False  # reading it says what is wrong with it


def is_folder(path: str) -> bool:
    """Whether a path is a folder, or a link to one."""
    return os.path.isdir(path)  # noqa: PTH112 - a str path


def inventory_files(folder: str, depth: int = 1) -> Iterator[str]:
    """The files of a folder that are an inventory, by name, those of folders inside it included.

    Raises:
        InventoryError: a folder cannot be read, or they are too deep.
    """
    for name in sorted(_names(folder, depth)):
        if not name.startswith(".") and name not in _IGNORED_NAMES and not name.endswith(_IGNORED_ENDS):
            path = os.path.join(folder, name)  # noqa: PTH118 - the text stays as the user wrote it, ./ included
            if is_folder(path):
                yield from inventory_files(path, depth + 1)
            else:
                yield path


def variable_files(folder: str, name: str, names: frozenset[str]) -> list[str]:
    """The files of variables of one group or host, in the order in which they are laid over each other.

    That is, as in Ansible, the first there is of: NAME (a file, or all files of a folder), NAME.yml, NAME.yaml,
    NAME.json.

    Args:
        folder: a folder `group_vars` or `host_vars`.
        name: the group or host.
        names: what is in that folder.
    """
    for suffix in ("", ".yml", ".yaml", ".json"):
        if name + suffix in names:
            path = os.path.join(folder, name + suffix)  # noqa: PTH118 - a str path
            return list(_files_inside(path, 1)) if is_folder(path) else [path]
    return []


def folder_names(folder: str) -> frozenset[str]:
    """What is in a folder of variables; nothing where there is no such folder.

    Raises:
        InventoryError: it cannot be read.
    """
    return frozenset(_names(folder, 1)) if is_folder(folder) else frozenset()


def _files_inside(folder: str, depth: int) -> Iterator[str]:
    for name in sorted(_names(folder, depth)):
        path, suffix = os.path.join(folder, name), os.path.splitext(name)[1]  # noqa: PTH118, PTH122 - str paths
        if name.startswith(".") or name.endswith("~"):
            continue
        if is_folder(path):
            if not suffix:
                yield from _files_inside(path, depth + 1)
        elif not suffix or suffix in DATA_SUFFIXES:
            yield path


def _names(folder: str, depth: int) -> list[str]:
    if depth > MAX_FOLDERS_DEPTH:
        problem = f"{folder} is inside more than {MAX_FOLDERS_DEPTH} folders, which is fleet's security limit"
        raise InventoryError(problem, hint="perhaps a link leads back to a folder further out")
    try:
        return os.listdir(folder)  # noqa: PTH208 - names, not paths
    except OSError as error:
        raise InventoryError(f"{folder} cannot be read: {error.strerror}") from error
