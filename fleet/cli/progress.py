"""Drives the progress line while a run lasts."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any

from fleet.cli.options import Options
from fleet.engine import Fan, Outcome
from fleet.render.progress import Progress, ProgressState, wants_progress

_INTERVAL = 0.2  # seconds between two looks at the run
_NAMES = 201  # one more than the line shows, so that it can say that there are more


@asynccontextmanager
async def show_progress(
    fan: Fan[Any], outcomes: Sequence[Outcome[Any]], options: Options, words: Callable[[], str] = str
) -> AsyncIterator[Progress]:
    """Shows how far the run is on stderr, where that is a terminal, and takes the line away at the end.

    Args:
        fan: the run.
        outcomes: those that are there, a list that grows.
        options: --quiet shows nothing.
        words: how far it is in other words than those of its servers; empty for none.
    """
    enabled = not options.quiet and wants_progress(os.environ, sys.stderr.isatty())
    progress = Progress(sys.stderr, enabled=enabled, width=lambda: shutil.get_terminal_size().columns)
    follower = asyncio.create_task(_follow(fan, outcomes, progress, words)) if enabled else None
    try:
        yield progress
    finally:
        if follower is not None:
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower
        progress.clear()


async def _follow(
    fan: Fan[Any], outcomes: Sequence[Outcome[Any]], progress: Progress, words: Callable[[], str]
) -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    while True:
        await asyncio.sleep(_INTERVAL)
        said = words()
        pending = () if said else tuple(attempt.server.name for attempt in islice(fan.in_flight, _NAMES))
        trouble = sum(outcome.status != "ok" for outcome in outcomes)
        progress.update(ProgressState(fan.total, fan.done, trouble, pending, said), clock() - started)
