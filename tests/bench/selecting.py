"""How long the choice of servers takes, once the inventory is read.

    python -m bench.selecting INVENTORY

Says as JSON, for each kind of pattern, milliseconds of CPU time: the least of some rounds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.inventory.load import load
from fleet.inventory.model import Inventory
from fleet.inventory.pattern import select

ROUNDS = 5


def patterns(inventory: Inventory, folder: Path) -> Mapping[str, str]:
    """A pattern of each kind, of servers `edge-00000` and so on."""
    names = [server.name for server in inventory.servers]
    (folder / "names").write_text("\n".join(names))
    return {
        "`all`": "all",
        "`all:!edge-*1`": "all:!edge-*1",
        "`~edge-[0-9]+5`": "~edge-[0-9]+5",
        "a range of all": f"edge-[00000:{len(names) - 1:05}]",
        "an `@file` with all names": f"@{folder / 'names'}",
        "ten globs": ",".join(f"*{digit}" for digit in range(10)),
    }


def main() -> None:
    """The command."""
    inventory = load(sys.argv[1])
    spent = {}
    with TemporaryDirectory() as folder:
        for what, pattern in patterns(inventory, Path(folder)).items():
            times = []
            for _ in range(ROUNDS):
                begun = time.process_time()
                select(inventory, [pattern])
                times.append(time.process_time() - begun)
            spent[what] = min(times) * 1000
    json.dump(spent, sys.stdout)


if __name__ == "__main__":
    main()
