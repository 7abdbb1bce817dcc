"""kill: whoever is meant, on every release, and never anybody else (protocol-facts 4 and 10.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pytest

from fleet.demo.clients import SimulatedClient
from fleet.demo.clock import ManualClock
from fleet.demo.daemon import NEVER, Reconnect, SimulatedDaemon
from fleet.demo.releases import RELEASES
from fleet.engine import Attempt
from fleet.errors import CommandFailedError, ConnectionLostError, ProtocolError, ReplyTimeoutError, UsageError
from fleet.operations.kill import Killed, kill
from fleet.operations.operation import Confirm
from fleet.operations.who import Who, client_id, name_or_address, real_address, username, virtual_address
from operations.peer import SERVER, Peer, client, perform, scripted

MODERN = ("2.4.12", "2.6.14", "2.7.6")
ALL = ("2.2.3", *MODERN)


def daemon(release: str, clients: Iterable[SimulatedClient], protocol: str = "udp4") -> SimulatedDaemon:
    """Nobody comes back; a killed client's row does not linger beyond the next look."""
    gone = Reconnect(None, None, None, None, linger=0.0)
    return SimulatedDaemon(release, clients=clients, protocol=protocol, reconnect=gone, clock=ManualClock())


async def killed(who: str, peer: Peer) -> Killed:
    return (await perform(kill(name_or_address(who)), peer)).value


def left(one: SimulatedDaemon) -> list[str]:
    """Who is still there, once `client-kill` has taken its rows away."""
    one.clock.advance(1)  # type: ignore[attr-defined]  # a ManualClock
    return one.common_names()


# by common name

NAMES = [
    "Test-Client", "Client With Space", "Doe, Jane", 'quo"te', "it's", "back\\slash", "#hash", ";semi", ">LOG", "ERROR",
    "END", "SUCCESS", "'x'", '"x"', "Zoë-Ünïcode-日本", "caf\udce9", "\udcff\udcfe", "n" * 127, "ü" * 63,
    "-v", "--json", "10.1.1.1", "tcp", "on", "1e5", "a  b", "trailing ",
]  # fmt: skip


@pytest.mark.parametrize("release", MODERN)
@pytest.mark.parametrize("name", NAMES)
async def test_any_name_that_daemons_allow(release: str, name: str) -> None:
    one = daemon(release, [client("somebody"), client(name), client(name[:-1] or "x"), client(name + "x")])
    value = await killed(name, Peer(one))
    assert (value.killed, [each.result for each in value.clients]) == (1, ["killed"])
    assert value.clients[0].common_name == name
    assert name not in left(one)
    assert len(one.common_names()) == 3


async def test_an_old_release_knows_the_remapped_name_only() -> None:
    one = daemon("2.2.3", [client("Doe, Jane"), client("Zoë")])
    peer = Peer(one)
    assert (await killed("Doe, Jane", peer)).killed == 0
    assert not any("kill" in line for line in peer.commands)
    assert (await killed("Doe__Jane", Peer(one))).killed == 1
    assert (await killed("Zo__", Peer(one))).killed == 1


@pytest.mark.parametrize(
    ("name", "shown", "command"),
    [
        ("Doe, Jane", "Doe__Jane", "fleet kill Doe__Jane -l edge-1"),
        ("Zoë", "Zo__", "fleet kill Zo__ -l edge-1"),
        ("caf\udce9", "caf_", "fleet kill caf_ -l edge-1"),
        ("-x y", "-x_y", "fleet kill -l edge-1 -- -x_y"),
    ],
)
async def test_the_remapped_name_of_an_old_release_is_told(name: str, shown: str, command: str) -> None:
    attempt = Attempt(SERVER)
    answer = await perform(kill(name_or_address(name)), Peer(daemon("2.2.3", [client(name)])), attempt=attempt)
    assert answer.value == Killed(0, ())
    (warning,) = attempt.warnings
    assert warning == (
        f"no client '{name}', but one is shown as '{shown}', and OpenVPN before 2.3 shows the other so; "
        f"if it is the same client: {command}"
    )


@pytest.mark.parametrize(
    ("release", "clients", "name"),
    [
        ("2.2.3", ["other"], "Doe, Jane"),
        ("2.2.3", ["Doe__Jane"], "Doe__Jane"),
        ("2.2.3", ["Doe__Jane"], "doe__jane"),
        ("2.4.12", ["Doe__Jane"], "Doe, Jane"),
        ("2.7.6", ["Doe__Jane"], "Doe, Jane"),
    ],
)
async def test_no_other_name_is_told(release: str, clients: list[str], name: str) -> None:
    attempt = Attempt(SERVER)
    await perform(kill(name_or_address(name)), Peer(daemon(release, [client(one) for one in clients])), attempt=attempt)
    assert attempt.warnings == []


