"""Following real daemons: logs across restarts and other management clients, the log level, clients, a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import pki
from lab.following import following
from lab.lab import Lab
from lab.openvpn import VPN, Conversation, Daemon, Management
from lab.processes import FreePorts, Processes, wait_until
from support.tmux import Tmux

pytestmark = pytest.mark.lab


@pytest.fixture
def every_client(lab: Lab) -> Iterator[None]:
    lab.wait_for_clients()
    yield
    lab.wait_for_clients()


def lines_of(log: Path) -> list[str]:
    """What the daemon wrote to its log file, without the times."""
    return [line[20:] for line in log.read_text(errors="surrogateescape").split("\n") if line]


def is_part_of(part: list[str], whole: list[str]) -> bool:
    """Whether the part stands in the whole, without a line more or less."""
    starts = (index for index, line in enumerate(whole) if line == part[0])
    return any(whole[start : start + len(part)] == part for start in starts)


@pytest.mark.usefixtures("every_client")
def test_no_line_is_lost_or_repeated_over_restarts_and_other_management_clients(lab: Lab, tmp_path: Path) -> None:
    servers = ("edge-1", "edge-2", "sock")
    argv = lab.fleet_argv("log", "--follow", "--tail", "5", "--release-every", "1s", "-o", "ndjson", *servers)
    with following(argv, lab.environment(), tmp_path) as fleet:
        fleet.attached(3)
        for server in servers:
            # It is our turn when fleet releases the one session; fleet is back when we have gone.
            other = Conversation(lab.servers[server].management)
            before = other.ask("state")
            assert other.ask("signal SIGUSR1").startswith("SUCCESS")
            wait_until(
                f"{server} has restarted",
                lambda other=other, before=before: (state := other.ask("state")) != before and ",CONNECTED," in state,
            )
            time.sleep(1.5)  # so long that fleet waits in front of the interface
            other.close()
        lab.wait_for_clients(*servers)

        def is_told() -> bool:
            texts = [(event["server"], event["data"].get("text", "")) for event in fleet.events]
            return all(
                sum(where == server and "Initialization Sequence Completed" in text for where, text in texts) >= 1
                for server in servers
            )

        wait_until("the restarts are told", is_told)
        assert fleet.end() == 130
        events = fleet.events
    assert {event["type"] for event in events} == {"LOG"}  # no gap
    for server in servers:
        shown = [event["data"]["text"] for event in events if event["server"] == server]
        assert len(shown) > 40
        assert sum("SIGUSR1[" in text and "received" in text for text in shown) == 1
        assert is_part_of(shown, lines_of(lab.servers[server].log))
    assert "- " not in re.sub(r"^the one .*$", "", fleet.stderr, flags=re.MULTILINE)


@pytest.mark.usefixtures("every_client")
def test_no_line_is_lost_or_repeated_over_a_restart_in_one_session(lab: Lab, tmp_path: Path) -> None:
    daemon = lab.servers["gw/tcp"]
    with following(
        lab.fleet_argv("log", "--follow", "--tail", "5", "-o", "ndjson", "gw/tcp"), lab.environment(), tmp_path
    ) as fleet:
        fleet.attached(1)
        os.kill(lab.daemon_pid("gw/tcp"), signal.SIGUSR1)
        wait_until(
            "the clients are back",
            lambda: (
                sum("Peer Connection Initiated" in event["data"]["text"] for event in after_the_restart(fleet.events))
                >= len(daemon.client_names)
            ),
        )
        assert fleet.end() == 130
        shown = [event["data"]["text"] for event in fleet.events]
    assert is_part_of(shown, lines_of(daemon.log))


def after_the_restart(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max((n for n, event in enumerate(events) if "SIGUSR1[" in event["data"]["text"]), default=len(events))
    return events[last:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_log_level_is_put_back(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    servers = ("edge-1", "sock", "vault", "inner")
    assert [lab.ask(server, "verb") for server in servers] == ["SUCCESS: verb=3\n"] * 4
    argv = lab.fleet_argv("log", "--follow", "--verb", "5", "--yes", "-l", ",".join(servers))
    with following(argv, lab.environment(), tmp_path) as fleet:
        fleet.attached(4)
        wait_until("more is logged", lambda: fleet.stdout.count("CMD 'verb 5'") >= 4)
        assert fleet.end(number) == 130
    assert [lab.ask(server, "verb") for server in servers] == ["SUCCESS: verb=3\n"] * 4


@pytest.mark.usefixtures("every_client")
def test_a_client_that_comes_is_one_event(lab: Lab, tmp_path: Path) -> None:
    argv = lab.fleet_argv("events", "--type", "CLIENT", "-o", "ndjson", "edge-2")
    with following(argv, lab.environment(), tmp_path) as fleet:
        fleet.attached(1)
        os.kill(lab._processes.pid("edge-2 client 3"), signal.SIGUSR1)
        wait_until("it is told", lambda: fleet.events)
        assert fleet.end() == 130
        (event,) = fleet.events
    assert (event["type"], event["server"], event["data"]["kind"]) == ("CLIENT", "edge-2", "ESTABLISHED")
    assert event["data"]["environment"]["common_name"] == "laptop-1"
    assert event["data"]["environment"]["trusted_ip"] == "127.0.0.1"


class Asking(Management):
    """A management interface whose client is asked to admit each VPN client."""

    @property
    def directive(self) -> str:
        return f"{super().directive}\nmanagement-client-auth\nauth-user-pass-optional"


@contextmanager
def asking_server(folder: Path) -> Iterator[tuple[VPN, Processes, Daemon]]:
    with ExitStack() as stack:
        processes = stack.enter_context(Processes())
        ports = FreePorts()
        vpn = VPN(folder / "vpn", processes, pki.Authority(folder / "pki"), tun_prefix=f"ask{os.getpid() % 10**6}n")
        management = Asking(("127.0.0.1", ports.take()))
        daemon = vpn.start_server("asking", "tcp", ports.take(), management, ("alice",))
        vpn.wait_for_server(daemon)
        yield vpn, processes, daemon


def test_a_client_that_leaves_is_one_event_where_the_daemon_tells(tmp_path: Path) -> None:
    """Only daemons with management-client-auth say so; `events` there wants --force, and who comes waits."""
    with asking_server(tmp_path) as (vpn, processes, daemon):
        admitting = Conversation(daemon.management)
        vpn.start_clients(daemon)
        while not (line := admitting._line()).startswith(">CLIENT:CONNECT,"):
            pass
        client_id, key_id = line.removeprefix(">CLIENT:CONNECT,").split(",")
        while admitting._line() != ">CLIENT:ENV,END":
            pass
        assert admitting.ask(f"client-auth-nt {client_id} {key_id}").startswith("SUCCESS")
        while not admitting._line().startswith(">CLIENT:ESTABLISHED,"):
            pass
        admitting.close()
        inventory = tmp_path / "inventory.yaml"
        inventory.write_text(
            f'all: {{hosts: {{asking: {{connection: local, management: "{daemon.management}", exclusive: true}}}}}}\n'
        )
        environment = {**os.environ, "FLEET_INVENTORY": str(inventory)}
        argv = Lab(tmp_path).fleet_argv("events", "--type", "CLIENT", "-o", "ndjson")
        del argv[1:3]  # --ssh-config: there is no SSH here
        refused = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "marked as exclusive" in refused.stderr
        with following([*argv, "--force"], environment, tmp_path) as fleet:
            fleet.attached(1)
            processes.stop("asking client 1")
            wait_until("that alice has left is told", lambda: len(fleet.events) == 1)
            vpn.start_clients(replace(daemon, client_names=("bob",)))
            wait_until("that bob waits is told", lambda: len(fleet.events) == 2)
            assert fleet.end() == 130
            left, asks = fleet.events
    assert (left["data"]["kind"], left["data"]["environment"]["common_name"]) == ("DISCONNECT", "alice")
    assert int(left["data"]["environment"]["bytes_received"]) > 0
    assert (asks["data"]["kind"], asks["data"]["environment"]["common_name"]) == ("CONNECT", "bob")
    assert "asks its management client to admit users" in fleet.stderr


@pytest.mark.usefixtures("every_client")
def test_a_sighup_resets_the_log_level_and_it_is_raised_again(lab: Lab, tmp_path: Path) -> None:
    argv = lab.fleet_argv("log", "--follow", "--tail", "0", "--verb", "5", "-l", "edge-1")
    with following(argv, lab.environment(), tmp_path) as fleet:
        fleet.attached(1)
        os.kill(lab.daemon_pid("edge-1"), signal.SIGHUP)
        read_again = "SIGHUP[hard,] received, process restarting"
        wait_until("it is raised again", lambda: "CMD 'verb 5'" in fleet.stdout.partition(read_again)[2])
        wait_until("it is up", lambda: "Initialization Sequence Completed" in fleet.stdout)
        assert fleet.end() == 130
    assert lab.ask("edge-1", "verb") == "SUCCESS: verb=3\n"


def test_log_follow_in_a_terminal(lab: Lab, tmp_path: Path) -> None:
    environment = {**lab.environment(), "TERM": "screen-256color"}
    with Tmux(tmp_path) as screen:
        screen.run(lab.fleet_argv("log", "--follow", "--verb", "4", "-l", "eu"), environment)
        screen.wait_for("This raises the log level of 3 servers")
        screen.line("y")
        screen.wait_for("+ edge-1")
        screen.wait_for("+ edge-2")
        screen.wait_for("+ sock")
        screen.wait_for("MANAGEMENT: CMD 'log on all'", times=3)
        assert re.search(r"^sock   \d\d:\d\d:\d\d D  MANAGEMENT: CMD 'log on all'", screen.text, re.MULTILINE)
        screen.type("C-c")
        screen.wait_for("interrupted: putting log levels back")
        assert screen.exit_status() == 130
    assert [lab.ask(server, "verb") for server in ("edge-1", "edge-2", "sock")] == ["SUCCESS: verb=3\n"] * 3
