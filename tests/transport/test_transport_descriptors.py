"""As many files may be open as a run needs, and where they may not, fewer servers are asked at a time."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleet.transport import Transport
from fleet.transport.descriptors import BESIDE, FOR_A_SERVER, allow, fitting, wanted
from support.sshd import OPTIONS, Daemon, a_server, ssh


@pytest.fixture(autouse=True)
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_limit_is_raised_as_far_as_it_is_needed(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    assert allow(200) == soft() == 256
    assert allow(700) == soft() == 700
    assert fitting(64, 1000) == (64, "")
    assert soft() == 700
    assert fitting(500, 200) == (500, "")
    assert soft() == wanted(200)


def test_a_hard_limit_is_said() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}));"
        "from fleet.transport.descriptors import fitting; print(fitting(2000, 1500)); print(fitting(2000, 3)[0])"
    )
    for hard, room in ((400, f"{(400 - BESIDE) // FOR_A_SERVER} servers"), (100, "one server")):
        out = subprocess.run(
            [sys.executable, "-c", code.format(hard=hard)], capture_output=True, text=True, check=True
        ).stdout
        assert f"asking {room} at a time and not 1,500: that takes {wanted(1500):,} open files" in out
        assert f"this process may have {hard} (raise ulimit -Hn)" in out


async def test_a_transport_sees_to_it(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    servers = [a_server(f"s{number}", ssh(22, f"host{number}"), Daemon().endpoint) for number in range(300)]
    async with Transport(servers, OPTIONS):
        assert soft() == wanted(300)
