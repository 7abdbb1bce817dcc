"""A folded range, given back to fleet as a pattern, selects the very servers it stands for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.model import Group, Inventory, Server, TCPEndpoint
from fleet.inventory.pattern import select
from fleet.render.fold import fold

ENDPOINT = TCPEndpoint("127.0.0.1", 7505)
EVERYONE = [
    *(f"edge-{n}" for n in range(30)),
    *(f"pad-{n:02d}.eu" for n in range(30)),
    *(f"gw{n}/{daemon}" for n in range(5) for daemon in ("udp", "tcp")),
]


def inventory() -> Inventory:
    servers = tuple(Server(name, name.split("/", maxsplit=1)[0], None, ENDPOINT) for name in EVERYONE)
    hosts = tuple(dict.fromkeys(server.host for server in servers))
    return Inventory("inventory.yaml", servers, {"all": Group("all", (), hosts, tuple(EVERYONE))})


FLEET = inventory()


@given(st.lists(st.sampled_from(EVERYONE), min_size=1, max_size=40))
def test_the_folded_names_select_the_same_servers(names: list[str]) -> None:
    selected = select(FLEET, fold(names), [])
    assert {server.name for server in selected} == set(names)
