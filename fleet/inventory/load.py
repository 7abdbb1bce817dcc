"""Finds inventories and reads them: files of every shape, folders of them, programs, and the folders of variables."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import InventoryError
from fleet.inventory.files import (
    VAULT_HINT,
    VAULT_MARK,
    Files,
    Kind,
    decode,
    folder_names,
    inventory_files,
    is_empty,
    is_folder,
    is_program,
    kind_of,
    variable_files,
)
from fleet.inventory.json_tree import read_json
from fleet.inventory.model import Inventory, Position
from fleet.inventory.reader import Reader
from fleet.inventory.records import Definitions, overlay
from fleet.inventory.resolve import Resolver
from fleet.inventory.shapes import read_host_list, read_ini_shape, read_tree
from fleet.inventory.tree import MappingNode, Node, WrongValueError, describe
from fleet.inventory.yaml_tree import read_yaml


def find_inventory(explicit: str | None, environ: Mapping[str, str], cwd: str) -> str:
    """The path of the inventory to read.

    That is, the first there is of: `explicit`, `$FLEET_INVENTORY`, `inventory.yaml` in `cwd`,
    `$XDG_CONFIG_HOME/fleet/inventory.yaml` (`~/.config/...`), `/etc/fleet/inventory.yaml`.
    A path that was named is returned whether or not it exists: `load` says what is wrong with it.

    Args:
        explicit: the value of -i, or None.
        environ: the environment.
        cwd: the working folder.

    Raises:
        InventoryError: there is none; it says where was looked.
    """
    named = explicit if explicit is not None else environ.get("FLEET_INVENTORY")
    if named:
        return os.path.expanduser(named)  # noqa: PTH111 - the text stays as the user wrote it, ./ included
    candidates = [Path(cwd, "inventory.yaml"), _config_home(environ) / "fleet/inventory.yaml"]
    candidates.append(Path("/etc/fleet/inventory.yaml"))
    for candidate in candidates:
        if candidate.exists():
            here = candidate.parent == Path.cwd()
            return candidate.name if here else str(candidate)
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InventoryError(
        f"no inventory found; looked for {looked}",
        hint="name one with -i PATH or $FLEET_INVENTORY, or try fleet demo",
    )


def _config_home(environ: Mapping[str, str]) -> Path:
    """$XDG_CONFIG_HOME; by its specification a relative path there is ignored."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    if configured.startswith("/"):
        return Path(configured)
    return Path(environ["HOME"] if environ.get("HOME") else os.path.expanduser("~")) / ".config"  # noqa: PTH111 - Path.home() raises where there is no user


def load(*paths: str, jump_hosts: Iterable[str] = (), run_timeout: float | None = None) -> Inventory:
    """Reads one inventory, or several that are laid over each other, the later ones over the earlier.

    Args:
        paths: as `find_inventory` returns them; see `read`.
        jump_hosts: names that a command line gives as jump hosts, which may be hosts of the inventory.
        run_timeout: see `read`.

    Raises:
        InventoryError: one cannot be read, or something in them is wrong: every complaint with file, line and column.
    """
    with _collector_paused():
        return read(*paths, run_timeout=run_timeout).inventory(jump_hosts)


