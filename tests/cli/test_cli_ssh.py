"""The options of the way: -F, --user, --private-key and -J, from the command line and from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.harness import Fleet, daemon
from fleet.demo.farm import Farm, KnownKey


@pytest.fixture
def behind(fleet: Fleet) -> Fleet:
    """A server behind a jump host that the inventory does not name; neither key nor user stands there."""
    farm = Farm()
    farm.add("bastion")
    farm.add("inner", daemon(), jump="bastion")
    fleet.start(farm)
    assert fleet.thread is not None
    workspace = fleet.thread.workspace
    drop = ("jump:", "private_key", "ssh_user")
    lines = workspace.inventory.read_text().splitlines()
    fleet.inventory("\n".join(line for line in lines if not any(word in line for word in drop)))
    with workspace.ssh_config.open("a") as file:
        file.write(f"  IdentityFile {workspace.private_key}\n")
    return fleet


def test_a_jump_host_of_the_command_line(behind: Fleet) -> None:
    jump = f"demo@127.0.0.1:{behind.farm.hosts['bastion'].port}"
    ran = behind("ping", "-J", jump, "--user", "demo", "--json")
    (server,) = ran.document["servers"]
    assert (ran.status, server["result"]["dns"]) == (0, None)
    assert behind.farm.hosts["bastion"].logins == 1
    behind.set("FLEET_JUMP", jump)
    behind.set("FLEET_USER", "demo")
    assert behind("ping").status == 0
    assert behind.farm.hosts["bastion"].logins == 2
    assert behind("-J", "none", "ping").status == 0  # the environment is weaker; the farm's hosts can all be reached
    assert behind.farm.hosts["bastion"].logins == 2


def test_the_user_and_the_key_of_the_command_line(behind: Fleet, tmp_path: Path) -> None:
    assert behind.thread is not None
    key = behind.thread.workspace.private_key.rename(tmp_path / "moved")
    refused = behind("ping", "--user", "demo")
    assert refused.status == 4
    assert "auth-failed: inner: user demo was not let in" in refused.err
    assert behind("ping", "--user", "demo", "--private-key", str(key)).status == 0
    refused = behind("ping", "--user", "somebody", "--private-key", str(key))
    assert "user somebody was not let in" in refused.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-J", "a:b"), "-J a:b: 'a:b' is not [user@]host[:port]"),
        (("--private-key", "/no/such/key"), "--private-key /no/such/key cannot be read: No such file or directory"),
        (("-F", "/no/such/config"), "/no/such/config cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(behind: Fleet, args: tuple[str, ...], words: str) -> None:
    ran = behind("ping", *args)
    assert ran.status == 2
    assert words in ran.err
    assert behind.farm.hosts["inner"].connections == 0


def test_no_ssh_config_at_all(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("edge-1", daemon())
    farm.add("stranger", daemon(), known_key=KnownKey.UNKNOWN)
    fleet.start(farm)
    ran = fleet("-F", "none", "ping", "--json")
    assert [server["result"]["result"] for server in ran.document["servers"]] == ["CONNECTED", "host-key-unknown"]
