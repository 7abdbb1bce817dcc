from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.management import commands
from fleet.management.commands import Command, ReplyKind, check_argument, quote
from support.replay import reference_lexer
from support.transcripts import VERSIONS, exchanges, read_transcript, transcript

PRINTABLE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=[*map(chr, range(32)), "\x7f"]))
CONTROL = st.sampled_from([*map(chr, range(32)), "\x7f"])


@pytest.mark.parametrize(
    ("command", "wire"),
    [
        (commands.help_(), b"help\n"),
        (commands.version(), b"version\n"),
        (commands.pid(), b"pid\n"),
        (commands.load_stats(), b"load-stats\n"),
        (commands.state(), b"state\n"),
        (commands.state_history(), b"state all\n"),
        (commands.state_history(3), b"state 3\n"),
        (commands.status(), b"status 3\n"),
        (commands.status(1), b"status 1\n"),
        (commands.log("all"), b"log all\n"),
        (commands.log(20), b"log 20\n"),
        (commands.verb(), b"verb\n"),
        (commands.verb(0), b"verb 0\n"),
        (commands.verb("015"), b"verb 15\n"),
        (commands.mute(), b"mute\n"),
        (commands.mute(40), b"mute 40\n"),
        (commands.hold(), b"hold\n"),
        (commands.hold("release"), b"hold release\n"),
        (commands.kill_common_name("Test-Client"), b"kill Test-Client\n"),
        (commands.kill_common_name("Doe, John"), b'kill "Doe, John"\n'),
        (commands.kill_common_name('quo"te'), b'kill "quo\\"te"\n'),
        (commands.kill_common_name("back\\slash"), b'kill "back\\\\slash"\n'),
        (commands.kill_common_name("#hash"), b'kill "#hash"\n'),
        (commands.kill_common_name("Zoë"), b'kill "Zo\xc3\xab"\n'),
        (commands.kill_common_name("\udcff"), b'kill "\xff"\n'),
        (commands.kill_address("192.0.2.1:4000"), b"kill 192.0.2.1:4000\n"),
        (commands.kill_address("udp:192.0.2.1:4000"), b"kill udp:192.0.2.1:4000\n"),
        (commands.client_kill(7), b"client-kill 7\n"),
        (commands.client_kill(7, "HALT,go away"), b'client-kill 7 "HALT,go away"\n'),
        (commands.signal("SIGUSR1"), b"signal SIGUSR1\n"),
        (commands.quit_(), b"quit\n"),
    ],
    ids=lambda value: value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else "",
)
def test_spelling_on_the_wire(command: Command[Any], wire: bytes) -> None:
    assert command.encode() == wire
    assert command.text.encode("utf-8", "surrogateescape") + b"\n" == wire


def test_what_changes_something_says_so() -> None:
    changing = [
        commands.verb(4),
        commands.mute(0),
        commands.hold("on"),
        commands.kill_common_name("a"),
        commands.kill_address("192.0.2.1:1"),
        commands.client_kill(0),
        commands.signal("SIGTERM"),
    ]
    asking = [commands.verb(), commands.mute(), commands.hold(), commands.status(), commands.log(1), commands.quit_()]
    assert all(command.changes for command in changing)
    assert not any(command.changes for command in asking)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: commands.verb("foo"), "'foo' is not a number that 'verb' takes"),
        (lambda: commands.verb(16), "'16'"),
        (lambda: commands.verb(-1), "'-1'"),
        (lambda: commands.verb("٣"), "'٣'"),
        (lambda: commands.mute(-1), "'mute'"),
        (lambda: commands.mute(2**31), "'mute'"),
        (lambda: commands.hold("bogus"), "not an action of hold"),
        (lambda: commands.log(0), "'log'"),
        (lambda: commands.log("some"), "'log'"),
        (lambda: commands.state_history("on"), "'state'"),
        (lambda: commands.status(4), "not a status format"),
        (lambda: commands.signal("sigusr1"), "not a signal"),
        (lambda: commands.signal("SIGKILL"), "not a signal"),
        (lambda: commands.kill_common_name(""), "empty"),
        (lambda: commands.kill_common_name("a\nsignal SIGTERM"), r"control character \(\\x0a\)"),
        (lambda: commands.kill_common_name("ta\tb"), "control character"),
        (lambda: commands.kill_common_name("a" * 128), "128 bytes long"),
        (lambda: commands.kill_common_name("ë" * 64), "128 bytes long"),
        (lambda: commands.kill_common_name("\ud800"), "not text that can be sent"),
        (lambda: commands.kill_common_name("alice:laptop"), "another client"),
        (lambda: commands.kill_common_name("UNDEF"), "every client"),
        (lambda: commands.kill_address("192.0.2.1"), "by address"),
        (lambda: commands.kill_address("192.0.2.1:0"), "by address"),
        (lambda: commands.kill_address("192.0.2.1:65536"), "by address"),
        (lambda: commands.kill_address("192.0.2.256:1"), "by address"),
        (lambda: commands.kill_address("udp4:192.0.2.1:1"), "by address"),
        (lambda: commands.kill_address("[::1]:1"), "by address"),
        (lambda: commands.client_kill(-1), "'client-kill'"),
        (lambda: commands.client_kill(1, "foo"), "RESTART or HALT"),
        (lambda: commands.client_kill(1, "RESTARTED"), "RESTART or HALT"),
        (lambda: commands.client_kill(1, "HALT,\x1b"), "control character"),
        (lambda: commands.client_kill(1, "HALT," + "x" * 251), "256 bytes long"),
    ],
)
def test_builders_refuse_what_a_daemon_would_misunderstand(build: object, said: str) -> None:
    assert callable(build)
    with pytest.raises(UsageError, match=said):
        build()


