"""Whether the rest of a group can take the clients of a batch, from what the inventory says of places."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.inventory.load import load
from fleet.inventory.model import Inventory
from fleet.operations.capacity import Groups, Neighbourhood, Shortage, group_of, shortages

INVENTORY = """\
all:
  vars: {management: "127.0.0.1:7505"}
  hosts:
    lonely: {max_clients: 10}
  children:
    europe:
      children:
        eu-west:
          hosts:
            edge-1: {max_clients: 100}
            edge-2: {max_clients: 100}
            edge-3: {}
        eu-east:
          hosts:
            east-1: {}
            east-2: {}
    big:
      hosts: {edge-1: {}, edge-2: {}, edge-3: {}, east-1: {}}
    pair:
      hosts: {gw: {max_clients: 5}, edge-3: {}}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY, "utf-8")
    return load(str(path))


@pytest.mark.parametrize(
    ("server", "group"),
    [
        ("edge-1", "eu-west"),  # smaller than europe and big
        ("east-2", "eu-east"),
        ("edge-3", "pair"),
        ("lonely", "all"),
    ],
)
def test_the_group_of_a_server(inventory: Inventory, server: str, group: str) -> None:
    (found,) = [one for one in inventory.servers if one.name == server]
    assert group_of(found, inventory) == group


def leaving(inventory: Inventory, *names: str) -> list[Neighbourhood]:
    in_order = [server.name for server in inventory.servers if server.name in names]
    return Groups(inventory).neighbourhoods(in_order)


def test_a_group_of_which_nothing_is_known_is_not_guarded(inventory: Inventory) -> None:
    (found,) = leaving(inventory, "edge-1", "east-1")
    assert found.group == "eu-west"
    assert [server.name for server in found.leaving] == ["edge-1"]
    assert [server.name for server in found.staying] == ["edge-2", "edge-3"]


@pytest.mark.parametrize(
    ("batch", "clients", "shortage"),
    [
        ({"edge-1"}, {"edge-1": 60, "edge-2": 40, "edge-3": 7}, None),  # just enough
        ({"edge-1"}, {"edge-1": 61, "edge-2": 40}, Shortage("eu-west", ("edge-1",), 61, 60, ("edge-3",))),
        ({"edge-1"}, {"edge-1": 1, "edge-2": 130}, Shortage("eu-west", ("edge-1",), 1, 0, ("edge-3",))),
        ({"edge-1"}, {"edge-1": 1, "edge-2": None}, Shortage("eu-west", ("edge-1",), 1, 0, ("edge-2", "edge-3"))),
        ({"edge-1"}, {"edge-1": None, "edge-2": 99}, None),  # nothing is known of it that could be dropped
        (
            {"edge-1", "edge-2"},
            {"edge-1": 1, "edge-2": 1},
            Shortage("eu-west", ("edge-1", "edge-2"), 2, 0, ("edge-3",)),
        ),
        ({"edge-1", "edge-2"}, {"edge-1": 0, "edge-2": 0}, None),  # nobody is dropped
        ({"east-1"}, {"east-1": 500}, None),
    ],
)
def test_shortages(
    inventory: Inventory, batch: set[str], clients: dict[str, int | None], shortage: Shortage | None
) -> None:
    found = shortages(leaving(inventory, *batch), clients)
    assert found == ([] if shortage is None else [shortage])


def test_a_server_that_is_alone_in_its_group_is_not_guarded(tmp_path: Path) -> None:
    path = tmp_path / "alone.yaml"
    path.write_text('all: {hosts: {gw: {management: "127.0.0.1:7505", max_clients: 5}}}', "utf-8")
    assert leaving(load(str(path)), "gw") == []


def test_each_group_has_to_do_with_its_own(inventory: Inventory) -> None:
    clients = {"edge-1": 100, "edge-2": 10, "edge-3": 7, "gw": 5}
    found = shortages(leaving(inventory, "edge-1", "edge-3", "gw"), clients)
    assert [(short.group, short.servers, short.clients, short.free) for short in found] == [
        ("eu-west", ("edge-1",), 100, 90),
        ("pair", ("edge-3", "gw"), 12, 0),
    ]
