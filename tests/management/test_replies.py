"""Replies of recorded daemons against their expected results, and the layouts that no recording has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.management import replies
from support.expected import expected_results, plain, reply_to
from support.transcripts import transcript

PARSERS: dict[str, Callable[[tuple[str, ...]], Any]] = {
    "version": replies.parse_version,
    "help": replies.parse_help,
    "pid": replies.parse_pid,
    "load-stats": replies.parse_load_stats,
    "state": replies.parse_state,
    "state all": replies.parse_state_history,
    "verb": replies.parse_verb,
    "verb 4": replies.parse_text,
    "mute": replies.parse_mute,
    "mute 40": replies.parse_text,
    "hold": replies.parse_hold,
    "hold release": replies.parse_text,
    "log 2": replies.parse_log,
    "log 3": replies.parse_log,
    "echo all": replies.parse_echo,
    "signal SIGUSR1": replies.parse_signal,
    "kill Test-Client": replies.parse_killed,
    "kill dup-cn": replies.parse_killed,
    "kill user-cert": replies.parse_killed,
    "kill UNDEF": replies.parse_killed,
}
RECORDED = [
    (version, name, command, expected)
    for (version, name), results in expected_results().items()
    for command, expected in results.items()
    if "status" not in command
]
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
NOON_TIME_T = "1795348800"


@pytest.mark.parametrize(("version", "name", "command", "expected"), RECORDED)
def test_recorded_reply(version: str, name: str, command: str, expected: Any) -> None:
    lines = reply_to(transcript(version, name), command)
    assert plain(PARSERS[command](lines)) == expected


def test_every_parser_has_a_recorded_reply() -> None:
    assert {command for _, _, command, _ in RECORDED} == set(PARSERS)


def test_state_of_2_1_has_five_values() -> None:
    # protocol-facts 5: 2.1 to 2.3
    state = replies.parse_state((f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,203.0.113.9",))
    assert state == replies.State(NOON, "CONNECTED", "SUCCESS", "10.8.0.1", "203.0.113.9")


def test_state_as_the_notes_promise_it_has_four_values() -> None:
    assert replies.parse_state_line(f"{NOON_TIME_T},WAIT,,") == replies.State(NOON, "WAIT")


def test_state_keeps_the_values_of_a_later_release() -> None:
    state = replies.parse_state_line(f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,,,192.0.2.1,1194,fd08::1,new,er")
    assert state == replies.State(
        NOON, "CONNECTED", "SUCCESS", "10.8.0.1", None, None, "192.0.2.1", 1194, "fd08::1", extra=("new", "er")
    )


def test_current_state_is_the_last_line() -> None:
    lines = (f"{NOON_TIME_T},CONNECTING,,,,,,", f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,,,,")
    assert replies.parse_state(lines).name == "CONNECTED"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "END",
        f"{NOON_TIME_T},CONNECTED,SUCCESS",
        f"{NOON_TIME_T},,SUCCESS,10.8.0.1",
        ",CONNECTED,SUCCESS,10.8.0.1",
        "noon,CONNECTED,SUCCESS,10.8.0.1",
        "99999999999999999999,CONNECTED,SUCCESS,10.8.0.1",
        f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,203.0.113.9,https,,",
        f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,,,192.0.2.1,-1",
    ],
)
def test_what_is_no_state_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"^not a (state|time|number): "):
        replies.parse_state((line,))


def test_no_state_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="without a state"):
        replies.parse_state(())


def test_version_in_its_second_spelling() -> None:
    # protocol-facts 10.7
    version = replies.parse_version(("OpenVPN Version: OpenVPN 2.1.4 i686-pc-linux-gnu", "Management Version: 1"))
    assert version == replies.Version("2.1.4", "OpenVPN 2.1.4 i686-pc-linux-gnu", 1)
    second = replies.parse_version(("OpenVPN Version: OpenVPN 2.8_git [SSL]", "Management Interface Version: 6"))
    assert (second.openvpn, second.management) == ("2.8_git", 6)


def test_version_of_a_proxy_may_lack_what_it_does_not_know() -> None:
    # protocol-facts 10.14
    version = replies.parse_version(("OpenVPN Version: auth proxy 3", "Management Version: none"))
    assert version == replies.Version("auth proxy 3", "auth proxy 3", None)


@pytest.mark.parametrize("lines", [(), ("Management Version: 5",), ("OpenVPN 2.6.14",)])
def test_version_without_a_version_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="without an OpenVPN version"):
        replies.parse_version(lines)


def test_log_text_keeps_its_commas_and_flags_may_be_empty() -> None:
    lines = (f"{NOON_TIME_T},,a, b,c", f"{NOON_TIME_T},IW,", f"{NOON_TIME_T},D,café \udcff\x1b[31m")
    assert replies.parse_log(lines) == (
        replies.LogLine(NOON, "", "a, b,c"),
        replies.LogLine(NOON, "IW", ""),
        replies.LogLine(NOON, "D", "café \udcff\x1b[31m"),
    )


def test_log_message_of_several_lines_is_one_message() -> None:
    lines = (f"{NOON_TIME_T},N,Options error:", "Use --help", "", f"{NOON_TIME_T},I,next")
    assert [line.text for line in replies.parse_log(lines)] == ["Options error:\nUse --help\n", "next"]


def test_empty_histories() -> None:
    assert replies.parse_log(()) == ()
    assert replies.parse_echo(()) == ()
    assert replies.parse_state_history(()) == ()


@pytest.mark.parametrize("line", ["", "END", "hello", "noon,I,text", f"{NOON_TIME_T}", f"{NOON_TIME_T},i,text"])
def test_what_is_no_log_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a log line"):
        replies.parse_log((line,))


@pytest.mark.parametrize("line", ["", "forget-passwords", f"{NOON_TIME_T}"])
def test_what_is_no_echo_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an echo line"):
        replies.parse_echo((line,))


def test_help_without_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="without a line"):
        replies.parse_help(())


def test_help_lines_that_name_nothing() -> None:
    assert replies.parse_help(("title", "Commands:", ":", "exit|quit : Close.", "  more: of it", "pid")) == (
        replies.Help("title", frozenset({"exit", "quit"}))
    )


@pytest.mark.parametrize(
    ("text", "killed"),
    [
        ("common name 'Doe, John' found, 3 client(s) killed", 3),
        ("common name 'a' found, 9 client(s) killed' found, 1 client(s) killed", 1),  # a name that says so itself
        ("1 client(s) at address 127.0.0.1:58052 killed", 1),
        ("1 client(s) at address tcp-server:127.0.0.1:43784 killed", 1),
    ],
)
def test_killed(text: str, killed: int) -> None:
    # protocol-facts 4
    assert replies.parse_killed((text,)) == killed


@pytest.mark.parametrize("flag", ["hold=2", "hold=", "hold=on", "hold", "mute=0", "hold flag set to ON"])
def test_what_is_no_hold_flag_is_refused(flag: str) -> None:
    with pytest.raises(ValueError, match="expected hold="):
        replies.parse_hold((flag,))


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (replies.parse_pid, "verb=3"),
        (replies.parse_pid, "pid=-1"),
        (replies.parse_verb, "verb=\uff11"),
        (replies.parse_mute, "mute=1_0"),
        (replies.parse_verb, "verb=" + "9" * 5000),
        (replies.parse_load_stats, "nclients=1,bytesin=2"),
        (replies.parse_load_stats, "nclients=1,bytesin=2,bytesout=x"),
        (replies.parse_load_stats, "pid=4"),
        (replies.parse_killed, "client-kill command succeeded"),
        (replies.parse_signal, "signal thrown"),
        (replies.parse_signal, "verb level changed"),
    ],
)
def test_an_answer_to_another_command_is_refused(parse: Callable[[tuple[str, ...]], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"^(expected|not a number)") as raised:
        parse((text,))
    assert len(str(raised.value)) < 200


def test_load_stats_by_name() -> None:
    expected = replies.LoadStats(nclients=1, bytes_in=2, bytes_out=3)
    assert replies.parse_load_stats(("bytesout=3,nclients=1,bytesin=2,new=4",)) == expected


@pytest.mark.parametrize("lines", [(), ("verb level changed", "verb level changed")])
def test_a_line_answer_is_one_line(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected one line"):
        replies.parse_text(lines)


def test_times_out_of_the_calendar_are_refused() -> None:
    for text in ("9" * 12, "9" * 30, "9" * 5000, "-1", "1.5", " 1", ""):
        with pytest.raises(ValueError, match=r"^not a time: "):
            replies.parse_time(text)


LINE = st.text(st.characters(exclude_characters="\n"), max_size=60) | st.sampled_from(
    ["pid=1", "hold=1", f"{NOON_TIME_T},CONNECTED,SUCCESS,10.8.0.1,,,,", f"{NOON_TIME_T},D,text", "Commands:", "END"]
)


@pytest.mark.parametrize("parse", sorted(set(PARSERS.values()), key=lambda parse: parse.__name__))
@given(lines=st.lists(LINE, max_size=4).map(tuple))
def test_any_lines_give_a_value_or_a_value_error(
    parse: Callable[[tuple[str, ...]], object], lines: tuple[str, ...]
) -> None:
    with contextlib.suppress(ValueError):
        parse(lines)


def test_remotes_with_and_without_what_later_releases_say() -> None:
    lines = (
        "0,vpn.example.com,1194,udp,enabled",
        "1,vpn.example.net,443,tcp-client,disabled",
        "2,192.0.2.1",
        "3,h,1,udp",
    )
    assert replies.parse_remote_entries(lines) == (
        replies.RemoteEntry(0, "vpn.example.com", "1194", "udp", enabled=True),
        replies.RemoteEntry(1, "vpn.example.net", "443", "tcp-client", enabled=False),
        replies.RemoteEntry(2, "192.0.2.1"),
        replies.RemoteEntry(3, "h", "1", "udp"),
    )
    assert replies.parse_remote_entry_count(("5",)) == 5


def test_pkcs11_identities() -> None:
    text = "'1', ID:'pkcs11:model=x;id=%01', BLOB:'TUlJ'"
    assert replies.parse_pkcs11_entry((text,)) == replies.PKCS11Entry(1, "pkcs11:model=x;id=%01", "TUlJ")
    assert replies.parse_pkcs11_entry(("'0'",)) == replies.PKCS11Entry(0)
    assert replies.parse_pkcs11_count(("0",)) == 0


@pytest.mark.parametrize(
    ("parse", "lines"),
    [
        (replies.parse_auth_retry, ("auth-retry=",)),
        (replies.parse_auth_retry, ("auth-retry=none;reboot",)),
        (replies.parse_auth_retry, ("verb=3",)),
        (replies.parse_nclients, ("clients=1",)),
        (replies.parse_remote_entry_count, ("many",)),
        (replies.parse_remote_entry_count, ()),
        (replies.parse_remote_entries, ("0",)),
        (replies.parse_remote_entries, ("0,",)),
        (replies.parse_remote_entries, ("x,vpn.example.com",)),
        (replies.parse_pkcs11_count, ("x",)),
        (replies.parse_pkcs11_entry, ("0",)),
        (replies.parse_pkcs11_entry, ("'0', ID:'x'",)),
        (replies.parse_client_version, ("version set",)),
        (replies.parse_answers, ()),
        (replies.parse_answers, ("SUCCESS: x", "y")),
    ],
)
def test_what_the_other_commands_do_not_answer_is_refused(
    parse: Callable[[tuple[str, ...]], Any], lines: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"^(expected|not a) "):
        parse(lines)