@pytest.mark.parametrize("release", ALL)
async def test_a_name_that_is_used_twice_is_killed_twice_and_counted(release: str) -> None:
    one = daemon(release, [client("twin", "10.0.0.1", 1), client("twin", "10.0.0.2", 2), client("other")])
    peer = Peer(one)
    value = await killed("twin", peer)
    assert value.killed == 2
    shown = partial(RELEASES[release].real_address, "udp4")
    assert [each.real_address for each in value.clients] == [shown("10.0.0.1", 1), shown("10.0.0.2", 2)]
    assert left(one) == ["other"]
    assert [line for line in peer.commands if "kill" in line] == ["kill twin"]


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("name", ["nobody", "test-client", "Test-Client ", "Test", "10.0.0.1:1", "::1", "[::1]:5"])
async def test_nobody_is_an_answer_and_nothing_is_sent(release: str, name: str) -> None:
    one = daemon(release, [client("Test-Client")])
    peer = Peer(one)
    answer = await perform(kill(name_or_address(name)), peer)
    assert answer.value == Killed(0, ())
    assert answer.raw == ""
    assert peer.commands == ["status 3", "pid"]


async def test_what_is_shown_of_a_killed_client() -> None:
    clock = ManualClock()
    one = SimulatedDaemon("2.6.14", clients=[client("a", port=4000, connected_for=60)], reconnect=NEVER, clock=clock)
    operation = kill(name_or_address("a"))
    answer = await perform(operation, Peer(one))
    (row,) = operation.rows(answer.value)
    since = answer.value.clients[0].connected_since
    assert since is not None
    assert since.timestamp() == clock.time() - 60
    assert tuple(row) == ("a", "10.0.0.1:4000", "10.8.0.2", since, "killed", 0, None)
    assert answer.raw == "SUCCESS: common name 'a' found, 1 client(s) killed\n"
    assert operation.changes


# names with a colon


@pytest.mark.parametrize("release", MODERN)
async def test_a_name_with_a_colon_goes_by_client_ids(release: str) -> None:
    others = [client("col"), client("on"), client("col:on:x")]
    one = daemon(release, [*others, client("col:on"), client("col:on", "10.0.0.9")])
    peer = Peer(one)
    value = await killed("col:on", peer)
    assert value.killed == 2
    assert [each.client_id for each in value.clients] == [3, 4]
    assert peer.written[-1] == b"client-kill 3\nclient-kill 4\nstate\n"
    assert left(one) == ["col", "on", "col:on:x"]


@pytest.mark.parametrize(
    "name",
    ["10.1.1.1:4000", "udp:10.1.1.1:4000", "::1", "fe80::1", ":", "a:", ":b", ">LOG:evil", "ERROR: bad", "x: 'y'"],
)
@pytest.mark.parametrize("release", MODERN)
async def test_names_that_look_like_addresses(release: str, name: str) -> None:
    one = daemon(
        release, [client("10.1.1.1", port=1), client("udp", port=2), client("a", port=3), client(name, port=4)]
    )
    value = await killed(name, Peer(one))
    assert (value.killed, value.clients[0].common_name) == (1, name)
    assert left(one) == ["10.1.1.1", "udp", "a"]


HEADER_2_3 = (
    "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tBytes Received\tBytes Sent\tConnected Since"
    "\tConnected Since (time_t)\tUsername\n"
)
STATE = "1795337315,CONNECTED,SUCCESS,10.200.0.1,\nEND\n"


def list_of_2_3(*rows: tuple[str, str]) -> str:
    """Status 3 of a daemon of 2.3, which reports no client ids, with these names and real addresses."""
    lines = "".join(f"CLIENT_LIST\t{name}\t{address}\t10.8.0.2\t1\t2\tx\t1795337000\tUNDEF\n" for name, address in rows)
    return f"TITLE\tOpenVPN 2.3.18\n{HEADER_2_3}{lines}END\n"


def daemon_2_3(*rows: tuple[str, str], **kills: str) -> dict[str, str | list[str]]:
    return {"status 3": list_of_2_3(*rows), "state": STATE, "pid": "SUCCESS: pid=1\n", **kills}


async def test_without_client_ids_a_name_with_a_colon_goes_by_its_address() -> None:
    done = "SUCCESS: 1 client(s) at address 10.0.0.1:4000 killed\n"
    rows = (("col:on", "10.0.0.1:4000"), ("col", "10.0.0.2:4000"))
    peer = scripted({**daemon_2_3(*rows), "kill 10.0.0.1:4000": done})
    answer = await perform(kill(name_or_address("col:on")), peer)
    assert ([each.common_name for each in answer.value.clients], answer.raw) == (["col:on"], done)


async def test_without_client_ids_a_name_with_a_colon_on_ipv6_is_refused() -> None:
    peer = scripted(daemon_2_3(("col:on", "::1"), ("col", "10.0.0.2:4000")))
    with pytest.raises(CommandFailedError, match="reads a name with a colon as an address") as caught:
        await perform(kill(name_or_address("col:on")), peer)
    assert caught.value.hint == "this release has no way to end that session alone"
    assert "it was not killed" in caught.value.message
    assert not any(b"kill" in data for data in peer.written)


