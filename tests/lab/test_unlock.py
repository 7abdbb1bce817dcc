"""`fleet unlock` on real OpenVPN daemons that wait, behind a real sshd."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from lab.lab import FLEET_TIMEOUT, Run
from lab.openvpn import Conversation
from lab.processes import wait_until
from lab.unlocking import UnlockLab
from support.terminal import at_a_terminal

pytestmark = pytest.mark.lab

PASSPHRASE = "open sesame"


@pytest.fixture(scope="module")
def unlock_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnlockLab]:
    with UnlockLab(tmp_path_factory.mktemp("unlock")) as started:
        yield started


def results(run: Run) -> dict[str, str]:
    assert run.exit_status == 0, run.stderr + run.stdout
    return {name: outcome["result"]["result"] for name, outcome in run.outcomes().items()}


def test_a_fleet_that_waits_comes_up(unlock_lab: UnlockLab) -> None:
    unlock_lab.server("hold", "management-hold")
    unlock_lab.server("key", passphrase=PASSPHRASE)
    unlock_lab.server("hold-key", "management-hold", passphrase=PASSPHRASE)
    unlock_lab.server("client-auth", "management-hold", "management-client-auth")
    up = unlock_lab.server("up")
    names = ("hold", "key", "hold-key", "client-auth", "up")
    limit = ",".join(names)
    listed = unlock_lab.fleet("unlock", "--list", limit, "--json")
    assert listed.exit_status == 0, listed.stderr
    kinds = {
        name: [want["kind"] for want in outcome["result"]["waiting_for"]] for name, outcome in listed.outcomes().items()
    }
    assert kinds == {"hold": ["hold"], "key": ["password"], "hold-key": ["hold"], "client-auth": ["hold"], "up": []}
    before = up.ask("pid")
    secret = ("--secret-file", str(unlock_lab.secret(PASSPHRASE)))
    refused = unlock_lab.fleet("unlock", "-l", limit, *secret, "--json")  # nobody is there to be asked
    assert (refused.exit_status, refused.outcomes()) == (2, {})
    run = unlock_lab.installed("unlock", "-l", limit, *secret, "--yes", "--json")
    assert results(run) == {**dict.fromkeys(names, "connected"), "up": "not waiting"}
    assert all(map(unlock_lab.is_connected, names))
    assert {unlock_lab.daemons[name].ask("auth-retry") for name in names} == {"SUCCESS: auth-retry=none\n"}
    assert unlock_lab.daemons["hold"].ask("hold") == "SUCCESS: hold=1\n"
    assert up.ask("pid") == before
    assert PASSPHRASE not in run.stdout + run.stderr


@pytest.mark.parametrize("hold", [(), ("management-hold",)], ids=["running", "hold"])
def test_wrong_then_right(unlock_lab: UnlockLab, hold: tuple[str, ...]) -> None:
    name = f"wrong-{len(hold)}"
    daemon = unlock_lab.server(name, *hold, passphrase=PASSPHRASE)
    run = unlock_lab.fleet("unlock", name, "--secret-file", str(unlock_lab.secret("close sesame")), "--json")
    assert run.exit_status == 1
    outcome = run.outcomes()[name]
    assert outcome["error"]["code"] == "command-failed"
    assert "verification failed for 'Private Key'" in outcome["error"]["message"]
    assert outcome["result"]["verification_failed"] == ["Private Key"]
    assert daemon.ask("auth-retry") == "SUCCESS: auth-retry=none\n"
    assert not unlock_lab.is_connected(name)
    run = unlock_lab.fleet("unlock", name, "--secret-file", str(unlock_lab.secret(PASSPHRASE)), "--json")
    assert results(run) == {name: "connected"}
    assert unlock_lab.is_connected(name)


@pytest.mark.parametrize("signal", ["SIGUSR1", "SIGHUP"])
def test_a_signal_that_would_end_a_daemon_that_waits_is_not_sent(unlock_lab: UnlockLab, signal: str) -> None:
    daemon = unlock_lab.server(f"asks-{signal}", passphrase=PASSPHRASE)
    run = unlock_lab.fleet("exec", f"signal {signal}", "-l", daemon.name, "--yes", "--json")
    assert run.exit_status == 1, run.stderr
    assert "waits for a password" in run.outcomes()[daemon.name]["error"]["message"]
    assert daemon.ask("pid").startswith("SUCCESS")
    forced = unlock_lab.fleet("exec", f"signal {signal}", "-l", daemon.name, "--yes", "--force")
    assert forced.exit_status == 0, forced.stderr
    assert unlock_lab.has_ended(daemon.name)  # what it was kept from
    del unlock_lab.daemons[daemon.name]


def test_without_auth_retry_the_same_would_have_ended_it(unlock_lab: UnlockLab) -> None:
    """What `unlock` guards against is real."""
    daemon = unlock_lab.server("mortal", passphrase=PASSPHRASE)
    conversation = Conversation(daemon.management)
    conversation.ask('password "Private Key" wrong')
    conversation.close()
    assert unlock_lab.has_ended("mortal")


ODD = ['a"b', '"quoted"', "back\\slash", "  blanks  ", "#hash", ";x", "it's", "Zoë-日本-ключ", "$HOME `x` %s", "END"]


def test_odd_passphrases(unlock_lab: UnlockLab) -> None:
    for number, passphrase in enumerate(ODD):
        unlock_lab.server(f"odd-{number}", passphrase=passphrase)
        pass_file = unlock_lab.secret(passphrase)
        pass_file.rename(unlock_lab.folder / f"odd-{number}.secret")
    run = unlock_lab.installed(
        "unlock", "odd-*", "--yes", "--secret-command", f"cat {unlock_lab.folder}/{{server}}.secret", "--json"
    )
    assert set(results(run).values()) == {"connected"}
    assert all(unlock_lab.is_connected(f"odd-{number}") for number in range(len(ODD)))
    assert not any(passphrase in run.stdout for passphrase in ODD if passphrase not in ("END", ";x"))


def test_a_client_daemon_wrong_then_right(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.gate("gate", {"al ice": 'pass "word\\ é'})
    client = unlock_lab.client("client", gate)
    wrong, right = unlock_lab.secret("nope"), unlock_lab.secret('pass "word\\ é')
    run = unlock_lab.fleet("unlock", "client", "--secret-file", str(wrong), "--username", "al ice", "--json")
    assert run.exit_status == 1, run.stdout
    assert run.outcomes()["client"]["result"]["verification_failed"] == ["Auth"]
    assert client.ask("auth-retry") == "SUCCESS: auth-retry=none\n"
    run = unlock_lab.fleet("unlock", "client", "--secret-file", str(right), "--username", "al ice", "--json")
    assert results(run) == {"client": "connected"}
    assert unlock_lab.is_connected("client")


def test_a_client_daemon_right_at_once(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.gate("gate-2", {"bob": "word"})
    unlock_lab.client("client-2", gate)
    right = unlock_lab.secret("word")
    run = unlock_lab.fleet("unlock", "client-2", "--secret-file", str(right), "--username", "bob", "--json")
    assert results(run) == {"client-2": "connected"}


def test_whose_far_end_is_not_there_is_reported(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.gate("gate-3", {"bob": "word"})
    unlock_lab.client("lost", gate)
    lost = unlock_lab.daemons["lost"]
    gate.ask("signal SIGTERM")
    assert unlock_lab.has_ended("gate-3")
    del unlock_lab.daemons["gate-3"]
    args = ("--secret-file", str(unlock_lab.secret("word")), "--username", "bob", "--wait-timeout", "1s", "--json")
    run = unlock_lab.fleet("unlock", "lost", *args)
    assert run.exit_status == 1
    error = run.outcomes()["lost"]["error"]
    assert error["code"] == "command-failed"
    assert error["message"].startswith("not CONNECTED within 1 s: its state is ")
    assert (error["sent"], error["confirmed"]) == ("username Auth [secret]; password Auth [secret]", [])
    assert lost.ask("auth-retry") == "SUCCESS: auth-retry=none\n"
    again = unlock_lab.fleet("unlock", "lost", "--wait-timeout", "1s", "--json")  # it asks for nothing, and is not up
    assert again.exit_status == 1, again.stdout
    assert again.outcomes()["lost"]["error"]["message"].startswith("not CONNECTED within 1 s: its state is ")


def test_a_static_challenge_wrong_then_right(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.gate("gate-static", {"foo": "SCRV1:YmFy:ODY3NTMwOQ=="})
    client = unlock_lab.client("static", gate, 'static-challenge "Please enter token PIN" 1')
    listed = unlock_lab.fleet("unlock", "--list", "static", "--json").outcomes()["static"]["result"]["waiting_for"]
    assert listed == [{"kind": "username_password", "name": "Auth", "message": "Please enter token PIN"}]
    args = ("unlock", "static", "--secret-file", str(unlock_lab.secret("bar")), "--username", "foo", "--json")
    run = unlock_lab.fleet(*args, "--response-command", "echo 123")
    assert run.exit_status == 1, run.stdout
    assert run.outcomes()["static"]["result"]["verification_failed"] == ["Auth"]
    assert client.ask("auth-retry") == "SUCCESS: auth-retry=none\n"
    run = unlock_lab.fleet(*args, "--response-command", "echo 8675309")
    assert results(run) == {"static": "connected"}
    assert unlock_lab.is_connected("static")


def test_a_dynamic_challenge(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.challenging_gate("gate-dynamic", "bar", "8675309")
    client = unlock_lab.client("dynamic", gate)
    args = ("unlock", "dynamic", "--secret-file", str(unlock_lab.secret("bar")), "--username", "cr1", "--json")
    run = unlock_lab.fleet(*args)
    assert run.exit_status == 1, run.stdout
    assert "'Auth' challenge: Please enter token PIN: now" in run.outcomes()["dynamic"]["error"]["message"]
    assert client.ask("auth-retry") == "SUCCESS: auth-retry=none\n"  # and it lives
    run = unlock_lab.fleet(*args, "--response-command", "echo 8675309")
    assert results(run) == {"dynamic": "connected"}
    assert unlock_lab.is_connected("dynamic")
    assert "8675309" not in run.stdout + run.stderr


def test_a_client_that_waits_is_let_in_with_lines_of_configuration(unlock_lab: UnlockLab) -> None:
    gate = unlock_lab.server("asking", "management-client-auth", "auth-user-pass-optional")
    client = unlock_lab.client("waiting", gate)
    args = ("--secret-file", str(unlock_lab.secret("word")), "--username", "bob", "--wait-timeout", "1s")
    with gate.management.connect() as somebody:
        assert unlock_lab.fleet("unlock", "waiting", *args).exit_status == 1  # nobody lets it in
        told = b""
        while (asked := re.search(rb">CLIENT:CONNECT,(\d+),(\d+)", told)) is None:
            told += somebody.recv(4096)
    client_id, key_id = map(int, asked.groups())
    text = f'client-auth {client_id} {key_id}\npush "echo let-in"\npush "route 10.77.0.0 255.255.0.0"\nEND'
    run = unlock_lab.fleet("exec", text, "pid", "-l", "asking", "--json")
    assert run.exit_status == 0, run.stdout
    first, second = run.outcomes()["asking"]["result"]["replies"]
    assert (first["status"], first["value"]) == ("ok", ["client-auth command succeeded"])
    assert isinstance(second["value"], int)
    assert "let-in" in wait_until("it is let in", lambda: unlock_lab.is_connected("waiting") and client.ask("echo all"))


async def test_at_the_terminal_wrong_then_right(unlock_lab: UnlockLab) -> None:
    names = ("tty-1", "tty-2")
    for name in names:
        await asyncio.to_thread(unlock_lab.server, name, passphrase=PASSPHRASE)
    argv = unlock_lab.argv("unlock", "-l", "tty-*", "--json")
    async with at_a_terminal(argv, unlock_lab.environment()) as (person, process):
        await person.sees("tty-[1-2] (2): 'Private Key' password: ")
        await person.types("close sesame\n")
        await person.sees("tty-[1-2] (2): 'Private Key' password, not the one tried before: ")
        await person.types(f"{PASSPHRASE}\n")
        await person.sees("2 came up")
        async with asyncio.timeout(FLEET_TIMEOUT):
            out, _ = await process.communicate()
        shown = person.seen
    assert process.returncode == 0
    document = json.loads(out)
    assert {server["result"]["result"] for server in document["servers"]} == {"connected"}
    assert "sesame" not in shown + out.decode()
    for name in names:
        assert await asyncio.to_thread(unlock_lab.is_connected, name)
