"""What completion knows of servers and clients: names that runs have seen, kept in the cache folder.

Common names say who somebody's clients are, so the files are the user's alone, and hold no more than the names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from fleet.errors import FleetError
from fleet.journal.places import cache_folder

NAMES_LIMIT = 5000
"""Security limit: common names that are kept; those seen longest ago are forgotten."""
INVENTORIES_LIMIT = 8
"""Security limit: inventories whose names are kept."""
SERVERS_LIMIT = 20_000
"""Security limit: names of one inventory that are kept."""
_BYTES_LIMIT = 8 * 2**20
_STAMPS_LIMIT = 2000
_NAME_LIMIT = 127
_CLIENTS = "common-names.json"
_INVENTORIES = "inventories.json"


def common_names() -> list[str]:
    """The common names that runs have seen, the last one first."""
    names = _read(_CLIENTS, [])
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def remember_clients(values: Iterable[object]) -> None:
    """Keeps the names of the clients in what servers answered: those of status, clients, find and kill."""
    remember_common_names(name for value in values for name in _names_in(value))


def _names_in(value: object) -> Iterator[str | None]:
    from fleet.management.late import unmade  # noqa: PLC0415 - what a shell is told needs none of it

    if hasattr(type(value), "clients"):
        rows = unmade(value, "clients")
        if hasattr(rows, "common_names"):  # ten thousand clients are not made for their names
            yield from rows.common_names()
        else:
            yield from (getattr(client, "common_name", None) for client in rows)


def remember_common_names(names: Iterable[str | None]) -> None:
    """Keeps the names of clients that a run has seen. Where that fails, completion knows less."""
    known = (name for name in names if name and len(name) <= _NAME_LIMIT and name.isprintable())
    new = [*islice(_distinct(known), NAMES_LIMIT)]
    if not new:
        return
    old = common_names()
    kept = list(dict.fromkeys([*new, *old]))[:NAMES_LIMIT]
    if set(kept) != set(old):
        _write(_CLIENTS, kept)


def _distinct(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


def places(inventories: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The servers and the groups of the inventory, from the cache while its files are what they were.

    Args:
        inventories: the values of -i; none where it is the one that a run would find.
    """
    key = json.dumps([os.getcwd(), *inventories, *(os.environ.get(n, "") for n in _DECIDING)])  # noqa: PTH109 - a text, compared with others
    kept = _read(_INVENTORIES, {})
    entry = kept.get(key) if isinstance(kept, dict) else None
    if isinstance(entry, dict) and entry.get("stamps") == _stamps(entry.get("files", [])):
        return entry["servers"], entry["groups"]
    found = _load(inventories)
    if found is None:
        return ([], [])
    files, servers, groups = found
    entry = {
        "files": files,
        "stamps": _stamps(files),
        "servers": servers[:SERVERS_LIMIT],
        "groups": groups[:SERVERS_LIMIT],
    }
    others = {name: value for name, value in kept.items() if name != key} if isinstance(kept, dict) else {}
    _write(_INVENTORIES, {key: entry, **dict([*others.items()][: INVENTORIES_LIMIT - 1])})
    return servers, groups


_DECIDING = ("FLEET_INVENTORY", "FLEET_CONFIG", "XDG_CONFIG_HOME", "HOME")


def _load(inventories: tuple[str, ...]) -> tuple[list[str], list[str], list[str]] | None:
    """The files that decide, and the names; None where the inventory cannot be read, or is a program."""
    from fleet.cli.choosing import inventory_paths  # noqa: PLC0415 - what is in the cache needs none of it
    from fleet.cli.options import Options  # noqa: PLC0415 - as above
    from fleet.cli.settings import read_settings  # noqa: PLC0415 - as above
    from fleet.inventory.load import load  # noqa: PLC0415 - as above

    try:
        settings = read_settings((), os.environ)
        paths = inventories or _configured(settings.given.get("inventory"))
        found = inventory_paths(Options(inventory=paths))
        if any(os.access(path, os.X_OK) and Path(path).is_file() for path in found):
            return None  # TAB starts no program
        inventory = load(*found)
    except (FleetError, OSError):
        return None
    candidates = [file.path for file in settings.files]
    if not paths:
        candidates += ["inventory.yaml", "/etc/fleet/inventory.yaml"]
    files = list(dict.fromkeys([*candidates, *(name for path in found for name in _below(path))]))[:_STAMPS_LIMIT]
    return files, [server.name for server in inventory.servers], [*inventory.groups]


def _configured(given: Any) -> tuple[str, ...]:
    if os.environ.get("FLEET_INVENTORY"):
        return tuple(path for path in os.environ["FLEET_INVENTORY"].split(os.pathsep) if path)
    if given is None:
        return ()
    return (given.value,) if isinstance(given.value, str) else given.value


def _below(path: str) -> Iterator[str]:
    """The files and folders of an inventory, with the variables that stand beside it."""
    yield path
    base = Path(path)
    for folder in (base, base.parent / "group_vars", base.parent / "host_vars"):
        yield str(folder)
        if folder.is_dir():
            for root, folders, names in os.walk(folder):
                yield from (str(Path(root, name)) for name in (*folders, *names))


def _stamps(files: Iterable[str]) -> list[list[int] | None]:
    return [_stamp(name) for name in files]


def _stamp(name: str) -> list[int] | None:
    try:
        status = os.stat(name)  # noqa: PTH116 - thousands of them, and only looked at
    except (OSError, ValueError):
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _read(name: str, default: Any) -> Any:
    try:
        path = cache_folder(os.environ) / name
        with path.open("rb") as file:
            data = file.read(_BYTES_LIMIT + 1)
        return json.loads(data) if len(data) <= _BYTES_LIMIT else default
    except (OSError, ValueError, FleetError):
        return default


def _write(name: str, value: object) -> None:
    """Replaces a file of the cache at once, so that nobody reads half of it."""
    try:
        path = cache_folder(os.environ) / name
        new = path.with_name(f".{name}.{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file, ensure_ascii=True)
            new.replace(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    except (OSError, FleetError):
        return
