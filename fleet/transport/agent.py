"""An ssh-agent, asked for no more than it stands.

Agents refuse, or hang up on, those who come at once in large numbers: some from twenty connections on. So a run has a
few connections to its agent, and what wants a signature waits for one of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncssh

MAX_CONNECTIONS = 8
"""Signatures asked for at a time: an agent's own key takes less than a millisecond, one on hardware has its queue."""

LIST_TIMEOUT = 5.0
"""Seconds for an agent to list its keys."""

_REFUSED = "Unable to sign with requested key"  # asyncssh's words; all others are of a connection that broke


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A key as an agent lists it."""

    algorithm: bytes
    public: bytes
    comment: bytes

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.comment.decode("utf-8", "replace") or "a key"


class AgentRefusedError(ValueError):
    """The agent holds the key, and did not sign with it; the text says why in a few words."""


class Agent:
    """The agent of one run. What asyncssh wants of one for its key pairs is `sign`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[asyncssh.SSHAgentClient] = []

    async def keys(self) -> list[AgentKey] | str:
        """The keys that it holds, or why there are none to be had."""
        try:
            async with asyncio.timeout(LIST_TIMEOUT), asyncssh.SSHAgentClient(self._path) as agent:
                pairs = await agent.get_keys()
        except TimeoutError:
            return f"the agent did not answer within {LIST_TIMEOUT:g} s"
        except (OSError, ValueError) as exc:  # asyncssh makes a ValueError of an OSError
            return f"the agent cannot be asked ({exc})"
        return [AgentKey(pair.key_algorithm, pair.key_public_data, pair.get_comment_bytes() or b"") for pair in pairs]

    async def sign(self, key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """A signature. A connection that the agent has dropped is made again once; a refusal is one.

        Raises:
            AgentRefusedError: there is none.
        """
        async with self._slots:
            try:
                return await self._sign(key_blob, data, flags)
            except ValueError as exc:
                if str(exc) == _REFUSED:
                    raise AgentRefusedError("the agent refused to sign with it (locked, or not confirmed)") from exc
            try:
                return await self._sign(key_blob, data, flags)
            except ValueError as exc:
                raise AgentRefusedError(f"the agent did not sign with it ({exc})") from exc

    async def _sign(self, key_blob: bytes, data: bytes, flags: int) -> bytes:
        client = self._idle.pop() if self._idle else asyncssh.SSHAgentClient(self._path)
        try:
            signature = await client.sign(key_blob, data, flags)
        except BaseException:
            client.close()  # a late answer would be the next one's
            raise
        self._idle.append(client)
        return signature

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            client = self._idle.pop()
            client.close()
            await client.wait_closed()
