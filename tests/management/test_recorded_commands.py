"""Every command of the table, made of its text, against what daemons of three releases answered to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet.errors import CommandFailedError
from fleet.management import commands
from fleet.management.commands import COMMANDS, CommandSpec, ReplyKind, parse_command
from fleet.management.protocol import Protocol, Reply
from fleet.management.replies import LoadStats, RemoteEntry
from fleet.management.status import Status
from support.transcripts import VERSIONS, Exchange, exchanges, read_transcript, transcript

BASIC = "02_basic_0clients"
CLIENT = "30_client_query_auth"
TEST_LINE = "The purpose of this command is to generate large amounts of output."
MODE = "not supported by the current daemon mode"
FENCE = b"SUCCESS: pid=1\r\n"


@dataclass(frozen=True, slots=True)
class Failed:
    """An ERROR of the daemon."""

    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """What a command means in each release, the first time that it was recorded.

    Attributes:
        text: as `parse_command` takes it.
        expected: the value, or what tells whether it is right, or Failed. For each release where they differ.
        name: of the recording.
        sent: the line as the recording has it, where the text has more lines.
        answered: the line that the daemon answered, where it is another one.
    """

    text: str
    expected: Any
    name: str = BASIC
    sent: str | None = None
    answered: str | None = None
    versions: tuple[str, ...] = field(default=VERSIONS)

    @property
    def command(self) -> str:
        return self.text.split()[0]


def since(release: str) -> tuple[str, ...]:
    return tuple(version for version in VERSIONS if version >= release)


def texts(*wanted: str) -> Callable[[Any], bool]:
    return lambda lines: [line.text for line in lines] == list(wanted)


def states(*wanted: str) -> Callable[[Any], bool]:
    return lambda found: [state.name for state in found] == list(wanted)


ECHOES = ("hello from config", "second")
CASES = [
    Case("auth-retry", "none"),
    Case("auth-retry interact", "auth-retry parameter changed"),
    Case("bytecount 1", "bytecount interval changed"),
    Case("certificate\nAA==", Failed("The certificate command is not currently available"), sent="certificate"),
    Case("client-auth 0 0", Failed("client-auth command failed"), answered="END"),
    Case(
        "client-auth 1 1",
        ("client-auth command succeeded",),
        "40_client_auth",
        answered="END",
        versions=("2.6.14", "2.7.6"),
    ),
    Case("client-auth 1 0", ("client-auth command succeeded",), "40_client_auth", answered="END", versions=("2.4.12",)),
    Case(
        'client-auth 0 0\npush "route 10.77.0.0 255.255.0.0"\nEND',
        ("client-auth command succeeded",),
        "41_client_pf",
        sent="client-auth 0 0",
        answered="END",
        versions=("2.4.12",),
    ),
    Case(
        "client-pf 0\n[CLIENTS DROP]\n+Client With Space\n[SUBNETS ACCEPT]\n-10.0.0.0/8\n-unknown\n[END]\nEND",
        ("client-pf command succeeded",),
        "41_client_pf",
        sent="client-pf 0",
        answered="END",
        versions=("2.4.12",),
    ),
    Case("client-auth-nt 0 0", Failed("client-auth command failed")),
    Case("client-auth-nt 0 1", "client-auth command succeeded", "40_client_auth", versions=("2.6.14", "2.7.6")),
    Case("client-deny 0 0 reason", Failed("client-deny command failed")),
    Case("client-kill 0", Failed("client-kill command failed")),
    Case("client-kill 6", "client-kill command succeeded", "21_tcp-server", versions=("2.6.14",)),
    Case(
        "client-pending-auth 0 0 x 10",
        Failed("client-pending-auth command failed. Extra parameter might be too long"),
        versions=since("2.5"),
    ),
    Case("cr-response x", Failed(f"The 'cr-repsonse' command is {MODE}"), versions=since("2.5")),
    Case("cr-response abc", "command succeeded", CLIENT, versions=since("2.5")),
    Case("echo all", texts(*ECHOES)),
    Case("echo 1", texts("second")),
    Case("echo on all", texts(*ECHOES)),
    Case("echo off", "real-time echo notification set to OFF"),
    Case("env-filter 2", "env_filter_level=2"),
    Case("env-filter", "env_filter_level=0"),
    Case("exit", None),
    Case("forget-passwords", "Passwords were forgotten"),
    Case("help", lambda value: "forget-passwords" in value.commands),
    Case("hold", False),
    Case("hold on", "hold flag set to ON"),
    Case("hold release", "hold release succeeded"),
    Case("kill Test-Client", Failed("common name 'Test-Client' not found")),
    Case("kill Test-Client", 1, "54_order", versions=("2.6.14", "2.7.6")),
    Case("load-stats", LoadStats(0, 0, 0)),
    Case("log 2", lambda lines: [line.flags for line in lines] == ["D", "D"]),
    Case("log on all", lambda lines: len(lines) > 50),
    Case("log 5 on", lambda lines: len(lines) == 5),
    Case("log off", "real-time log notification set to OFF"),
    Case("mute", 0),
    Case("mute 40", "mute level changed"),
    Case("nclients", 0),
    Case("needok foo ok", Failed("no needok-confirmation is currently needed at this time")),
    Case("needstr foo bar", Failed("no needstr-string is currently needed at this time")),
    Case("net", Failed("Sorry, this command is currently only implemented on Windows")),
    Case("password Auth foo", Failed("no password is currently needed at this time")),
    Case(
        'password "Private Key" foo',
        Failed("password of type 'Private Key' entered, but we need one of type 'Auth'"),
        CLIENT,
    ),
    Case(
        'password "Private Key" keypass',
        "'Private Key' password entered, but not yet verified",
        "32_client_query_key",
        versions=("2.6.14", "2.7.6"),
    ),
    Case("pid", lambda number: number > 1),
    Case("pk-sig\nAA==", Failed("The pk-sig command is not currently available"), sent="pk-sig", versions=since("2.5")),
    Case("pkcs11-id-count", 0, versions=("2.6.14",)),
    Case("pkcs11-id-get 0", lambda entry: (entry.index, entry.identity) == (0, None), versions=("2.6.14",)),
    Case("proxy NONE", Failed(MODE)),
    Case(
        'push-update-broad "route 10.1.2.0 255.255.255.0"',
        Failed("no client updated; push-update command failed"),
        versions=since("2.7"),
    ),
    Case('push-update-cid 0 "-dns"', Failed("no client updated; push-update command failed"), versions=since("2.7")),
    Case('push-update-broad "-dns"', Failed(MODE), CLIENT, versions=since("2.7")),
    Case("quit", None, "04_close"),
    Case("remote ACCEPT", Failed(MODE)),
    Case("remote-entry-count", Failed(MODE), versions=since("2.6")),
    Case("remote-entry-count", 1, CLIENT, versions=since("2.6")),
    Case("remote-entry-get all", Failed(MODE), versions=since("2.6")),
    Case(
        "remote-entry-get 0",
        (RemoteEntry(0, "127.0.0.1", "21228", "udp", enabled=True),),
        CLIENT,
        versions=("2.6.14",),
    ),
    Case(
        "remote-entry-get 0",
        (RemoteEntry(0, "127.0.0.1", "21628", "udp", enabled=True),),
        CLIENT,
        versions=("2.7.6",),
    ),
    Case("remote-entry-get 9", (), CLIENT, versions=since("2.6")),
    Case("rsa-sig\nAA==", Failed("The rsa-sig command is not currently available"), sent="rsa-sig"),
    Case("signal SIGTERM", "SIGTERM", "12_hold"),
    Case("signal SIGUSR1", Failed("signal 'SIGUSR1' is currently ignored"), "12_hold"),
    Case("state", lambda state: state.name == "CONNECTED"),
    Case("state all", states("CONNECTING", "CONNECTED")),
    Case("state on all", states("CONNECTING", "CONNECTED")),
    Case("state off", "real-time state notification set to OFF"),
    Case("state off all", states("CONNECTING", "CONNECTED")),
    Case("status", lambda status: isinstance(status, Status) and status.clients == ()),
    Case("status 1", lambda status: isinstance(status, Status) and not status.problems),
    Case("status 3", lambda status: "OpenVPN" in status.title),
    Case("status 2", Failed(MODE), "12_hold"),
    Case("test 3", tuple(f"[{i}] {TEST_LINE}" for i in range(3))),
    Case("test 0", ()),
    Case("username Auth foo", Failed("no username is currently needed at this time")),
    Case('username "Auth" "al ice"', "'Auth' username entered, but not yet verified", CLIENT),
    Case("verb", lambda level: 0 < level < 16),
    Case("verb 4", "verb level changed"),
    Case("version 3", None),
    Case("version 4", None, versions=("2.4.12", "2.6.14")),
    Case("version 4", "Management client version set to 4", versions=("2.7.6",)),
]
RECORDED = [(version, case) for version in VERSIONS for case in CASES if version in case.versions]


def recorded(version: str, name: str, sent: str) -> list[Exchange]:
    """The greeting, and the exchanges that begin with the first time that a line was sent."""
    for session in read_transcript(transcript(version, name)):
        found = exchanges(session)
        for i, exchange in enumerate(found):
            if exchange.command == f"{sent}\n".encode():
                return [found[0], *found[i:]]
    raise AssertionError(f"{sent!r} is not in {name} of {version}")


def ask(version: str, text: str, answer: bytes, greeting: bytes | None = None) -> Reply[Any]:
    """What the protocol makes of an answer to the command that a text is; the daemon's release is known."""
    basic = exchanges(read_transcript(transcript(version, BASIC))[0])
    peer = Protocol()
    peer.receive(greeting or basic[0].reply)
    peer.send(commands.version())
    peer.receive(next(exchange.reply for exchange in basic if exchange.command == b"version\n"))
    command = parse_command(text)
    peer.send(command)
    if command.reply is ReplyKind.NONE:
        assert answer == b""
        return Reply(command, ())
    if command.reply is ReplyKind.FENCED:
        peer.send(commands.pid())
        answer += FENCE
    events = [event for event in peer.receive(answer) if isinstance(event, Reply)]
    assert peer.pending == ()
    assert len(events) == (2 if command.reply is ReplyKind.FENCED else 1)
    return events[0]


