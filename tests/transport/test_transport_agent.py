"""An agent is asked for a few signatures at a time, and what it does not sign with costs no login."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from fleet.errors import AuthFailedError
from fleet.transport import Transport
from fleet.transport.agent import MAX_CONNECTIONS
from support.agent import FakeAgent, Held
from support.sshd import GREETING, OPTIONS, SSHD, Daemon, Home, a_server, ssh


@pytest.fixture
async def agent(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeAgent]:
    """An agent with one key; the operator has no key file."""
    (home.path / ".ssh" / "id_ed25519").unlink()
    path = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    async with FakeAgent([Held(asyncssh.generate_private_key("ssh-ed25519"), "mine")]).running(path) as agent:
        yield agent


async def ask(transport: Transport, port: int, daemon: Daemon) -> bytes:
    async with transport.channel(a_server(f"s{port}", ssh(port), daemon.endpoint)) as stream:
        return await stream.read()


async def ask_all(sshd: SSHD, daemon: Daemon) -> list[bytes]:
    async with Transport([a_server(f"s{port}", ssh(port), daemon.endpoint) for port in sshd.ports], OPTIONS) as way:
        return await asyncio.gather(*(ask(way, port, daemon) for port in sshd.ports))


async def test_an_agent_that_takes_few_at_a_time(agent: FakeAgent, home: Home, daemon: Daemon) -> None:
    agent.most, agent.sign_delay = MAX_CONNECTIONS + 1, 0.01
    async with SSHD(authorized=(agent.held[0].line,)).running(listeners=40) as sshd:
        home.know(sshd.known())
        assert await ask_all(sshd, daemon) == [GREETING] * 40
    assert (agent.signatures, agent.turned_away) == (40, 0)
    assert 1 < agent.most_open <= MAX_CONNECTIONS + 1  # the one that listed the keys may not be gone yet


async def test_a_security_key_in_the_agent(agent: FakeAgent, home: Home, daemon: Daemon) -> None:
    agent.held = [Held(asyncssh.generate_private_key("ssh-ed25519"), "touch me", application=b"ssh:")]
    async with SSHD(authorized=(agent.held[0].line,)).running() as sshd:
        home.know(sshd.known())
        assert await ask_all(sshd, daemon) == [GREETING]
    assert agent.asked == ["touch me"]


async def test_a_key_that_the_agent_does_not_sign_with_is_left_out(
    agent: FakeAgent, home: Home, daemon: Daemon
) -> None:
    agent.held.insert(0, Held(asyncssh.generate_private_key("ssh-ed25519"), "locked", refuses=True))
    async with SSHD(authorized=tuple(held.line for held in agent.held)).running() as sshd:
        home.know(sshd.known())
        assert await ask_all(sshd, daemon) == [GREETING]
        assert agent.asked == ["locked", "mine"]
        agent.held[1].refuses = True
        with pytest.raises(AuthFailedError) as caught:
            await ask_all(sshd, daemon)
    assert caught.value.message == "user ops was not let in"
    refused = "the agent refused to sign with it (locked, or not confirmed)"
    assert f"tried: locked (agent), mine (agent); locked: {refused}; mine: {refused}" in str(caught.value.hint)


async def test_an_agent_that_hangs_up_is_asked_again(agent: FakeAgent, home: Home, daemon: Daemon) -> None:
    agent.drops = 1
    async with SSHD(authorized=(agent.held[0].line,)).running() as sshd:
        home.know(sshd.known())
        assert await ask_all(sshd, daemon) == [GREETING]
        agent.drops = 2
        with pytest.raises(AuthFailedError) as caught:
            await ask_all(sshd, daemon)
    assert "mine: the agent did not sign with it" in str(caught.value.hint)
