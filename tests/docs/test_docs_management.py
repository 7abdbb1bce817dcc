"""docs/management.md: every command, every section of the management notes and every real-time message is there."""

from __future__ import annotations

import re

import pytest
import typer

from docs.markdown import pages
from fleet.cli.main import build
from fleet.errors import UsageError
from fleet.management import notifications
from fleet.management.commands import COMMANDS, CommandSpec
from fleet.management.notifications import Notification, UnknownNotification, parse_notification
from fleet.management.replies import parse_help
from fleet.operations.console import LEAVE
from fleet.operations.execute import refuse_traps
from support.transcripts import VERSIONS, replies, transcript

PAGE = pages()["docs/management.md"]
COMMAND_ROWS = {row[0].strip("`").split(" ")[0]: row for row in PAGE.rows("command")}
SECTION_ROWS = {row[0]: row for row in PAGE.rows("section of the notes")}
MESSAGE_ROWS = {row[0].strip("`>:"): row for row in PAGE.rows("message")}

# The headings `COMMAND -- ...` of doc/management-notes.txt, without the releases that stand in some: of OpenVPN 2.1,
# and what 2.7 has besides.
SECTIONS_2_1 = (
    *("echo", "exit, quit", "help", "hold", "kill", "log", "mute", "net", "password and username", "signal", "state"),
    *("status", "username", "verb", "version", "auth-retry", "needok"),
)
SECTIONS_2_7 = (
    *("bytecount", "pid", "forget-passwords", "needstr", "pkcs11-id-count", "pkcs11-id-get", "client-auth"),
    *("client-auth-nt", "client-pending-auth", "client-deny", "client-kill", "remote-entry-count", "remote-entry-get"),
    *("remote", "proxy", "cr-response", "pk-sig", "rsa-sig", "certificate", "push-update-broad", "push-update-cid"),
)
# Sections that are not about one command.
OTHER_SECTIONS = ("OUTPUT FORMAT", "REAL-TIME MESSAGE FORMAT", "Command Parsing")

# The types of real-time messages in the source of OpenVPN 2.1 to 2.7 (protocol-facts 1, "Real-time lines"), with a line
# of each as a daemon sends it.
MESSAGES = {
    "BYTECOUNT": "1,2",
    "BYTECOUNT_CLI": "1,2,3",
    "CLIENT": "ESTABLISHED,1",
    "ECHO": "1101519562,forget-passwords",
    "FATAL": "x",
    "HOLD": "Waiting for hold release:0",
    "INFO": "x",
    "INFOMSG": "WEB_AUTH::https://vpn.example.net",
    "LOG": "1101519562,I,x",
    "NEED-CERTIFICATE": "macosx-keychain:x",
    "NEED-OK": "Need 'token-insertion-request' confirmation MSG:Please insert your cryptographic token",
    "NEED-STR": "Need 'name' input MSG:Please specify your name",
    "NOTIFY": "info,remote-exit,EXIT",
    "PASSWORD": "Need 'Auth' username/password",
    "PKCS11ID-COUNT": "1",
    "PKCS11ID-ENTRY": "'1', ID:'x', BLOB:'y'",
    "PK_SIGN": "YWJj",
    "PROXY": "1,TCP,vpn.example.com",
    "REMOTE": "vpn.example.com,1194,udp",
    "RSA_SIGN": "YWJj",
    "STATE": "1101519562,WAIT,,",
    "UPDOWN": "UP",
}


def subcommands() -> set[str]:
    root = build()
    return set(root.list_commands(typer.Context(root)))


SUBCOMMANDS = subcommands()


def changes(spec: CommandSpec) -> str:
    if not spec.changes:
        return "no"
    bare = spec.fewest == 0 and not spec.body
    return "with an argument" if bare and not spec.command().changes else "yes"


def is_sent(name: str, *, secrets: bool = False) -> bool:
    """Whether `fleet exec` takes the command; with secrets, the console."""
    try:
        refuse_traps(name, secrets=secrets)
    except UsageError:
        return False
    return True


def test_every_command_of_the_table_has_a_row_and_no_other() -> None:
    assert list(COMMAND_ROWS) == list(COMMANDS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_command_that_a_recorded_help_lists_has_a_row(version: str) -> None:
    (first, *_) = replies(transcript(version, "02_basic_0clients"), "help")
    listed = parse_help(first[:-1]).commands
    assert len(listed) > 30
    assert listed <= set(COMMAND_ROWS)


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=COMMANDS)
def test_a_row_says_what_the_code_says(spec: CommandSpec) -> None:
    usage, releases, changing, fleet = COMMAND_ROWS[spec.name]
    assert usage == f"`{spec.usage}`"
    wanted = f"{spec.since} to {spec.until}" if spec.until else f"{spec.since}"
    assert releases == (f"{wanted}, with {spec.needs}" if spec.needs else wanted)
    assert changing == changes(spec)
    named = set(re.findall(r"`fleet ([a-z-]+)", fleet))
    assert named
    assert named <= SUBCOMMANDS
    assert "exec" not in named or is_sent(spec.name)
    assert "console" not in named or spec.name in LEAVE or is_sent(spec.name, secrets=True)
    assert (spec.name in named) == (spec.name in SUBCOMMANDS)


def test_every_section_of_the_notes_has_a_row_and_no_other() -> None:
    assert set(SECTION_ROWS) == {*SECTIONS_2_1, *SECTIONS_2_7, *OTHER_SECTIONS}


@pytest.mark.parametrize("section", [*SECTIONS_2_1, *SECTIONS_2_7])
def test_a_section_stands_beside_its_commands(section: str) -> None:
    named = set(re.findall(r"`([a-z0-9-]+)`", SECTION_ROWS[section][1]))
    assert named == {name for name, spec in COMMANDS.items() if spec.section == section} | (
        {"username"} if section == "password and username" else set()
    )
    fleet = set(re.findall(r"`fleet ([a-z-]+)", SECTION_ROWS[section][2]))
    assert fleet <= SUBCOMMANDS
    assert "exec" not in fleet or all(map(is_sent, named))


def test_every_command_has_a_section_or_is_said_to_have_none() -> None:
    assert {spec.section for spec in COMMANDS.values()} - {None} == {*SECTIONS_2_1, *SECTIONS_2_7}
    without = next(line for line in PAGE.prose.split("\n") if line.startswith("Without a section"))
    assert set(re.findall(r"`([a-z-]+)`", without)) == {name for name, spec in COMMANDS.items() if spec.section is None}


def test_every_message_has_a_row_and_a_type() -> None:
    assert set(MESSAGE_ROWS) == set(MESSAGES)


@pytest.mark.parametrize("source", MESSAGES)
def test_a_message_is_what_its_row_says(source: str) -> None:
    notification = parse_notification(f">{source}:{MESSAGES[source]}")
    assert not isinstance(notification, UnknownNotification)
    named = set(re.findall(r"`(\w+Notification)`", MESSAGE_ROWS[source][1]))
    assert type(notification).__name__ in named
    assert all(issubclass(getattr(notifications, name), Notification) for name in named)
