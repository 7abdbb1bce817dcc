"""fleet metrics: Prometheus text, by its own parser and by promtool's rules; the file; the server on loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.harness import Fleet, Result, client, daemon, farm_with_a_server_down
from fleet.demo.clients import SimulatedClient
from fleet.demo.farm import Farm, Reach

TIMEOUT = 20.0  # seconds for what happens at once

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels, as Prometheus' own parser reads it; no two have the same."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def one(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def promtool(text: str) -> str:
    """What promtool has against the metrics."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is part of Debian's package prometheus"
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit status {done.returncode}")


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        port: int = listener.getsockname()[1]
        return port


# Printed


def test_metrics_of_each_server(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    result = fleet("metrics")
    assert result.status == 4
    assert result.err.startswith("connect-refused: down: ")
    assert promtool(result.out) == ""
    found = samples(result.out)
    for server, up in {"edge-1": 1, "gw/udp": 1, "gw/tcp": 1, "down": 0}.items():
        assert one(found, "openvpn_up", server=server) == up
    assert one(found, "openvpn_server_info", server="edge-1", version="2.6.14", state="CONNECTED") == 1
    assert one(found, "openvpn_clients", server="gw/udp") == 2
    assert one(found, "openvpn_connected", server="gw/udp") == 1
    assert one(found, "fleet_scrape_error", server="down", code="connect-refused") == 1
    assert one(found, "fleet_servers", status="ok") == 3
    since = one(found, "openvpn_state_since_timestamp_seconds", server="edge-1")
    assert 89_000 < time.time() - since < 91_000
    named = {dict(labels).get("server") for name, labels in found if name.startswith("openvpn_") and labels}
    assert {name for name, labels in found if ("server", "down") in labels and name.startswith("openvpn")} == {
        "openvpn_up"
    }
    assert named == {"edge-1", "gw/udp", "gw/tcp", "down"}
    assert not any(name.startswith("openvpn_client_") for name, _labels in found)


def test_a_daemon_in_hold_is_up_and_not_connected(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("held", daemon("2.6.14", hold=True))
    fleet.start(farm)
    result = fleet("metrics", "--per-client")
    assert (result.status, result.err) == (0, "")
    found = samples(result.out)
    assert one(found, "openvpn_up", server="held") == 1
    assert one(found, "openvpn_connected", server="held") == 0
    assert one(found, "openvpn_server_info", server="held", version="2.6.14", state="HOLD") == 1


EVIL = 'a"b\\c{server="x"} 1'


def test_metrics_of_each_client(fleet: Fleet) -> None:
    farm = Farm()
    clients = [
        client("alice", port=1001, bytes_received=2**54, bytes_sent=7),
        client("alice", port=1002, bytes_received=30, bytes_sent=8),  # duplicate-cn
        client(EVIL, port=1003, bytes_received=1),
        client("z\u00f6 \U0001f600", port=1004, bytes_received=2),
        client(b"caf\xe9".decode("utf-8", "surrogateescape"), port=1005, bytes_received=3),
        SimulatedClient("x" * 60, port=1006, bytes_received=4),
    ]
    farm.add("edge-1", daemon("2.6.14", clients))
    farm.add("old", daemon("2.2.3", [client("bob", port=2001, bytes_sent=5), client("bob", port=2002)]))
    fleet.start(farm)
    result = fleet("metrics", "--per-client")
    assert (result.status, result.err) == (0, "")
    assert promtool(result.out) == ""
    found = samples(result.out)
    received = {
        (dict(labels)["common_name"], dict(labels).get("client_id"), dict(labels)["real_address"]): value
        for (name, labels), value in found.items()
        if name == "openvpn_client_received_bytes_total" and ("server", "edge-1") in labels
    }
    names = [name for name, _client_id, _address in received]
    assert sorted(names) == sorted(["alice", "alice", EVIL, "z\u00f6 \U0001f600", r"caf\xe9", "x" * 60])
    assert {address for _name, _client_id, address in received} == {""}
    assert len({client_id for _name, client_id, _address in received}) == 6
    assert sorted(received.values()) == [1, 2, 3, 4, 30, 2**54]
    sent = {
        dict(labels)["real_address"]: value
        for (name, labels), value in found.items()
        if name == "openvpn_client_sent_bytes_total" and ("server", "old") in labels
    }
    assert sent == {"203.0.113.9:2001": 5, "203.0.113.9:2002": 0}
    assert result.out.count("\n") == len(result.out.splitlines())  # no line has an end of its own making


def test_clients_that_cannot_be_told_apart_are_added_up(fleet: Fleet) -> None:
    farm = Farm()
    twins = [client("bob", "2001:db8::1", None, bytes_sent=sent) for sent in (5, 6)]
    farm.add("old", daemon("2.2.3", twins))
    fleet.start(farm)
    found = samples(fleet("metrics", "--per-client").out)
    (value,) = [value for (name, _labels), value in found.items() if name == "openvpn_client_sent_bytes_total"]
    assert value == 11


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--textfile", "a.prom", "--listen", "0"], "not both"),
        (["--interval", "5s"], "--interval is for --listen"),
        (["--textfile", "missing/a.prom"], "missing is no folder that can be written to"),
        (["--textfile", "."], ". is a folder"),
        (["--listen", "nonsense"], "'nonsense' is no address"),
        (["--listen", "127.0.0.1:65536"], "is no address"),
        (["--listen", "192.0.2.1:0"], "cannot listen at 192.0.2.1:0"),
        (["-o", "json"], "-o json is not for metrics"),
        (["--watch", "2s"], "metrics are not watched"),
    ],
)
def test_what_is_refused_before_anything_is_asked(small: Fleet, args: list[str], words: str) -> None:
    result = small("metrics", *args)
    assert result.status == 2
    assert words in result.out + result.err
    assert small.daemon("edge-1").executed == []