async def test_without_client_ids_an_ipv6_address_is_refused() -> None:
    peer = scripted(daemon_2_3(("a", "::1"), ("b", "10.0.0.2:4000")))
    with pytest.raises(CommandFailedError, match="its `kill` does not take this address") as caught:
        await perform(kill(name_or_address("::1")), peer)
    assert caught.value.hint == "kill it by its common name, which ends every session of that name"
    assert not any(b"kill" in data for data in peer.written)


async def test_without_client_ids_an_ipv4_address_is_killed() -> None:
    rows = (("a", "10.0.0.1:4000"), ("10.0.0.1", "10.0.0.2:4000"))
    done = "SUCCESS: 1 client(s) at address 10.0.0.1:4000 killed\n"
    peer = scripted({**daemon_2_3(*rows), "kill 10.0.0.1:4000": done})
    answer = await perform(kill(name_or_address("10.0.0.1:4000")), peer)
    assert (answer.value.killed, answer.raw) == (1, done)


async def test_without_client_ids_a_client_that_has_gone_is_gone() -> None:
    lists = [list_of_2_3(("a", "10.0.0.1:4000")), list_of_2_3()]
    gone = "ERROR: client at address 10.0.0.1:4000 not found\n"
    answers = {**daemon_2_3(), "status 3": lists, "kill 10.0.0.1:4000": gone}
    value = (await perform(kill(name_or_address("10.0.0.1:4000")), scripted(answers))).value
    assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])


# by address


@pytest.mark.parametrize(
    ("release", "protocol", "address", "spellings", "sent"),
    [
        ("2.2.3", "udp4", "10.0.0.1", ["10.0.0.1:4000"], "kill 10.0.0.1:4000"),
        ("2.4.12", "udp4", "10.0.0.1", ["10.0.0.1:4000"], "kill 10.0.0.1:4000"),
        ("2.6.14", "tcp4-server", "10.0.0.1", ["10.0.0.1:4000"], "kill 10.0.0.1:4000"),
        ("2.7.6", "udp4", "10.0.0.1", ["10.0.0.1:4000", "udp4:10.0.0.1:4000", "udp:10.0.0.1:4000"],
         "kill udp:10.0.0.1:4000"),
        ("2.7.6", "tcp4-server", "10.0.0.1",
         ["10.0.0.1:4000", "tcp4-server:10.0.0.1:4000", "tcp:10.0.0.1:4000", "tcp-server:10.0.0.1:4000"],
         "kill tcp:10.0.0.1:4000"),
        # an IPv4 client of a dual-stack socket, which `kill` never finds by its address
        ("2.4.12", "udp6", "10.0.0.1", ["10.0.0.1:4000"], "client-kill 1"),
        ("2.6.14", "udp6", "10.0.0.1", ["10.0.0.1:4000"], "client-kill 1"),
        ("2.7.6", "udp6", "10.0.0.1", ["10.0.0.1:4000", "udp6:10.0.0.1:4000", "udp:10.0.0.1:4000"], "client-kill 1"),
        # IPv6, which no release can kill by address: without a port up to 2.6, with one from 2.7 on
        ("2.4.12", "udp6", "fd00::1", ["fd00::1", "fd00:0::1"], "client-kill 1"),
        ("2.6.14", "tcp6-server", "fd00::1", ["fd00::1"], "client-kill 1"),
        ("2.7.6", "udp6", "fd00::1", ["[fd00::1]:4000", "udp6:[fd00::1]:4000", "udp:[fd00::1]:4000"], "client-kill 1"),
        ("2.7.6", "tcp6-server", "fd00::1", ["[fd00::1]:4000", "tcp6-server:[fd00::1]:4000", "tcp:[fd00::1]:4000"],
         "client-kill 1"),
    ],
)  # fmt: skip
async def test_an_address_in_every_spelling(
    release: str, protocol: str, address: str, spellings: list[str], sent: str
) -> None:
    others = [client("10.0.0.1", "10.0.0.9", 4000), client("fd00", "10.0.0.8", 4000)]
    for spelling in spellings:
        one = daemon(release, [others[1], client("meant", address, 4000), client("near", "10.0.0.1", 4001)], protocol)
        peer = Peer(one)
        value = await killed(spelling, peer)
        assert (spelling, value.killed, [each.common_name for each in value.clients]) == (spelling, 1, ["meant"])
        assert left(one) == ["fd00", "near"]
        assert sent in peer.commands


@pytest.mark.parametrize("release", MODERN)
async def test_an_address_of_which_another_client_has_the_name(release: str) -> None:
    one = daemon(release, [client("10.1.1.1", "10.0.0.9", 4000), client("meant", "10.1.1.1", 4000)])
    peer = Peer(one)
    assert (await killed("10.1.1.1:4000", peer)).killed == 1
    assert left(one) == ["10.1.1.1"]
    # The bare spelling is risky where nothing tells the release: there it goes by the client id.
    assert ("kill 10.1.1.1:4000" in peer.commands) is False


