"""What top makes of the answers: rates, totals, who is shown, in which order, and the log."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleet.management.replies import LogLine, State
from fleet.top.board import Board
from fleet.top.glance import LOG_KEPT, LogTail
from fleet.top.rows import CLIENT_FIELDS, SERVER_FIELDS, Now, arrange
from top.samples import BEGIN, REFUSED, client, sample, server, status

EDGE_1, EDGE_2, EDGE_10 = server("edge-1"), server("edge-2"), server("edge-10")
NOW = Now(BEGIN + timedelta(minutes=5), 100.0, late=6.0)


def board() -> Board:
    return Board((EDGE_1, EDGE_10, EDGE_2))


def texts(made: Board, name: str) -> dict[str, str]:
    (row,) = [row for row in made.servers() if row.server.name == name]
    return {field.title: field.text(row, NOW) for field in SERVER_FIELDS}


def test_rates_are_of_the_last_two_answers() -> None:
    made = board()
    made.update(sample(EDGE_1, status([client("a", 0, 10, 20)], 1000, 500), 96.0))
    assert texts(made, "edge-1")["IN"] == "-"
    made.update(sample(EDGE_1, status([client("a", 0, 2058, 20), client("b", 1)], 3048, 500), 98.0))
    shown = texts(made, "edge-1")
    assert (shown["IN"], shown["OUT"], shown["CLIENTS"]) == ("1.0 KiB/s", "0 B/s", "2")
    assert [(row.name, row.rate_in, row.rate_out) for row in made.clients()] == [("a", 1024.0, 0.0), ("b", None, None)]
    totals = made.totals()
    assert (totals.up, totals.down, totals.servers, totals.clients) == (1, 0, 3, 2)
    assert (totals.rate_in, totals.rate_out) == (1024.0, 0.0)


def test_counters_that_began_again_have_no_rate() -> None:
    made = board()
    made.update(sample(EDGE_1, status([client("a", 0, 500)], 1000), 10.0))
    made.update(sample(EDGE_1, status([client("a", 0, 10)], 999), 12.0))
    assert made.servers()[0].rate_in is None
    assert made.clients()[0].rate_in is None
    again = client("a", 0, 900)._replace(connected_since=BEGIN + timedelta(seconds=1))
    made.update(sample(EDGE_1, status([again], 2000), 14.0))
    assert made.servers()[0].rate_in == 500.5
    assert made.clients()[0].rate_in is None


def test_one_that_is_down_stays_to_be_seen_and_since_when() -> None:
    made = board()
    made.update(sample(EDGE_1, status([client("a")]), 2.0))
    made.update(sample(EDGE_1, REFUSED, 60.0))
    made.update(sample(EDGE_1, REFUSED, 90.0))
    shown = texts(made, "edge-1")
    assert (shown["STATE"], shown["SINCE"], shown["CLIENTS"]) == ("connect-refused", "4m", "-")
    assert shown["PROBLEM"] == "port 22 refuses connections"
    assert made.clients() == []
    assert (made.totals().up, made.totals().down) == (0, 1)
    assert [row.server for row in made.servers(failed=True)] == [EDGE_1]
    made.update(sample(EDGE_1, status([client("a")]), 95.0))
    assert texts(made, "edge-1")["STATE"] == "CONNECTED"
    assert made.servers(failed=True) == []


def test_states_that_are_not_connected_are_told_apart_from_it() -> None:
    made = board()
    made.update(sample(EDGE_1, status(hold=True, state=State(BEGIN, "CONNECTING")), 98.0))
    made.update(sample(EDGE_2, status(state=State(BEGIN, "RECONNECTING")), 98.0))
    assert [(row.state, row.well) for row in made.servers() if row.asked] == [("HOLD", False), ("RECONNECTING", False)]
    assert texts(made, "edge-10")["STATE"] == "..."
    assert {row.server for row in made.servers(failed=True)} == {EDGE_1, EDGE_2}


def test_an_old_answer_says_how_old_it_is() -> None:
    made = board()
    made.update(sample(EDGE_1, status(), 88.0))
    assert texts(made, "edge-1")["STATE"] == "CONNECTED, 12s old"


def test_search_and_order() -> None:
    made = board()
    for place, count in ((EDGE_1, 1), (EDGE_2, 3), (EDGE_10, 2)):
        made.update(sample(place, status([client(f"C{n}-{place.name}", n) for n in range(count)]), 99.0))
    by_name, by_clients = SERVER_FIELDS[0], SERVER_FIELDS[3]

    def order(rows: list[object]) -> list[str]:
        return [getattr(row, "server").name for row in rows]  # noqa: B009 - of either kind of row

    rows = made.servers()
    assert order([*rows]) == ["edge-1", "edge-10", "edge-2"]
    assert order([*arrange(rows, by_name, reverse=False)]) == ["edge-1", "edge-2", "edge-10"]
    assert order([*arrange(rows, by_clients, reverse=False)]) == ["edge-2", "edge-10", "edge-1"]
    assert order([*arrange(rows, by_clients, reverse=True)]) == ["edge-1", "edge-10", "edge-2"]
    assert order([*arrange(rows, None, reverse=True)]) == ["edge-2", "edge-10", "edge-1"]
    assert order([*made.servers(search="EDGE-1")]) == ["edge-1", "edge-10"]
    assert [row.name for row in made.clients(search="c2-")] == ["C2-edge-2"]
    assert {row.server for row in made.clients(of="edge-10")} == {EDGE_10}
    assert next(row.name for row in arrange(made.clients(), CLIENT_FIELDS[0], reverse=True)) == "C2-edge-2"


def test_what_is_not_known_comes_last_either_way() -> None:
    made = board()
    made.update(sample(EDGE_2, status(), 99.0))
    since = SERVER_FIELDS[2]
    for reverse in (False, True):
        assert arrange(made.servers(), since, reverse=reverse)[0].server == EDGE_2


def test_names_from_clients_cannot_drive_the_terminal() -> None:
    made = board()
    made.update(sample(EDGE_1, status([client("\x1b[31mred\u202e", username="\x9b")])))
    (row,) = made.clients()
    assert CLIENT_FIELDS[0].text(row, NOW) == "\\x1b[31mred\\u202e"


def line(text: str, second: int = 0) -> LogLine:
    return LogLine(BEGIN + timedelta(seconds=second), "I", text)


def test_a_log_goes_on_where_it_ended_without_what_top_itself_leaves_in_it() -> None:
    made = board()
    assert not made.wants_log("edge-1")
    made.show_log("edge-1")
    assert made.wants_log("edge-1")
    own = line("MANAGEMENT: CMD 'status 3'")
    made.update(sample(EDGE_1, status(), log=(line("one"), own, line("two"))))
    made.update(sample(EDGE_2, status(), log=(line("another's"),)))
    made.update(sample(EDGE_1, status(), log=(own, line("two"), own, line("three"))))
    assert made.log is not None
    assert [one.text for one in made.log.lines] == ["one", "two", "three"]
    made.show_log(None)
    assert made.log is None


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 10))
def test_a_log_is_put_together_from_its_pieces(numbers: list[int], step: int) -> None:
    lines = [line(f"{number}", second) for second, number in enumerate(numbers)]
    tail = LogTail("edge-1")
    for end in range(0, len(lines) + step, step):
        tail.extend(lines[max(0, end - 2 * step) : end])
    assert tail.lines == lines


def test_a_log_is_kept_only_so_far() -> None:
    tail = LogTail("edge-1")
    tail.extend([line(str(number), number) for number in range(LOG_KEPT + 50)])
    assert (len(tail.lines), tail.lines[0].text) == (LOG_KEPT, "50")
