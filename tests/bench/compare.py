"""fleet beside its peers on the same servers: pairs of runs, and the medians of their ratios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.endpoints import Endpoints, Files
from bench.measure import Pair, Run, ratio, run
from bench.peers import FLEET, PEERS, Peer, fleet, install, version_of
from bench.say import machine, say, table, tell

MIB = 2**20

OF_ITS_OWN = (
    fleet("fleet clients", "clients"),
    fleet("fleet status", "status"),
)
"""What people type instead: more is asked, read and laid out."""


def compare(
    folder: Path,
    *,
    servers: int,
    rounds: int,
    forks: int,
    clients: int,
    kex: str | None,
    only: Sequence[str] | None,
    may_install: bool,
    brief: bool = False,
) -> int:
    """Measures, and prints the table; 1 where somebody did not get all answers.

    Args:
        folder: for files, is made.
        servers: how many.
        rounds: pairs with each peer; the order within a pair changes from one to the next.
        forks: servers at a time, for everybody.
        clients: of each server.
        kex: the key exchange that is forced, or None.
        only: names of peers, or None for all.
        may_install: whether missing peers are installed.
        brief: neither memory nor other commands of fleet.
    """
    wanted = [peer for peer in PEERS if only is None or peer.name in only]
    if may_install:
        install(wanted, say)
    peers = [peer for peer in wanted if peer.is_there]
    missing = [peer.name for peer in wanted if not peer.is_there]
    with Endpoints(folder, servers, clients=clients, kex=kex) as endpoints:
        files = endpoints.files
        bench = _Bench(files, forks)
        if not brief:
            bench.run(FLEET)  # what is compiled, cached and made once is made
        pairs = {peer.name: [bench.pair(peer, number) for number in range(rounds)] for peer in peers}
        others = () if brief else OF_ITS_OWN
        own = {peer.name: [bench.run(peer) for _ in range(rounds)] for peer in others}
        looked = () if brief else (FLEET, *others, *peers)
        memory = {peer.name: bench.run(peer, memory=True).memory for peer in looked}
    tell(f"### {servers} servers, {f'{kex} for all' if kex else 'the key exchange that each prefers'}\n")
    tell(
        f"{clients} clients each, {forks} servers at a time, {rounds} pairs. CPU is of the operator's side. "
        "Ratios are fleet's by the peer's, medians of the pairs.\n"
    )
    ours = [pair.fleet for found in pairs.values() for pair in found]
    rows = [_row(FLEET.name, ours or [bench.run(FLEET)], servers, memory)]
    for name, found in pairs.items():
        rows.append(_row(name, [pair.peer for pair in found], servers, memory, found))
    rows += [_row(name, found, servers, memory) for name, found in own.items()]
    table(("", "CPU a server, ms", "wall, s", "peak memory, MiB", "CPU, ratio", "wall, ratio"), rows)
    if missing:
        tell(f"Missing on this machine: {', '.join(missing)}.\n")
    tell(f"On {machine()}. Versions: {'; '.join(version_of(peer) for peer in peers)}.\n")
    for complaint in bench.complaints:
        tell(f"**{complaint}**\n")
    return 1 if bench.complaints else 0


class _Bench:
    """Runs peers on the servers, and keeps what went wrong."""

    def __init__(self, files: Files, forks: int) -> None:
        self._files = files
        self._forks = forks
        self.complaints: list[str] = []

    def pair(self, peer: Peer, number: int) -> Pair:
        """A run of each, one right behind the other; who is first changes with the number."""
        if number % 2:
            other = self.run(peer)
            return Pair(self.run(FLEET), other)
        return Pair(self.run(FLEET), self.run(peer))

    def run(self, peer: Peer, *, memory: bool = False) -> Run:
        """One run, which has to bring every answer."""
        done = run(peer.command(self._files, self._forks), peer.environment(self._files), memory=memory)
        servers = len(self._files.addresses)
        say(f"{peer.name}: {done.cpu / servers * 1000:.2f} ms a server, {done.wall:.2f} s")
        raw = peer not in OF_ITS_OWN
        if done.status or (raw and done.answers != servers):
            last = done.complaints.strip().splitlines()[-1:] or ["nothing"]
            complaint = f"{peer.name}: status {done.status}, {done.answers} of {servers} answers; it said: {last[0]}"
            self.complaints.append(complaint)
            say(complaint)
        return done


def _row(
    name: str, runs: Sequence[Run], servers: int, memory: dict[str, int], pairs: Sequence[Pair] | None = None
) -> tuple[str, ...]:
    return (
        name,
        f"{median(run.cpu for run in runs) / servers * 1000:.1f}",
        f"{median(run.wall for run in runs):.2f}",
        f"{memory[name] / MIB:.0f}" if name in memory else "",
        f"{ratio(pairs, 'cpu'):.2f}" if pairs else "",
        f"{ratio(pairs, 'wall'):.2f}" if pairs else "",
    )