@pytest.mark.parametrize(
    ("release", "protocol", "who"),
    [
        ("2.7.6", "udp4", "tcp:10.0.0.1:4000"),
        ("2.7.6", "udp4", "tcp4-server:10.0.0.1:4000"),
        ("2.7.6", "tcp4-server", "udp:10.0.0.1:4000"),
        ("2.7.6", "udp6", "udp4:10.0.0.1:4000"),
        ("2.6.14", "udp4", "udp:10.0.0.1:4000"),  # it may be TCP: this daemon does not tell
        ("2.6.14", "udp4", "10.0.0.1"),
        ("2.6.14", "udp4", "10.0.0.1:400"),
        ("2.6.14", "udp4", "10.0.0.1:70000"),
        ("2.7.6", "udp4", "10.0.0.1"),
    ],
)
async def test_another_protocol_or_port_is_another_client(release: str, protocol: str, who: str) -> None:
    one = daemon(release, [client("a", "10.0.0.1", 4000)], protocol)
    peer = Peer(one)
    assert (await killed(who, peer)).killed == 0
    assert peer.commands == ["status 3", "pid"]


@pytest.mark.parametrize("release", ["2.4.12", "2.6.14"])
async def test_several_clients_behind_one_bare_address_are_refused(release: str) -> None:
    one = daemon(release, [client("a", "::1"), client("b", "::1")], "udp6")
    peer = Peer(one)
    with pytest.raises(CommandFailedError, match=r"2 clients come from '::1'.*nothing was killed") as caught:
        await killed("::1", peer)
    assert caught.value.hint == "kill by common name: fleet clients shows them; or all of them with --real-address"
    assert peer.commands == ["status 3", "pid"]


@pytest.mark.parametrize("release", MODERN)
async def test_a_name_that_is_another_clients_address_is_refused(release: str) -> None:
    one = daemon(release, [client("10.0.0.2:4000", "10.0.0.1", 4000), client("b", "10.0.0.2", 4000)])
    peer = Peer(one)
    with pytest.raises(CommandFailedError, match="name of one client and the real address of another; nothing was"):
        await killed("10.0.0.2:4000", peer)
    assert peer.commands == ["status 3", "pid"]


@pytest.mark.parametrize("release", MODERN)
async def test_a_client_named_after_its_own_address(release: str) -> None:
    one = daemon(release, [client("10.0.0.2:4000", "10.0.0.2", 4000), client("10.0.0.2")])
    assert (await killed("10.0.0.2:4000", Peer(one))).killed == 1
    assert left(one) == ["10.0.0.2"]


@pytest.mark.parametrize("release", MODERN)
async def test_a_client_without_a_name_goes_by_its_address_alone(release: str) -> None:
    one = daemon(release, [client("x", port=4000, handshaking=True), client("y", port=4001, handshaking=True)])
    value = await killed("10.0.0.1:4000", Peer(one))
    assert (value.killed, value.clients[0].common_name) == (1, None)
    assert left(one) == ["UNDEF"]


async def test_the_address_of_a_vendors_build_goes_by_client_id() -> None:
    header = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tClient ID\n"
    listed = f"TITLE\tOpenVPN 2.5.9\n{header}CLIENT_LIST\ta\t10.0.0.1(4000)\t7\nEND\n"
    killed_it = "SUCCESS: client-kill command succeeded\n"
    peer = scripted({"status 3": listed, "pid": "SUCCESS: pid=1\n", "state": STATE, "client-kill 7": killed_it})
    answer = await perform(kill(name_or_address("10.0.0.1:4000")), peer)
    assert (answer.value.killed, answer.raw) == (1, killed_it)


# what is refused before anything is sent


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("", "whom to kill is empty"),
        ("a\nsignal SIGTERM", r"control character \(\\x0a\)"),
        ("a\tb", "control character"),
        ("a\x00", "control character"),
        ("\x7f", "control character"),
        ("\x1b[2J", "control character"),
        ("n" * 128, "128 bytes long, and OpenVPN takes at most 127"),
        ("ü" * 64, "128 bytes long"),
        ("\ud800", "not text that can be sent"),
        ("UNDEF", "a kill would hit everybody without one"),
    ],
)
def test_refused_before_anything_is_sent(who: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        name_or_address(who)


async def test_bytes_of_another_locale_are_compared_as_utf_8() -> None:
    one = daemon("2.6.14", [client("Zoë")])
    assert (await killed("Zo\udcc3\udcab", Peer(one))).killed == 1


# races


@pytest.mark.parametrize("release", ALL)
async def test_a_client_that_leaves_between_look_up_and_kill(release: str) -> None:
    for who in ("a", "10.0.0.1:4000"):
        one = daemon(release, [client("a", port=4000)])
        peer = Peer(one, lambda data, one=one: one.kill(one.instances) if b"kill" in data else None)  # type: ignore[misc]  # bound now
        value = await killed(who, peer)
        assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])


