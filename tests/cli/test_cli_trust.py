"""`fleet trust`: host keys are fetched, shown, asked for and added to known_hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.harness import Fleet, Result, daemon
from fleet.demo.farm import Farm, KnownKey, Reach

Typed = Callable[..., Result]


def a_farm() -> Farm:
    """A host that is known, two that are not, one of these behind a jump host that is not known either."""
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("bastion", known_key=KnownKey.UNKNOWN)
    farm.add("inner", daemon(), jump="bastion", known_key=KnownKey.UNKNOWN)
    farm.add("gw", {"udp": ("127.0.0.1:7505", daemon()), "tcp": ("127.0.0.1:7506", daemon())})
    farm.hosts["gw"].known_key = KnownKey.UNKNOWN
    return farm


@pytest.fixture
def trusting(fleet: Fleet) -> Fleet:
    """fleet whose inventory pins nothing."""
    return unpinned(fleet, a_farm())


def unpinned(fleet: Fleet, farm: Farm) -> Fleet:
    fleet.start(farm)
    assert fleet.thread is not None
    text = fleet.thread.workspace.inventory.read_text()
    fleet.inventory("\n".join(line for line in text.splitlines() if "host_keys" not in line))
    return fleet


def known_hosts(fleet: Fleet) -> Path:
    assert fleet.thread is not None
    return fleet.thread.workspace.known_hosts


def fingerprint(fleet: Fleet, host: str) -> str:
    key = fleet.farm.hosts[host].host_key
    assert key is not None
    return key.get_fingerprint()


def entry(fleet: Fleet, host: str) -> str:
    return f"[127.0.0.1]:{fleet.farm.hosts[host].port}"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """A command line of somebody at a terminal, who types this."""

    def run(fleet: Fleet, answer: str, *args: str) -> Result:
        master, slave = os.openpty()
        with os.fdopen(slave, "r") as stdin, monkeypatch.context() as patch:
            os.write(master, answer.encode())
            patch.setattr(sys, "stdin", stdin)
            result = fleet(*args)
        os.close(master)
        return result

    return run


def test_what_is_not_known_is_added_and_then_used(trusting: Fleet) -> None:
    before = known_hosts(trusting).read_text()
    assert trusting("status", "inner", "gw").status == 4
    ran = trusting("trust", "--yes", "--json")
    assert ran.status == 0, ran.err
    servers = {server["name"]: server["result"] for server in ran.document["servers"]}
    assert {name: result["result"] for name, result in servers.items()} == {
        "edge-1": "known",
        "inner": "added",
        "gw/udp": "added",
        "gw/tcp": "added",
    }
    assert servers["inner"]["host"] == entry(trusting, "inner")
    assert servers["inner"]["fingerprint"] == fingerprint(trusting, "inner")
    (jump,) = servers["inner"]["jump_hosts"]
    assert (jump["host"], jump["fingerprint"]) == (entry(trusting, "bastion"), fingerprint(trusting, "bastion"))
    after = known_hosts(trusting).read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 3  # two daemons of gw are one host
    assert re.search(rf"gw/udp gw/tcp.*{re.escape(fingerprint(trusting, 'gw'))}", ran.err)
    assert trusting("status", "inner", "gw").status == 0
    again = trusting("trust")  # nobody has to be asked where all is known
    assert (again.status, known_hosts(trusting).read_text()) == (0, after)


def test_a_person_is_asked(trusting: Fleet, typed: Typed) -> None:
    before = known_hosts(trusting).read_text()
    refused = typed(trusting, "n\n", "trust", "gw")
    assert refused.status == 2
    assert f"Add it to {known_hosts(trusting)}? [y/N]" in refused.err
    assert "not confirmed: nothing was added" in refused.err
    assert known_hosts(trusting).read_text() == before
    agreed = typed(trusting, "y\n", "trust", "gw")
    assert agreed.status == 0
    assert agreed.out.split("\n")[1].split() == [
        *("gw/udp", entry(trusting, "gw"), "ssh-ed25519", fingerprint(trusting, "gw"), "added"),
    ]
    assert len(known_hosts(trusting).read_text().splitlines()) == len(before.splitlines()) + 1


def test_behind_a_jump_host_it_is_asked_twice(trusting: Fleet, typed: Typed) -> None:
    half = typed(trusting, "y\nn\n", "trust", "inner")
    assert half.status == 2
    assert "not confirmed: nothing more was added" in half.err
    text = known_hosts(trusting).read_text()
    assert entry(trusting, "bastion") in text
    assert entry(trusting, "inner") not in text


@pytest.mark.parametrize("args", [("trust", "gw"), ("--readonly", "trust", "gw", "--yes"), ("trust", "--watch=2s")])
def test_what_is_refused(trusting: Fleet, args: tuple[str, ...]) -> None:
    before = known_hosts(trusting).read_text()
    ran = trusting(*args)
    assert ran.status == 2
    assert any(words in ran.err for words in ("no terminal to ask at", "read-only", "leave --watch out"))
    assert known_hosts(trusting).read_text() == before


def test_a_dry_run_shows_and_adds_nothing(trusting: Fleet) -> None:
    before = known_hosts(trusting).read_text()
    ran = trusting("trust", "gw", "edge-1", "--dry-run", "--json")
    assert ran.status == 0
    assert [server["result"]["result"] for server in ran.document["servers"]] == ["known", "new", "new"]
    assert known_hosts(trusting).read_text() == before
    behind = trusting("trust", "inner", "--dry-run")
    assert behind.status == 4
    assert "jump host 127.0.0.1: the host key is not in any known_hosts file" in behind.err


def test_a_changed_key_is_replaced_only_where_that_is_said(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("rebuilt", daemon(), known_key=KnownKey.CHANGED)
    unpinned(fleet, farm)
    status = fleet("status", "rebuilt")
    assert "try: if the host was rebuilt: fleet trust rebuilt --replace" in status.err
    before = known_hosts(fleet).read_text()
    left = fleet("trust", "--yes")
    assert left.status == 4
    assert f"differs from the one in {known_hosts(fleet)}:2" in left.err
    assert "fleet trust rebuilt --replace" in left.err
    assert known_hosts(fleet).read_text() == before
    ran = fleet("trust", "--replace", "--yes", "--json")
    assert ran.status == 0
    result = ran.document["servers"][1]["result"]
    assert result["result"] == "replaced"
    assert len(result["replaced"]) == 1
    after = known_hosts(fleet).read_text().splitlines()
    assert (len(after), after[0]) == (2, before.splitlines()[0])
    assert fleet("status").status == 0


def test_a_pin_of_the_inventory_decides(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("rebuilt", daemon(), known_key=KnownKey.CHANGED)
    fleet.start(farm)
    ran = fleet("trust", "--replace", "--yes", "--json")
    first, second = ran.document["servers"]
    assert (ran.status, first["result"]["result"], second["error"]["code"]) == (4, "pinned", "host-key-changed")
    assert "not one that the inventory pins" in second["error"]["message"]
    (kind, rest) = ("ssh-ed25519", fingerprint(fleet, "edge-1"))
    assert (first["result"]["type"], first["result"]["fingerprint"]) == (kind, rest)


def test_who_cannot_be_reached_is_an_outcome(fleet: Fleet) -> None:
    farm = a_farm()
    farm.add("down", daemon(), reach=Reach.DOWN)
    farm.hosts["bastion"].reach = Reach.DOWN
    unpinned(fleet, farm)
    ran = fleet("trust", "--yes", "--json")
    assert ran.status == 4
    assert {server["name"]: (server["error"] or {}).get("code") for server in ran.document["servers"]} == {
        "edge-1": None,
        "inner": "jump-failed",
        "gw/udp": None,
        "gw/tcp": None,
        "down": "connect-refused",
    }


def test_the_users_own_file_is_made_and_hashed_as_ssh_would(trusting: Fleet) -> None:
    assert trusting.thread is not None
    config = trusting.thread.workspace.ssh_config
    config.write_text("Host *\n  HashKnownHosts yes\n  UserKnownHostsFile ~/.ssh/known_hosts\n")
    ran = trusting("trust", "gw/udp", "--yes")
    assert ran.status == 0, ran.err
    file = Path.home() / ".ssh" / "known_hosts"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    (line,) = file.read_text().splitlines()
    assert line.startswith("|1|")
    found = subprocess.run(
        ["ssh-keygen", "-F", entry(trusting, "gw"), "-l", "-f", str(file)], capture_output=True, text=True, check=True
    )
    assert fingerprint(trusting, "gw") in found.stdout
    assert trusting("status", "gw/udp").status == 0


def test_no_file_to_add_to(trusting: Fleet) -> None:
    assert trusting.thread is not None
    trusting.thread.workspace.ssh_config.write_text("Host *\n  UserKnownHostsFile none\n")
    ran = trusting("trust", "gw", "--yes")
    assert ran.status == 4
    assert "ssh_config names no file for the key of" in ran.err


def test_a_file_that_cannot_be_written(trusting: Fleet, tmp_path: Path) -> None:
    assert trusting.thread is not None
    (tmp_path / "file").write_text("")
    trusting.thread.workspace.ssh_config.write_text(f"Host *\n  UserKnownHostsFile {tmp_path}/file/known_hosts\n")
    ran = trusting("trust", "gw", "--yes")
    assert ran.status == 2
    assert f"{tmp_path}/file/known_hosts cannot be written: " in ran.err


def test_servers_of_this_machine_and_the_list(trusting: Fleet) -> None:
    assert trusting("trust", "gw", "--list-hosts").out == "gw/udp\ngw/tcp\n"
    trusting.inventory("all:\n  hosts:\n    here:\n      connection: local\n      management: 127.0.0.1:7505\n")
    ran = trusting("trust", "--json")
    assert (ran.status, ran.document["servers"][0]["result"]["result"]) == (0, "local")
