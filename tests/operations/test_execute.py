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
        (["pid\nsignal SIGTERM"], None, "control character"),
        (["frobnicate\nsignal SIGTERM"], ReplyKind.LINE, "control character"),
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


@pytest.mark.parametrize("name", [name for name, spec in COMMANDS.items() if spec.body])
def test_commands_that_swallow_the_lines_behind_them_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="until END"):
        prepare([f"{name} 1 2"])


@pytest.mark.parametrize("name", [name for name, spec in COMMANDS.items() if spec.secret])
def test_secrets_are_no_arguments_and_are_repeated_nowhere(name: str) -> None:
    text = f"{name} Auth s3cr3t"
    with pytest.raises(UsageError) as refused:
        prepare([text])
    assert "s3cr3t" not in f"{refused.value.message} {refused.value.hint}"
    assert shown_arguments([text, "pid"]) == [f"{name} [...]", "pid"]
    refuse_traps(name, secrets=True)


def test_what_may_hide_a_secret_is_not_shown() -> None:
    texts = ["pasword Auth s3cr3t", '"password" Auth s3cr3t', "  password Auth s3cr3t", "kill 'a b'", "nonsense"]
    shown = shown_arguments(texts)
    assert "s3cr3t" not in " ".join(shown)
    assert shown[3:] == ["kill 'a b'", "nonsense"]


@pytest.mark.parametrize(
    "text", ["client-kill 5", "client-deny 1 2 no", "client-auth-nt 1 2", "push-update-cid 1 '-dns'"]
)
def test_a_client_id_is_for_one_server(text: str) -> None:
    assert "names a client by its ID" in for_one_server(prepare(["pid", text]))


def test_everything_else_is_for_many() -> None:
    assert for_one_server(prepare(["pid", "kill alice", "frobnicate CID"], ReplyKind.LINE)) == ""