@pytest.mark.parametrize("release", MODERN)
async def test_one_of_two_leaves_between_look_up_and_client_kill(release: str) -> None:
    one = daemon(release, [client("col:on", port=1), client("col:on", port=2)])
    peer = Peer(one, lambda data: one.kill(one.instances[:1]) if b"client-kill" in data else None)
    value = await killed("col:on", peer)
    assert (value.killed, [(each.client_id, each.result) for each in value.clients]) == (
        1,
        [(0, "gone"), (1, "killed")],
    )


@pytest.mark.parametrize("release", MODERN)
async def test_one_of_two_leaves_between_the_look_ups(release: str) -> None:
    one = daemon(release, [client("col:on", port=1), client("col:on", port=2)])
    peer = Peer(one, lambda data: one.kill(one.instances[:1]) if data.startswith(b"state") else None)
    value = await killed("col:on", peer)
    assert (value.killed, [(each.client_id, each.result) for each in value.clients]) == (
        1,
        [(0, "gone"), (1, "killed")],
    )


def restarted(one: SimulatedDaemon, newcomers: Iterable[str]) -> None:
    """SIGUSR1 from somebody else, and other clients are there sooner than those that were."""
    one.clock.advance(30)  # type: ignore[attr-defined]  # a ManualClock
    one.restart("SIGUSR1")
    one.clock.advance(10)  # type: ignore[attr-defined]  # a ManualClock
    for name in newcomers:
        one.connect(client(name))


@pytest.mark.parametrize("release", MODERN)
async def test_client_ids_that_began_again_before_the_second_look_up(release: str) -> None:
    one = daemon(release, [client("col:on", port=1), client("other")])
    peer = Peer(one, lambda data: restarted(one, ["x", "col:on"]) if data.startswith(b"state\nstatus") else None)
    value = await killed("col:on", peer)
    assert [(each.client_id, each.result) for each in value.clients] == [(0, "gone"), (1, "killed")]
    assert left(one) == ["x"]


@pytest.mark.parametrize("release", MODERN)
async def test_client_ids_that_began_again_on_the_way_are_told(release: str) -> None:
    one = daemon(release, [client("col:on", port=1), client("other")])
    peer = Peer(one, lambda data: restarted(one, ["innocent"]) if b"client-kill" in data else None)
    with pytest.raises(
        CommandFailedError, match="the daemon restarted just before it was told 'client-kill 0'"
    ) as caught:
        await killed("col:on", peer)
    assert "another client may have been killed" in caught.value.message
    assert caught.value.hint is not None


@pytest.mark.parametrize("release", MODERN)
async def test_client_ids_that_began_again_and_hit_nobody(release: str) -> None:
    one = daemon(release, [client("col:on", port=1)])
    peer = Peer(one, lambda data: restarted(one, []) if b"client-kill" in data else None)
    value = await killed("col:on", peer)
    assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])


@pytest.mark.parametrize("who", ["a", "10.0.0.1:4000", "col:on"])
@pytest.mark.parametrize("release", MODERN)
async def test_a_restart_that_begins_meanwhile_takes_the_client(release: str, who: str) -> None:
    one = daemon(release, [client("a", port=4000), client("col:on", port=4001)])
    peer = Peer(one, lambda data: one.restart("SIGUSR1") if b"kill" in data else None)
    value = await killed(who, peer)
    assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])


@pytest.mark.parametrize("release", MODERN)
async def test_a_restart_before_the_second_look_up_takes_the_client(release: str) -> None:
    one = daemon(release, [client("col:on")])
    peer = Peer(one, lambda data: one.restart("SIGUSR1") if data.startswith(b"state\n") else None)
    value = await killed("col:on", peer)
    assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])
    assert "client-kill 0" not in peer.commands


# replies


@pytest.mark.parametrize(("who", "sent"), [("a", "kill a"), ("10.0.0.1:4000", "kill 10.0.0.1:4000")])
async def test_a_lost_reply_is_sent_and_not_confirmed(who: str, sent: str) -> None:
    attempt = Attempt(SERVER)
    peer = scripted(daemon_2_3(("a", "10.0.0.1:4000")), hang_up_at=sent)
    with pytest.raises(ConnectionLostError) as caught:
        await perform(kill(name_or_address(who)), peer, attempt=attempt)
    assert caught.value.sent == attempt.sent == sent


async def test_a_late_reply_is_sent_and_not_confirmed() -> None:
    with pytest.raises(ReplyTimeoutError) as caught:
        await perform(kill(name_or_address("a")), scripted(daemon_2_3(("a", "10.0.0.1:4000"))), reply_timeout=0.5)
    assert caught.value.sent == "kill a"


