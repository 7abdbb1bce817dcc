"""What is counted of daemons that restart, and of clients that come, go and move: all that can be known, and once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.usage.database import Database, create_or_open
from fleet.usage.report import By
from fleet.usage.samples import Standing
from fleet.usage.schema import LARGEST
from usage.counting import NOW, Counting, Session, add, clients, report, rows

MINUTE = timedelta(minutes=1)


def test_the_first_sample_counts_what_the_sessions_have_and_no_more(database: Database) -> None:
    daemon = Counting(bytes_in=1_000_000, bytes_out=2_000_000)
    daemon.transfer(daemon.connect("alice"), 10, 20)
    daemon.transfer(daemon.connect(None, handshaking=True), 1, 2)
    recorded = add(database, daemon.sample(database))
    assert recorded["edge-1"].standing is Standing.FIRST
    assert (recorded["edge-1"].bytes_in, recorded["edge-1"].bytes_out) == (11, 22)
    assert clients(database) == {"alice": (10, 20), "rest": (1, 2)}


def test_a_handshake_is_counted_for_who_it_was(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect(None, handshaking=True)
    daemon.transfer(session, 5, 7)
    add(database, daemon.sample(database))
    session.name, session.handshaking = "alice", False
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (6, 8)}


def test_what_came_since_the_sample_before_is_added(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    for received in (10, 0, 5):
        daemon.transfer(session, received, 1)
        recorded = add(database, daemon.sample(database))["edge-1"]
    assert (recorded.standing, recorded.bytes_in, recorded.bytes_out, recorded.sessions) == (Standing.RECORDED, 5, 1, 1)
    assert clients(database) == {"alice": (15, 3)}
    assert rows(database, By.CLIENT)["alice"].sessions == 1


def test_what_was_after_the_last_sample_of_a_session_is_unattributed(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 10, 10)
    add(database, daemon.sample(database))
    daemon.transfer(session, 3, 4)
    daemon.sessions.clear()
    daemon.transfer(daemon.connect("alice"), 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (11, 11), "rest": (3, 4)}
    assert rows(database, By.CLIENT)["alice"].sessions == 2


def test_a_soft_restart_begins_client_ids_again(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("alice"), 100, 100)
    add(database, daemon.sample(database))
    daemon.time += MINUTE
    daemon.soft_restart()
    daemon.time -= MINUTE  # the same second of the connect, as seen by a clock of whole seconds that was set back
    daemon.transfer(daemon.connect("bob"), 150, 150)
    assert daemon.sessions[0].client_id == 0
    recorded = add(database, daemon.sample(database))["edge-1"]
    assert recorded.standing is Standing.RECORDED
    assert clients(database) == {"alice": (100, 100), "bob": (150, 150)}


def test_a_new_process_begins_at_nothing(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("alice"), 100, 100)
    add(database, daemon.sample(database))
    daemon.time += MINUTE
    daemon.restart()
    daemon.transfer(daemon.connect("alice"), 130, 140)
    recorded = add(database, daemon.sample(database))["edge-1"]
    assert (recorded.standing, recorded.bytes_in, recorded.bytes_out) == (Standing.RESTARTED, 130, 140)
    assert clients(database) == {"alice": (230, 240)}


def test_a_new_process_may_have_the_pid_of_the_one_before(database: Database) -> None:
    """In a container it is 1 each time."""
    daemon = Counting(pid=1)
    daemon.transfer(daemon.connect("alice"), 100, 100)
    add(database, daemon.sample(database))
    daemon.time += MINUTE
    daemon.restart()
    daemon.pid = 1
    daemon.transfer(daemon.connect("alice"), 30, 40)
    assert add(database, daemon.sample(database))["edge-1"].standing is Standing.RESTARTED
    assert clients(database) == {"alice": (130, 140)}


def test_a_name_that_is_given_to_another_daemon_begins_anew(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("alice"), 100, 100)
    add(database, daemon.sample(database))
    other = Counting(bytes_in=10**9, bytes_out=10**9)  # up for a day, with a long past
    other.transfer(other.connect("bob"), 1, 2)
    assert add(database, other.sample(database))["edge-1"].standing is Standing.FIRST
    assert clients(database) == {"alice": (100, 100), "bob": (1, 2)}


def test_a_row_that_lingers_after_a_kill_is_counted_once(database: Database) -> None:
    daemon = Counting()
    old = daemon.connect("alice")
    daemon.transfer(old, 50, 60)
    add(database, daemon.sample(database))
    new = daemon.connect("alice")  # protocol-facts 10.9: beside the old row
    daemon.transfer(new, 7, 8)
    add(database, daemon.sample(database))
    daemon.sessions.remove(old)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (57, 68)}


def test_a_row_that_is_missing_once_is_not_counted_anew(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 50, 60)
    add(database, daemon.sample(database))
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database, rows=()))
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (52, 62)}
    assert rows(database, By.CLIENT)["alice"].sessions == 1


def test_a_client_that_moves_has_the_sum_of_its_sessions(database: Database) -> None:
    here, there = Counting("edge-1"), Counting("edge-2")
    here.transfer(here.connect("alice"), 10, 10)
    add(database, here.sample(database), there.sample(database))
    here.sessions.clear()
    there.transfer(there.connect("alice"), 5, 5)
    add(database, here.sample(database), there.sample(database))
    assert clients(database) == {"alice": (15, 15)}
    (row,) = report(database).rows
    assert (row.servers, row.sessions) == (("edge-1", "edge-2"), 2)


def test_a_counter_that_shrank_is_added_whole(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 50, 60)
    add(database, daemon.sample(database))
    session.received, session.sent = 3, 70
    daemon.bytes_in, daemon.bytes_out = daemon.bytes_in + 3, daemon.bytes_out + 10
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (53, 70)}


def test_the_same_sample_twice_adds_nothing(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("alice"), 10, 10)
    sample = daemon.sample(database)
    add(database, sample)
    assert add(database, sample)["edge-1"].standing is Standing.SUPERSEDED
    assert clients(database) == {"alice": (10, 10)}


def test_of_two_collectors_that_ask_at_a_time_one_is_left_out(database: Database) -> None:
    """Without that the older answer would look like counters that shrank."""
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 10, 10)
    slow = daemon.sample(database)
    daemon.transfer(session, 10, 10)
    quick = daemon.sample(database)
    assert add(database, quick)["edge-1"].standing is Standing.FIRST
    assert add(database, slow)["edge-1"].standing is Standing.SUPERSEDED
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (21, 21)}


def test_two_databases_handles_see_each_other(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    with create_or_open(database.path, busy_timeout=1.0) as other:
        for number in range(6):
            daemon.transfer(session, 1, 1)
            where = other if number % 2 else database
            assert add(where, daemon.sample(where))["edge-1"].standing is not Standing.SUPERSEDED
    assert clients(database) == {"alice": (6, 6)}


def test_a_clock_that_steps_back_changes_no_sum(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    for hours in (0, 5, -3, 1, -48):
        daemon.transfer(session, 1, 2)
        add(database, daemon.sample(database, now=NOW + timedelta(hours=hours)))
    assert clients(database) == {"alice": (5, 10)}


def test_without_a_tunnel_nobody_is_forgotten(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    daemon.transfer(session, 10, 10)
    add(database, daemon.sample(database))
    daemon.transfer(session, 5, 5)
    # RECONNECTING: what rows there are belong to an epoch that is over (protocol-facts 11.2)
    add(database, replace(daemon.sample(database), epoch=None, clients=(), daemon_time=None))
    daemon.time += MINUTE
    daemon.soft_restart()
    daemon.transfer(daemon.connect("alice"), 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (11, 11), "rest": (5, 5)}


def test_old_releases_have_no_client_id(database: Database) -> None:
    daemon = Counting()
    one, other = (daemon.connect("alice", address=f"203.0.113.9:{port}") for port in (1000, 1001))
    one.client_id = other.client_id = None
    daemon.transfer(one, 1, 1)
    daemon.transfer(other, 10, 10)
    add(database, daemon.sample(database))
    daemon.transfer(one, 1, 1)
    add(database, daemon.sample(database))
    assert clients(database) == {"alice": (12, 12)}
    assert rows(database, By.CLIENT)["alice"].sessions == 2


def test_sessions_that_cannot_be_told_apart_are_unattributed(database: Database) -> None:
    """IPv6 has no port up to 2.6, and 2.3 has no client ID (protocol-facts 3)."""
    daemon = Counting()
    for name in ("alice", "bob", "carol"):
        session = daemon.connect(name, address="::1" if name != "carol" else "::2")
        session.client_id = None
        daemon.transfer(session, 4, 4)
    recorded = add(database, daemon.sample(database))["edge-1"]
    assert (recorded.sessions, recorded.unclear) == (1, 2)
    assert clients(database) == {"carol": (4, 4), "rest": (8, 8)}


def test_a_roaming_client_stays_one_session(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    for port in (1, 2):
        session.address = f"203.0.113.9:{port}"
        daemon.transfer(session, 5, 5)
        add(database, daemon.sample(database))
    assert clients(database) == {"alice": (10, 10)}


def test_names_are_exact(database: Database) -> None:
    daemon = Counting()
    names = ["Doe, Jane", "北京", b"b\xff\xc3".decode("utf-8", "surrogateescape"), "x' OR 1=1 --", "a\x00b"]
    for name in names:
        daemon.transfer(daemon.connect(name), 1, 1)
    for _ in range(2):
        add(database, daemon.sample(database))
    assert clients(database) == dict.fromkeys(names, (1, 1))


def test_a_username_stands_for_a_client_without_a_common_name(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect(None)
    daemon.transfer(session, 1, 1)
    add(database, daemon.sample(database, rows=[session.row._replace(username="jane")]))
    assert clients(database) == {"jane": (1, 1)}


def test_numbers_that_cannot_be_are_not_counted(database: Database) -> None:
    daemon = Counting()
    daemon.transfer(daemon.connect("real"), 1, 1)
    bad = [
        Session("big", 7, NOW, received=LARGEST + 1).row,
        Session("huge", 2**70, NOW).row,
        Session("long" * 1000, 8, NOW).row,
        Session("unread", 9, NOW).row._replace(bytes_sent=None),
        Session("never", 10, NOW).row._replace(connected_since=None),
        Session("nowhere", None, NOW).row._replace(real_address=None),
    ]
    recorded = add(database, daemon.sample(database, rows=[daemon.sessions[0].row, *bad]))["edge-1"]
    assert (recorded.sessions, recorded.unclear) == (1, len(bad))
    assert "real" in clients(database)


def test_lies_do_not_keep_anybody_from_a_report(database: Database) -> None:
    """A daemon that claims all there can be, again and again: sums stay numbers (a security limit)."""
    daemon = Counting()
    sessions = [daemon.connect(f"liar-{number}") for number in range(5)]
    for number in range(4):
        for session in sessions:
            session.received = session.sent = LARGEST * (number % 2)
        daemon.bytes_in = daemon.bytes_out = LARGEST * (number % 2)
        add(database, daemon.sample(database))
    assert all(row.bytes_received <= LARGEST for row in report(database).rows)
    assert report(database, By.SERVER).rows[0].bytes_total > 0


def test_a_gap_is_counted_and_what_came_meanwhile_too(database: Database) -> None:
    daemon = Counting()
    session = daemon.connect("alice")
    add(database, daemon.sample(database))
    daemon.transfer(session, 9, 9)
    add(database, missed=["edge-1", "never-there"])
    add(database, daemon.sample(database))
    made = report(database, By.SERVER)
    assert (made.samples, made.missed) == (2, {"edge-1": 1, "never-there": 1})
    assert clients(database) == {"alice": (9, 9)}


# What a collector can know, kept by hand: every byte is noted where it is transferred, and known when it is sampled.


class _Truth:
    def __init__(self, names: list[str]) -> None:
        self.daemons = [Counting(name) for name in names]
        self.sampled: set[str] = set()
        self.pending: dict[str, int] = defaultdict(int)  # by server: since the last sample, of this process
        self.of_session: dict[int, int] = defaultdict(int)
        self.whole = 0
        self.of_client: dict[str, int] = defaultdict(int)

    def transfer(self, daemon: Counting, session: Session, count: int) -> None:
        daemon.transfer(session, count, 0)
        self.pending[daemon.name] += count
        self.of_session[id(session)] += count

    def restart(self, daemon: Counting) -> None:
        daemon.restart()
        self.pending[daemon.name] = 0  # the process took it with it

    def sample(self, daemon: Counting) -> None:
        if daemon.name in self.sampled:
            self.whole += self.pending[daemon.name]
        else:
            self.whole += sum(session.received for session in daemon.sessions)
        self.sampled.add(daemon.name)
        self.pending[daemon.name] = 0
        for session in daemon.sessions:
            assert session.name is not None
            self.of_client[session.name] += self.of_session.pop(id(session), 0)


_OFTEN = ["transfer", "transfer", "sample", "connect"]

STEPS = st.lists(
    st.tuples(
        st.sampled_from([*_OFTEN, "transfer", "sample", "leave", "usr1", "restart", "late", "miss"]),
        st.integers(0, 1),
        st.integers(0, 5),
        st.integers(1, 10**9),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_all_that_can_be_known_is_counted_once(steps: list[tuple[str, int, int, int]]) -> None:
    with TemporaryDirectory() as folder, create_or_open(Path(folder) / "db", busy_timeout=1.0) as database:
        truth = _Truth(["edge-1", "edge-2"])
        kept: list[Session] = []  # or an id would be used again
        for what, where, which, number in steps:
            daemon = truth.daemons[where]
            daemon.time += timedelta(seconds=number % 3)
            if what == "connect":
                kept.append(daemon.connect(f"client-{which}"))
            elif what == "transfer" and daemon.sessions:
                truth.transfer(daemon, daemon.sessions[which % len(daemon.sessions)], number)
            elif what == "leave" and daemon.sessions:
                daemon.sessions.pop(which % len(daemon.sessions))
            elif what in ("usr1", "restart"):
                daemon.time += MINUTE
                daemon.soft_restart() if what == "usr1" else truth.restart(daemon)
            elif what == "miss":
                add(database, missed=[daemon.name])
            elif what in ("sample", "late"):
                late = daemon.sample(database)
                add(database, daemon.sample(database))
                truth.sample(daemon)
                if what == "late":
                    add(database, late)
        found = {name: received for name, (received, _sent) in clients(database).items()}
        rest = found.pop("rest", 0)
        assert {name: count for name, count in found.items() if count} == {
            name: count for name, count in truth.of_client.items() if count
        }
        assert rest == truth.whole - sum(truth.of_client.values())
        by_server = report(database, By.SERVER).rows
        assert sum(row.bytes_received for row in by_server) == truth.whole
        assert sum(row.bytes_unattributed or 0 for row in by_server) == rest