def reply_to(version: str, case: Case) -> Reply[Any]:
    greeting, *found = recorded(version, case.name, case.sent or case.text)
    if case.answered is not None:
        assert found[0].reply == b""  # not until the line that ends what the daemon swallows
        found = [exchange for exchange in found if exchange.command.endswith(f"{case.answered}\n".encode())]
    return ask(version, case.text, found[0].reply, greeting.reply)


@pytest.mark.parametrize(
    ("version", "case"), RECORDED, ids=lambda value: value if isinstance(value, str) else value.text.replace("\n", "/")
)
def test_a_recorded_answer(version: str, case: Case) -> None:
    reply = reply_to(version, case)
    assert reply.complete
    if isinstance(case.expected, Failed):
        with pytest.raises(CommandFailedError) as caught:
            reply.result()
        assert case.expected.text in caught.value.message
    elif callable(case.expected):
        assert case.expected(reply.result())
    else:
        assert reply.result() == case.expected


def has(spec: CommandSpec, version: str) -> bool:
    release = ".".join(version.split(".")[:2])
    built = spec.needs is None or version == "2.6.14"  # Debian's is the one with PKCS11
    return built and spec.since <= release and (spec.until is None or release <= spec.until)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_command_of_the_table_has_a_recorded_answer(version: str) -> None:
    answered = {case.command for recorded_version, case in RECORDED if recorded_version == version}
    assert {name for name, spec in COMMANDS.items() if has(spec, version)} == answered


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_has_what_the_recorded_help_lists(version: str) -> None:
    listed = ask(version, "help", recorded(version, BASIC, "help")[1].reply).result().commands
    assert listed == {name for name, spec in COMMANDS.items() if has(spec, version) and not spec.hidden}


