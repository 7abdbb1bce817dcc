"""Whom a run is for: the inventory that is meant, the servers in it, and what is refused before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.cli.options import Options
from fleet.cli.output import check_shape, write
from fleet.cli.watch import refuse_watch
from fleet.cli.workers import asks_for_shards
from fleet.errors import EmptyTargetError, UsageError
from fleet.inventory.load import find_inventory, load, read
from fleet.inventory.model import Inventory, Server
from fleet.inventory.pattern import select
from fleet.inventory.resolve import Resolver
from fleet.inventory.secrets import check_secrets
from fleet.render.fold import fold
from fleet.transport.given import hosts_of_jump


class Named(Protocol):
    """What is done to servers, by its name, and whether it changes them."""

    @property
    def name(self) -> str:
        """The subcommand's name."""
        ...

    @property
    def changes(self) -> bool:
        """It changes daemons or their clients."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a command is for.

    Attributes:
        args: the command's own arguments, as JSON shows them.
        explicit: the command changes daemons, so the servers must be named by --limit or --all.
        single: why the command can be for one server only, as a sentence; empty where it can be for many.
    """

    args: tuple[str, ...] = ()
    explicit: bool = False
    single: str = ""


def admit(operation: Named, options: Options, target: Target, *, shards: bool = False) -> tuple[Server, ...] | None:
    """The servers that may be asked now; None where they were only to be listed, and were.

    Args:
        operation: what is done to them.
        options: of the command line.
        target: whom it is for.
        shards: several processes may do it (`ask`); their secrets are where they are.

    Raises:
        RefusedError: the run is read-only, what is to be shown there is not, the servers cannot be chosen, are
            exclusive, or their secrets unreadable.
    """
    refuse_watch(options, operation.name)
    refuse_typed_shards(operation.name, options, operation if shards else None)
    check_shape(operation, options)
    if operation.changes and options.readonly and not options.dry_run:
        raise UsageError(
            f"{operation.name} changes something, and this run is read-only",
            hint="--readonly or FLEET_READONLY is set, or readonly in a file: fleet config show tells",
        )
    servers = choose(load_inventory(options), options, target)
    if options.list_hosts:
        write("".join(f"{server.name}\n" for server in servers))
        return None
    refuse_exclusive(servers, options)
    if not (shards and options.scheduler):
        check_secrets(servers)
    return servers


def refuse_typed_shards(name: str, options: Options, operation: object = None) -> None:
    """Refuses --workers and --scheduler on the command line where one process has to do it all.

    Args:
        name: of what is done.
        options: of the command line.
        operation: what is done, where several processes may do it if they can be sent it.

    Raises:
        UsageError: it has to.
    """
    if asks_for_shards(options):
        from fleet.cli.sharding import refuse_shards  # noqa: PLC0415 - most command lines ask for none

        refuse_shards(operation, name, options)


def load_inventory(options: Options) -> Inventory:
    """The inventory that the options and the environment name, of all files that they name.

    Raises:
        InventoryError: there is none, or it cannot be used.
    """
    paths = inventory_paths(options)
    return load(*paths, jump_hosts=hosts_of_jump(options.jump), run_timeout=options.timeout)


def read_inventory(options: Options) -> Resolver:
    """What those inventories say, before servers are made of it.

    Raises:
        InventoryError: there is none, or it cannot be used.
    """
    return read(*inventory_paths(options), run_timeout=options.timeout)


def inventory_paths(options: Options) -> tuple[str, ...]:
    """The paths of the inventories that the options and the environment name; the later ones win.

    Raises:
        InventoryError: there is none.
    """
    folder = _working_folder()
    if folder is None:
        _refuse_relative(options)
    if options.inventory:
        return tuple(find_inventory(path, os.environ, folder or ".") for path in options.inventory)
    return (find_inventory(None, os.environ, folder or "."),)


def _working_folder() -> str | None:
    """The working folder; None where somebody has deleted it."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _refuse_relative(options: Options) -> None:
    """Refuses paths that mean nothing, since the working folder is gone.

    Raises:
        UsageError: there are some.
    """
    inventories = options.inventory or (os.environ.get("FLEET_INVENTORY"),)
    for path in (*inventories, options.ssh_config):
        if path and not path.startswith(("/", "~")):
            raise UsageError(
                f"'{path}' is relative to the working folder, and that was deleted",
                hint="go to another folder first, or give the whole path",
            )


def choose(inventory: Inventory, options: Options, target: Target) -> tuple[Server, ...]:
    """The servers that are meant, in inventory order.

    Raises:
        RefusedError: a change without --limit or --all, a pattern that names nothing, an empty selection, several
            servers where one is wanted.
    """
    if target.explicit and not options.limit and not options.every:
        raise UsageError(
            "this changes daemons: say which",
            hint="with -l PATTERN, or --all for every server of the inventory; --list-hosts shows whom that names",
        )
    servers = select(inventory, options.limit or ("all",), options.exclude, allow_empty=options.allow_empty)
    if options.only is not None:
        servers = tuple(server for server in servers if server.name in options.only)
        if not servers and not options.allow_empty:
            raise EmptyTargetError(
                "none of the servers of that run is in the inventory now",
                hint="fleet inventory list shows those that are",
            )
    if target.single and len(servers) > 1:
        raise UsageError(
            f"{target.single}, and {len(servers)} servers are meant: {' '.join(fold(s.name for s in servers))}",
            hint="name one of them",
        )
    return servers


def refuse_exclusive(servers: Sequence[Server], options: Options) -> None:
    """Refuses servers that the inventory marks as exclusive, unless --force is given.

    Raises:
        UsageError: there are some.
    """
    names = fold(server.name for server in servers if server.exclusive)
    if names and not options.force:
        raise UsageError(
            f"marked as exclusive in the inventory, since a management client does harm by being there: "
            f"{' '.join(names)}",
            hint=f"leave out with -x '{','.join(names)}', or ask all the same with --force",
        )
