"""The fault bench: every tenth of two hundred servers misbehaves, and costs its own outcome and nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faults.farm import EVERY, KINDS, SERVERS, names
from fleet.engine import EXIT_UNREACHABLE, Outcome, fan_out
from fleet.inventory.load import load
from fleet.inventory.model import Server
from fleet.operations.conversation import Access, work_on
from fleet.operations.status import STATUS
from fleet.transport import SSHOptions, Transport
from support.steps import open_sockets

pytestmark = pytest.mark.timeout(900)  # its clocks are what the machine wants, and some machines are busy

ROOT = Path(__file__).parents[2]
GOOD = SERVERS - len(KINDS)
BAD = {name: kind for name, kind in names() if kind is not None}
FORKS = 64
MEMORY = 150 * 1024 + FORKS * 60
"""KiB that a run may take whatever its servers do, beside one reply at its limit."""
REPLY = 160 * 1024
"""KiB: 64 Mi characters of a reply, in half a million texts of their own, and the chunk that is just being split."""


@dataclass
class Bench:
    """The servers, and the clocks that this machine wants."""

    inventory: Path
    ssh_config: Path
    process: subprocess.Popen[str]
    clock: float = 0.0  # seconds
    alone: float = 0.0  # seconds that those which are well took

    def open_connections(self) -> int:
        """SSH connections that the servers still see."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def servers(self) -> tuple[Server, ...]:
        return load(str(self.inventory)).servers


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    assert len(KINDS) == SERVERS // EVERY
    folder = tmp_path_factory.mktemp("bench")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    environment.pop("COVERAGE_PROCESS_CONFIG", None)
    with subprocess.Popen(
        [sys.executable, "-m", "faults.farm", str(folder)],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        bench = Bench(folder / "inventory.yaml", folder / "ssh_config", process)
        well = [server for server in bench.servers() if server.name not in BAD]
        asyncio.run(ask(bench, well[:1], 60.0))  # imports
        _, bench.alone = asyncio.run(ask(bench, well, 60.0))
        bench.clock = max(2.0, 3 * bench.alone)  # all that are well are done before, if nothing holds them up
        yield bench
        process.stdin.close()  # type: ignore[union-attr]  # a pipe


async def ask(bench: Bench, servers: Sequence[Server], clock: float) -> tuple[list[Outcome[Any]], float]:
    """The outcomes in the order in which they came; and seconds until the last of those came that are well."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    tasks = asyncio.all_tasks()
    outcomes: list[Outcome[Any]] = []
    begun, last = time.monotonic(), 0.0
    async with Transport(servers, SSHOptions(config_files=(bench.ssh_config,), connect_timeout=clock)) as transport:
        access = Access(transport, reply_timeout=clock)
        async with fan_out(servers, work_on(access, STATUS.perform), forks=FORKS, host_timeout=20 * clock) as run:
            async for outcome in run:
                outcomes.append(outcome)
                if outcome.server.name not in BAD:
                    last = time.monotonic() - begun
    assert asyncio.all_tasks() == tasks
    assert complaints == []
    return outcomes, last


def test_each_costs_its_own_outcome(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    gc.collect()
    before = open_sockets()
    outcomes, last = asyncio.run(ask(bench, bench.servers(), bench.clock))
    gc.collect()
    assert open_sockets() == before
    assert len(outcomes) == SERVERS
    ended = {outcome.server.name: outcome for outcome in outcomes}
    for name, kind in BAD.items():
        outcome = ended[name]
        assert (outcome.error.code if outcome.error else None) in (kind.codes or (None,)), (name, outcome)
        assert outcome.sent is None
    order = [outcome.server.name for outcome in outcomes]
    assert all(ended[name].status == "ok" for name in order if name not in BAD)
    # Who waits for a clock is waited for by nobody else.
    waited = min(order.index(name) for name, kind in BAD.items() if kind.waits)
    assert [name for name in order[waited:] if name not in BAD] == []
    deadline = time.monotonic() + 30
    while bench.open_connections():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with capsys.disabled():
        print(  # noqa: T201 - a ratio is told, not judged
            f"\nfault bench: {GOOD} servers alone {bench.alone:.2f} s, among {len(BAD)} bad ones {last:.2f} s: "
            f"{last / bench.alone:.2f} times"
        )


def test_on_the_command_line(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory has its bounds, nothing drives the terminal, and nothing is left over that Python would warn of."""
    few = "bad:" + ":".join(sorted(set(load(str(bench.inventory)).groups["good"].servers))[:20])
    clock = f"{bench.clock:.2f}s"
    args = ("clients", few, "-i", str(bench.inventory), "--forks", str(FORKS), "--host-timeout", "20m",
            "--connect-timeout", clock, "--reply-timeout", clock)  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLEET_SSH_CONFIG": str(bench.ssh_config)}
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "fleet", *args], env=environment, stdout=stdout, stderr=stderr
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == EXIT_UNREACHABLE
    shown, told = out.read_text("utf-8"), err.read_text("utf-8")
    for text in (shown, told):
        assert not [c for c in text if not c.isprintable() and c != "\n"]
        assert "Warning" not in text
        assert "Traceback" not in text
    rows = Counter(line.split()[0] for line in shown.splitlines())
    assert {*few.split(":")[1:], *(name for name, kind in BAD.items() if not kind.codes)} <= rows.keys()
    for name, kind in BAD.items():
        assert not kind.codes or any(line.startswith(kind.codes) and name in line for line in told.splitlines()), name
    with capsys.disabled():
        print(f"\nfault bench: {usage.ru_maxrss / 1024:.0f} MiB, {usage.ru_utime + usage.ru_stime:.1f} s of CPU")  # noqa: T201 - as above
    assert usage.ru_maxrss < MEMORY + REPLY
