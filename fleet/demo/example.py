"""The fleet of `fleet demo`: six servers, a bastion, some dozens of clients, one server down and one busy."""

from __future__ import annotations

from fleet.demo.clients import SimulatedClient, believable_clients
from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.farm import Farm, Reach

DAY = 86_400.0
BUSY = "edge-1.us.example.net"
DOWN = "edge-2.us.example.net"
BASTION = "bastion.eu.example.net"
GATEWAY = "gw.eu.example.net"
SERVERS = ("edge-1.eu.example.net", "edge-2.eu.example.net", f"{GATEWAY}/udp", f"{GATEWAY}/tcp", BUSY, DOWN)
TEST_CLIENT = "Test-Client"


def example_farm() -> Farm:
    """The farm, not started; `Farm.__getitem__` takes the names in SERVERS.

    `BUSY` is busy only after `await farm[BUSY].occupy()`.
    """
    farm = Farm()
    farm.add(BASTION, group="eu")
    farm.add(
        SERVERS[0],
        SimulatedDaemon(
            "2.6.14",
            clients=[_test_client("203.0.113.9", 11_520), *believable_clients(14, seed=1)],
            network="10.8.1.0/24",
            local="192.0.2.11,1194",
            uptime=12 * DAY + 11_000,
        ),
        group="eu",
    )
    farm.add(
        SERVERS[1],
        SimulatedDaemon(
            "2.4.12",
            clients=believable_clients(9, seed=2),
            network="10.8.2.0/24",
            local="192.0.2.12,1194",
            uptime=3 * DAY,
            password=b"demo, not a secret",
        ),
        group="eu",
    )
    farm.add(
        GATEWAY,
        {
            "udp": (
                "127.0.0.1:7505",
                SimulatedDaemon(
                    "2.7.6",
                    clients=[*_odd_names(), *believable_clients(6, seed=3, longest=250)],
                    network="10.8.3.0/24",
                    local="192.0.2.13,1194",
                    uptime=260.0,
                ),
            ),
            "tcp": (
                "/run/openvpn/tcp.sock",
                SimulatedDaemon(
                    "2.7.6",
                    protocol="tcp4-server",
                    clients=[_test_client("198.51.100.23", 240), *believable_clients(5, seed=4, longest=250)],
                    network="10.8.4.0/24",
                    local="192.0.2.13,443",
                    uptime=259.0,
                ),
            ),
        },
        group="eu",
        jump=BASTION,
    )
    farm.add(
        BUSY,
        SimulatedDaemon(
            "2.6.14",
            clients=believable_clients(8, seed=5),
            network="10.8.5.0/24",
            local="192.0.2.21,1194",
            uptime=30 * DAY,
        ),
        group="us",
    )
    farm.add(DOWN, SimulatedDaemon("2.6.14"), group="us", reach=Reach.DOWN)
    return farm


def _test_client(address: str, connected_for: float) -> SimulatedClient:
    received = int(connected_for * 900)
    return SimulatedClient(
        TEST_CLIENT,
        address,
        connected_for=connected_for,
        bytes_received=received,
        bytes_sent=received * 9,
        rate=900.0,
    )


def _odd_names() -> list[SimulatedClient]:
    """Names that every OpenVPN since 2.3 allows, and that a careless tool stumbles over."""
    names = ("Client With Space", "Doe, Jane", 'quo"te', "Zoë-Ünïcode-日本", "col:on")
    return [
        SimulatedClient(name, f"203.0.113.{100 + number}", connected_for=250, bytes_received=91_000, bytes_sent=640_000)
        for number, name in enumerate(names)
    ]
