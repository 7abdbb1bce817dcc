"""When a run is for several processes. This module is read at every start and imports nothing dear."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fleet.shards.split import workers_for

if TYPE_CHECKING:
    from fleet.cli.options import Options


def wants_shards(options: Options, servers: int) -> bool:
    """Whether so many servers are to be asked by other processes than this one."""
    if options.in_batches:  # also what is asked between them
        return False
    return options.scheduler is not None or workers_of(options, servers) > 1


def workers_of(options: Options, servers: int) -> int:
    """How many processes of this machine are to ask so many servers."""
    most = min(servers, options.forks)
    return min(options.workers or workers_for(servers, _cpus()), most)


def _cpus() -> int:
    """How many processors this process may use, where the system can tell; else how many there are."""
    if hasattr(os, "sched_getaffinity"):  # Linux has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def asks_for_shards(options: Options) -> bool:
    """Whether the command line itself does; a variable or a file is not meant for all commands."""
    typed = {"workers": options.workers > 1, "scheduler": options.scheduler is not None}
    return any(given and name not in options.from_environment for name, given in typed.items())
