"""A real Prometheus scrapes `fleet metrics --listen` of the lab, and what it stored is asked for."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.lab import FLEET_TIMEOUT, SITES, Lab
from lab.processes import FreePorts

pytestmark = pytest.mark.lab

CLIENTS = sum(len(site.clients) for site in SITES.values())


@contextmanager
def exporter(lab: Lab, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """fleet, and the address that it says it serves at."""
    lab.hold_busy()
    argv = lab.fleet_argv("metrics", "--listen", "127.0.0.1:0", "--interval", "1s", *args)
    with subprocess.Popen(argv, cwd=lab.folder, env=lab.environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            match = re.fullmatch(r"serving http://(127\.0\.0\.1:\d+)/metrics\n", process.stderr.readline())
            assert match is not None
            yield process, match[1]
        finally:
            process.kill()


@contextmanager
def prometheus(folder: Path, address: str) -> Iterator[str]:
    """A Prometheus that scrapes this address, with a storage of its own; its own address."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is a package of Debian's"
    listen = f"127.0.0.1:{FreePorts().take()}"
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs: [{{job_name: fleet, static_configs: [{{targets: ['{address}']}}]}}]\n"
    )
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={listen}"]
    log = (folder / "prometheus.log").open("wb")
    with log, subprocess.Popen([program, *options], stdout=log, stderr=log, cwd=folder) as process:
        try:
            yield listen
        finally:
            process.terminate()


def query(prometheus_address: str, expression: str) -> dict[str, float]:
    """What Prometheus has of an expression now, by the label `server`, or by nothing."""
    url = f"http://{prometheus_address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=5.0) as answer:
        found = json.load(answer)
    assert found["status"] == "success"
    return {row["metric"].get("server", ""): float(row["value"][1]) for row in found["data"]["result"]}


def until(prometheus_address: str, expression: str, expected: dict[str, float]) -> None:
    """Waits until Prometheus says so."""
    deadline = time.monotonic() + FLEET_TIMEOUT
    found: object = None
    while time.monotonic() < deadline:
        try:
            found = query(prometheus_address, expression)
        except (urllib.error.URLError, ConnectionError) as error:
            found = error  # it is starting
        if found == expected:
            return
        time.sleep(0.2)
    pytest.fail(f"{expression}: {found}, not {expected}")


def test_prometheus_scrapes_the_fleet(lab: Lab, tmp_path: Path) -> None:
    lab.wait_for_clients()
    working = ("eu:us", "-l", "closed", "--per-client")
    with exporter(lab, *working) as (fleet, address), prometheus(tmp_path, address) as asked:
        until(asked, 'up{job="fleet"}', {"": 1.0})
        until(asked, "openvpn_up", {**dict.fromkeys(SITES, 1.0), "closed": 0.0})
        until(asked, "sum(openvpn_clients)", {"": float(CLIENTS)})
        until(asked, "openvpn_connected", dict.fromkeys(SITES, 1.0))
        until(asked, "count(openvpn_client_sent_bytes_total)", {"": float(CLIENTS)})
        until(asked, "count by (server) (openvpn_client_sent_bytes_total{common_name='>LOG:evil'})", {"sock": 1.0})
        until(asked, "fleet_scrape_error{code='management-closed'}", {"closed": 1.0})
        until(asked, "fleet_round_age_seconds < 30 > bool -1", {"": 1.0})
        # Between two rounds the management interface is free for others: this asks it over a socket of its own.
        assert ",CONNECTED,SUCCESS" in lab.ask("edge-1", "state")
        fleet.send_signal(signal.SIGTERM)
        assert fleet.wait(FLEET_TIMEOUT) == 0
        until(asked, 'up{job="fleet"}', {"": 0.0})