async def test_of_several_client_kills_the_unconfirmed_are_told() -> None:
    header = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tClient ID\n"
    rows = "CLIENT_LIST\tc:n\t10.0.0.1:1\t4\nCLIENT_LIST\tc:n\t10.0.0.1:2\t9\n"
    listed = f"TITLE\tOpenVPN 2.6.14\n{header}{rows}END\n"
    answers = {"status 3": listed, "pid": "SUCCESS: pid=1\n", "state": STATE,
               "client-kill 4": "SUCCESS: client-kill command succeeded\n"}  # fmt: skip
    with pytest.raises(ConnectionLostError) as caught:
        await perform(kill(name_or_address("c:n")), scripted(answers, hang_up_at="client-kill 9"))
    assert caught.value.sent == "client-kill 9"


KILLED = "SUCCESS: client-kill command succeeded\n"


@pytest.mark.parametrize(
    ("later", "error", "sent", "confirmed"),
    [
        ({"client-kill 9": "ERROR: not today\n"}, CommandFailedError, None, ["client-kill 4"]),
        ({"state": [STATE, ""]}, ReplyTimeoutError, "client-kill 9", ["client-kill 4"]),
        ({"client-kill 9": KILLED, "state": [STATE, ""]}, ReplyTimeoutError, None, ["client-kill 4", "client-kill 9"]),
        ({"client-kill 9": "SUCCESS: done\n"}, CommandFailedError, None, ["client-kill 4", "client-kill 9"]),
    ],
)
async def test_of_several_client_kills_those_that_were_done_are_told(
    later: dict[str, str | list[str]], error: type[Exception], sent: str | None, confirmed: list[str]
) -> None:
    header = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tClient ID\n"
    rows = "CLIENT_LIST\tc:n\t10.0.0.1:1\t4\nCLIENT_LIST\tc:n\t10.0.0.1:2\t9\n"
    answers: dict[str, str | list[str]] = {
        "status 3": f"TITLE\tOpenVPN 2.6.14\n{header}{rows}END\n",
        "pid": "SUCCESS: pid=1\n",
        "state": [STATE, STATE.replace("1795337315", "1795337316")],
        "client-kill 4": KILLED,
        **later,
    }
    attempt = Attempt(SERVER)
    with pytest.raises(error):
        await perform(kill(name_or_address("c:n")), scripted(answers), attempt=attempt, reply_timeout=0.5)
    assert (attempt.sent, attempt.confirmed) == (sent, confirmed)


async def test_a_kill_that_is_confirmed_in_other_words_was_done() -> None:
    attempt = Attempt(SERVER)
    peer = scripted({**daemon_2_3(("a", "10.0.0.1:4000")), "kill a": "SUCCESS: as you wish\n"})
    with pytest.raises(ProtocolError, match="is not one that OpenVPN gives"):
        await perform(kill(name_or_address("a")), peer, attempt=attempt)
    assert (attempt.sent, attempt.confirmed) == (None, ["kill a"])


@pytest.mark.parametrize(("who", "command"), [("a", "kill a"), ("c:n", "client-kill 4")])
async def test_an_error_of_the_daemon_is_the_servers_error(who: str, command: str) -> None:
    header = "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tClient ID\n"
    listed = f"TITLE\tOpenVPN 2.6.14\n{header}CLIENT_LIST\t{who}\t10.0.0.1:1\t4\nEND\n"
    answers = {"status 3": listed, "pid": "SUCCESS: pid=1\n", "state": STATE, command: "ERROR: not today\n"}
    with pytest.raises(CommandFailedError, match="not today"):
        await perform(kill(name_or_address(who)), scripted(answers))


async def test_a_list_that_broke_off_kills_nobody() -> None:
    broken = list_of_2_3(("a", "10.0.0.1:4000")).removesuffix("END\n")
    peer = scripted({"status 3": broken, "pid": "SUCCESS: pid=1\n"})
    with pytest.raises(ProtocolError, match="broke off without END"):
        await perform(kill(name_or_address("a")), peer)
    assert peer.written == [b"status 3\npid\n"]


async def test_in_hold_nobody_is_there() -> None:
    attempt = Attempt(SERVER)
    answer = await perform(kill(name_or_address("a")), Peer(SimulatedDaemon(hold=True)), attempt=attempt)
    assert answer.value == Killed(0, ())
    assert len(attempt.warnings) == 1


async def test_a_client_daemon_has_nobody_to_kill() -> None:
    peer = Peer(SimulatedDaemon(client_mode=True))
    assert (await killed("a", peer)).killed == 0
    assert peer.commands == ["status 3", "pid"]


# other ways to say who is meant


def people() -> list[SimulatedClient]:
    return [
        client("shared", "10.0.0.1", 4000, username="ann"),
        client("shared", "10.0.0.2", 4001, username="bob", virtual_ipv6_address="fd00::2"),
        client("shared", "10.0.0.2", 4002, username="Ann"),
    ]


