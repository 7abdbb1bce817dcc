"""How fast a big status is read: fleet beside a bare split and every parser of statuses in the registry.

    python tests/bench/parse.py                   # 10,000 clients and their routes, once for each layout
    python tests/bench/parse.py --short           # that everything still runs; the figures mean nothing

Each parser runs in a process of its own, and those of the registry on packages of their own, which are installed into
a folder for the time of the run. All of them read the same text in turns, round after round. A ratio is the median of
those of each round: 2.0 is twice as many rows a second. CPU time, of the parser's process alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
TIME_T = 1795336592
OLD_DATE, DATE = "Sun Nov 22 08:36:32 2026", "2026-11-22 08:36:32"

# A child: says `ready`, then for each line that it is told parses once and says how long it took, or what went wrong.
CHILD = """
import gc, json, sys, time
path = sys.argv[1]
{setup}
with open(path, newline="") as file:
    text = file.read()
def parse():
{parse}
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    gc.collect()
    begin = time.process_time()
    try:
        result = parse()
        answer = time.process_time() - begin
    except Exception as error:
        answer = f"{{type(error).__name__}}: {{error}}"
    result = None
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Parser:
    """A contestant.

    Attributes:
        name: for the table.
        layouts: what it reads.
        setup: what its process does first.
        parse: makes of `text` what it has to offer; of `path`, where it wants a file.
        package: of the registry; a folder of its own, as some share a module's name.
    """

    name: str
    layouts: tuple[str, ...]
    setup: str
    parse: str
    package: str | None = None


FLEET = "from fleet.management.status import parse_status"
ALL = ("format 1", "format 3 of 2.1", "format 3 of 2.6")
SPLIT = Parser(
    "a bare split",
    ALL,
    "",
    "separator = '\\t' if text.startswith('TITLE\\t') else ','\n"
    "return tuple(tuple(line.split(separator)) for line in text.split('\\n'))",
)
FLEETS = (
    Parser("fleet", ALL, FLEET, "return parse_status(text.split('\\n'))"),
    Parser("fleet, clients made", ALL, FLEET, "return parse_status(text.split('\\n')).clients"),
    Parser(
        "fleet, all rows made",
        ALL,
        FLEET,
        "status = parse_status(text.split('\\n'))\nreturn status.clients, status.routes",
    ),
    Parser(
        "fleet, from the wire",
        ALL,
        "from fleet.management import commands\n"
        "from fleet.management.protocol import Protocol\n"
        "wire = open(path, 'rb').read().replace(b'\\n', b'\\r\\n')\n"
        "chunks = [wire[start:start + 65536] for start in range(0, len(wire), 65536)]",
        "protocol = Protocol()\n"
        "protocol.receive(b'>INFO:OpenVPN Management Interface Version 5 -- type help for more info\\r\\n')\n"
        "protocol.send(commands.status(3))\n"
        "(reply,) = [event for chunk in chunks for event in protocol.receive(chunk)]\n"
        "return reply.result()",
    ),
)
OPENVPN_STATUS = ("from openvpn_status import parse_status", "return parse_status(text)")
STATUS_PARSER = (
    "from openvpn_status_parser import OpenVPNStatusParser",
    "parser = OpenVPNStatusParser(path)\nreturn parser.connected_clients, parser.routing_table",
)
# Those that ask daemons (openvpn-api, openvpn-management-api) read the answer with openvpn-status.
PEERS = (
    Parser("openvpn-status", ("format 1",), *OPENVPN_STATUS, package="openvpn-status==0.2.2"),
    Parser("openvpn-status-reader", ("format 1",), *OPENVPN_STATUS, package="openvpn-status-reader==0.3.1"),
    Parser("openvpn-status-parser", ("format 3 of 2.1",), *STATUS_PARSER, package="openvpn-status-parser==0.0.3"),
    Parser("openvpn-status-parser3", ("format 3 of 2.6",), *STATUS_PARSER, package="openvpn-status-parser3==0.0.3"),
)


