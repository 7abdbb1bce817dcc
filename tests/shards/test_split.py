"""How many shards there are, and who is in which."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.cli.options import Options
from fleet.cli.workers import workers_of
from fleet.errors import InventoryError, RefusedError
from fleet.inventory.model import PasswordFile, Server, SSHSettings, TCPEndpoint
from fleet.operations.status import STATUS
from fleet.shards.shard import Asking, Home, Shard, at_home
from fleet.shards.split import portions, split, workers_for
from fleet.transport import SSHOptions


def server(name: str, host: str | None = None, port: int = 7505) -> Server:
    return Server(name, host or name, SSHSettings(host or name), TCPEndpoint("127.0.0.1", port))


@pytest.mark.parametrize(
    ("servers", "cpus", "workers"),
    [(1, 8, 1), (999, 8, 1), (1000, 8, 2), (1000, 1, 1), (1200, 8, 3), (10_000, 8, 8), (10_000, 64, 25)],
)
def test_few_servers_are_asked_by_one_process(servers: int, cpus: int, workers: int) -> None:
    assert workers_for(servers, cpus) == workers


def test_a_system_that_does_not_tell_which_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # macOS has none
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert workers_of(Options(), 10_000) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert workers_of(Options(), 10_000) == 1


def test_neighbours_are_in_different_shards_and_each_server_in_one() -> None:
    servers = [server(f"edge-{number}") for number in range(7)]
    first, second, third = split(servers, 3)
    assert [one.name for one in first] == ["edge-0", "edge-3", "edge-6"]
    assert sorted(one.name for one in (*first, *second, *third)) == sorted(one.name for one in servers)


def test_daemons_of_a_host_stay_together_however_it_is_spelled() -> None:
    servers = [server("gw/udp", "gw"), server("edge"), server("gw/tcp", "GW", 7506)]
    assert [[one.name for one in shard] for shard in split(servers, 3)] == [["gw/udp", "gw/tcp"], ["edge"]]


def test_forks_are_shared_out() -> None:
    assert portions(64, 3) == [22, 21, 21]
    assert portions(1, 3) == [1, 1, 1]


def shard_of(servers: tuple[Server, ...], home: Home | None) -> Shard:
    asking = Asking(STATUS.perform, False, SSHOptions(), 1.0, 1.0, None, 0.0, 0.0, "fleet status", home)  # type: ignore[arg-type] # a coroutine function
    return Shard(asking, servers, 1)


def test_without_an_inventory_there_the_operators_servers_are_taken(tmp_path: Path) -> None:
    servers = (server("edge"),)
    assert at_home(shard_of(servers, None)) == servers
    assert at_home(shard_of(servers, Home((str(tmp_path / "none.yaml"),)))) == servers


def test_an_inventory_there_says_the_way(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("all: {hosts: {edge: {ssh_host: 192.0.2.7, ssh_user: theirs, management: '127.0.0.1:7505'}}}\n")
    (found,) = at_home(shard_of((server("edge"),), Home((str(path),), run="first")))
    assert found.ssh == SSHSettings("192.0.2.7", user="theirs")
    with pytest.raises(RefusedError, match="has no server other, and 1 more"):
        at_home(shard_of((server("other"), server("another")), Home((str(path),), run="first")))
    path.write_text("all: [\n")
    with pytest.raises(InventoryError):
        at_home(shard_of((server("edge"),), Home((str(path),), run="second")))


def test_secrets_are_looked_for_where_the_servers_are_asked(tmp_path: Path) -> None:
    locked = replace(server("edge"), password=PasswordFile(tmp_path / "none"))
    with pytest.raises(RefusedError, match="none"):
        at_home(shard_of((locked,), Home(("/nowhere/inventory.yaml",))))
