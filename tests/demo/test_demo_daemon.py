"""The simulated daemon where the recordings do not reach: the facts' tables, timers, and rows over time."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from fleet.demo.clients import SimulatedClient, Slots, believable_clients
from fleet.demo.clock import LoopClock, ManualClock
from fleet.demo.daemon import LOG_LINES, NEVER, Phase, Reconnect, SimulatedDaemon
from fleet.demo.lexer import LexerError, LineReader, parse_parameters
from fleet.demo.management import ManagementSession
from fleet.demo.releases import RELEASES


class Talk:
    """A session that is talked to in text."""

    def __init__(self, daemon: SimulatedDaemon) -> None:
        self.daemon = daemon
        self.session = ManagementSession(daemon)
        self.greeting = self.heard()

    def __call__(self, command: str) -> list[str]:
        data = f"{command}\n".encode("utf-8", "surrogateescape")
        return lines(b"".join(answer.data for answer in self.session.receive(data)))

    def heard(self) -> list[str]:
        return lines(self.session.take())


def lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "surrogateescape").split("\r\n")[:-1]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def client(name: str, address: str = "10.0.0.1", port: int = 4000, **more: object) -> SimulatedClient:
    return SimulatedClient(name, address, port, **more)  # type: ignore[arg-type]  # a test's shorthand


# -- protocol-facts 4: what `kill` does in each release ------------------------------------------------------------

OLD = ("2.2.3", "2.4.12", "2.6.14")
NEW = ("2.7.6",)


@pytest.mark.parametrize(
    ("releases", "protocol", "command", "answer", "killed"),
    [
        (OLD + NEW, "udp4", "kill b", "SUCCESS: common name 'b' found, 2 client(s) killed", ["b", "b"]),
        (OLD + NEW, "udp4", "kill nobody", "ERROR: common name 'nobody' not found", []),
        (OLD + NEW, "udp4", "kill B", "ERROR: common name 'B' not found", []),
        (OLD, "udp4", "kill 10.0.0.1:4000", "SUCCESS: 1 client(s) at address 10.0.0.1:4000 killed", ["a"]),
        (OLD, "udp4", "kill 10.0.0.1:4999", "ERROR: client at address 10.0.0.1:4999 not found", []),
        (OLD, "tcp4-server", "kill 10.0.0.1:4000", "SUCCESS: 1 client(s) at address 10.0.0.1:4000 killed", ["a"]),
        (OLD, "udp6", "kill 10.0.0.1:4000", "ERROR: client at address 10.0.0.1:4000 not found", []),
        (OLD, "udp4", "kill udp:10.0.0.1:4000", "ERROR: error parsing IP address: udp", []),
        (OLD, "udp4", "kill col:on", "ERROR: error parsing IP address: col", []),
        (OLD, "udp4", 'kill "col:on"', "ERROR: error parsing IP address: col", []),
        (OLD, "udp4", "kill 10.0.0.1:0", "ERROR: port number is out of range: 0", []),
        (OLD, "udp4", "kill localhost:4000", "ERROR: error parsing IP address: localhost", []),
        (OLD + NEW, "udp4", "kill ::1:4000", "ERROR: kill parse", []),
        (NEW, "udp4", "kill 10.0.0.1:4000", "ERROR: common name '10.0.0.1' not found", []),
        (NEW, "udp4", "kill 10.1.1.1:4000", "SUCCESS: common name '10.1.1.1' found, 1 client(s) killed", ["10.1.1.1"]),
        (NEW, "udp4", "kill udp:10.0.0.1:4000", "SUCCESS: 1 client(s) at address udp:10.0.0.1:4000 killed", ["a"]),
        (NEW, "tcp4-server", "kill tcp:10.0.0.1:4000",
         "SUCCESS: 1 client(s) at address tcp-server:10.0.0.1:4000 killed", ["a"]),
        (NEW, "tcp4-server", "kill udp:10.0.0.1:4000", "ERROR: client at address udp:10.0.0.1:4000 not found", []),
        (NEW, "udp6", "kill udp:10.0.0.1:4000", "ERROR: client at address udp:10.0.0.1:4000 not found", []),
        (NEW, "udp4", "kill udp4:10.0.0.1:4000", "ERROR: port number or protocol out of range: 4000 udp4", []),
        (NEW, "udp4", "kill udp:10.0.0.1:70000", "ERROR: port number or protocol out of range: 70000 udp", []),
        (NEW, "udp4", "kill col:on", "SUCCESS: common name 'col' found, 1 client(s) killed", ["col"]),
        (NEW, "udp4", "kill [::1]:4000", "ERROR: common name '[' not found", []),
    ],
)  # fmt: skip
def test_kill(releases: tuple[str, ...], protocol: str, command: str, answer: str, killed: list[str]) -> None:
    everybody = [client(name, port=4000 + number) for number, name in enumerate(("a", "b", "b", "10.1.1.1", "col"))]
    for release in releases:
        daemon = SimulatedDaemon(release, clients=everybody, protocol=protocol, reconnect=NEVER, clock=ManualClock())
        assert (release, Talk(daemon)(command)) == (release, [answer])
        assert sorted(daemon.common_names() + killed) == sorted(made.common_name for made in everybody)


def test_kill_undef_takes_everybody_in_mid_handshake(clock: ManualClock) -> None:
    clients = [client("a"), client("x", handshaking=True), client("y", handshaking=True), client("UNDEF")]
    daemon = SimulatedDaemon(clients=clients, clock=clock)
    talk = Talk(daemon)
    assert talk("nclients") == ["SUCCESS: nclients=2"]
    assert talk("kill UNDEF") == ["SUCCESS: common name 'UNDEF' found, 3 client(s) killed"]
    clock.advance(60)
    assert daemon.common_names() == ["a", "UNDEF"]  # half-open ones do not come back


def test_a_name_of_more_than_127_bytes_is_cut(clock: ManualClock) -> None:
    daemon = SimulatedDaemon("2.7.6", clients=[client("n" * 127)], clock=clock)
    assert Talk(daemon)(f"kill {'n' * 200}")[0].startswith("SUCCESS: common name 'nnn")


# -- names and rows ------------------------------------------------------------------------------------------------

NAMES = ["Doe, John", "Zoë-Ünïcode-日本", "col:on", "#hash", "ta\tb"]


def test_names_in_the_oldest_release_and_later(clock: ManualClock) -> None:
    clients = [client(name) for name in NAMES]
    old = SimulatedDaemon("2.2.3", clients=clients, clock=clock)
    assert old.common_names() == ["Doe__John", "Zo__-__n__code-______", "col_on", "_hash", "ta_b"]
    assert SimulatedDaemon("2.4.12", clients=clients, clock=clock).common_names() == [*NAMES[:4], "ta_b"]


@pytest.mark.parametrize(
    ("release", "protocol", "address", "shown"),
    [
        ("2.6.14", "udp4", "10.0.0.1", "10.0.0.1:4000"),
        ("2.6.14", "udp6", "::1", "::1"),
        ("2.7.6", "udp4", "10.0.0.1", "udp4:10.0.0.1:4000"),
        ("2.7.6", "tcp4-server", "10.0.0.1", "tcp4-server:10.0.0.1:4000"),
        ("2.7.6", "udp6", "::1", "udp6:[::1]:4000"),
        ("2.7.6", "udp6", "10.0.0.1", "udp6:10.0.0.1:4000"),
    ],
)
def test_real_addresses(clock: ManualClock, release: str, protocol: str, address: str, shown: str) -> None:
    daemon = SimulatedDaemon(release, protocol=protocol, clients=[client("a", address)], clock=clock)
    assert f"CLIENT_LIST\ta\t{shown}\t10.8.0.2\t" in "\n".join(Talk(daemon)("status 3"))


def test_the_columns_of_the_oldest_release(clock: ManualClock) -> None:
    daemon = SimulatedDaemon("2.2.3", clients=[client("a", bytes_received=5, bytes_sent=7)], clock=clock)
    talk = Talk(daemon)
    header, row = [line for line in talk("status 2") if "CLIENT_LIST" in line]
    assert header == (
        "HEADER,CLIENT_LIST,Common Name,Real Address,Virtual Address,Bytes Received,Bytes Sent,Connected Since,"
        "Connected Since (time_t)"
    )
    since = int(clock.time()) - 3600
    assert re.fullmatch(rf"CLIENT_LIST,a,10\.0\.0\.1:4000,10\.8\.0\.2,5,7,\w+ \w+ [ \d]\d [\d:]+ 2026,{since}", row)
    assert re.fullmatch(r"\d+,CONNECTED,SUCCESS,10\.8\.0\.1,", talk("state")[0])
    assert Talk(SimulatedDaemon("2.2.3", hold=True, clock=clock)).greeting[1:] == [">HOLD:Waiting for hold release"]
    assert talk("certificate") == ["ERROR: unknown command, enter 'help' for more options"]


def test_routes_users_and_a_client_in_mid_handshake(clock: ManualClock) -> None:
    clients = [
        client("a", username="anna", virtual_ipv6_address="fd00::2", routes=("10.55.0.0/24", "10.8.0.7C")),
        client("b", handshaking=True),
    ]
    status = Talk(SimulatedDaemon(clients=clients, clock=clock))("status 3")
    rows = [line.split("\t") for line in status if line.startswith("CLIENT_LIST")]
    assert rows[0][3:5] == ["10.8.0.2", "fd00::2"]
    assert rows[0][9:] == ["anna", "0", "0", "AES-256-GCM"]
    assert [rows[1][1], rows[1][3], *rows[1][9:]] == ["UNDEF", "", "UNDEF", "1", "1", "BF-CBC"]
    routes = [line.split("\t")[1:3] for line in status if line.startswith("ROUTING_TABLE")]
    assert routes == [["10.8.0.2", "a"], ["fd00::2", "a"], ["10.55.0.0/24", "a"], ["10.8.0.7C", "a"]]


def test_the_daemons_own_status_version(clock: ManualClock) -> None:
    assert Talk(SimulatedDaemon(status_version=3, clock=clock))("status")[0].startswith("TITLE\t")


def test_a_client_daemon_has_statistics_and_no_clients(clock: ManualClock) -> None:
    talk = Talk(SimulatedDaemon(client_mode=True, clock=clock))
    status = talk("status 3")
    assert (status[0], status[2], status[-1]) == ("OpenVPN STATISTICS", "TUN/TAP read bytes,0", "END")
    assert talk("kill a") == ["ERROR: The 'kill' command is not supported by the current daemon mode"]


def test_counters_grow_and_totals_outlive_the_clients(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(
        clients=[client("a", bytes_received=100, bytes_sent=1000, rate=10.0)], reconnect=NEVER, clock=clock
    )
    talk = Talk(daemon)
    clock.advance(3)
    assert talk("load-stats") == ["SUCCESS: nclients=1,bytesin=130,bytesout=1030"]
    talk("kill a")
    clock.advance(3)
    assert talk("load-stats") == ["SUCCESS: nclients=0,bytesin=130,bytesout=1030"]


# -- what happens later --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "seconds"), [("udp4", 31), ("tcp4-server", 5)])
def test_a_killed_client_comes_back_as_another_instance(clock: ManualClock, protocol: str, seconds: float) -> None:
    daemon = SimulatedDaemon(protocol=protocol, clients=[client("a"), client("b")], clock=clock)
    talk = Talk(daemon)
    talk("kill a")
    assert daemon.common_names() == ["b"]
    clock.advance(seconds - 0.1)
    assert talk.heard() == []
    clock.advance(0.2)
    told = talk.heard()
    assert (told[0], told[-1]) == (">CLIENT:ESTABLISHED,2", ">CLIENT:ENV,END")
    assert ">CLIENT:ENV,common_name=a" in told
    (back,) = (instance for instance in daemon.instances if instance.client.common_name == "a")
    assert (back.client_id, back.peer_id, back.virtual_address) == (2, 0, "10.8.0.2")
    assert (back.port, back.since, back.received(clock.time())) != (4000, 0, 0)


def test_client_kill_over_udp_leaves_the_row_for_a_while(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a")], clock=clock)
    talk = Talk(daemon)
    assert talk("client-kill 0") == ["SUCCESS: client-kill command succeeded"]
    assert talk("client-kill 0abc") == ["SUCCESS: client-kill command succeeded"]
    clock.advance(2)
    assert [instance.client_id for instance in daemon.instances] == [0, 1]
    clock.advance(4)
    assert [instance.client_id for instance in daemon.instances] == [1]
    talk.heard()
    assert talk("client-kill 0") == ["ERROR: client-kill command failed"]
    assert talk("client-kill x") == ["ERROR: cannot parse CID"]


@pytest.mark.parametrize(
    ("message", "after_2", "after_40"), [("HALT", [], []), ("RESTART,[N]", ["a"], ["a"]), ("foo", [], ["a"])]
)
def test_client_kill_messages_over_tcp(
    clock: ManualClock, message: str, after_2: list[str], after_40: list[str]
) -> None:
    daemon = SimulatedDaemon(protocol="tcp4-server", clients=[client("a")], clock=clock)
    Talk(daemon)(f'client-kill 0 "{message}"')
    assert daemon.common_names() == []
    clock.advance(2)
    assert daemon.common_names() == after_2
    clock.advance(38)
    assert daemon.common_names() == after_40


def test_a_kill_or_a_restart_takes_a_lingering_row_and_the_client_is_not_doubled(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a"), client("b")], clock=clock)
    talk = Talk(daemon)
    talk("client-kill 0")
    talk("client-kill 1")
    talk("kill a")
    daemon.restart("SIGUSR1")
    clock.advance(60)
    assert sorted(daemon.common_names()) == ["a", "b"]


def test_restart_loses_clients_and_begins_to_count_again(clock: ManualClock) -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("a"), client("b")], clock=clock)
    talk = Talk(daemon)
    talk("kill a")  # comes back only after the restart
    talk("verb 5")
    talk("mute 7")
    talk("state on")
    talk("log on")
    assert talk("signal SIGHUP")[-1] == "SUCCESS: signal SIGHUP thrown"
    clock.advance(0.1)
    states = [line for line in talk.heard() if line.startswith(">STATE")]
    assert [line.split(",")[1:3] for line in states] == [["RECONNECTING", "SIGHUP"]]
    assert talk("status 3")[-1] == "ERROR: The 'status' command is not supported by the current daemon mode"
    assert (daemon.verb, daemon.mute) == (3, 0)
    clock.advance(5)
    heard = talk.heard()
    assert any(re.fullmatch(r">STATE:\d+,CONNECTED,SUCCESS,10\.8\.0\.1,,,192\.0\.2\.1,1194", line) for line in heard)
    assert any(re.match(r">LOG:\d+,,MANAGEMENT: >STATE:\d+,CONNECTED", line) for line in heard)
    assert ">CLIENT:ESTABLISHED,0" in heard
    clock.advance(40)
    assert [(instance.client_id, instance.client.common_name) for instance in daemon.instances] == [(0, "b"), (1, "a")]


def test_a_client_that_comes_back_during_the_pause_waits_for_the_tunnel(clock: ManualClock) -> None:
    daemon = SimulatedDaemon("2.4.12", clients=[client("a")], clock=clock)
    Talk(daemon)("client-kill 0")
    daemon.restart("SIGUSR1")
    clock.advance(2)
    assert (daemon.phase, daemon.common_names()) == (Phase.PAUSE, [])
    clock.advance(7)
    assert (daemon.phase, daemon.common_names()) == (Phase.UP, ["a"])


def test_restart_with_the_hold_flag_waits_for_release(clock: ManualClock) -> None:
    daemon = SimulatedDaemon("2.6.14", clients=[client("a")], clock=clock)
    talk = Talk(daemon)
    talk("hold on")
    talk("signal SIGUSR1")
    clock.advance(100)
    assert talk.heard() == [">HOLD:Waiting for hold release:1"]
    assert talk("net") == ["ERROR: The 'net' command is not supported by the current daemon mode"]
    talk("hold release")
    clock.advance(10)
    assert (daemon.phase, daemon.common_names()) == (Phase.UP, ["a"])


def test_a_daemon_that_does_not_survive_a_restart(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clock=clock)
    daemon.fatal_on_restart = "Error: private key password verification failed"
    talk = Talk(daemon)
    assert talk("signal SIGUSR1") == ["SUCCESS: signal SIGUSR1 thrown"]
    clock.advance(1)
    assert talk.heard() == [">FATAL:Error: private key password verification failed"]
    assert (talk.session.ended, daemon.phase) == (True, Phase.EXITED)


def test_sigterm_lets_pipelined_answers_come_and_stops_every_timer(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a")], clock=clock)
    talk = Talk(daemon)
    talk("state on")
    talk("kill a")
    assert talk("signal SIGTERM\npid") == ["SUCCESS: signal SIGTERM thrown", f"SUCCESS: pid={daemon.pid}"]
    clock.advance(60)
    assert [line.split(",")[1:3] for line in talk.heard()] == [["EXITING", "SIGTERM"]]
    assert daemon.common_names() == []


def test_signals_that_do_nothing_or_are_ignored(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a")], clock=clock)
    assert Talk(daemon)("signal SIGUSR2") == ["SUCCESS: signal SIGUSR2 thrown"]
    clock.advance(60)
    assert (daemon.phase, daemon.common_names()) == (Phase.UP, ["a"])
    old = Talk(SimulatedDaemon("2.4.12", hold=True, clock=clock))
    assert old("signal SIGUSR1") == [">HOLD:Waiting for hold release:0"]


def test_reconnect_can_be_chosen(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a")], reconnect=Reconnect(udp_kill=0.5), clock=clock)
    Talk(daemon)("kill a")
    clock.advance(0.6)
    assert daemon.common_names() == ["a"]


# -- a session -----------------------------------------------------------------------------------------------------


def test_settings_of_the_daemon_outlive_the_session_and_those_of_the_session_do_not(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clients=[client("a")], clock=clock)
    talk = Talk(daemon)
    for command in ("verb 5", "mute 7", "hold on", "auth-retry interact", "log on", "bytecount 2"):
        talk(command)
    clock.advance(2)
    assert talk.heard() == [">BYTECOUNT_CLI:0,0,0"]
    talk.session.close()
    talk = Talk(daemon)
    clock.advance(10)
    assert talk.heard() == []
    answers = [talk(command) for command in ("verb", "mute", "hold", "auth-retry")]
    assert answers == [["SUCCESS: verb=5"], ["SUCCESS: mute=7"], ["SUCCESS: hold=1"], ["SUCCESS: auth-retry=interact"]]
    talk("bytecount 0")


def test_one_session_at_a_time(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clock=clock)
    ManagementSession(daemon)
    with pytest.raises(RuntimeError, match="one management session"):
        ManagementSession(daemon)


def test_the_log_tells_each_command_but_no_password(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clock=clock)
    talk = Talk(daemon)
    talk("password Auth geheim")
    talk("load-stats")
    talk("log on")
    assert talk("pid") == [f">LOG:{int(clock.time())},D,MANAGEMENT: CMD 'pid'", f"SUCCESS: pid={daemon.pid}"]
    commands = [line.partition("CMD ")[2] for line in talk("log all") if "CMD" in line]
    assert commands[:2] == ["'log all'", "'password [...]'"]
    assert "'load-stats'" not in commands
    assert daemon.executed[0] == "password Auth geheim"
    talk("log off")
    talk("verb 0")
    assert talk("log 1") == [f"{int(clock.time())},D,MANAGEMENT: CMD 'verb 0'", "END"]


def test_histories_have_their_limits(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clock=clock)
    for number in range(LOG_LINES + 50):
        daemon.log(f"line {number}")
    history = Talk(daemon)("log all")
    assert len(history) == LOG_LINES + 1
    assert history[-1] == "END"


def test_nobody_is_told_anything_before_the_password(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(password=b"pw", clock=clock)
    session = ManagementSession(daemon)
    assert session.take() == b"ENTER PASSWORD:"
    daemon.connect(client("a"))
    assert session.take() == b""
    assert session.receive(b"pw\n")[0].data.startswith(b"SUCCESS: password is correct\r\n>INFO:")


def test_a_session_that_is_told_something_is_woken(clock: ManualClock) -> None:
    daemon = SimulatedDaemon(clock=clock)
    woken: list[bytes] = []
    session = ManagementSession(daemon, lambda: woken.append(session.take()))
    session.take()
    daemon.connect(client("a"))
    daemon.connect(client("b", handshaking=True))  # nobody is told of a handshake
    daemon.shut_down()
    assert [data[:22] for data in woken] == [b">CLIENT:ESTABLISHED,0\r", b""]


def test_client_pf_is_swallowed_up_to_end(clock: ManualClock) -> None:
    talk = Talk(SimulatedDaemon("2.4.12", clock=clock))
    assert talk("client-pf 0\n[CLIENTS ACCEPT]\nkill a\nEND\npid") == [
        "ERROR: client-pf command failed",
        f"SUCCESS: pid={talk.daemon.pid}",
    ]
    assert talk("client-pf foo\npid") == ["ERROR: cannot parse CID", f"SUCCESS: pid={talk.daemon.pid}"]


# -- the parts -----------------------------------------------------------------------------------------------------


def test_lexer_gives_parameters_and_the_daemons_complaints() -> None:
    assert parse_parameters(b'kill "a \\"b\\\\" \'c\\\' d\\ e ;rest') == [b"kill", b'a "b\\', b"c\\", b"d e"]
    assert parse_parameters(b"") == []
    with pytest.raises(LexerError, match="Bad backslash"):
        parse_parameters(rb"kill a\nb")


def test_line_reader_loses_what_the_daemon_loses() -> None:
    reader = LineReader()
    assert reader.feed(b"p\x00i\x1bd\x7f\r\nver") == [b"pid"]
    assert reader.feed(b"b\n") == [b"verb"]
    assert reader.feed(b"x" * 1024 + b"\n" + b"y" * 1030 + b"\n") == [b"yyyyy"]


def test_every_release_has_its_help() -> None:
    helps = {version: "\n".join(release.help) for version, release in RELEASES.items()}
    assert "client-pf" in helps["2.2.3"]
    assert "certificate" not in helps["2.2.3"]
    assert "push-update-cid" in helps["2.7.6"]


def test_slots_give_the_lowest_free_number() -> None:
    slots = Slots()
    assert [slots.take() for _ in range(4)] == [0, 1, 2, 3]
    slots.give_back(2)
    slots.give_back(1)
    assert [slots.take() for _ in range(3)] == [1, 2, 4]


def test_believable_clients_have_different_names_and_are_the_same_each_time() -> None:
    clients = list(believable_clients(500, seed=3))
    assert len({made.common_name for made in clients}) == 500
    assert clients == list(believable_clients(500, seed=3))
    assert all(made.connected_for <= 250 for made in believable_clients(50, longest=250))


def test_a_timer_that_is_called_off_never_happens(clock: ManualClock) -> None:
    happened: list[int] = []
    timer = clock.call_later(1, lambda: happened.append(1))
    clock.call_later(2, lambda: happened.append(2))
    timer.cancel()
    timer.cancel()
    clock.advance(3)
    assert happened == [2]


async def test_the_loops_clock_runs_timers() -> None:
    happened = asyncio.Event()
    clock = LoopClock()
    clock.call_later(0.001, happened.set)
    async with asyncio.timeout(5):
        await happened.wait()
    assert abs(clock.time() - time.time()) < 60
