"""What `exec` takes and refuses, before anything is sent."""

from __future__ import annotations

import pytest

from fleet.errors import UsageError
from fleet.management.commands import COMMANDS, ReplyKind
from fleet.operations.execute import execute, for_one_server, prepare, refuse_traps, shown_arguments


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (["verb"], False),
        (["status 3", "log all", "state on all", "load-stats"], False),
        (["verb", "verb 4"], True),
        (["signal SIGUSR1"], True),
        (["hold"], False),
        (["hold release"], True),
        (["auth-retry interact"], True),
        (["client-kill 5"], True),
    ],
)
def test_the_table_tells_what_changes(texts: list[str], changes: bool) -> None:
    assert execute(prepare(texts)).changes is changes


@pytest.mark.parametrize("kind", [ReplyKind.LINE, ReplyKind.BLOCK, ReplyKind.NONE])
def test_what_nobody_knows_counts_as_a_change(kind: ReplyKind) -> None:
    known, unknown = prepare(["pid", "frobnicate 'it all'"], kind)
    assert (known.reply, known.changes) == (ReplyKind.LINE, False)
    assert (unknown.reply, unknown.changes, unknown.arguments) == (kind, True, ("it all",))


@pytest.mark.parametrize(
    ("texts", "reply", "words"),
    [
        ([], None, "wants a management command"),
        (["frobnicate"], None, "not a command that fleet knows"),
        (["pid", "frobnicate"], None, "not a command that fleet knows"),
        (["pid"], ReplyKind.LINE, "--reply is for commands that fleet does not know"),
        (["verb foo"], None, "'foo' is not a number"),
        (["verb 16"], None, "'16' is not a number"),
        (["log"], None, "'log' takes"),
        (["kill a b"], None, "'kill' takes"),
        (["kill UNDEF"], None, "UNDEF"),
        (["  "], None, "an empty line"),
        (["# pid"], None, "begins with #"),
        (["\npid"], None, "an empty line"),
        (["pid\nsignal SIGTERM"], None, "no lines can follow 'pid'"),
        (["frobnicate\nsignal SIGTERM"], ReplyKind.LINE, "has one line"),
        (["client-auth 3 1\npush x\nEND\npush y"], None, "is END"),
        (["client-auth 3 1\npush\tx"], None, "control character"),
        (["client-auth 3 1\r\npush x"], None, "control character"),
        (["client-auth 3 1\nkill alice"], None, "begins with the command 'kill'"),
        (["client-auth 3 1\n" + "x" * 1001], None, "OpenVPN takes at most"),
        (["client-auth 3\npush x"], None, "'client-auth' takes 2 arguments"),
        (["rsa-sig"], None, "lines of base64"),
        (["pk-sig\nnot base64"], None, "lines of base64"),
        (["exit"], None, "ends the session"),
        (["pid", "quit"], None, "ends the session"),
        (["exit"], ReplyKind.NONE, "ends the session"),
        (["log on", "verb 9"], None, "locks the session"),
        (["verb 11", "log on all"], None, "locks the session"),
    ],
)
def test_what_is_refused(texts: list[str], reply: ReplyKind | None, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        prepare(texts, reply)
    assert words in refused.value.message


def test_a_log_that_is_off_again_locks_nothing() -> None:
    assert len(prepare(["log on", "log off", "verb 9"])) == 3
    assert len(prepare(["verb 9", "verb 4", "log on"])) == 3


@pytest.mark.parametrize("end", ["", "\nEND", "\nEND\n"])
@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('client-auth 3 1\npush "route 10.0.0.0 255.0.0.0"\nconfig x', 'push "route 10.0.0.0 255.0.0.0"\nconfig x\n'),
        ("client-auth 3 1", ""),
        ("client-pf 3\n[CLIENTS DROP]\n+alice\n[END]", "[CLIENTS DROP]\n+alice\n[END]\n"),
        ("rsa-sig\nTUlJQg==", "TUlJQg==\n"),
        ("pk-sig\nTUlJQg==", "TUlJQg==\n"),
        ("certificate\n-----BEGIN CERTIFICATE-----\nTUlJQg==", "-----BEGIN CERTIFICATE-----\nTUlJQg==\n"),
    ],
)
def test_lines_follow_a_command_in_its_argument(text: str, body: str, end: str) -> None:
    (command,) = prepare([text + end])
    first = text.partition("\n")[0]
    assert command.encode().decode() == f"{first}\n{body}END\n"
    assert (command.text, command.changes) == (first, True)


@pytest.mark.parametrize("name", [name for name, spec in COMMANDS.items() if spec.secret])
def test_secrets_are_no_arguments_and_are_repeated_nowhere(name: str) -> None:
    text = f"{name} Auth s3cr3t"
    with pytest.raises(UsageError) as refused:
        prepare([text])
    assert "s3cr3t" not in f"{refused.value.message} {refused.value.hint}"
    assert shown_arguments([text, "pid"]) == [f"{name} [...]", "pid"]
    refuse_traps(name, secrets=True)


def test_what_may_hide_a_secret_is_not_shown() -> None:
    texts = ["pasword Auth s3cr3t", '"password" Auth s3cr3t', "  password Auth s3cr3t", "password\nAuth s3cr3t"]
    shown = shown_arguments([*texts, "kill 'a b'", "nonsense", "", "client-auth 1 2\npush x"])
    assert "s3cr3t" not in " ".join(shown)
    assert shown[4:] == ["kill 'a b'", "nonsense", "", "client-auth 1 2\npush x"]


@pytest.mark.parametrize(
    "text",
    [
        "client-auth 1 2\npush x",
        "client-pf 1\n[END]",
        "client-kill 5",
        "client-deny 1 2 no",
        "client-auth-nt 1 2",
        "push-update-cid 1 '-dns'",
    ],
)
def test_a_client_id_is_for_one_server(text: str) -> None:
    assert "names a client by its ID" in for_one_server(prepare(["pid", text]))


def test_everything_else_is_for_many() -> None:
    assert for_one_server(prepare(["pid", "kill alice", "frobnicate CID"], ReplyKind.LINE)) == ""
