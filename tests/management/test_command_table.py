"""The table of commands, and commands made of a user's text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.management import commands
from fleet.management.commands import (
    COMMANDS,
    Command,
    CommandSpec,
    ReplyKind,
    custom_command,
    parse_command,
    quote,
    split_line,
)
from support.replay import reference_lexer

BLOCK, FENCED, LINE, NONE, NOTIFICATION = (
    ReplyKind.BLOCK,
    ReplyKind.FENCED,
    ReplyKind.LINE,
    ReplyKind.NONE,
    ReplyKind.NOTIFICATION,
)
RELEASES = ("2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7")
SECRET = "s3cr3t"
PRINTABLE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=[*map(chr, range(32)), "\x7f"]))

# One good spelling of every form of every command: what ends its reply, and whether it changes something.
FORMS: list[tuple[str, ReplyKind | tuple[ReplyKind, ...], bool]] = [
    ("auth-retry", LINE, False),
    ("auth-retry none", LINE, True),
    ("auth-retry nointeract", LINE, True),
    ("auth-retry interact", LINE, True),
    ("bytecount 0", LINE, False),
    ("bytecount 5", LINE, False),
    ("certificate\n-----BEGIN CERTIFICATE-----\nTUlJQg==\n-----END CERTIFICATE-----\nEND", FENCED, True),
    ("client-auth 3 1", FENCED, True),
    ('client-auth 3 1\npush "route 10.0.0.0 255.0.0.0"\nEND', FENCED, True),
    ("client-auth-nt 3 1", LINE, True),
    ('client-deny 3 1 "not today"', LINE, True),
    ('client-deny 3 1 "not today" "go away"', LINE, True),
    ("client-kill 3", LINE, True),
    ('client-kill 3 "RESTART,[N]"', LINE, True),
    ("client-pending-auth 3 WEB_AUTH::https://vpn.example.net", LINE, True),
    ("client-pending-auth 3 1 WEB_AUTH::https://vpn.example.net 60", LINE, True),
    ("client-pf 3\n[CLIENTS ACCEPT]\n[SUBNETS ACCEPT]\n[END]\nEND", FENCED, True),
    ("cr-response c2VjcmV0", LINE, True),
    ("echo on", LINE, False),
    ("echo 5", BLOCK, False),
    ("echo on all", (LINE, BLOCK), False),
    ("env-filter", LINE, True),
    ("env-filter 2", LINE, True),
    ("exit", NONE, False),
    ("forget-passwords", LINE, True),
    ("help", BLOCK, False),
    ("hold", LINE, False),
    ("hold on", LINE, True),
    ("hold off", LINE, True),
    ("hold release", LINE, True),
    ("http-proxy-fallback proxy.example.net 3128", LINE, True),
    ("http-proxy-fallback proxy.example.net 3128 auto", LINE, True),
    ("http-proxy-fallback-disable", LINE, True),
    ("kill Test-Client", LINE, True),
    ("kill udp:192.0.2.1:4000", LINE, True),
    ("load-stats", LINE, False),
    ("log off", LINE, False),
    ("log 20", BLOCK, False),
    ("log all", BLOCK, False),
    ("log on all", (LINE, BLOCK), False),
    ("log 5 on", (BLOCK, LINE), False),
    ("mute", LINE, False),
    ("mute 40", LINE, True),
    ("nclients", LINE, False),
    ("needok token-insertion-request ok", LINE, True),
    ("needstr name John", LINE, True),
    ("net", FENCED, False),
    ('password "Private Key" "foo\\"bar"', LINE, True),
    ("pid", LINE, False),
    ("pk-sig\nTUlJQg==\nEND", FENCED, True),
    ("pkcs11-id-count", NOTIFICATION, False),
    ("pkcs11-id-get 1", NOTIFICATION, False),
    ("proxy NONE", LINE, True),
    ("proxy HTTP proxy.example.net 8080", LINE, True),
    ("proxy SOCKS proxy.example.net 1080 nct", LINE, True),
    ('push-update-broad "route something, -dns"', FENCED, True),
    ("push-update-cid 3 -dns", FENCED, True),
    ("quit", NONE, False),
    ("remote ACCEPT", LINE, True),
    ("remote SKIP", LINE, True),
    ("remote SKIP 2", LINE, True),
    ("remote MOD vpn.example.net 1194", LINE, True),
    ("remote-entry-count", BLOCK, False),
    ("remote-entry-get 1", BLOCK, False),
    ("remote-entry-get 1 3", BLOCK, False),
    ("remote-entry-get all", BLOCK, False),
    ("rsa-sig\nTUlJQg==\nEND", FENCED, True),
    ("signal SIGHUP", LINE, True),
    ("signal SIGUSR2", LINE, True),
    ("state", BLOCK, False),
    ("state on", LINE, False),
    ("state all", BLOCK, False),
    ("state 1 2", (BLOCK, BLOCK), False),
    ("state on off", (LINE, LINE), False),
    ("status", BLOCK, False),
    ("status 2", BLOCK, False),
    ("test 3", FENCED, False),
    ("username Auth alice", LINE, True),
    ("verb", LINE, False),
    ("verb 15", LINE, True),
    ("version", BLOCK, False),
    ("version 5", FENCED, True),
]

# What a daemon would misunderstand, answer with two lines, or not answer at all (protocol-facts 1, 2, 4, 7, 10).
REFUSED = [
    ("", "no command"),
    ("   ", "no command"),
    ('""', "no command"),
    ("# status", "ends the line"),
    ("kill #x", "ends the line"),
    ("kill ;x", "ends the line"),
    ('kill "Doe', "no end"),
    ("kill 'Doe", "no end"),
    ("kill a\\b", "escapes nothing"),
    ("kill a\\", "escapes nothing"),
    ("verb\t4", "control character"),
    ("pid\r", "control character"),
    ("pid extra", "takes no argument, not 1"),
    ("status 2 extra words", "takes 0 to 1 argument, not 3"),
    ("kill a b", "takes 1 argument, not 2"),
    ("kill", "takes 1 argument, not 0"),
    ("password Auth", "takes 2 arguments, not 1"),
    ("client-kill 1 RESTART now", "takes 1 to 2 arguments, not 3"),
    ("auth-retry bogus", "not a mode of auth-retry"),
    ("bytecount foo", "not a number"),
    ("bytecount -1", "not a number"),
    ("client-auth x 1", "not a number"),
    ("client-auth 1 4294967296", "not a number"),
    ("client-auth-nt 1 5abc", "not a number"),
    ("client-deny 1 -1 no", "not a number"),
    ("client-kill 5abc", "not a number"),
    ("client-kill 1 foo", "RESTART or HALT"),
    ("client-pending-auth 1 1 x", "takes CID KID EXTRA TIMEOUT"),
    ("client-pending-auth 1 1 x soon", "not a number"),
    ("client-pf -1", "not a number"),
    ("echo 0", "not a number"),
    ("echo bogus", "not a number"),
    ("env-filter x", "not a number"),
    ("hold bogus", "not an action"),
    ("http-proxy-fallback proxy.example.net 0", "not a number"),
    ("kill alice:laptop", "by address"),
    ("kill [::1]:4000", "by address"),
    ("kill ::1", "by address"),
    ("kill udp6:[::1]:4000", "by address"),
    ("kill UNDEF", "every client"),
    ("log on bogus", "not a number"),
    ("log 3x", "not a number"),
    ("mute foo", "not a number"),
    ("needok request maybe", "not an action"),
    ("pkcs11-id-get x", "not a number"),
    ("proxy HTTP", "takes NONE"),
    ("proxy NONE host 1", "takes NONE"),
    ("proxy HTTP host 70000", "not a number"),
    ("push-update-cid x -dns", "not a number"),
    ("remote MOD host", "takes ACCEPT"),
    ("remote ACCEPT 1", "takes ACCEPT"),
    ("remote SKIP 0", "not a number"),
    ("remote-entry-get 2 2", "not a number"),
    ("remote-entry-get all 2", "no second index"),
    ("remote-entry-get x", "not a number"),
    ("signal sigusr1", "not a signal"),
    ("state bogus", "not a number"),
    ("status 0", "format 1, 2 or 3"),
    ("status foo", "format 1, 2 or 3"),
    ("test -1", "not a number"),
    ("test 10001", "not a number"),
    ("verb foo", "not a number"),
    ("verb 16", "not a number"),
    ("verb 3x", "not a number"),
    ("version 0", "not a number"),
    ("version foo", "not a number"),
    ("pk-sig", "lines of base64"),
    ("rsa-sig\nEND", "lines of base64"),
    ("pk-sig\nnot base64!", "lines of base64"),
    ("pk-sig\nexit", "begins with the command 'exit'"),
    ("client-auth 1 1\nsignal SIGTERM\nEND", "begins with the command 'signal'"),
    ("client-auth 1 1\nEND\nsignal SIGTERM", "begins with the command 'signal'"),
    ("client-auth 1 1\nEND\npush x", "is END"),
    ("client-auth 1 1\npush\tx", "control character"),
    ("client-auth 1 1\n" + "x" * 1001, "1001 bytes long"),
    ("client-auth 1 1\n" + "push x\n" * 1001, "1001 lines"),
    ("pid\nverb 4", "no lines can follow"),
    ("kill " + "a" * 128, "128 bytes long"),
    ("needok " + "a" * 256 + " ok", "256 bytes long"),
]


@pytest.mark.parametrize(("text", "reply", "changes"), FORMS, ids=[text.replace("\n", "/") for text, _, _ in FORMS])
def test_every_form_of_every_command(text: str, reply: ReplyKind | tuple[ReplyKind, ...], changes: bool) -> None:
    command = parse_command(text)
    assert (command.reply, command.changes) == (reply, changes)
    spec = COMMANDS[command.name]
    assert spec.replies(command.arguments) == reply
    assert spec.changes or not changes
    assert spec.secret == command.secret
    assert spec.body == (command.body is not None)
    wire = command.encode().decode()
    assert wire.startswith(command.name)
    assert reference_lexer(wire.split("\n")[0]) == [command.name, *command.arguments]
    assert wire.count("\n") == (1 if command.body is None else len(command.body) + 2)
    assert wire.endswith("\nEND\n") == spec.body


def test_every_command_has_a_form_and_a_change_in_one_where_it_says_so() -> None:
    assert {parse_command(text).name for text, _, _ in FORMS} == set(COMMANDS)
    assert {parse_command(text).name for text, _, changes in FORMS if changes} == {
        name for name, spec in COMMANDS.items() if spec.changes
    }


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[text[:30].replace("\n", "/") for text, _ in REFUSED])
def test_what_a_daemon_would_not_read_as_it_is_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_command(text)


@pytest.mark.parametrize("spec", COMMANDS.values(), ids=COMMANDS)
def test_a_row_of_the_table_is_whole(spec: CommandSpec) -> None:
    assert spec.since in RELEASES
    assert spec.until is None or spec.until in RELEASES[RELEASES.index(spec.since) :]
    assert spec.help.endswith(".")
    assert spec.fewest <= spec.most
    assert bool(spec.arguments) == bool(spec.most)
    assert spec.usage == f"{spec.name} {spec.arguments}".strip()
    with pytest.raises(UsageError, match=f"'{spec.name}' takes") as caught:
        spec.command(["x"] * (spec.most + 1))
    assert caught.value.hint == f"usage: {spec.usage}"


def test_the_table_is_in_alphabetical_order_and_by_name() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)
    assert all(spec.name == name for name, spec in COMMANDS.items())


def test_releases_in_words() -> None:
    assert COMMANDS["push-update-cid"].releases == "OpenVPN 2.7 or later"
    assert COMMANDS["client-pf"].releases == "OpenVPN 2.1 to 2.5"


@pytest.mark.parametrize(
    ("text", "hint"),
    [("satus 3", "did you mean 'status'?"), ("Status", "did you mean 'status'?"), ("bogus", "--reply line, block")],
)
def test_an_unknown_command(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="is not a command that fleet knows") as caught:
        parse_command(text)
    assert hint in (caught.value.hint or "")


def test_an_unknown_command_is_cut_in_the_error() -> None:
    with pytest.raises(UsageError, match=r"'x{40}\.\.\.' is not"):
        parse_command("x" * 100)


# Secrets


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (commands.password("Private Key", SECRET), 'password "Private Key" [secret]'),
        (commands.username("Auth", SECRET), "username Auth [secret]"),
        (commands.needstr("pin", SECRET), "needstr pin [secret]"),
        (commands.cr_response(SECRET), "cr-response [secret]"),
        (parse_command(f"password Auth {SECRET}"), "password Auth [secret]"),
        (custom_command(f"password Auth {SECRET}", ReplyKind.LINE), "password Auth [secret]"),
    ],
)
def test_a_secret_goes_on_the_wire_and_nowhere_else(command: Command[Any], shown: str) -> None:
    assert command.secret
    assert SECRET in command.encode().decode()
    assert command.text == shown
    assert SECRET not in f"{command!r}{command}"
    assert SECRET not in repr(command.raw())


@pytest.mark.parametrize(
    "text",
    [
        f"password Auth {SECRET} x",
        f"password {SECRET}",
        f'password Auth "{SECRET}',
        f"password Auth {SECRET}\\x",
        f"password Auth {SECRET}\x01",
        f"password Auth {SECRET * 50}",
        f"password Auth #{SECRET}",
        f"pasword Auth {SECRET}",
        f"cr-response {SECRET} x",
        f"password Auth {SECRET}\nverb 4",
    ],
)
def test_no_error_shows_a_secret(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_command(text)
    assert SECRET not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (f"{SECRET}\t", "has a control character$"),
        (f"{SECRET}\n", "has a control character$"),
        (SECRET * 50, "is too long, and OpenVPN takes at most 255 bytes$"),
        (f"{SECRET}\ud800", "is not text that can be sent$"),
    ],
)
def test_a_secret_that_cannot_be_sent(secret: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        commands.password("Auth", secret).encode()
    assert SECRET not in f"{caught.value!r}{caught.value.hint}{caught.value.__cause__!r}"


@settings(deadline=None)
@given(PRINTABLE)
def test_a_secret_of_whatever_characters_arrives_as_it_is(secret: str) -> None:
    command = commands.password("Private Key", secret)
    if len(secret.encode()) <= 255:
        line = command.encode().decode()
        assert reference_lexer(line.removesuffix("\n")) == ["password", "Private Key", secret]


# The lexer


@settings(deadline=None)
@given(st.lists(PRINTABLE, max_size=5))
def test_the_lexer_reads_what_quote_wrote(parameters: list[str]) -> None:
    assert split_line(" ".join(map(quote, parameters))) == parameters


@settings(deadline=None)
@given(st.text(st.sampled_from("ab \\\"'#;"), max_size=12))
def test_the_lexer_reads_what_a_daemon_reads_or_refuses(line: str) -> None:
    try:
        parameters = split_line(line)
    except UsageError as error:
        if "ends the line" not in error.message:
            with pytest.raises(ValueError, match=r"backslash|quotation"):
                reference_lexer(line)
        return
    assert parameters == reference_lexer(line)


def test_the_lexer_of_the_notes() -> None:
    assert split_line('password "Private Key" "foo\\"bar"') == ["password", "Private Key", 'foo"bar']
    assert split_line("  kill  a\\ b 'c\\d' it's ") == ["kill", "a b", "c\\d", "it's"]
    assert split_line('"x"y') == ["x", "y"]


# Commands that are not in the table


def test_a_custom_command_declares_its_reply() -> None:
    command = custom_command('rewind "now or never"', ReplyKind.BLOCK)
    assert command.encode() == b'rewind "now or never"\n'
    assert (command.reply, command.changes, command.parse(("a", "b"))) == (BLOCK, True, ("a", "b"))
    assert command.text == 'rewind "now or never"'


@pytest.mark.parametrize("text", ["", "a\nb", "a\tb", 'a "b', "a " + "b" * 256])
def test_a_custom_command_is_one_line_that_can_be_sent(text: str) -> None:
    with pytest.raises(UsageError):
        custom_command(text, ReplyKind.LINE)


# Builders that the table does not reach


def test_live_commands() -> None:
    assert commands.echo(3).encode() == b"echo 3\n"
    live = [commands.log_live("all"), commands.state_live(5), commands.echo_live(), commands.switch("log", on=False)]
    assert [command.encode() for command in live] == [b"log on all\n", b"state on 5\n", b"echo on\n", b"log off\n"]
    assert [command.kinds for command in live] == [(LINE, BLOCK), (LINE, BLOCK), (LINE,), (LINE,)]
    assert commands.echo_live().parse(("real-time echo notification set to ON",)) == ()
    with pytest.raises(UsageError):
        commands.log_live(0)


def test_a_body_is_checked_by_the_builders_too() -> None:
    with pytest.raises(UsageError, match="is END"):
        commands.client_auth(1, 1, ["END"]).encode()
    with pytest.raises(UsageError, match="lines of base64"):
        commands.signature("pk-sig", ["a b"])
