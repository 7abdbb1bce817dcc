"""What `fleet usage` says of real daemons whose clients are sent known numbers of bytes, over a restart and a kill."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from lab.lab import Lab
from lab.processes import wait_until

pytestmark = pytest.mark.lab

PACKETS = 100
LENGTH = 1000  # bytes of a packet
OVERHEAD = 24  # that the data channel adds to one: opcode and peer ID, packet ID, tag of AES-256-GCM
PACKET_BYTES = PACKETS * (LENGTH + OVERHEAD)
HANDSHAKES = 60_000  # more than two of them send, with some minutes of keepalive; less than PACKET_BYTES

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ETH_P_IP = 0x0800


def send_to(lab: Lab, server: str, common_name: str) -> None:
    """Packets for the client's tunnel address, on the server's own tun device, until the daemon has sent them."""
    row = lab.client(server, common_name)
    config = lab.servers[server].log.with_suffix(".conf").read_text()
    device = next(line.split()[1] for line in config.splitlines() if line.startswith("dev "))
    source, target = socket.inet_aton("10.0.0.1"), socket.inet_aton(row["Virtual Address"])
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, LENGTH, 0, 0, 64, 17, 0, source, target)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as tun:
        request = struct.pack("16sH14x", device.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(tun, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(tun, SIOCSIFFLAGS, struct.pack("16sH14x", device.encode(), flags | IFF_UP))
        tun.bind((device, ETH_P_IP))
        for _ in range(PACKETS):
            tun.send(header.ljust(LENGTH, b"x"))
        wanted = int(row["Bytes Sent"]) + PACKET_BYTES
        wait_until(
            f"{common_name} was sent everything", lambda: int(lab.client(server, common_name)["Bytes Sent"]) >= wanted
        )
        fcntl.ioctl(tun, SIOCSIFFLAGS, struct.pack("16sH14x", device.encode(), flags))


def collect(lab: Lab, database: Path) -> dict[str, Any]:
    run = lab.installed("collect", "edge-[1:2]", "--db", str(database), "-o", "json")
    assert run.exit_status == 0, run.stderr
    return {name: server["result"] for name, server in run.outcomes().items()}


def usage(lab: Lab, database: Path, *args: str) -> list[Any]:
    run = lab.installed("usage", "--db", str(database), *args, "-o", "json")
    assert run.exit_status == 0, run.stderr
    rows = run.json()["rows"]
    assert isinstance(rows, list)
    return rows


def test_totals_agree_with_the_daemons_over_a_restart_and_a_kill(lab: Lab, tmp_path: Path) -> None:
    database = tmp_path / "usage.sqlite"
    lab.wait_for_clients("edge-1", "edge-2")
    before = int(lab.client("edge-1", "Test-Client")["Bytes Sent"])
    samples = [collect(lab, database)]
    assert {one["result"] for one in samples[0].values()} == {"first sample"}

    send_to(lab, "edge-1", "Test-Client")
    samples.append(collect(lab, database))

    state = lab.ask("edge-1", "state")
    assert lab.fleet("signal", "SIGUSR1", "-l", "edge-1", "--yes").exit_status == 0
    lab.wait_for_restart("edge-1", state)
    lab.wait_for_clients("edge-1")
    killed = lab.client("edge-2", "laptop-1")
    assert lab.ask("edge-2", f"client-kill {killed['Client ID']}").startswith("SUCCESS")
    lab.wait_until_gone("edge-2", killed)
    lab.wait_for_clients("edge-2")
    send_to(lab, "edge-1", "Test-Client")
    samples += [collect(lab, database), collect(lab, database)]

    assert all(one["result"] == "recorded" for sample in samples[1:] for one in sample.values())
    servers = {row["server"]: row for row in usage(lab, database, "--by", "server")}
    for name, row in servers.items():
        for way, total in (("in", row["bytes_received"]), ("out", row["bytes_sent"])):
            first, last = samples[0][name], samples[-1][name]
            assert total == first[f"added_{way}"] + last[f"bytes_{way}"] - first[f"bytes_{way}"]
    clients = usage(lab, database)
    assert sum(row["bytes_total"] for row in clients) == sum(row["bytes_total"] for row in servers.values())
    by_name = {row["client"]: row for row in clients if not row["unattributed"]}
    assert set(by_name) == {*lab.client_names["edge-1"], *lab.client_names["edge-2"]}
    sent = by_name["Test-Client"]["bytes_sent"] - before
    assert 2 * PACKET_BYTES <= sent < 2 * PACKET_BYTES + HANDSHAKES
    assert (by_name["Test-Client"]["sessions"], by_name["laptop-1"]["sessions"]) == (2, 2)
    assert servers["edge-1"]["bytes_unattributed"] < HANDSHAKES