def status(layout: str, count: int) -> str:
    """The text of a status with so many clients, each with a route; END included."""
    real = [f"198.51.{n // 250 % 256}.{n % 250}:{40000 + n % 20000}" for n in range(count)]
    virtual = [f"10.{8 + n // 62500}.{n // 250 % 250}.{n % 250}" for n in range(count)]
    if layout == "format 1":
        lines = ["OpenVPN CLIENT LIST", f"Updated,{OLD_DATE}"]
        lines += ["Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since"]
        lines += [f"client-{n:05},{real[n]},{n * 7919},{n * 104729},{OLD_DATE}" for n in range(count)]
        lines += ["ROUTING TABLE", "Virtual Address,Common Name,Real Address,Last Ref"]
        lines += [f"{virtual[n]},client-{n:05},{real[n]},{OLD_DATE}" for n in range(count)]
        return "\n".join([*lines, "GLOBAL STATS", "Max bcast/mcast queue length,0", "END", ""])
    new = layout.endswith("2.6")
    date = DATE if new else OLD_DATE
    names = "Common Name,Real Address,Virtual Address,Virtual IPv6 Address,Bytes Received,Bytes Sent,Connected Since,"
    names += "Connected Since (time_t),Username,Client ID,Peer ID,Data Channel Cipher"
    if not new:
        names = names.replace("Virtual IPv6 Address,", "").partition(",Username")[0]
    lines = [f"TITLE,OpenVPN {layout}", f"TIME,{date},{TIME_T}", f"HEADER,CLIENT_LIST,{names}"]
    for n in range(count):
        row = f"CLIENT_LIST,client-{n:05},{real[n]},{virtual[n]},{',' if new else ''}{n * 7919},{n * 104729},{date}"
        lines.append(f"{row},{TIME_T - n * 37 % 90000}{f',UNDEF,{n},{n},AES-256-GCM' if new else ''}")
    lines.append("HEADER,ROUTING_TABLE,Virtual Address,Common Name,Real Address,Last Ref,Last Ref (time_t)")
    lines += [f"ROUTING_TABLE,{virtual[n]},client-{n:05},{real[n]},{date},{TIME_T - n % 60}" for n in range(count)]
    lines += ["GLOBAL_STATS,Max bcast/mcast queue length,0", "END", ""]
    return "\n".join(lines).replace(",", "\t")


def install(package: str, folder: Path) -> str | None:
    """Where a package is installed now, or None, with a word about it."""
    target = folder / package
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    if done.returncode:
        tell(f"{package} is missing: {(done.stderr.strip() or 'pip failed').splitlines()[-1]}")
        return None
    return str(target)


@contextmanager
def child(parser: Parser, path: Path, modules: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ready to parse."""
    code = CHILD.format(setup=parser.setup, parse="\n".join(f"    {line}" for line in parser.parse.split("\n")))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env={"PYTHONPATH": modules, "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        if process.stdout.readline() != '"ready"\n':
            raise SystemExit(f"{parser.name} did not start")
        yield process
        assert process.stdin is not None
        process.stdin.close()


def ask(process: subprocess.Popen[str]) -> float | str:
    """The seconds that it took, or what went wrong."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    answer: float | str = json.loads(process.stdout.readline())
    return answer


def race(parsers: dict[Parser, str], path: Path, rounds: int) -> dict[Parser, list[float]]:
    """The seconds of each round; those that cannot read it are told and left out."""
    times: dict[Parser, list[float]] = {}
    with ExitStack() as stack:
        children = {parser: stack.enter_context(child(parser, path, at)) for parser, at in parsers.items()}
        for number in range(rounds + 1):  # the first one warms up
            for parser, process in list(children.items()):
                answer = ask(process)
                if isinstance(answer, str):
                    tell(f"{parser.name} cannot read it: {answer}")
                    del children[parser]
                elif number:
                    times.setdefault(parser, []).append(answer)
    return times


def table(times: dict[Parser, list[float]], rows: int) -> None:
    """Prints rows a second, and how often as many fleet and a bare split read."""

    def ratio(one: Parser, other: Parser) -> float:
        return median(b / a for a, b in zip(times[one], times[other], strict=True))

    tell("| | ms | rows/s | of a split | fleet is | with all rows made |")
    tell("| --- | ---: | ---: | ---: | ---: | ---: |")
    for parser, seconds in times.items():
        spent = median(seconds)
        cells = f"{spent * 1000:.1f} | {rows / spent:,.0f} | {ratio(parser, SPLIT):.2f}"
        tell(f"| {parser.name} | {cells} | {ratio(FLEETS[0], parser):.2f}x | {ratio(FLEETS[2], parser):.2f}x |")


def tell(line: str) -> None:
    """A line of the result."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--clients", type=int, default=10_000)
    words.add_argument("--rounds", type=int, default=15)
    words.add_argument("--short", action="store_true", help="few clients, two rounds, no packages of the registry")
    given = words.parse_args()
    count, rounds = (300, 2) if given.short else (given.clients, given.rounds)
    tell(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {} if given.short else {peer: install(peer.package or "", folder) for peer in PEERS}
        peers = {peer: at for peer, at in found.items() if at is not None}
        for layout in ALL:
            path = folder / "status"
            path.write_text(status(layout, count))
            parsers = dict.fromkeys((SPLIT, *FLEETS), str(ROOT)) | {
                p: at for p, at in peers.items() if layout in p.layouts
            }
            tell(f"\n{layout}: {count} clients and {count} routes, {path.stat().st_size:,} bytes\n")
            table(race(parsers, path, rounds), 2 * count)


if __name__ == "__main__":
    main()
