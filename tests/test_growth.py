"""What fleet does for ten thousand servers is as much for each as for a thousand: steps are counted, not timed.

A step is a call of a function, of Python or of C. Four times as many servers may take four times as many steps, and a
bit; a step for each pair of servers would take sixteen times as many.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fleet.engine import Outcome, Report
from fleet.errors import ConnectTimeoutError
from fleet.inventory.load import load
from fleet.inventory.model import Inventory, Server, TCPEndpoint
from fleet.inventory.pattern import select
from fleet.render import outcomes as words
from fleet.render.fold import fold
from fleet.render.jsonout import document

FEW, MANY = 250, 1000
MOST = 4.4  # times as many steps, for four times as many servers


def steps(work: Callable[[], object]) -> int:
    """How many functions the work calls."""
    count = 0

    def look(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    work()  # what is only made once is there
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def names(count: int) -> list[str]:
    return [f"edge-{number:05}" for number in range(count)]


def written(folder: Path, count: int) -> Path:
    """An inventory of two groups and as many racks of ten as it takes."""
    path = folder / f"{count}.yaml"
    lines = ["all:", "  vars:", '    management: "127.0.0.1:7505"', "  children:"]
    half = count // 2
    lines += [f"    eu:\n      hosts:\n        edge-[00000:{half - 1:05}]:", "    us:\n      hosts:"]
    lines += [f"        {name}:" for name in names(count)[half:]]
    for rack in range(0, count, 10):
        lines += [f"    rack{rack}:\n      hosts:\n        edge-[{rack:05}:{rack + 9:05}]:"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def inventories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inventory, Inventory]:
    folder = tmp_path_factory.mktemp("inventories")
    return load(str(written(folder, FEW))), load(str(written(folder, MANY)))


def test_an_inventory_is_read(tmp_path: Path) -> None:
    few, many = str(written(tmp_path, FEW)), str(written(tmp_path, MANY))
    assert steps(lambda: load(many)) <= steps(lambda: load(few)) * MOST


@pytest.mark.parametrize(
    "pattern",
    [
        lambda _count: "all",
        lambda _count: "eu:!edge-*1",
        lambda _count: "~edge-.*5:&us",
        lambda count: f"edge-[00000:{count - 1:05}]",
        lambda count: ",".join(names(count)),
        lambda count: "all:" + ":".join(f"!{name}" for name in names(count - 1)),
        lambda count: ":".join(f"rack{rack}" for rack in range(0, count, 10)),
        lambda count: ":".join(f"eu[{number}]" for number in range(count // 2)),
    ],
)
def test_servers_are_chosen(inventories: tuple[Inventory, Inventory], pattern: Callable[[int], str]) -> None:
    few, many = (
        steps(lambda inventory=inventory, count=count: select(inventory, [pattern(count)]))  # type: ignore[misc] # bound now
        for inventory, count in zip(inventories, (FEW, MANY), strict=True)
    )
    assert many <= few * MOST


@pytest.mark.parametrize("globs", [1, 20])
def test_each_name_is_tried_once_for_each_glob(inventories: tuple[Inventory, Inventory], globs: int) -> None:
    pattern = ",".join(f"*{number % 10}" for number in range(globs))
    _, inventory = inventories
    tried = len(inventory.groups) + len(inventory.servers)
    assert steps(lambda: select(inventory, [pattern])) <= globs * tried * 1.2 + 10 * MANY


def report(count: int) -> Report[int]:
    """Of servers that answered in any order; every third did not."""
    servers = [Server(name, name, None, TCPEndpoint("127.0.0.1", 7505)) for name in names(count)]
    error = ConnectTimeoutError("no connection within 10 s")
    outcomes = [
        Outcome(server, 0.1, None if place % 3 else place, error if place % 3 else None)
        for place, server in reversed(list(enumerate(servers)))
    ]
    started = datetime(2026, 11, 22, tzinfo=UTC)
    return Report.of(servers, outcomes, command="status", args=(), started=started, elapsed=1.0)


@pytest.mark.parametrize(
    "show",
    [
        lambda count: report(count).exit_status,
        lambda count: document(report(count), lambda value: value),
        lambda count: words.errors_text(report(count).outcomes),
        lambda count: words.summary_line(report(count)),
        lambda count: fold(names(count)[::2]),
    ],
    ids=["report", "document", "errors", "summary", "fold"],
)
def test_outcomes_are_shown(show: Callable[[int], object]) -> None:
    assert steps(lambda: show(MANY)) <= steps(lambda: show(FEW)) * MOST
