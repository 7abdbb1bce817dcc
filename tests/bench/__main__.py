"""The benchmarks: `tests/bench/run [peers|growth|startup|profile]`, see docs/performance.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import growth, layers, startup
from bench.compare import compare
from bench.endpoints import CURVE25519

SHORT_SERVERS = 4
SHORT_PEERS = ["asyncssh script", "xargs ssh -W", "pdsh", "ansible -m raw"]
"""One of each kind."""


def main() -> int:
    """Runs what the command line names; 1 where somebody did not do its work."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name:
        folder = Path(name)
        match arguments.what:
            case "peers":
                return _peers(arguments, folder)
            case "growth":
                return growth.measure(
                    folder, arguments.sizes, arguments.forks, arguments.rounds, memory=arguments.memory
                )
            case "startup":
                return startup.measure(folder, arguments.rounds)
            case _:
                return layers.measure(folder, arguments.servers, arguments.forks)


def _peers(arguments: argparse.Namespace, folder: Path) -> int:
    if arguments.short:
        arguments.servers, arguments.rounds, arguments.install, arguments.kex = SHORT_SERVERS, 1, False, "forced"
        arguments.only = arguments.only or SHORT_PEERS
    status = 0
    for kex in {"forced": (CURVE25519,), "default": (None,), "both": (CURVE25519, None)}[arguments.kex]:
        status |= compare(
            folder / (kex or "default"),
            servers=arguments.servers,
            rounds=arguments.rounds,
            forks=arguments.forks,
            clients=arguments.clients,
            kex=kex,
            only=arguments.only,
            may_install=arguments.install,
            brief=arguments.short,
        )
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--forks", type=int, default=64, help="servers asked at a time, by everybody [64]")
    commands = parser.add_subparsers(dest="what", required=True)
    peers = commands.add_parser("peers", help="fleet beside its peers, on real sshd")
    peers.add_argument("--servers", type=int, default=200)
    peers.add_argument("--clients", type=int, default=20, help="of each server: the rows of its answer [20]")
    peers.add_argument("--rounds", type=int, default=5, help="pairs with each peer [5]")
    peers.add_argument(
        "--kex", choices=("forced", "default", "both"), default="both", help="curve25519 for all, or not"
    )
    peers.add_argument("--only", action="append", help="a peer by its name (repeatable)")
    peers.add_argument("--no-install", dest="install", action="store_false", help="measure with what is there")
    peers.add_argument("--short", action="store_true", help="few servers, one round, nothing is installed")
    sizes = commands.add_parser("growth", help="fleet alone with more and more servers, of a farm in one process")
    sizes.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[100, 1000, 10000])
    sizes.add_argument("--rounds", type=int, default=3)
    sizes.add_argument("--memory", action="store_true", help="of each format too, and with 500 forks")
    start = commands.add_parser("startup", help="what a start costs before anything is done")
    start.add_argument("--rounds", type=int, default=15)
    profile = commands.add_parser("profile", help="where fleet's own time goes, layer by layer")
    profile.add_argument("--servers", type=int, default=200)
    return parser


if __name__ == "__main__":
    sys.exit(main())
