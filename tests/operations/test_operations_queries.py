"""Every query of the table, asked of the recorded daemons: what is sent, the value, rows, JSON and raw text."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.errors import CommandFailedError, UsageError
from fleet.management import commands
from fleet.operations.operation import Query
from fleet.operations.queries import QUERIES, log
from fleet.operations.settings import SHOW_HOLD, show_number
from fleet.render.jsonout import to_jsonable
from operations.peer import BANNER, perform, scripted
from support.expected import expected_results, plain, reply_to
from support.replay import Daemon, recorded
from support.transcripts import VERSIONS, read_transcript, transcript

EVERY: tuple[Query[Any], ...] = (
    *QUERIES,
    log("2"),
    log("all"),
    show_number("verb", commands.verb(None)),
    show_number("mute", commands.mute(None)),
)
RECORDING = "02_basic_0clients"
EXPECTED = expected_results()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("query", EVERY, ids=lambda query: query.command.text)
async def test_a_query_of_a_recorded_daemon(version: str, query: Query[Any]) -> None:
    path = transcript(version, RECORDING)
    (session,) = read_transcript(path)
    peer = Daemon(BANNER, recorded(session))
    operation = query.operation()
    answer = await perform(operation, peer)
    assert peer.written == [f"{query.command.text}\n".encode()]
    if (wanted := EXPECTED[version, RECORDING].get(query.command.text)) is not None:
        assert plain(answer.value) == wanted
    lines = reply_to(path, query.command.text)
    assert [line.removeprefix("SUCCESS: ") for line in answer.raw.split("\n") if line not in ("", "END")] == list(lines)
    rows = [tuple(row) for row in operation.rows(answer.value)]
    assert rows
    assert {len(row) for row in rows} == {len(operation.columns)}
    result = to_jsonable(operation.result(answer.value))
    assert isinstance(result, dict)
    if query.key is not None:
        assert list(result) == [query.key]
    assert not operation.changes


def test_names_are_those_of_the_management_interface() -> None:
    assert [query.name for query in QUERIES] == ["state", "version", "pid", "load-stats"]
    for query in QUERIES:
        assert query.command.text == query.name
        assert not query.command.changes
        assert query.help.endswith(".")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_state_of_a_daemon_with_every_column(version: str) -> None:
    path = transcript(version, "25_netns_real_tun")
    (session, *_) = read_transcript(path)
    (query,) = [query for query in QUERIES if query.name == "state"]
    value = (await perform(query.operation(), Daemon(BANNER, recorded(session)))).value
    (row,) = query.rows(value)
    shown = dict(zip([column.name for column in query.columns], row, strict=True))
    assert shown["name"] == "CONNECTED"
    assert shown["local_ipv6_address"] is not None


async def test_log_lines() -> None:
    text = "1795336588,I,OpenVPN 2.6.14\n1795336589,,a, b\n1795336590,WN,\x1b[31mred\nEND\n"
    answer = await perform(log("3").operation(), scripted({"log 3": text}))
    rows = [tuple(row) for row in log("3").rows(answer.value)]
    assert [row[1:] for row in rows] == [("I", "OpenVPN 2.6.14"), (None, "a, b"), ("WN", "\x1b[31mred")]
    assert answer.raw == text


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "1.5", "ALL", "99999999999"])
def test_log_wants_a_number_or_all(count: str) -> None:
    with pytest.raises(UsageError, match="is not a number that 'log' takes"):
        log(count)


async def test_the_daemons_error_is_the_servers() -> None:
    with pytest.raises(CommandFailedError, match="not today"):
        await perform(QUERIES[0].operation(), scripted({"state": "ERROR: not today\n"}))


@pytest.mark.parametrize("version", VERSIONS)
async def test_hold_of_a_recorded_daemon(version: str) -> None:
    session = read_transcript(transcript(version, "12_hold"))[0]
    greeting = BANNER + b">HOLD:Waiting for hold release:0\r\n"
    answer = await perform(SHOW_HOLD, Daemon(greeting, recorded(session)))
    assert (answer.value.hold, answer.value.waiting, answer.raw) == (True, True, "SUCCESS: hold=1\n")
    assert [tuple(row) for row in SHOW_HOLD.rows(answer.value)] == [("on", "yes")]