def test_encode_refuses_over_long_lines_and_too_many_arguments() -> None:
    def line(*arguments: str) -> Command[tuple[str, ...]]:
        return Command("echo", arguments, ReplyKind.LINE, lambda lines: lines)

    assert len(line("x" * 255, "y" * 255).encode()) == len("echo ") + 255 + 1 + 255 + 1
    with pytest.raises(UsageError, match="takes at most 255"):
        line("x" * 256).encode()
    with pytest.raises(UsageError, match="takes 1000"):
        line(*["x" * 250] * 4).encode()
    with pytest.raises(UsageError, match="16 arguments"):
        line(*"x" * 16).encode()
    assert line(*"x" * 15).encode().count(b"x") == 15


def test_raw_leaves_the_lines_and_quit_has_no_value() -> None:
    raw = commands.status(2).raw()
    assert raw.parse(("TITLE,x", "y")) == ("TITLE,x", "y")
    assert (raw.name, raw.arguments, raw.reply, raw.fence) == ("status", ("2",), ReplyKind.BLOCK, True)
    commands.quit_().parse(())


def test_only_formats_two_and_three_have_a_fence() -> None:
    assert [commands.status(n).fence for n in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reference_lexer_reads_what_real_daemons_read(version: str) -> None:
    """`kill X` of an unknown client answers with the name that the daemon's lexer read."""
    checked = 0
    for exchange in exchanges(read_transcript(transcript(version, "03_lexer_framing"))[0]):
        text = exchange.command.decode("utf-8", "surrogateescape").rstrip("\r\n").replace("\t", "")
        said = exchange.lines[0] if exchange.lines else ""
        if text.startswith("kill ") and len(text) < 130 and "x x x" not in text:
            if said.startswith("ERROR: common name '"):
                name = said.removeprefix("ERROR: common name '").removesuffix("' not found")
                assert reference_lexer(text)[1] == name
                checked += 1
            elif said.startswith("ERROR: Options"):
                with pytest.raises(ValueError, match=r"backslash|quotation"):
                    reference_lexer(text)
                checked += 1
    assert checked >= 20


@settings(deadline=None)
@given(st.lists(PRINTABLE, max_size=5))
def test_a_daemon_reads_what_was_meant(arguments: list[str]) -> None:
    line = " ".join(["kill", *map(quote, arguments)])
    assert reference_lexer(line) == ["kill", *arguments]


@settings(deadline=None)
@given(st.lists(PRINTABLE, max_size=14))
def test_a_line_is_refused_or_is_one_line_within_the_limits(arguments: list[str]) -> None:
    command = Command("kill", tuple(arguments), ReplyKind.LINE, lambda lines: lines)
    try:
        line = command.encode()
    except UsageError:
        assert len(command.text.encode()) > 1000 or any(len(argument.encode()) > 255 for argument in arguments)
        return
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= 1001
    assert reference_lexer(line.decode()[:-1]) == ["kill", *arguments]


@settings(deadline=None)
@given(PRINTABLE, CONTROL, PRINTABLE)
def test_control_characters_never_reach_the_wire(before: str, control: str, behind: str) -> None:
    command = Command("kill", (before + control + behind,), ReplyKind.LINE, lambda lines: lines)
    with pytest.raises(UsageError, match="control character"):
        command.encode()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",), min_codepoint=32, exclude_characters="\x7f"), min_size=256))
def test_over_long_arguments_are_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="bytes long"):
        check_argument(argument, "it")
