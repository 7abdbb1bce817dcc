"""`fleet kill` and `fleet find` on real OpenVPN daemons and clients: gone for good, back, back elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.openvpn import Daemon
from lab.pki import write_private
from lab.processes import wait_until
from lab.unlocking import UnlockLab

pytestmark = pytest.mark.lab


class KillLab(UnlockLab):
    """Servers that take any username, and clients that come and go.

    Attributes:
        clients: those that were started, by name.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clients: dict[str, Daemon] = {}

    def open_server(self, name: str, protocol: str = "udp", *directives: str) -> Daemon:
        """A server that lets in whoever has a certificate, with a username or without."""
        directives = (
            "script-security 2",
            "auth-user-pass-verify /bin/true via-file",
            "auth-user-pass-optional",
            *directives,
        )
        daemon = self._vpn.start_server(
            name, protocol, self._ports.take(), self._management(), (), directives=directives
        )
        self._answering(daemon)
        self._vpn.wait_for_server(daemon)
        return daemon

    def vpn_client(self, name: str, server: Daemon, *directives: str, username: str | None = None) -> dict[str, str]:
        """A VPN client that is connected; its row on the server."""
        if username is not None:
            login = self.folder / f"{name}.login"
            write_private(login, f"{username}\nsecret\n".encode())
            directives = (*directives, f"auth-user-pass {login}")
        self.clients[name] = self._vpn.start_client_daemon(name, server, self._management(), directives)
        return wait_until(f"{name} is on {server.name}", lambda: self.row(server, name), log=self.clients[name].log)

    def second_client(self, name: str, server: Daemon) -> None:
        """Another VPN client with the name of one that runs already."""
        self._vpn.start_clients(replace(server, client_names=(name,)))
        wait_until(f"{name} is on {server.name}", lambda: self.row(server, name))

    def row(self, server: Daemon, name: str) -> dict[str, str] | None:
        rows = [row for row in server.clients() if row["Common Name"] == name]
        return rows[-1] if rows else None

    def ended(self, name: str) -> bool:
        """Whether the client's process is gone, within a few seconds."""
        self.daemons[name] = self.clients[name]
        try:
            return self.has_ended(name)
        finally:
            del self.daemons[name]


@pytest.fixture(scope="module")
def kill_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillLab]:
    with KillLab(tmp_path_factory.mktemp("kill")) as started:
        routes = started.folder / "routes"
        routes.mkdir()
        (routes / "site").write_text("iroute 10.77.0.0 255.255.0.0\niroute 10.77.3.0 255.255.255.0\n")
        (routes / "near").write_text("iroute 10.77.3.128 255.255.255.128\n")
        started.open_server("one", "udp", f"client-config-dir {routes}")
        started.open_server("two", "udp")
        started.open_server("three", "tcp")
        yield started


def killed(lab: KillLab, *args: str) -> Any:
    """The one client that was killed, and on which server."""
    run = lab.fleet("kill", *args, "--json")
    assert run.exit_status == 0, run.stderr + run.stdout
    ((name, client),) = [
        (name, client) for name, outcome in run.outcomes().items() for client in outcome["result"]["clients"]
    ]
    assert client["result"] == "killed"
    return name, client


def test_by_username_with_halt_it_is_gone_for_good(kill_lab: KillLab) -> None:
    one = kill_lab.daemons["one"]
    row = kill_lab.vpn_client("halted", one, username="bob")
    kill_lab.vpn_client("bystander", one, username="bobby")
    refused = kill_lab.fleet("kill", "--username", "bob", "--message", "HALT")
    assert refused.exit_status == 2  # nobody is there to ask
    preview = kill_lab.fleet("kill", "--username", "bob", "--message", "HALT,the office is closed", "--dry-run")
    assert f'client-kill {row["Client ID"]} "HALT,the office is closed"' in preview.stdout
    there = kill_lab.row(one, "halted")
    assert there is not None
    assert there["Client ID"] == row["Client ID"]
    server, client = killed(
        kill_lab, "--username", "bob", "--message", "HALT,the office is closed", "--verify", "2s", "-y"
    )
    assert (server, client["common_name"], client["username"]) == ("one", "halted", "bob")
    assert client["verified"] == {"fate": "gone", "server": None, "after": None}
    assert kill_lab.ended("halted")
    assert kill_lab.row(one, "bystander") is not None


