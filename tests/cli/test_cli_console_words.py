"""What a line of the console is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.cli.prompt import HISTORY_LIMIT, HISTORY_SIZE_LIMIT, _history, completions, history_file
from fleet.errors import UsageError
from fleet.management.commands import COMMANDS
from fleet.operations.console import may_be_remembered, read_line, wants_lines, wants_secret


def test_commands_complete_first_and_then_what_they_take() -> None:
    assert completions([], ["pid", "verb"]) == ["pid", "verb"]
    assert completions(["signal"], []) == ["SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2"]
    assert completions(["log"], []) == ["on", "off", "all"]
    assert completions(["log", "on"], []) == ["off", "all"]
    assert completions(["auth-retry"], []) == ["none", "nointeract", "interact"]
    assert completions(["frobnicate"], ["pid"]) == []
    assert completions(["kill"], []) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_completes_is_a_word(name: str) -> None:
    assert all(word.isalnum() for word in completions([name], []))


@pytest.mark.parametrize(("text", "name"), [("status 3", "status"), ("  verb  ", "verb"), ('kill "a b"', "kill")])
def test_a_line_is_a_command(text: str, name: str) -> None:
    command = read_line(text, 3)
    assert command is not None
    assert command.name == name


def test_a_blank_line_is_none() -> None:
    assert read_line("   ", 1) is None


@pytest.mark.parametrize(
    ("text", "servers", "readonly", "words"),
    [
        ("frobnicate", 1, False, "not a command that fleet knows"),
        ("verb x", 1, False, "'x' is not a number"),
        ("verb 4", 1, True, "read-only"),
        ("client-kill 5", 2, False, "would go to 2"),
        ("client-auth 5 1\npush x", 2, False, "would go to 2"),
        ("client-auth 5 1\npid", 1, False, "begins with the command 'pid'"),
        ("exit", 1, False, "ends the session"),
        ("kill 'open", 1, False, "quot"),
    ],
)
def test_a_line_is_refused(text: str, servers: int, readonly: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_line(text, servers, readonly=readonly)


def test_lines_behind_a_command_are_part_of_it() -> None:
    command = read_line("client-auth 5 1\npush x\nEND", 1)
    assert command is not None
    assert (command.arguments, command.body) == (("5", "1"), ("push x",))


@pytest.mark.parametrize(
    ("text", "lines"), [("client-auth 5 1", True), ("rsa-sig", True), ("client-auth-nt 5 1", False), ("  ", False)]
)
def test_which_commands_take_lines(text: str, lines: bool) -> None:
    assert wants_lines(text, 1) is lines


@pytest.mark.parametrize(
    ("text", "servers", "readonly", "words"),
    [
        ("client-auth 5", 1, False, "takes 2 arguments"),
        ("client-auth x 1", 1, False, "'x' is not a number"),
        ("client-auth 5 1", 2, False, "would go to 2"),
        ("pk-sig", 1, True, "read-only"),
    ],
)
def test_a_line_is_refused_before_others_are_typed(text: str, servers: int, readonly: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wants_lines(text, servers, readonly=readonly)


def test_a_client_id_is_fine_where_there_is_one_server() -> None:
    assert read_line("client-kill 5", 1) is not None


@pytest.mark.parametrize(
    "text",
    [
        "password Auth secret",
        '  "password" Auth secret',
        "username Auth name",
        "needstr pin 1234",
        "cr-response U0NSVjE6",
        "pasword Auth secret",
        "secret",
        "password 'Private Key' 'half",
        "password Auth",
        "",
    ],
)
def test_what_may_hold_a_secret_is_not_remembered(text: str) -> None:
    assert not may_be_remembered(text)


def test_what_holds_none_is() -> None:
    assert all(map(may_be_remembered, ["status 3", "kill alice", "signal SIGUSR1", "log on all"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("password 'Private Key'", ["password", "Private Key"]),
        ("username Auth", ["username", "Auth"]),
        ("cr-response", ["cr-response"]),
        ("password Auth secret", None),
        ("password", None),
        ("verb", None),
        ("", None),
        ("password 'half", None),
    ],
)
def test_a_line_that_lacks_its_secret_asks_for_it(text: str, words: list[str] | None) -> None:
    assert wants_secret(text) == words


def test_the_history_is_in_the_state_folder() -> None:
    home = Path("/home/ops")
    assert history_file({"XDG_STATE_HOME": "/var/state"}, home) == Path("/var/state/fleet/console_history")
    default = home / ".local/state/fleet/console_history"
    assert history_file({}, home) == history_file({"XDG_STATE_HOME": "relative"}, home) == default


def kept(file: Path) -> list[str]:
    history = _history(file, lambda _line: True)
    return list(history.load_history_strings())  # the newest first


def test_the_history_is_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "fleet" / "history"
    _history(file, lambda line: line != "secret").append_string("pid")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.chmod(0o644)
    assert kept(file) == ["pid"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_history_keeps_its_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "history"
    history = _history(file, lambda _line: True)
    for number in range(HISTORY_LIMIT + 5):
        history.store_string(f"verb {number}")
    expected = [f"verb {number}" for number in range(HISTORY_LIMIT + 4, 4, -1)]
    assert kept(file) == expected
    size = file.stat().st_size
    assert kept(file) == expected
    assert file.stat().st_size == size
    _history(file, lambda _line: True).store_string("pid")
    assert kept(file)[:2] == ["pid", expected[0]]


def test_a_file_that_fleet_did_not_write_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_bytes(b"\n+" + b"x" * HISTORY_SIZE_LIMIT)
    assert kept(file) == []
    assert file.stat().st_size == 0
