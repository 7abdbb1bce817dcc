"""The bare asyncssh script: connect, open a channel, ask, read to END, close; asyncssh's own settings.

python bare.py HOSTS SSH_PORT MANAGEMENT_PORT USER KEY KNOWN_HOSTS FORKS
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncssh


async def ask(  # noqa: PLR0917 - a script, as short as it can be
    host: str, port: int, management: int, user: str, key: str, known_hosts: str, free: asyncio.Semaphore
) -> bytes:
    """One answer."""
    async with (
        free,
        asyncssh.connect(host, port, username=user, client_keys=[key], known_hosts=known_hosts) as connection,
    ):
        reader, writer = await connection.open_connection(host, management, encoding=None)
        await reader.readline()  # the greeting
        writer.write(b"status 3\n")
        answer: bytes = await reader.readuntil(b"\nEND\r\n")
        writer.close()
        return answer


async def main() -> None:
    """Asks all, and prints what they say as it comes."""
    hosts, port, management, user, key, known_hosts, forks = sys.argv[1:]
    free = asyncio.Semaphore(int(forks))
    asked = [
        ask(host, int(port), int(management), user, key, known_hosts, free)
        for host in Path(hosts).read_text().split()  # noqa: ASYNC240 - before anything else is done
    ]
    for answer in asyncio.as_completed(asked):
        sys.stdout.buffer.write(await answer)


if __name__ == "__main__":
    asyncio.run(main())