@pytest.mark.parametrize(
    ("version", "sent", "body", "wants"),
    [
        ("2.4.12", "client-pending-auth 0 0 x 10", "", "OpenVPN 2.5 or later"),
        ("2.4.12", "cr-response x", "", "OpenVPN 2.5 or later"),
        ("2.4.12", "pk-sig", "\nAA==", "OpenVPN 2.5 or later"),
        ("2.4.12", "remote-entry-count", "", "OpenVPN 2.6 or later"),
        ("2.4.12", "remote-entry-get all", "", "OpenVPN 2.6 or later"),
        ("2.4.12", "pkcs11-id-count", "", "OpenVPN 2.1 or later built with PKCS11"),
        ("2.4.12", 'push-update-cid 0 "-dns"', "", "OpenVPN 2.7 or later"),
        ("2.6.14", 'push-update-broad "route 10.1.2.0 255.255.255.0"', "", "OpenVPN 2.7 or later"),
        ("2.7.6", "pkcs11-id-get 0", "", "OpenVPN 2.1 or later built with PKCS11"),
    ],
)
def test_a_release_without_the_command_is_told_the_one_that_has_it(
    version: str, sent: str, body: str, wants: str
) -> None:
    reply = ask(version, sent + body, recorded(version, BASIC, sent)[1].reply)
    name = sent.split(maxsplit=1)[0]
    with pytest.raises(CommandFailedError) as caught:
        reply.result()
    assert caught.value.message == f"'{name}' wants {wants}; this daemon is OpenVPN {version}"
    assert "fleet version" in (caught.value.hint or "")