def test_by_virtual_address_it_is_back(kill_lab: KillLab) -> None:
    two = kill_lab.daemons["two"]
    row = kill_lab.vpn_client("returning", two)
    server, client = killed(kill_lab, "--virtual-address", row["Virtual Address"], "-l", "two", "--verify", "20s", "-y")
    assert (server, client["common_name"]) == ("two", "returning")
    assert (client["verified"]["fate"], client["verified"]["server"]) == ("back", "two")


def test_by_client_id_it_is_back(kill_lab: KillLab) -> None:
    three = kill_lab.daemons["three"]
    row = kill_lab.vpn_client("numbered", three)
    server, client = killed(kill_lab, "--cid", row["Client ID"], "-l", "three", "--verify", "20s", "--yes")
    assert (server, client["common_name"], client["client_id"]) == ("three", "numbered", int(row["Client ID"]))
    assert (client["verified"]["fate"], client["verified"]["server"]) == ("back", "three")
    again = kill_lab.row(three, "numbered")
    assert again is not None
    assert again["Client ID"] != row["Client ID"]


def test_by_name_it_is_back_elsewhere_and_found_there_by_its_address(kill_lab: KillLab) -> None:
    one, two = kill_lab.daemons["one"], kill_lab.daemons["two"]
    row = kill_lab.vpn_client("roamer", one, f"remote 127.0.0.1 {two.port}")
    run = kill_lab.installed("kill", "roamer", "--message", "RESTART,[N],moved", "--verify", "20s")
    assert run.exit_status == 0, run.stderr
    assert "back on two after" in run.stdout
    assert run.stderr == "killed 1 session on 1 of 3 servers; 1 back\n"
    again = wait_until("roamer is on two", lambda: kill_lab.row(two, "roamer"))
    server, client = killed(kill_lab, "--real-address", again["Real Address"], "--verify", "1s", "-y")
    assert (server, client["common_name"]) == ("two", "roamer")
    assert row["Real Address"] != again["Real Address"]


def test_somebody_behind_a_client_is_found_by_the_longest_route(kill_lab: KillLab) -> None:
    one = kill_lab.daemons["one"]
    kill_lab.vpn_client("site", one)
    near = kill_lab.vpn_client("near", one)
    for address, name, route in (
        ("10.77.3.7", "site", "10.77.3.0/24"),
        ("10.77.9.9", "site", "10.77.0.0/16"),
        ("10.77.3.200", "near", "10.77.3.128/25"),
    ):
        run = kill_lab.fleet("find", address, "--json")
        assert run.exit_status == 0, run.stderr
        (client,) = run.outcomes()["one"]["result"]["clients"]
        assert (client["common_name"], client["matched_by"], client["route"]) == (name, "route", route)
        assert all(not run.outcomes()[other]["result"]["clients"] for other in ("two", "three"))
    table = kill_lab.fleet("find", near["Virtual Address"], "-l", "one").stdout
    assert table.splitlines()[1].split()[:3] == ["one", "near", near["Virtual Address"]]
    assert kill_lab.fleet("find", "10.78.0.1").exit_status == 1


def test_a_name_on_two_servers_is_pointed_out(kill_lab: KillLab) -> None:
    two, three = kill_lab.daemons["two"], kill_lab.daemons["three"]
    kill_lab.vpn_client("twin", two)
    kill_lab.second_client("twin", three)
    run = kill_lab.installed("find", "tw?n", "--json")
    also_on = {
        name: [client["also_on"] for client in outcome["result"]["clients"]] for name, outcome in run.outcomes().items()
    }
    assert also_on == {"one": [], "two": [["three"]], "three": [["two"]]}
    assert run.stderr == (
        "twin is connected twice from one address: an old session that has not timed out, or a shared certificate?\n"
    )
