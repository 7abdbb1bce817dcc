"""The lab is what it says: every test on top of it relies on that. Nothing here uses fleet's own code."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lab.lab import ADDRESSES, BROKEN, SITES, Lab
from lab.openvpn import client_rows
from lab.processes import LabError, is_running, program, wait_until
from lab.sshd import greeting

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("server", SITES)
def test_each_daemon_answers_and_has_its_clients(lab: Lab, server: str) -> None:
    lab.wait_for_clients(server)
    assert lab.ask(server, "version").startswith("OpenVPN Version: OpenVPN 2.")
    assert lab.ask(server, "pid") == f"SUCCESS: pid={lab.daemon_pid(server)}\n"
    assert lab.ask(server, "load-stats").startswith("SUCCESS: nclients=3,")
    status = lab.ask(server, "status 3")
    assert status.endswith("\nEND\n")
    assert {row["Common Name"] for row in client_rows(status)} == set(SITES[server].clients)


def test_two_servers_share_a_client_name_and_the_odd_names_are_there() -> None:
    names = [name for site in SITES.values() for name in site.clients]
    assert [server for server, site in SITES.items() if "Test-Client" in site.clients] == ["edge-1", "gw/udp"]
    for odd in (" ", ",", "'", '"', ":", "#", ";", "\\", ">", "ë", "北"):
        assert any(odd in name for name in names), odd


def test_udp_and_tcp_servers(lab: Lab) -> None:
    for server, site in SITES.items():
        text = lab.servers[server].log.read_text()
        assert f"{'UDPv4' if site.protocol == 'udp' else 'TCPv4_SERVER'} link local (bound)" in text, server


def test_wrong_management_password_is_asked_again(lab: Lab) -> None:
    management = lab.servers["vault"].management
    assert management.password_file is not None
    assert stat.S_IMODE(management.password_file.stat().st_mode) == 0o600
    with management.connect() as connection:
        assert connection.recv(100) == b"ENTER PASSWORD:"
        connection.sendall(b"wrong\n")
        assert connection.recv(100) == b"ENTER PASSWORD:"


def test_unix_socket(lab: Lab) -> None:
    path = lab.servers["sock"].management.endpoint
    assert isinstance(path, str)
    assert stat.S_ISSOCK(Path(path).stat().st_mode)


def test_busy_accepts_and_says_nothing(lab: Lab) -> None:
    lab.hold_busy()
    with lab.servers["busy"].management.connect() as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_queue_of_busy_fills_with_those_who_gave_up_and_is_emptied(lab: Lab) -> None:
    lab.hold_busy()
    for waiting in (1, 2):
        lab.servers["busy"].management.connect().close()
        assert lab.busy_queue() == waiting
    lab.hold_busy()
    assert lab.busy_queue() == 0


@pytest.mark.parametrize("host", [host for host in ADDRESSES if host not in ("down", "inner")])
def test_each_host_greets(lab: Lab, host: str) -> None:
    assert greeting(lab.hosts[host].address, lab.ssh_port).startswith(b"SSH-2.0-OpenSSH")


def test_down_refuses_and_inner_hangs_up_on_who_comes_directly(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        lab.hosts["down"].connect()
    with lab.hosts["inner"].connect() as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("server", [server for server, site in SITES.items() if not (site.unix or site.password)])
def test_plain_ssh_reaches_the_daemon(lab: Lab, server: str) -> None:
    answer = lab.ssh(SITES[server].host, str(lab.servers[server].management), "pid\n")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == f"SUCCESS: pid={lab.daemon_pid(server)}"


def test_inner_saw_its_visitors_come_through_the_jump_host(lab: Lab) -> None:
    lab.ssh("inner", str(lab.servers["inner"].management), "pid\n")
    assert "Accepted publickey for root" in lab.sshd.log("bastion")
    assert "Accepted publickey for root" in lab.sshd.log("inner")


@pytest.mark.parametrize(
    ("host", "complaint"),
    [
        ("closed", "Connection refused"),
        ("down", "Connection refused"),
        ("rebuilt", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("stranger", "No ED25519 host key is known"),
        ("no-forwarding", "administratively prohibited"),
        ("locked-out", "Permission denied (publickey)"),
    ],
)
def test_plain_ssh_fails_as_described(lab: Lab, host: str, complaint: str) -> None:
    endpoint = lab.closed_management if host == "closed" else str(lab.servers["edge-1"].management)
    answer = lab.ssh(host, endpoint, "pid\n")
    assert answer.returncode == 255
    assert complaint in answer.stderr
    assert answer.stdout == ""


def test_every_broken_server_is_in_the_inventory_of_the_lab(lab: Lab) -> None:
    lines = lab.inventory.read_text().splitlines()
    assert [line.strip(" :") for line in lines[lines.index("    broken:") :] if line.strip(" :") in BROKEN] == [*BROKEN]


def test_killed_client_comes_back_under_another_id(lab: Lab) -> None:
    before = lab.client("edge-2", "Zoë 北京")
    answer = lab.ask("edge-2", 'kill "Zoë 北京"')
    assert answer == "SUCCESS: common name 'Zoë 北京' found, 1 client(s) killed\n"
    lab.wait_until_gone("edge-2", before)
    assert lab.client("edge-2", "Zoë 北京")["Client ID"] != before["Client ID"]


def test_server_restarts_and_its_clients_return(lab: Lab) -> None:
    state = lab.ask("edge-2", "state")
    assert lab.ask("edge-2", "signal SIGUSR1") == "SUCCESS: signal SIGUSR1 thrown\n"
    lab.wait_for_restart("edge-2", state)
    lab.wait_for_clients("edge-2")


def test_developers_own_files_are_out_of_reach(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_AUTH_SOCK", "FLEET_FORKS", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "/elsewhere")
    environment = lab.environment()
    assert "/elsewhere" not in environment.values()
    assert environment["HOME"] == str(lab.home)
    kept = (lab.home / ".cache/fleet", lab.home / ".local/state/fleet")  # what fleet keeps of the runs of other tests
    assert all(any(path.is_relative_to(one) for one in kept) for path in lab.home.rglob("*") if not path.is_dir())


def test_leaving_a_lab_ends_every_process(tmp_path: Path) -> None:
    with Lab(tmp_path, sites=["edge-1", "inner"]) as other:
        inner = other.servers["inner"].management
        session = subprocess.Popen(
            other.ssh_argv("inner", str(inner)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert session.stdout is not None
        assert session.stdout.readline().startswith(b">INFO:")  # so both sshds have a process that serves it
        pids = other.all_pids()
        assert len(pids) > 3 + 6 + 3 + 2
        assert all(map(is_running, pids))
    assert not any(map(is_running, pids))
    session.communicate(timeout=10)
    assert session.returncode == 255


def test_failing_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def give_up(lab: Lab) -> None:
        pids.extend(lab.all_pids())
        raise KeyboardInterrupt

    monkeypatch.setattr(Lab, "wait_for_clients", give_up)
    with pytest.raises(KeyboardInterrupt), Lab(tmp_path, sites=["edge-1"]):
        pass
    assert pids
    assert not any(map(is_running, pids))


def test_killed_test_run_takes_the_lab_with_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from lab.lab import Lab\n"
        "with Lab(pathlib.Path(sys.argv[1]), sites=['edge-1']) as lab:\n"
        "    print(*lab.all_pids(), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert pids
        run.send_signal(signal.SIGKILL)
    wait_until("the kernel has ended them", lambda: not any(map(is_running, pids)))


def test_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_options: None)
    with pytest.raises(LabError, match="apt-get install openssh-server"):
        program("sshd")
