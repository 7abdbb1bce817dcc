"""`top` and `--watch` on real terminals, while a real daemon goes down and comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab import pki
from lab.lab import ADDRESSES, Lab
from lab.openvpn import VPN, Daemon, Management
from lab.processes import FreePorts, Processes, wait_until
from support.tmux import Tmux

pytestmark = pytest.mark.lab


class Site:
    """A daemon that can be stopped, behind the host of edge-1; edge-2 is the lab's own."""

    def __init__(self, lab: Lab, folder: Path, processes: Processes) -> None:
        self._processes = processes
        self._ports = FreePorts()
        prefix = f"top{os.getpid() % 10**6}n"
        self._vpn = VPN(folder / "vpn", processes, pki.Authority(folder / "pki"), tun_prefix=prefix)
        self._management = Management(("127.0.0.1", self._ports.take()))
        self._port = self._ports.take()
        self.inventory = folder / "inventory.yaml"
        managements = {"edge-1": self._management, "edge-2": lab.servers["edge-2"].management}
        hosts = "".join(
            f'    {host}: {{ssh_host: {ADDRESSES[host]}, management: "{where}"}}\n'
            for host, where in managements.items()
        )
        settings = f'{{ssh_user: root, ssh_port: {lab.ssh_port}, private_key: "{lab.private_key}"}}'
        self.inventory.write_text(f"all:\n  vars: {settings}\n  hosts:\n{hosts}")

    def start(self) -> Daemon:
        daemon = self._vpn.start_server("stoppable", "tcp", self._port, self._management, ("alice [red]",))
        self._vpn.wait_for_server(daemon)
        return daemon

    def start_clients(self, daemon: Daemon) -> None:
        self._vpn.start_clients(daemon)
        wait_until("alice is connected", daemon.clients)

    def stop(self) -> None:
        self._processes.stop("stoppable")


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    with Processes() as processes:
        yield Site(lab, tmp_path, processes)


def size(screen: Tmux, columns: int, lines: int = 24) -> None:
    screen._tmux("resize-window", "-x", str(columns), "-y", str(lines))


def lines(screen: Tmux) -> list[str]:
    """What is to be seen just now."""
    return screen._tmux("capture-pane", "-p").split("\n")


def row(screen: Tmux, server: str) -> str:
    return next((line for line in lines(screen) if line.startswith(server)), "")


def until(screen: Tmux, what: str, holds: Callable[[], bool]) -> None:
    try:
        wait_until(what, holds)
    except BaseException as error:
        raise AssertionError(f"{what}:\n" + "\n".join(lines(screen))) from error


def test_a_server_goes_down_and_comes_back_on_top_and_watch(lab: Lab, site: Site, tmp_path: Path) -> None:
    daemon = site.start()
    site.start_clients(daemon)
    environment = {**lab.environment({"FLEET_INVENTORY": str(site.inventory)}), "TERM": "screen-256color"}
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("top", "watch")]
        for folder in folders:
            folder.mkdir()
        top, watch = (stack.enter_context(Tmux(folder)) for folder in folders)
        size(top, 200)
        size(watch, 80)
        top.run(lab.fleet_argv("top", "-d", "500ms"), environment)
        watch.run(lab.fleet_argv("status", "--watch=500ms"), environment)
        for screen in (top, watch):
            until(
                screen,
                "both are up",
                lambda screen=screen: all("CONNECTED" in row(screen, f"edge-{n}") for n in (1, 2)),
            )
        until(top, "rates are known", lambda: "B/s" in row(top, "edge-2"))
        assert "1 " in row(top, "edge-1")

        site.stop()
        until(top, "top shows it", lambda: "management-closed" in row(top, "edge-1"))
        assert "2 of 2" not in lines(top)[0]
        assert "CONNECTED" in row(top, "edge-2")
        until(watch, "--watch shows it", lambda: any("management-closed: edge-1" in line for line in lines(watch)))
        assert "CONNECTED" in row(watch, "edge-2")
        assert not row(watch, "edge-1")
        size(top, 80)
        size(watch, 200)
        until(top, "top fits", lambda: lines(top)[-2].endswith("q quit") and len(lines(top)[-2]) <= 80)
        assert "management-closed" in row(top, "edge-1")

        daemon = site.start()
        for screen in (top, watch):
            until(screen, "it is back", lambda screen=screen: "CONNECTED" in row(screen, "edge-1"))
        wait_until("alice is back", daemon.clients)
        top.type("Enter")
        until(top, "its clients are shown", lambda: row(top, "alice [red]").split()[2:3] == ["edge-1"])
        # While both go round and round, the management interface is free for others in between.
        assert daemon.ask("pid").startswith("SUCCESS: pid=")
        top.type("k")
        until(top, "the question is asked", lambda: any("client-kill 0" in line for line in lines(top)))
        top.type("y")
        until(top, "it is done", lambda: any("killed 1 session on edge-1" in line for line in lines(top)))
        top.type("l")
        until(top, "the log is shown", lambda: any("log of edge-1" in line for line in lines(top)))
        # Killed, alice comes back by itself, and the log tells of it as it grows.
        until(top, "the log tells of it", lambda: any("SENT CONTROL [alice [red]]" in line for line in lines(top)))

        top.type("C-c")
        watch.type("C-c")
        assert top.exit_status() == 0
        assert watch.exit_status() == 0
        assert "edge-1" in watch.text  # the last page stays
