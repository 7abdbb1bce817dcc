"""asyncssh is imported when it is needed, and not before."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_transport_does_not_import_asyncssh() -> None:
    program = """
import asyncio, sys
from fleet.inventory.model import Server, TCPEndpoint
from fleet.transport import SSHOptions, Transport
assert "asyncssh" not in sys.modules

async def main():
    async with Transport([Server("a", "a", None, TCPEndpoint("127.0.0.1", 1))], SSHOptions()):
        pass

asyncio.run(main())
assert "asyncssh" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
