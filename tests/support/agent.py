"""An ssh-agent in the test's own loop, which misbehaves on demand and can hold a key as a security key does."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

LIST, LISTED, SIGN, SIGNED, FAILURE = 11, 12, 13, 14, 5
SECURITY_KEY = b"sk-ssh-ed25519@openssh.com"
RSA_SIGNATURES = {2: b"rsa-sha2-256", 4: b"rsa-sha2-512"}
"""By the flags of a request."""


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    (size,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + size], data[4 + size :]


@dataclass
class Held:
    """A key of the agent, with what it does when a signature is wanted."""

    key: asyncssh.SSHKey
    comment: str = "key"
    application: bytes = b""
    refuses: bool = False

    @property
    def public(self) -> bytes:
        if not self.application:
            return self.key.public_data
        raw = _take(_take(self.key.public_data)[1])[0]
        return _string(SECURITY_KEY) + _string(raw) + _string(self.application)

    @property
    def line(self) -> asyncssh.SSHKey:
        """The public key, as a server is told of it."""
        algorithm = _take(self.public)[0].decode()
        return asyncssh.import_public_key(f"{algorithm} {base64.b64encode(self.public).decode()}")

    def sign(self, data: bytes, flags: int) -> bytes:
        if not self.application:
            return self.key.sign(data, RSA_SIGNATURES.get(flags, self.key.sig_algorithms[-1]))
        touched, counter = 1, 7
        meant = hashlib.sha256(self.application).digest() + struct.pack(">BI", touched, counter)
        raw = _take(_take(self.key.sign(meant + hashlib.sha256(data).digest(), b"ssh-ed25519"))[1])[0]
        return _string(SECURITY_KEY) + _string(raw) + struct.pack(">BI", touched, counter)


@dataclass
class FakeAgent:
    """Speaks the agent's protocol on a unix socket.

    Attributes:
        most: hang up on whoever comes while so many are connected.
        drops: hang up on so many of the next requests for a signature.
        sign_delay: seconds before a signature is given.
        most_open, signatures: how many were connected at a time, how many signatures were given.
    """

    held: list[Held]
    most: int = 1000
    drops: int = 0
    sign_delay: float = 0.0
    open: int = 0
    most_open: int = 0
    signatures: int = 0
    turned_away: int = 0
    asked: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self, path: Path) -> AsyncIterator[FakeAgent]:
        writers: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            try:
                if self.open > self.most:
                    self.turned_away += 1
                    return
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    while answer := await self._answer(await reader.readexactly(4), reader):
                        writer.write(_string(answer))
            finally:
                self.open -= 1
                writers.discard(writer)
                writer.close()

        listening = await asyncio.start_unix_server(serve, str(path))
        try:
            yield self
        finally:
            listening.close()
            for writer in list(writers):
                writer.transport.abort()
            while writers:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0)
            await listening.wait_closed()

    async def _answer(self, size: bytes, reader: asyncio.StreamReader) -> bytes:
        request = await reader.readexactly(struct.unpack(">I", size)[0])
        if request[0] == LIST:
            keys = [_string(held.public) + _string(held.comment.encode()) for held in self.held]
            return bytes([LISTED]) + struct.pack(">I", len(keys)) + b"".join(keys)
        if request[0] != SIGN:
            return bytes([FAILURE])
        public, rest = _take(request[1:])
        held = next(held for held in self.held if held.public == public)
        self.asked.append(held.comment)
        await asyncio.sleep(self.sign_delay)
        if self.drops:
            self.drops -= 1
            return b""
        if held.refuses:
            return bytes([FAILURE])
        self.signatures += 1
        data, flags = _take(rest)
        return bytes([SIGNED]) + _string(held.sign(data, int.from_bytes(flags, "big")))