def read(*paths: str, run_timeout: float | None = None) -> Resolver:
    """What inventories say, before servers are made of it.

    Each is a file of Ansible's YAML, INI or JSON; a folder of such files; a program that prints Ansible's `--list`
    JSON; or a list of hosts with commas between. A file is a program where it is executable, begins as programs do,
    and is not named .yaml, .yml or .json. Relative paths in an inventory start at its folder. The folders `group_vars`
    and `host_vars` beside a file, or in a folder, are read with it.

    Args:
        paths: one at least.
        run_timeout: seconds that the whole run may take, which a program has no more than; None for its own limit.

    Raises:
        InventoryError: one cannot be read, or something in them is wrong: every complaint with file, line and column.
    """
    reader = Reader(Position(paths[0], 1, 1))
    reading = _Reading(reader, run_timeout)
    for path in paths:
        reading.inventory(path)
    for folder in reading.folders:
        reading.variables(folder)
    return Resolver(reader.finish(), source=", ".join(paths))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """An inventory is many objects and no garbage: looking for it again and again takes a quarter of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass(slots=True)
class _Reading:
    """One reading of all inventories.

    Attributes:
        run_timeout: seconds, as `read` has it.
        folders: where folders of variables are looked for, each once, as an ordered set.
    """

    reader: Reader
    run_timeout: float | None
    files: Files = field(default_factory=Files)
    folders: dict[str, None] = field(default_factory=dict)

    def inventory(self, path: str) -> None:
        """Reads one of those that were named."""
        if is_folder(path):
            self._note_folder(path)
            self._folder(path)
        elif "," in path and not os.path.lexists(path):
            with self._text(Path.cwd(), strict=True):
                read_host_list(self.reader, path)
        else:
            self._note_folder(os.path.dirname(path))  # noqa: PTH120 - a str path, empty for the working folder
            self._file(path, Path(path).absolute().parent, own=True)

    def _note_folder(self, folder: str) -> None:
        self.folders.pop(folder, None)  # where it is named again, its variables count as those of the later one
        self.folders[folder] = None

    def _folder(self, folder: str) -> None:
        found = False
        for path in inventory_files(folder):
            found = True
            self._file(path, Path(folder).absolute(), own=False)
        if not found:
            raise InventoryError(f"{folder} is a folder without an inventory file", hint="name another one with -i")

    def _file(self, path: str, folder: Path, *, own: bool) -> None:
        """Reads one file.

        Args:
            path: its path.
            folder: where relative paths in it start.
            own: it was named itself, and is in fleet's own shape if it is YAML or a mapping in JSON.
        """
        with self._text(folder, strict=False):
            if is_program(path):
                self._program(path)
                return
            text = self.files.read(path)
            if text.startswith(VAULT_MARK):
                raise _vaulted(path)
            if not own and is_empty(text):
                return
            kind = kind_of(path, text)
            if kind is Kind.INI:
                _refuse_toml(path)
                read_ini_shape(self.reader, text, path)
                return
            tree = read_json(text, path) if kind is Kind.JSON else read_yaml(text, path)
            if tree is None:
                hint = "it begins with all: {hosts: ...}"
                raise WrongValueError(Position(path, 1, 1), "the inventory is empty", hint)
            self.reader.strict = own and not (isinstance(tree, MappingNode) and tree.get("_meta"))
            read_tree(self.reader, tree)

    def _program(self, path: str) -> None:
        from fleet.inventory.script import ask_script, run_script, script_deadline  # noqa: PLC0415 - few are programs

        deadline = script_deadline(self.run_timeout)
        source = f"{path} --list"

        def ask(host: str) -> Node:
            asked = f"{path} --host {host}"
            text = decode(ask_script(path, host, deadline), asked)
            return read_json(text if text.strip() else "{}", asked)

        read_tree(self.reader, read_json(decode(run_script(path, deadline), source), source), ask)

    @contextmanager
    def _text(self, folder: Path, *, strict: bool) -> Iterator[None]:
        """While one text is read; what makes it unreadable is a complaint, and the next text is read."""
        self.reader.begin(folder, strict=strict)
        try:
            yield
        except WrongValueError as error:
            self.reader.complaints.add(error.complaint)
            self.reader.complete = False

    def variables(self, folder: str) -> None:
        """Reads the folders of variables that are beside an inventory."""
        records = self.reader.records
        base = Path(folder).absolute()
        records.group_files.append(self._variables(os.path.join(folder, "group_vars"), base, records.groups, "group"))  # noqa: PTH118 - a str path
        records.host_files.append(self._variables(os.path.join(folder, "host_vars"), base, records.hosts, "host"))  # noqa: PTH118 - a str path

    def _variables(self, folder: str, base: Path, names: Mapping[str, object], what: str) -> dict[str, Definitions]:
        found: dict[str, Definitions] = {}
        there = folder_names(folder)
        for name in names if there else ():
            for path in variable_files(folder, name, there):
                with self._text(base, strict=False):
                    definitions = self._variable_file(path, f"{what} {name}")
                    found[name] = overlay(found.get(name, {}), definitions)
        return found

    def _variable_file(self, path: str, owner: str) -> Definitions:
        text = self.files.read(path)
        if text.startswith(VAULT_MARK):
            # By Ansible's own advice such a file has only variables vault_..., which others name in templates.
            if not os.path.basename(path).startswith("vault"):  # noqa: PTH119 - a str path
                raise _vaulted(path)
            self.reader.records.closed.append(path)
            return {}
        tree = read_json(text, path) if path.endswith(".json") else read_yaml(text, path)
        if tree is None:
            return {}
        if not isinstance(tree, MappingNode):
            raise WrongValueError(tree.position, f"a file of variables must be a mapping, not {describe(tree)}")
        return self.reader.definitions(tree, owner)


def _vaulted(path: str) -> WrongValueError:
    problem = "the file is encrypted by Ansible Vault, which fleet does not open"
    return WrongValueError(Position(path, 1, 1), problem, VAULT_HINT.format(os.path.dirname(path) or "."))  # noqa: PTH120 - a str path


def _refuse_toml(path: str) -> None:
    if path.endswith(".toml"):
        hint = f"write it as YAML; this does it: ansible-inventory -i {path} --list --export --yaml"
        raise WrongValueError(Position(path, 1, 1), "fleet does not read TOML", hint)