@pytest.mark.parametrize("release", MODERN)
@pytest.mark.parametrize(
    ("who", "hit"),
    [
        (username("bob"), [1]),
        (username("ann"), [0]),
        (username("shared"), []),
        (username("an"), []),
        (virtual_address("10.8.0.3"), [1]),
        (virtual_address("fd00:0::2"), [1]),
        (virtual_address("10.0.0.1"), []),
        (real_address("10.0.0.2"), [1, 2]),
        (real_address("10.0.0.2:4002"), [2]),
        (real_address("10.0.0.3"), []),
        (client_id("2"), [2]),
        (client_id("7"), []),
    ],
)
async def test_whoever_is_meant_in_another_way(release: str, who: Who, hit: list[int]) -> None:
    one = daemon(release, people())
    value = (await perform(kill(who), Peer(one))).value
    assert (value.killed, sorted(each.client_id or 0 for each in value.clients)) == (len(hit), hit)
    one.clock.advance(1)  # type: ignore[attr-defined]  # a ManualClock
    assert [instance.client_id for instance in one.instances] == [number for number in range(3) if number not in hit]


@pytest.mark.parametrize(
    ("who", "sent"),
    [
        (username("bob"), ["client-kill 1"]),
        (virtual_address("10.8.0.3"), ["client-kill 1"]),
        (client_id("1"), ["client-kill 1"]),
        (real_address("10.0.0.2"), ["kill 10.0.0.2:4001", "kill 10.0.0.2:4002"]),
        (name_or_address("shared"), ["kill shared", "kill shared", "kill shared"]),
        (name_or_address("10.0.0.1:4000"), ["kill 10.0.0.1:4000"]),
        (name_or_address("nobody"), []),
    ],
)
async def test_a_preview_says_what_is_sent_and_sends_nothing(who: Who, sent: list[str]) -> None:
    preview = kill(who).preview
    assert preview is not None
    peer = Peer(daemon("2.6.14", people()))
    value = (await perform(preview, peer)).value
    assert (value.nclients, [each.would_send for each in value.clients]) == (len(sent), sent)
    assert peer.commands == ["status 3", "pid"]
    assert len(list(preview.rows(value))) == len(sent)
    peer = Peer(daemon("2.6.14", people()))
    await perform(kill(who), peer)
    assert [line for line in peer.commands if "kill" in line] == list(dict.fromkeys(sent))


@pytest.mark.parametrize(
    ("who", "message", "asked"),
    [
        (name_or_address("a"), None, Confirm.NEVER),
        (name_or_address("10.0.0.1:4000"), None, Confirm.NEVER),
        (name_or_address("a"), "RESTART,bye", Confirm.NEVER),
        (name_or_address("a"), "HALT", Confirm.ALWAYS),
        (username("a"), None, Confirm.ALWAYS),
        (real_address("10.0.0.1"), None, Confirm.ALWAYS),
        (virtual_address("10.8.0.2"), None, Confirm.ALWAYS),
        (client_id("0"), None, Confirm.ALWAYS),
    ],
)
def test_when_a_person_is_asked(who: Who, message: str | None, asked: Confirm) -> None:
    assert kill(who, message=message).confirm is asked


@pytest.mark.parametrize(
    ("who", "message"),
    [
        (username("ann"), "usernames"),
        (client_id("0"), "client ids"),
        (virtual_address("fd00::2"), None),
    ],
)
async def test_what_an_old_release_cannot_know(who: Who, message: str | None) -> None:
    peer = Peer(daemon("2.2.3", people()))
    if message is None:
        assert (await perform(kill(who), peer)).value.killed == 1  # its routing table has the address
    else:
        with pytest.raises(CommandFailedError, match=f"does not report {message}|reports no {message}") as caught:
            await perform(kill(who), peer)
        assert "nothing was killed" in caught.value.message
        assert peer.commands == ["status 3", "pid"]


async def test_an_old_release_without_clients_has_not_the_one_that_is_meant() -> None:
    for who in (username("ann"), client_id("0")):
        assert (await perform(kill(who), Peer(daemon("2.2.3", [])))).value == Killed(0, ())


@pytest.mark.parametrize("who", [virtual_address("10.8.0.3"), real_address("10.0.0.2:4001")])
async def test_an_old_release_kills_by_the_real_address_alone(who: Who) -> None:
    one = daemon("2.2.3", people())
    peer = Peer(one)
    assert (await perform(kill(who), peer)).value.killed == 1
    assert peer.commands[-1] == "kill 10.0.0.2:4001"
    assert len(one.instances) == 2


async def test_some_of_an_address_go_by_address_and_the_rest_by_client_id() -> None:
    one = daemon("2.6.14", [client("a", "10.0.0.1", 1), client("10.0.0.1", "10.0.0.1", 2)], "udp6")
    peer = Peer(one)
    value = (await perform(kill(real_address("10.0.0.1")), peer)).value
    assert (value.killed, [each.result for each in value.clients]) == (2, ["killed", "killed"])
    assert left(one) == []


