"""`fleet` on the lab: real openvpn, real clients, real sshd, nothing simulated."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest

from lab.lab import BROKEN, FLEET_TIMEOUT, SITES, Lab, Run
from lab.pki import write_private
from lab.processes import wait_until

pytestmark = pytest.mark.lab

WORKING = "eu:us"
"""The pattern of the servers that work: the groups of `SITES`."""

QUICKLY = ("--reply-timeout", "2s")
"""How long `busy` is waited for."""

CLIENTS = {server: site.clients for server, site in SITES.items()}

# The first of each server, then the second: who was killed may return while the others have their turn.
EVERY_CLIENT = [
    (server, name) for names in zip(*CLIENTS.values(), strict=True) for server, name in zip(CLIENTS, names, strict=True)
]


@pytest.fixture
def every_client(lab: Lab) -> None:
    """All clients are connected: those that a test before threw out are back."""
    lab.wait_for_clients()


@pytest.fixture
def ordinary_verb(lab: Lab) -> Iterator[None]:
    yield
    for server in SITES:
        lab.ask(server, "verb 3")


def sessions(lab: Lab) -> set[tuple[str, str, str]]:
    """Server, common name and client ID of every session there is."""
    return {(server, row["Common Name"], row["Client ID"]) for server in SITES for row in lab.clients(server)}


def logins(lab: Lab, sshd: str) -> int:
    """How many keys an sshd of the lab has let in so far."""
    return lab.sshd.log(sshd).count("Accepted publickey ")


def arrivals(lab: Lab) -> int:
    """How many SSH connections the servers of the lab have seen so far."""
    names = ("ordinary", "bastion", "no-forwarding", "locked-out")
    return sum(lab.sshd.log(name).count("Connection from ") for name in names)


def all_ok(run: Run) -> dict[str, object]:
    """The results of a JSON document in which every server did what was asked."""
    assert run.exit_status == 0, run.stderr
    outcomes = run.outcomes()
    assert {outcome["status"] for outcome in outcomes.values()} == {"ok"}
    return {name: outcome["result"] for name, outcome in outcomes.items()}


# Reading


@pytest.mark.usefixtures("every_client")
def test_status_of_the_whole_fleet_as_json(lab: Lab) -> None:
    run = lab.installed("status", "--all", "--json", *QUICKLY)
    assert run.exit_status == 4
    document = run.json()
    assert document["fleet_schema"] == 1
    assert (document["command"], document["exit_status"], document["error"]) == ("status", 4, None)
    assert document["summary"] == {
        "servers": len(SITES) + len(BROKEN),
        "ok": len(SITES),
        "failed": 0,
        "unreachable": len(BROKEN),
        "not_attempted": 0,
    }
    assert [server["name"] for server in document["servers"]] == [*SITES, *BROKEN]
    outcomes = run.outcomes()
    for name, site in SITES.items():
        assert outcomes[name]["status"] == "ok"
        assert outcomes[name]["error"] is None
        result = outcomes[name]["result"]
        assert result["nclients"] == len(site.clients)
        assert result["state"]["name"] == "CONNECTED"
        assert lab.ask(name, "version").startswith(f"OpenVPN Version: OpenVPN {result['version']} ")
        assert result["bytes_in"] > 0
        assert sorted(client["common_name"] for client in result["clients"]) == sorted(site.clients)
        assert {route["common_name"] for route in result["routes"]} == set(site.clients)
    for name, code in BROKEN.items():
        assert (outcomes[name]["status"], outcomes[name]["result"]) == ("unreachable", None)
        assert outcomes[name]["error"]["code"] == code, outcomes[name]["error"]
        assert outcomes[name]["error"]["message"]
        assert outcomes[name]["error"]["hint"]


@pytest.mark.usefixtures("every_client")
def test_status_of_the_whole_fleet_as_table(lab: Lab) -> None:
    run = lab.installed("status", "--all", *QUICKLY)
    assert run.exit_status == 4
    header, *rows, totals = run.stdout.splitlines()
    assert header.split() == ["SERVER", "STATE", "SINCE", "CLIENTS", "IN", "OUT", "VERSION"]
    assert [row.split()[0] for row in rows] == [*SITES]
    assert all(" CONNECTED " in row for row in rows)
    assert f" {sum(len(site.clients) for site in SITES.values())} " in totals
    for name, code in BROKEN.items():
        assert any(line.startswith(f"{code}: {name}: ") for line in run.stderr.splitlines()), code
    counts = f"{len(SITES) + len(BROKEN)} servers: {len(SITES)} ok, {len(BROKEN)} unreachable, in "
    assert run.stderr.splitlines()[-1].startswith(counts)


def test_status_of_a_group_without_trouble(lab: Lab) -> None:
    run = lab.fleet("status", "eu")
    assert run.exit_status == 0
    assert [line.split()[0] for line in run.stdout.splitlines()[1:-1]] == ["edge-1", "edge-2", "sock"]


@pytest.mark.usefixtures("every_client")
def test_clients_of_the_whole_fleet_as_json(lab: Lab) -> None:
    run = lab.installed("clients", "--all", "--json", *QUICKLY)
    assert run.exit_status == 4
    outcomes = run.outcomes()
    for server in SITES:
        found = {client["common_name"]: client for client in outcomes[server]["result"]["clients"]}
        rows = lab.clients(server)
        assert sorted(found) == sorted(row["Common Name"] for row in rows)
        for row in rows:
            client = found[row["Common Name"]]
            assert client["real_address"] == row["Real Address"]
            assert client["virtual_address"] == row["Virtual Address"]
            assert client["client_id"] == int(row["Client ID"])
            assert client["data_channel_cipher"] == row["Data Channel Cipher"]
            assert client["username"] is None
            assert client["virtual_ipv6_address"] is None
            assert client["connected_since"].endswith("Z")


@pytest.mark.usefixtures("every_client")
def test_clients_as_table_keep_every_name_readable(lab: Lab) -> None:
    run = lab.fleet("clients", WORKING)
    assert run.exit_status == 0
    lines = run.stdout.splitlines()
    for server, name in EVERY_CLIENT:
        assert any(line.startswith(server) and f" {name} " in line for line in lines), name


def test_ndjson_ends_with_a_summary(lab: Lab) -> None:
    run = lab.installed("pid", WORKING, "-o", "ndjson")
    *servers, summary = [json.loads(line) for line in run.stdout.splitlines()]
    assert {server["name"]: server["result"]["pid"] for server in servers} == {
        name: lab.daemon_pid(name) for name in SITES
    }
    assert {server["type"] for server in servers} == {"server"}
    assert summary["type"] == "summary"


@pytest.mark.usefixtures("every_client")
@pytest.mark.parametrize("version", ["1", "2", "3"])
def test_raw_status_read_again_is_the_same_fleet(lab: Lab, version: str) -> None:
    raw = lab.fleet("status", "--format-version", version, "-o", "raw", "sock")
    assert raw.exit_status == 0, raw.stderr
    saved = lab.installed("status", "--file", "-", "--json", given=raw.stdout)
    assert saved.exit_status == 0, saved.stderr
    (server,) = saved.json()["servers"]
    assert {client["common_name"] for client in server["result"]["clients"]} == set(SITES["sock"].clients)


@pytest.mark.parametrize("command", ["state", "version", "load-stats", "routes", "verb", "mute", "hold"])
def test_other_questions(lab: Lab, command: str) -> None:
    limit = [WORKING] if command in ("state", "version", "load-stats", "routes") else ["-l", WORKING]
    assert all(all_ok(lab.fleet(command, *limit, "--json")).values())


def test_log_gives_the_last_lines(lab: Lab) -> None:
    (result,) = all_ok(lab.installed("log", "5", "-l", "edge-1", "--json")).values()
    assert isinstance(result, dict)
    assert len(result["lines"]) == 5


# The way there


def test_servers_of_a_host_share_one_connection_and_a_jump_host_has_one(lab: Lab) -> None:
    before = {name: logins(lab, name) for name in ("ordinary", "bastion", "inner")}
    all_ok(lab.fleet("pid", "gw,inner", "--json"))
    assert {name: logins(lab, name) - count for name, count in before.items()} == dict.fromkeys(before, 1)


def test_nothing_is_offered_to_a_host_whose_key_is_not_the_known_one(lab: Lab) -> None:
    before = lab.sshd.log("ordinary").count("publickey")
    run = lab.fleet("status", "rebuilt,stranger", "--json")
    assert [outcome["error"]["code"] for outcome in run.outcomes().values()] == ["host-key-changed", "host-key-unknown"]
    assert lab.sshd.log("ordinary").count("publickey") == before


def test_busy_is_busy_for_the_fourth_who_asks_too(lab: Lab) -> None:
    """Those who gave up stay in the kernel's queue of two; from then on not even a connection comes about."""
    lab.hold_busy()
    for _ in range(4):
        run = lab.fleet("pid", "busy", "--json", *QUICKLY, "--connect-timeout", "2s", hold_busy=False)
        assert run.exit_status == 4
        assert run.outcomes()["busy"]["error"]["code"] == "management-busy"
    assert lab.busy_queue() == 2


