"""fleet against daemons of this machine without SSH, so that a whole command line takes few turns of the loop."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from cli.harness import Fleet
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import ManagementServer, listening
from fleet.inventory.model import ManagementEndpoint
from fleet.journal.places import state_folder


@dataclass
class Local:
    """fleet, and daemons of this machine that it asks without SSH."""

    fleet: Fleet
    stack: AsyncExitStack

    def start(self, *daemons: SimulatedDaemon) -> None:
        """Daemons named a, b, c, as if nothing had been before."""
        thread = self.fleet.thread
        assert thread is not None

        async def begin() -> list[ManagementEndpoint]:
            await self.stack.aclose()
            return [await self.stack.enter_async_context(listening(ManagementServer(one))) for one in daemons]

        endpoints = thread.do(begin())
        hosts = "".join(f"    {name}: {{management: '{at}'}}\n" for name, at in zip("abc", endpoints, strict=False))
        self.fleet.inventory(f"all:\n  vars: {{connection: local}}\n  hosts:\n{hosts}")

    def stop(self) -> None:
        assert self.fleet.thread is not None
        self.fleet.thread.do(self.stack.aclose())


def audit() -> list[dict[str, Any]]:
    """The whole lines of the audit."""
    path = state_folder(os.environ) / "audit.ndjson"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # torn, by a full disk
    return found


def sent_by_audit(server: str) -> Counter[str]:
    """What was sent to a server, as the audit has it."""
    return Counter(text for line in audit() if line["server"] == server for text in line["sent"])


def changed(one: SimulatedDaemon, commands: tuple[str, ...]) -> Counter[str]:
    """What a daemon was really told, of the commands that begin so."""
    return Counter(text for text in one.executed if text.startswith(commands))