@pytest.mark.parametrize(
    ("build", "text", "message"),
    [
        (username, "", "the username is empty"),
        (username, "UNDEF", "a kill would hit everybody without one"),
        (username, "a\nb", "control character"),
        (real_address, "laptop", "'laptop' is no real address"),
        (real_address, "10.0.0.1:70000", "no real address"),
        (virtual_address, "10.8.0.0/24", "'10.8.0.0/24' is no address"),
        (virtual_address, "", "'' is no address"),
        (client_id, "x", "client-kill"),
        (client_id, "-1", "client-kill"),
        (client_id, "5abc", "client-kill"),
    ],
)
def test_other_ways_that_are_refused(build: Callable[[str], Who], text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(text)


# messages


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("HALT", "HALT"),
        ("RESTART", "RESTART"),
        ("HALT,the office is closed", '"HALT,the office is closed"'),
        ("RESTART,[N],moved", '"RESTART,[N],moved"'),
        ("RESTART,[NP]", '"RESTART,[NP]"'),
    ],
)
@pytest.mark.parametrize("who", [name_or_address("shared"), real_address("10.0.0.2:4001"), username("bob")])
async def test_a_message_goes_by_client_id(who: Who, message: str, sent: str) -> None:
    one = daemon("2.7.6", people())
    peer = Peer(one)
    value = (await perform(kill(who, message=message), peer)).value
    assert value.killed == len(value.clients) >= 1
    assert [line for line in peer.commands if "kill" in line] == [
        f"client-kill {each.client_id} {sent}" for each in value.clients
    ]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("", "must be RESTART or HALT"),
        ("bye", "must be RESTART or HALT"),
        ("restart", "must be RESTART or HALT"),
        ("RESTARTED", "must be RESTART or HALT"),
        ("RESTART [N]", "must be RESTART or HALT"),
        ("HALT,a\nb", "control character"),
        ("RESTART," + "x" * 248, "256 bytes long"),
        ("RESTART,reason,[N]", "right behind 'RESTART,' only"),
        ("RESTART,[n],reason", None),
        ("HALT,[NP]", "right behind 'RESTART,' only"),
        ("RESTART,[N],or [P]", "right behind 'RESTART,' only"),
    ],
)
def test_messages_that_no_client_understands(message: str, error: str | None) -> None:
    with pytest.raises(UsageError, match=error or "in capitals"):
        kill(name_or_address("a"), message=message)


async def test_an_old_release_takes_no_message() -> None:
    one = daemon("2.2.3", [client("a")])
    peer = Peer(one)
    with pytest.raises(CommandFailedError, match="a message goes with a client id") as caught:
        await perform(kill(name_or_address("a"), message="HALT"), peer)
    assert caught.value.hint == "leave --message out"
    assert (left(one), peer.commands) == (["a"], ["status 3", "pid"])


# what was shown is what is killed


@pytest.mark.parametrize("who", [client_id("0"), virtual_address("10.8.0.2")])
async def test_another_client_than_the_one_that_was_shown_lives(who: Who) -> None:
    one = daemon("2.6.14", [client("meant", port=1)])
    operation = kill(who)
    assert operation.preview is not None
    shown = (await perform(operation.preview, Peer(one))).value
    assert [each.common_name for each in shown.clients] == ["meant"]
    restarted(one, ["innocent"])
    attempt = Attempt(SERVER)
    peer = Peer(one)
    assert (await perform(operation, peer, attempt=attempt)).value == Killed(0, ())
    assert attempt.warnings == [f"another {who} than the one that was shown is there by now, and was not killed"]
    assert not any("kill" in line for line in peer.commands)


async def test_the_one_that_was_shown_is_killed() -> None:
    one = daemon("2.6.14", people())
    operation = kill(client_id("1"))
    assert operation.preview is not None
    await perform(operation.preview, Peer(one))
    assert (await perform(operation, Peer(one))).value.killed == 1


async def test_a_username_means_the_same_person_after_a_reconnect() -> None:
    one = daemon("2.6.14", [client("shared", port=1, username="bob")])
    operation = kill(username("bob"))
    assert operation.preview is not None
    await perform(operation.preview, Peer(one))
    one.kill(one.instances)
    one.connect(client("shared", port=2, username="bob"))
    assert (await perform(operation, Peer(one))).value.killed == 1


@pytest.mark.parametrize("who", [client_id("0"), virtual_address("10.8.0.2")])
async def test_who_takes_the_place_between_the_look_ups_lives(who: Who) -> None:
    one = daemon("2.6.14", [client("meant", port=1)])
    peer = Peer(one, lambda data: restarted(one, ["innocent"]) if data.startswith(b"state\nstatus") else None)
    value = (await perform(kill(who), peer)).value
    assert (value.killed, [each.result for each in value.clients]) == (0, ["gone"])
    assert left(one) == ["innocent"]


async def test_who_was_there_before_is_kept_for_a_look_later() -> None:
    one = daemon("2.6.14", people())
    peer = Peer(one)
    before = (await perform(kill(username("bob"), verify=True), peer)).value.before
    assert before is not None
    assert [row.client_id for row in before.clients] == [0, 1, 2]
    assert peer.commands[0] == "state"
