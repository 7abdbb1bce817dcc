"""asyncssh is imported without running programs, and offers what it offers otherwise."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.transport.library import find_library

ROOT = Path(__file__).parents[2]

# With the libraries that are installed, and with each of those that asyncssh looks for missing.
OFFERED = """\
import sys
if sys.argv[1] == "fleet":
    from fleet.transport.library import load_asyncssh
    load_asyncssh()
import asyncssh.crypto.umac, asyncssh.encryption, asyncssh.kex, asyncssh.mac, asyncssh.public_key
print(asyncssh.kex.get_kex_algs(), asyncssh.mac.get_mac_algs(), asyncssh.encryption.get_encryption_algs())
print(asyncssh.public_key.get_public_key_algs(), asyncssh.public_key.get_certificate_algs())
print(asyncssh.kex.get_default_kex_algs(), asyncssh.mac.get_default_mac_algs())
print(asyncssh.crypto.umac._nettle_lib, asyncssh.crypto.pq._oqs_lib)
import ctypes.util
print(ctypes.util.find_library.__module__)
"""

# The file of a library, from the memory of the process that has loaded it.
WHERE = """\
import ctypes, sys
ctypes.CDLL(sys.argv[1])
name = "/" + sys.argv[1].partition(".")[0]
print(*{line.split()[-1] for line in open("/proc/self/maps") if name in line})
"""


def offered(way: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", OFFERED, way],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_algorithms_are_those_of_asyncssh_alone() -> None:
    ours = offered("fleet")
    assert "curve25519-sha256" in ours
    assert ours == offered("asyncssh")


@pytest.mark.parametrize("name", ["nettle", "oqs", "liboqs", "c", "m", "no-such-library"])
def test_a_library_is_found_as_with_programs(name: str) -> None:
    stock = ctypes.util.find_library(name) if name.isalnum() else None
    assert find_library(name) == stock


def test_a_library_of_a_folder_of_the_environments_is_found(tmp_path: Path) -> None:
    library = ctypes.util.find_library("m")
    assert library is not None
    where = subprocess.run(
        [sys.executable, "-c", WHERE, library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    (tmp_path / "libfleet-test.so.5").symlink_to(where)
    ask = "from fleet.transport.library import find_library\nprint(find_library('fleet-test'))\n"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    for folders, found in (({}, "None"), ({"LD_LIBRARY_PATH": str(tmp_path)}, "libfleet-test.so.5")):
        done = subprocess.run(
            [sys.executable, "-c", ask], env=environment | folders, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == found