def test_without_the_library_it_says_what_to_install(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = small("metrics")
    assert result.status == 2
    assert "pip install 'openvpn-fleet[metrics]'" in result.err


# The file


def test_the_file_is_replaced_whole(fleet: Fleet) -> None:
    fleet.start(farm_with_a_server_down())
    folder = fleet.folder / "textfile"
    folder.mkdir()
    path = folder / "openvpn.prom"
    path.write_text("old\n")
    before = path.stat()
    result = fleet("metrics", "--textfile", str(path), "-q")
    assert (result.status, result.out) == (4, "")
    assert one(samples(path.read_text()), "openvpn_up", server="down") == 0
    assert promtool(path.read_text()) == ""
    after = path.stat()
    assert after.st_ino != before.st_ino  # another file under its name: a reader of the old one reads on in it
    assert stat.S_IMODE(after.st_mode) == 0o644
    assert list(folder.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_stays_as_it_was(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small.folder / "openvpn.prom"
    path.write_text("old\n")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = small("metrics", "--textfile", str(path))
    assert result.status == 1
    assert "cannot be written: No space left on device; it is as it was" in result.err
    assert path.read_text() == "old\n"
    assert list(small.folder.glob(".openvpn*")) == []


def test_an_inventory_that_cannot_be_read_leaves_the_file_alone(small: Fleet) -> None:
    path = small.folder / "openvpn.prom"
    path.write_text("old\n")
    assert small("metrics", "-i", "missing.yaml", "--textfile", str(path)).status == 2
    assert path.read_text() == "old\n"


# Served


class Exporter:
    """`fleet metrics --listen` in this process, and a thread that does what a test wants of it, then ends it."""

    def __init__(self, fleet: Fleet, *args: str, address: str = "127.0.0.1") -> None:
        self._fleet = fleet
        self.port = free_port(address)
        self.address = (address, self.port)
        self.host = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self._args = ("metrics", "--listen", self.host, *args)
        self._failure: BaseException | None = None

    def get(self, path: str = "/metrics", method: str = "GET") -> tuple[int, str, str]:
        """Status, content type and text; waits until it listens."""
        request = urllib.request.Request(f"http://{self.host}{path}", method=method)
        until = time.monotonic() + TIMEOUT
        while True:
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - it is http
                    return answer.status, answer.headers["Content-Type"], answer.read().decode("utf-8")
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.headers["Content-Type"], error.read().decode("utf-8")
            except urllib.error.URLError:
                assert time.monotonic() < until
                time.sleep(0.02)

    def until(self, holds: Callable[[Samples], bool]) -> Samples:
        """The metrics as soon as they are as a test wants them."""
        until = time.monotonic() + TIMEOUT
        while True:
            status, _kind, text = self.get()
            if status == 200 and holds(found := samples(text)):
                return found
            assert time.monotonic() < until, text
            time.sleep(0.05)

    def run(self, work: Callable[[Exporter], None], number: int = signal.SIGTERM) -> Result:
        """Serves while the work is done, and ends by a signal."""

        def act() -> None:
            try:
                self.get("/")
                work(self)
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                self._failure = error
            finally:
                os.kill(os.getpid(), number)

        thread = threading.Thread(target=act)
        thread.start()
        result = self._fleet(*self._args)
        thread.join()
        if self._failure is not None:
            raise self._failure
        return result


def test_scrapes_are_answered_from_the_last_round(small: Fleet) -> None:
    def work(exporter: Exporter) -> None:
        found = exporter.until(lambda _found: True)
        assert one(found, "openvpn_clients", server="edge-1") == 2
        assert 0 <= one(found, "fleet_round_age_seconds") < TIMEOUT
        status, kind, text = exporter.get()
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert promtool(text) == ""
        assert exporter.get("/metrics?x=1")[0] == 200
        assert exporter.get(method="HEAD")[2] == ""
        assert exporter.get("/")[:1] == (200,)
        assert exporter.get("/other")[0] == 404
        assert exporter.get(method="POST")[0] == 405
        first = one(found, "fleet_round_timestamp_seconds")
        exporter.until(lambda later: one(later, "fleet_round_timestamp_seconds") > first)

    exporter = Exporter(small, "--interval", "200ms", "--per-client")
    result = exporter.run(work)
    assert (result.status, result.out) == (0, "")
    assert result.err.splitlines()[0] == f"serving http://{exporter.host}/metrics"
    assert len(result.err.splitlines()) == 1


def test_a_server_that_is_held_is_down_and_the_others_stay_fresh(small: Fleet) -> None:
    def is_up(found: Samples, server: str) -> bool:
        return one(found, "openvpn_up", server=server) == 1

    def work(exporter: Exporter) -> None:
        exporter.until(lambda found: all(is_up(found, name) for name in ("edge-1", "gw/udp", "gw/tcp")))
        small.occupy("gw/udp")
        found = exporter.until(lambda found: not is_up(found, "gw/udp"))  # it has not ended answering for too long
        assert one(found, "fleet_scrape_error", server="gw/udp", code="host-timeout") == 1
        error = ("fleet_scrape_error", (("code", "management-busy"), ("server", "gw/udp")))
        found = exporter.until(lambda found: error in found)
        assert is_up(found, "edge-1")
        before = one(found, "fleet_scrape_timestamp_seconds", server="edge-1")
        exporter.until(lambda found: one(found, "fleet_scrape_timestamp_seconds", server="edge-1") > before + 1.0)
        small.vacate("gw/udp")
        exporter.until(lambda found: is_up(found, "gw/udp"))

    # Long enough for a look between what it has not ended and what it ends with.
    result = Exporter(small, "--interval", "300ms", "--reply-timeout", "3s").run(work)
    assert result.status == 0
    lines = result.err.splitlines()
    assert any(line.startswith("gw/udp: management-busy: ") for line in lines)
    assert "gw/udp: answers again" in lines


def test_nothing_is_served_before_the_first_round(fleet: Fleet) -> None:
    farm = Farm()
    farm.add("mute", daemon(), reach=Reach.UP)
    fleet.start(farm)
    fleet.occupy("mute")

    def work(exporter: Exporter) -> None:
        status, _kind, text = exporter.get()
        assert (status, text) == (503, "the first round is not complete yet\n")

    assert Exporter(fleet, "--interval", "10s").run(work, signal.SIGINT).status == 0


def test_it_listens_on_ipv6(small: Fleet) -> None:
    result = Exporter(small, "-q", address="::1").run(lambda _exporter: None)
    assert (result.status, result.err) == (0, "")


@contextmanager
def connection(exporter: Exporter) -> Iterator[socket.socket]:
    with socket.create_connection(exporter.address, timeout=TIMEOUT) as opened:
        yield opened


def test_peers_that_misbehave_cost_their_connection_only(small: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.cli.http.REQUEST_TIMEOUT", 0.5)
    monkeypatch.setattr("fleet.cli.http.ANSWER_TIMEOUT", 0.5)

    def work(exporter: Exporter) -> None:
        with connection(exporter) as slow:  # a slow loris
            slow.sendall(b"GET /metrics HTTP/1.1\r\nX-")
            exporter.until(lambda _found: True)
            assert slow.recv(100) == b""
        with connection(exporter) as long:
            long.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)
            assert _refused_or_hung_up(long)
        for garbage in (b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / SPDY/3\r\n\r\n"):
            with connection(exporter) as odd:
                odd.sendall(garbage)
                assert odd.recv(100).startswith(b"HTTP/1.1 400 ")
        many = [socket.create_connection(exporter.address, timeout=TIMEOUT) for _ in range(40)]
        try:
            hung_up = [one for one in many[32:] if _hung_up(one)]
            assert len(hung_up) == 8
        finally:
            for one_of_them in many:
                one_of_them.close()
        exporter.until(lambda _found: True)

    assert Exporter(small, "--interval", "1s").run(work).status == 0


def _refused_or_hung_up(peer: socket.socket) -> bool:
    try:
        return peer.recv(100)[:13] in (b"HTTP/1.1 431 ", b"")
    except ConnectionResetError:
        return True


def _hung_up(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_port_in_use_is_told_before_anything_is_asked(small: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = small("metrics", "--listen", str(port))
    assert result.status == 2
    assert result.err.startswith(f"cannot listen at {port}: Address already in use")
    assert small.daemon("edge-1").executed == []


def test_it_ends_by_itself_after_its_time(small: Fleet) -> None:
    result = small("metrics", "--listen", "localhost:0", "--timeout", "300ms", "--interval", "100ms")
    assert result.status == 0
    assert result.err.startswith("serving http://")


def test_the_rules_and_settings_that_the_page_shows_are_prometheus_own(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "prometheus.md").read_text("utf-8")
    config, rules = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for kind, text in (("config", config), ("rules", rules)):
        path = tmp_path / f"{kind}.yml"
        path.write_text(text)
        done = subprocess.run(["promtool", "check", kind, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_metric(fleet: Fleet) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "prometheus.md").read_text("utf-8")
    fleet.start(farm_with_a_server_down())
    shown = {name for name, _labels in samples(fleet("metrics", "--per-client").out)}
    named = set(re.findall(r"`((?:openvpn|fleet)_\w+)`", page))
    assert shown | {"openvpn_max_clients", "fleet_round_age_seconds"} == named