def test_a_full_queue_is_waited_for_too(lab: Lab) -> None:
    """With --wait-busy the channel is asked for again where not even a connection comes about."""
    lab.hold_busy()
    while lab.busy_queue() < 2:
        lab.fleet("pid", "busy", *QUICKLY, "--connect-timeout", "2s", hold_busy=False)
    leaving = threading.Timer(4.0, lab.free_busy)
    leaving.start()
    run = lab.fleet("pid", "busy", "--json", *QUICKLY, "--connect-timeout", "1s", "--wait-busy", "60s", hold_busy=False)
    leaving.join()
    assert run.exit_status == 0, run.stderr


def test_wrong_management_password(lab: Lab) -> None:
    password = lab.folder / "wrong.password"
    write_private(password, b"close sesame\n")
    inventory = lab.folder / "wrong-password.yaml"
    inventory.write_text(
        lab.inventory.read_text().replace(str(lab.servers["vault"].management.password_file), str(password))
    )
    run = lab.fleet("status", "vault", "--json", "-i", str(inventory))
    assert run.exit_status == 4
    assert run.outcomes()["vault"]["error"]["code"] == "management-password"


def test_interrupted_run_reports(lab: Lab) -> None:
    lab.hold_busy()
    with subprocess.Popen(
        lab.fleet_argv("status", "edge-1,busy", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=lab.environment(),
        cwd=lab.folder,
        text=True,
    ) as process:
        wait_until("fleet waits for busy", lambda: lab.busy_queue() == 1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=FLEET_TIMEOUT)
    assert process.returncode == 130, stderr
    document = json.loads(stdout)
    assert document["exit_status"] == 130
    by_name = {server["name"]: server for server in document["servers"]}
    assert by_name["busy"]["error"]["code"] == "interrupted"


# Changing


@pytest.mark.usefixtures("ordinary_verb")
def test_verb_is_set_where_it_was_meant(lab: Lab) -> None:
    run = lab.installed("verb", "4", "-l", "eu", "--yes")
    assert run.exit_status == 0, run.stderr
    assert {server: lab.ask(server, "verb") for server in SITES} == {
        server: f"SUCCESS: verb={4 if site.group == 'eu' else 3}\n" for server, site in SITES.items()
    }
    shown = all_ok(lab.fleet("verb", "-l", WORKING, "--json"))
    assert shown == {server: {"verb": 4 if site.group == "eu" else 3} for server, site in SITES.items()}


@pytest.mark.usefixtures("ordinary_verb")
def test_verb_of_the_whole_fleet_reaches_those_that_can_be_reached(lab: Lab) -> None:
    run = lab.fleet("verb", "5", "--all", "--json", "--yes", *QUICKLY)
    assert run.exit_status == 4
    assert run.json()["summary"]["ok"] == len(SITES)
    assert {lab.ask(server, "verb") for server in SITES} == {"SUCCESS: verb=5\n"}


@pytest.mark.parametrize("server", ["edge-1", "edge-2", "inner"])
def test_signal_sigusr1_restarts_the_daemon(lab: Lab, server: str) -> None:
    state, others = lab.ask(server, "state"), {entry for entry in sessions(lab) if entry[0] != server}
    run = lab.installed("signal", "SIGUSR1", "-l", server)
    assert run.exit_status == 0, run.stderr
    assert "SIGUSR1" in run.stdout
    lab.wait_for_restart(server, state)
    assert lab.ask(server, "pid") == f"SUCCESS: pid={lab.daemon_pid(server)}\n"
    lab.wait_for_clients(server)
    assert others <= sessions(lab)


@pytest.mark.usefixtures("every_client")
def test_kill_finds_the_client_wherever_it_is(lab: Lab) -> None:
    before = sessions(lab)
    victims = {entry for entry in before if entry[1] == "Test-Client"}
    rows = {server: lab.client(server, "Test-Client") for server, _, _ in victims}
    run = lab.installed("kill", "Test-Client", "--json", *QUICKLY)
    assert run.exit_status == 4  # some servers could not be asked
    killed = {
        name: outcome["result"]["killed"] for name, outcome in run.outcomes().items() if outcome["status"] == "ok"
    }
    assert killed == {server: int(server in rows) for server in SITES}
    for server, row in rows.items():
        (client,) = run.outcomes()[server]["result"]["clients"]
        assert client["real_address"] == row["Real Address"]
        assert client["virtual_address"] == row["Virtual Address"]
        lab.wait_until_gone(server, row)
    assert before - victims <= sessions(lab)


def test_kill_as_table(lab: Lab) -> None:
    row = lab.client("edge-1", "Test-Client")
    run = lab.installed("kill", "Test-Client", "-l", "edge-1")
    assert run.exit_status == 0, run.stderr
    header, line = run.stdout.splitlines()[:2]
    assert header.split()[0] == "SERVER"
    assert line.split()[:3] == ["edge-1", "Test-Client", row["Real Address"]]
    assert "killed 1 session on 1 of 1 server" in run.stderr
    lab.wait_until_gone("edge-1", row)


@pytest.mark.parametrize(("server", "name"), [entry for entry in EVERY_CLIENT if entry[1] != "Test-Client"])
def test_kill_of_each_name_hits_that_client_alone(lab: Lab, server: str, name: str) -> None:
    row = lab.client(server, name)
    others = {entry for entry in sessions(lab) if entry[1] != name}
    run = lab.fleet("kill", "-l", WORKING, "--json", "--", name)
    assert run.exit_status == 0, run.stderr + run.stdout
    results = {found: outcome["result"] for found, outcome in run.outcomes().items()}
    assert {found: result["killed"] for found, result in results.items()} == {
        found: int(found == server) for found in SITES
    }
    (client,) = results[server]["clients"]
    assert (client["common_name"], client["client_id"]) == (name, int(row["Client ID"]))
    lab.wait_until_gone(server, row)
    assert others <= sessions(lab)


@pytest.mark.parametrize(("server", "name"), [("edge-1", "Doe, John"), ("edge-2", "laptop-1")])
def test_kill_by_real_address(lab: Lab, server: str, name: str) -> None:
    row = lab.client(server, name)
    others = {entry for entry in sessions(lab) if entry[:2] != (server, name)}
    run = lab.fleet("kill", row["Real Address"], "-l", WORKING, "--json")
    assert run.exit_status == 0, run.stderr + run.stdout
    (client,) = run.outcomes()[server]["result"]["clients"]
    assert client["common_name"] == name
    lab.wait_until_gone(server, row)
    assert others <= sessions(lab)


@pytest.mark.parametrize("who", ["test-client", "Doe", "127.0.0.1:1"])
def test_kill_of_who_is_not_there_touches_nobody(lab: Lab, who: str) -> None:
    before = sessions(lab)
    assert lab.fleet("kill", who, "-l", WORKING).exit_status == 1
    assert before <= sessions(lab)


def test_kill_of_who_is_not_there_may_be_accepted(lab: Lab) -> None:
    assert lab.fleet("kill", "nobody", "-l", "eu", "--ignore-not-found").exit_status == 0


# Refusing


@pytest.mark.parametrize(
    "args",
    [
        ["status", "atlantis"],
        ["status", "-l", ""],
        ["status", "eu:&us"],
        ["verb", "4"],
        ["verb", "99", "--all"],
        ["verb", "foo", "--all"],
        ["mute", "-1", "--all"],
        ["signal", "BOGUS", "--all"],
        ["signal", "sigusr1", "--all"],
        ["signal", "SIGUSR1"],
        ["kill", "tab\tbed"],
        ["kill", "two\nlines"],
        ["kill", "UNDEF"],
        ["kill", ""],
        ["kill", "x" * 128],
        ["verb", "4", "--all", "--readonly"],
    ],
    ids=" ".join,
)
def test_refused_before_anything_is_sent(lab: Lab, args: list[str]) -> None:
    before, connected = arrivals(lab), sessions(lab)
    run = lab.fleet(*args)
    assert run.exit_status == 2
    assert run.stdout == ""
    assert run.stderr
    assert arrivals(lab) == before
    assert connected <= sessions(lab)


def test_list_hosts_asks_nobody(lab: Lab) -> None:
    before = arrivals(lab)
    run = lab.installed("status", "--list-hosts", "us", "-x", "gw/tcp")
    assert (run.exit_status, run.stdout.splitlines()) == (0, ["gw/udp", "vault", "inner"])
    assert arrivals(lab) == before
