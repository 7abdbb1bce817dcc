"""Fuzzes one target for some time, guided by coverage where atheris is installed and blindly where it is not.

    PYTHONPATH=tests:. .venv/bin/python -m fuzz.run protocol --seconds 3600 --corpus /var/tmp/fuzz-protocol

Ends with 0 when the time is over. A failure is written into the corpus' folder, or the working folder, and its
traceback to stderr; `python -m fuzz.run protocol --again FILE` shows it again.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

_LONGEST = 16_384


def _seed(corpus: Path, seeds: list[bytes]) -> None:
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def _guided(name: str, seconds: int, corpus: Path) -> None:
    import atheris  # noqa: PLC0415 - not everywhere

    with atheris.instrument_imports(include=["fleet"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented
    target = TARGETS[name]
    _seed(corpus, list(target.seeds()))
    options = [f"-max_total_time={seconds}", f"-max_len={_LONGEST}", f"-artifact_prefix={corpus.parent}/",
               "-verbosity=1", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.check)
    atheris.Fuzz()


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed in which some things are otherwise."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        start = chance.randint(0, len(data))
        other = chance.choice(seeds)
        begin = chance.randint(0, len(other))
        piece = chance.choice(
            (
                b"",
                bytes([chance.randrange(256)]),
                other[begin : begin + chance.randint(1, 40)],
                b"\r\n",
                b"\x1b[",
                b"END\r\n",
            )
        )
        data[start : start + chance.choice((0, 0, 1, 4, 30))] = piece
    return bytes(data[:_LONGEST])


def _blind(name: str, seconds: int, corpus: Path) -> None:
    from fuzz.targets import TARGETS  # noqa: PLC0415 - as above

    target, chance = TARGETS[name], random.Random(name)  # noqa: S311 - repeats
    seeds = list(target.seeds())
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(seeds, chance)
        count += 1
        try:
            target.check(data)
        except BaseException:
            (corpus.parent / f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            raise
    sys.stderr.write(f"blindly, without atheris: {count} runs\n")


def main() -> None:
    """Reads the command line, and fuzzes."""
    parser = argparse.ArgumentParser(prog="fuzz.run")
    parser.add_argument("target", choices=("protocol", "status", "inventory", "patterns"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="kept from run to run; what failed is written beside it")
    parser.add_argument("--again", type=Path, help="a file that failed")
    given = parser.parse_args()
    if given.again is not None:
        from fuzz.targets import TARGETS  # noqa: PLC0415 - as above

        TARGETS[given.target].check(given.again.read_bytes())
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-corpus-") as folder:
        corpus = given.corpus or Path(folder) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        (_guided if find_spec("atheris") else _blind)(given.target, given.seconds, corpus)


if __name__ == "__main__":
    main()
