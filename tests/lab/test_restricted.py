"""An SSH account that may do one thing only: open a channel to the management port (protocol-facts 11.11)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.following import following
from lab.lab import Lab
from lab.pki import new_ssh_key
from lab.processes import program, wait_until
from lab.sshd import Host

pytestmark = pytest.mark.lab

ACCOUNT = "nobody"
"""Every Debian has it, without a password, a home or a shell."""

ADDRESS = "127.0.9.18"


@dataclass(frozen=True, slots=True)
class Restricted:
    """The account, and the operator's files for it: the servers are `edge` and, at a port not allowed, `other`."""

    lab: Lab
    host: Host
    private_key: Path
    ssh_config: Path
    inventory: Path

    @property
    def own(self) -> tuple[str, ...]:
        """Options that win over the lab's."""
        return ("--ssh-config", str(self.ssh_config), "-i", str(self.inventory))


def permission(public: str, *endpoints: str) -> str:
    """The line of authorized_keys, as docs/howto/hardening.md has it."""
    opened = ",".join(f'permitopen="{endpoint}"' for endpoint in endpoints)
    return f'restrict,port-forwarding,{opened},permitlisten="localhost:1",command="/bin/false" {public}\n'


@pytest.fixture(scope="module")
def restricted(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Restricted:
    folder = tmp_path_factory.mktemp("restricted")
    private_key, keys = folder / "id_ed25519", folder / "authorized_keys"
    keys.write_text(permission(new_ssh_key(private_key), str(lab.servers["edge-1"].management)))
    options = [
        f"AllowUsers {ACCOUNT}",
        # The account cannot read files in the lab's folder, as it could in /etc/ssh.
        f"AuthorizedKeysCommand {program('cat')} {keys}",
        "AuthorizedKeysCommandUser root",
    ]
    hosts = lab.sshd.start("restricted", lab.ssh_port, [ADDRESS], options, lets_in=False)
    host = hosts[ADDRESS]
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(host.known_hosts_line)
    ssh_config = folder / "ssh_config"
    ssh_config.write_text(f"Host *\n    UserKnownHostsFile {known_hosts}\n    GlobalKnownHostsFile /dev/null\n")
    settings = {"ssh_host": ADDRESS, "ssh_port": lab.ssh_port, "ssh_user": ACCOUNT, "private_key": str(private_key)}
    edge, other = lab.servers["edge-1"].management, lab.servers["edge-2"].management
    inventory = folder / "inventory.json"
    inventory.write_text(
        json.dumps(
            {"all": {"vars": settings, "hosts": {"host": {"management": {"edge": str(edge), "other": str(other)}}}}}
        )
    )
    return Restricted(lab, host, private_key, ssh_config, inventory)


def fleet(restricted: Restricted, *args: str) -> tuple[int, dict[str, dict[str, object]]]:
    run = restricted.lab.fleet(*args, "--json", *restricted.own)
    assert run.stdout, run.stderr
    return run.exit_status, run.outcomes()


def test_status_of_what_is_permitted_and_of_what_is_not(restricted: Restricted) -> None:
    restricted.lab.wait_for_clients("edge-1")
    status, outcomes = fleet(restricted, "status")
    assert status == 4
    assert outcomes["host/edge"]["result"]["nclients"] == 3  # type: ignore[index]  # JSON
    assert outcomes["host/other"]["error"]["code"] == "forwarding-refused"  # type: ignore[index]  # JSON


def test_kill_works_and_is_seen_to(restricted: Restricted) -> None:
    row = restricted.lab.client("edge-1", "Client With Space")
    status, outcomes = fleet(restricted, "kill", "Client With Space", "-l", "host/edge")
    assert status == 0
    assert outcomes["host/edge"]["result"]["killed"] == 1  # type: ignore[index]  # JSON
    restricted.lab.wait_until_gone("edge-1", row)
    restricted.lab.wait_for_clients("edge-1")


def test_the_log_is_followed(restricted: Restricted, tmp_path: Path) -> None:
    lab = restricted.lab
    argv = lab.fleet_argv("log", "--follow", "--tail", "0", "-o", "ndjson", "host/edge", *restricted.own)
    with following(argv, lab.environment(), tmp_path) as fleet:
        fleet.attached(1)
        os.kill(lab._processes.pid("edge-1 client 1"), signal.SIGUSR1)
        wait_until(
            "it is told", lambda: any("Peer Connection Initiated" in event["data"]["text"] for event in fleet.events)
        )
        assert fleet.end() == 130
    assert {event["server"] for event in fleet.events} == {"host/edge"}
    lab.wait_for_clients("edge-1")


def test_nothing_else_is_let_through(restricted: Restricted) -> None:
    argv = [program("ssh"), "-F", str(restricted.ssh_config), "-i", str(restricted.private_key)]
    argv += ["-o", "BatchMode=yes", "-o", "IdentityAgent=none", "-p", str(restricted.host.port), f"{ACCOUNT}@{ADDRESS}"]
    ran = subprocess.run([*argv, "id"], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert "uid=" not in ran.stdout  # the forced command and the shell of the account see to it
    # The text counts, not what it means: the same port by another name is another one.
    port = restricted.lab.servers["edge-1"].management.endpoint[1]
    other = subprocess.run([*argv, "-W", f"localhost:{port}"], capture_output=True, text=True, timeout=30, check=False)
    assert other.returncode != 0
    assert "administratively prohibited" in other.stderr
