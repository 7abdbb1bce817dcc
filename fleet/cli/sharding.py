"""A run on several processes: which can be, and what they are sent."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fleet.cli.choosing import inventory_paths
from fleet.cli.options import Options
from fleet.cli.output import say
from fleet.cli.sshing import forks_for, ssh_options
from fleet.cli.workers import workers_of
from fleet.engine import Attempt
from fleet.errors import UsageError
from fleet.inventory.model import Server
from fleet.journal.places import runtime_folder
from fleet.operations.operation import Answer, Operation
from fleet.shards.fan import Crew, ShardedFan
from fleet.shards.shard import Asking, Home, Shard, without_facts
from fleet.shards.split import portions, split
from fleet.transport import given

if TYPE_CHECKING:
    from fleet.journal.journal import Journal

T = TypeVar("T")

_ONE_PROCESS = "leave --workers and --scheduler out: one process does it"


def is_shardable(operation: object) -> bool:
    """Whether other processes can be sent what is done to a server.

    What keeps something of one server for another, or asks somebody at this terminal, cannot be pickled.
    """
    if not isinstance(operation, Operation):
        return False
    try:
        pickle.dumps(operation.perform)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


def refuse_shards(operation: object, name: str, options: Options) -> None:
    """Refuses --workers and --scheduler where one process has to do it all.

    Args:
        operation: None where that is known.
        name: of it.
        options: of the command line.

    Raises:
        UsageError: so it is.
    """
    if options.in_batches:
        raise UsageError("a change in batches is made by one process, which sees all of them", hint=_ONE_PROCESS)
    if not is_shardable(operation):
        raise UsageError(f"{name} is done by one process, which sees all servers", hint=_ONE_PROCESS)


async def sharded(
    operation: Operation[T], servers: Sequence[Server], options: Options, *, journal: Journal | None
) -> ShardedFan[Answer[T]]:
    """The run of an operation on several processes.

    Raises:
        RefusedError: what can be seen here would keep all of them from asking anybody; nothing was sent.
    """
    asking, plain = _asking(operation, options), without_facts(servers)
    crew, shards = await (_of_cluster if options.scheduler else _of_machine)(asking, plain, options)
    on_sent = _untold if journal is None else journal.sent
    return ShardedFan(shards, crew, run_timeout=options.timeout, on_sent=on_sent)


async def _of_machine(asking: Asking, servers: Sequence[Server], options: Options) -> tuple[Crew, list[Shard]]:
    from fleet.shards.local import Processes  # noqa: PLC0415 - multiprocessing is for several processes only

    given.check(asking.ssh)
    if asking.changes:
        runtime_folder(os.environ)  # where the locks are: refused here, and not by each process
    shards = _shards(asking, split(servers, workers_of(options, len(servers))), options)
    forks_for(replace(options, forks=shards[0].forks), shards[0].servers)  # the processes inherit what it allows
    return Processes(), shards


async def _of_cluster(asking: Asking, servers: Sequence[Server], options: Options) -> tuple[Crew, list[Shard]]:
    from fleet.shards.cluster import Cluster  # noqa: PLC0415 - for a cluster only

    asking = replace(asking, home=_home(options))
    cluster = await Cluster.connect(options.scheduler or "", warn=lambda text: say(f"warning: {text}"))
    return cluster, _shards(asking, split(servers, _at_most(options, cluster.workers)), options)


def _untold(_attempt: Attempt) -> None:
    """Nobody keeps a record of what is sent."""


def _at_most(options: Options, workers: int) -> int:
    """How many shards a cluster gets: as many as it has workers, unless the command line says another number."""
    return max(1, min(options.workers or workers, options.forks))


def _home(options: Options) -> Home:
    """Where the workers of a cluster look for the inventory."""
    paths = tuple(str(Path(path).expanduser().absolute()) for path in inventory_paths(options))
    return Home(paths, given.hosts_of_jump(options.jump))


def _asking(operation: Operation[Any], options: Options) -> Asking:
    return Asking(
        perform=cast("Any", operation.perform),
        changes=operation.changes,
        ssh=ssh_options(options),
        reply_timeout=options.reply_timeout,
        host_timeout=options.host_timeout,
        run_timeout=options.timeout,
        wait_busy=options.wait_busy or 0.0,
        lock_timeout=options.lock_timeout,
        command_line=options.command_line,
    )


def _shards(asking: Asking, parts: Sequence[tuple[Server, ...]], options: Options) -> list[Shard]:
    forks = portions(options.forks, len(parts))
    return [Shard(asking, part, share) for part, share in zip(parts, forks, strict=True)]
