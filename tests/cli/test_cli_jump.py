"""-J with a name of the inventory, from the command line to the connection."""

from __future__ import annotations

from cli.harness import Fleet, daemon
from fleet.demo.farm import Farm


def test_a_jump_host_by_its_name_in_the_inventory(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("bastion")
    farm.add("inner", daemon(), jump="bastion")
    fleet.start(farm)
    assert fleet.thread is not None
    text = fleet.thread.workspace.inventory.read_text("utf-8")
    fleet.inventory("\n".join(line for line in text.splitlines() if "jump:" not in line))
    ran = fleet("ping", "-J", "bastion", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert fleet.farm.hosts["bastion"].logins == 1
    shown = {
        setting["name"]: setting
        for setting in fleet("-J", "bastion", "inventory", "show", "inner", "--json").document["way"]
    }
    assert shown["jump"]["origin"] == "-J"
    assert shown["jump"]["value"].endswith(f"@127.0.0.1:{farm.hosts['bastion'].port}")
