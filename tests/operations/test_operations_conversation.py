"""Conversations with daemons on loopback sockets: greeting, password, phases and warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import Faults, ReplyFault
from fleet.engine import Attempt
from fleet.errors import ManagementBusyError, ManagementPasswordError, ReplyTimeoutError
from fleet.inventory.model import ManagementEndpoint, PasswordFile, Server
from fleet.management import commands
from fleet.operations.conversation import Access, Conversation, work_on
from fleet.operations.settings import change_verb
from fleet.transport import Transport
from support.farm import Listen

GREETING = b">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"


def local(endpoint: ManagementEndpoint, password: Path | None = None) -> Server:
    return Server("here", "here", None, endpoint, password=None if password is None else PasswordFile(password))


async def ask(server: Server, attempt: Attempt, *, reply_timeout: float = 20.0) -> int:
    async def pid(conversation: Conversation) -> int:
        assert conversation.server is server
        return await conversation.run(commands.pid())

    async with Transport([server]) as transport:
        return await work_on(Access(transport, reply_timeout), pid)(attempt)


async def test_a_password_is_read_when_it_is_asked_for(listen: Listen, tmp_path: Path) -> None:
    secret = tmp_path / "pw"
    secret.touch(mode=0o600)
    secret.write_text("s3cret\n")
    endpoint = await listen(SimulatedDaemon(password=b"s3cret"), tmp_path / "sock")
    server = local(endpoint, secret)
    attempt = Attempt(server)
    assert await ask(server, attempt) > 0
    assert attempt.phase == "waiting for the reply to pid"


async def test_a_password_that_the_inventory_does_not_have(listen: Listen) -> None:
    server = local(await listen(SimulatedDaemon(password=b"s3cret")))
    with pytest.raises(ManagementPasswordError, match="the inventory has none"):
        await ask(server, Attempt(server))


async def test_a_busy_daemon_and_who_to_look_for(listen: Listen) -> None:
    server = local(await listen(SimulatedDaemon(), faults=Faults(greeting=b"")))
    attempt = Attempt(server)
    with pytest.raises(ManagementBusyError) as caught:
        await ask(server, attempt, reply_timeout=0.1)
    assert f"sport = :{server.management.port}" in str(caught.value.hint)  # type: ignore[union-attr]  # it is TCP
    assert attempt.phase == f"waiting for the greeting of {server.management}"


@pytest.mark.parametrize("kind", ["CONNECT", "REAUTH"])
async def test_a_daemon_that_asks_to_admit_users_is_warned_of_once(listen: Listen, kind: str) -> None:
    asks = f">CLIENT:{kind},0,1\r\n>CLIENT:ENV,password=x\r\n>CLIENT:ENV,END\r\n".encode()
    faults = Faults(greeting=GREETING + asks * 2)
    server = local(await listen(SimulatedDaemon(), faults=faults))
    attempt = Attempt(server)
    with pytest.raises(ReplyTimeoutError):
        await ask(server, attempt, reply_timeout=0.5)
    (warning,) = attempt.warnings
    assert "management-client-auth" in warning
    assert "exclusive: true" in warning


async def test_clients_that_come_meanwhile_are_no_warning(listen: Listen) -> None:
    faults = Faults(greeting=GREETING + b">CLIENT:ESTABLISHED,0\r\n>CLIENT:ENV,END\r\n")
    server = local(await listen(SimulatedDaemon(), faults=faults))
    attempt = Attempt(server)
    with pytest.raises(ReplyTimeoutError):
        await ask(server, attempt, reply_timeout=0.5)
    assert attempt.warnings == []


async def test_a_change_without_an_answer_stays_noted(listen: Listen) -> None:
    faults = Faults(reply=ReplyFault.SILENCE)
    daemon = SimulatedDaemon()
    server = local(await listen(daemon, faults=faults))
    attempt = Attempt(server)

    async def change(conversation: Conversation) -> None:
        await conversation.ask(commands.verb(4))

    async with Transport([server]) as transport:
        with pytest.raises(ReplyTimeoutError) as caught:
            await work_on(Access(transport, 0.5), change)(attempt)
    assert attempt.sent == caught.value.sent == "verb 4"
    assert daemon.verb == 4


async def test_an_answered_change_is_no_longer_noted(listen: Listen) -> None:
    server = local(await listen(SimulatedDaemon()))
    attempt = Attempt(server)
    async with Transport([server]) as transport:
        answer = await work_on(Access(transport, 20.0), change_verb("4").perform)(attempt)
    assert answer.value.now == 4
    assert attempt.sent is None
