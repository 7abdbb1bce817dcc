"""SSH as operators have it, on real sshd: an agent, certificates, ProxyCommand, jump hosts, trust and ping."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import pki
from lab.lab import ADDRESSES, Lab, Run
from lab.processes import Processes, program, wait_until

STEPS = ["dns", "tcp", "ssh", "auth", "channel", "greeting"]


@pytest.fixture
def own(lab: Lab, tmp_path: Path) -> Path:
    """An inventory that says nothing of keys and jump hosts: what is missing comes from ssh_config or an option."""
    inventory = tmp_path / "own.yaml"
    edge, inner = (lab.servers[name].management for name in ("edge-1", "inner"))
    inventory.write_text(
        f"all:\n  vars: {{ssh_user: root, ssh_port: {lab.ssh_port}}}\n  hosts:\n"
        f'    edge-1: {{ssh_host: {ADDRESSES["edge-1"]}, management: "{edge}"}}\n'
        f'    inner: {{ssh_host: {ADDRESSES["inner"]}, management: "{inner}"}}\n'
        f'    certified: {{ssh_host: 127.0.9.31, management: "{edge}"}}\n'
    )
    return inventory


def config(lab: Lab, path: Path, *lines: str) -> str:
    path.write_text("\n".join([*lines, lab.ssh_config.read_text()]))
    return str(path)


def states(run: Run) -> dict[str, str]:
    """The result of a ping of each server."""
    return {name: outcome["result"]["result"] for name, outcome in run.outcomes().items()}


def test_ping_names_what_fails(lab: Lab) -> None:
    run = lab.installed("ping", "--json", "--reply-timeout", "2s")
    assert run.exit_status == 4
    assert states(run) == {
        **dict.fromkeys(lab.sites, "CONNECTED"),
        "busy": "management-busy",
        "closed": "management-closed",
        "down": "connect-refused",
        "rebuilt": "host-key-changed",
        "stranger": "host-key-unknown",
        "no-forwarding": "forwarding-refused",
        "locked-out": "auth-failed",
    }
    outcomes = run.outcomes()
    done = {name: [step for step in STEPS if outcome["result"][step] is not None] for name, outcome in outcomes.items()}
    assert done["edge-1"] == done["vault"] == STEPS
    assert done["inner"] == STEPS[1:]
    assert (done["busy"], done["closed"], done["locked-out"]) == (STEPS[:5], STEPS[:4], STEPS[:3])


def test_trust_and_then_status(lab: Lab, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    shutil.copy(lab.known_hosts, known)
    subprocess.run([program("ssh-keygen"), "-H", "-f", str(known)], check=True, capture_output=True)
    options = tmp_path / "config"
    options.write_text(f"Host *\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n")
    trust = lab.installed("-F", str(options), "trust", "stranger,rebuilt,inner", "--replace", "--yes", "--json")
    assert trust.exit_status == 0, trust.stderr
    results = {name: outcome["result"]["result"] for name, outcome in trust.outcomes().items()}
    assert results == {"inner": "known", "rebuilt": "replaced", "stranger": "added"}
    assert all(line.startswith("|1|") for line in known.read_text().splitlines())
    assert lab.fleet("-F", str(options), "ping", "stranger,rebuilt").exit_status == 0
    for host in ("stranger", "rebuilt"):  # and ssh itself takes them
        argv = [program("ssh"), "-F", str(options), "-i", str(lab.private_key), "-p", str(lab.ssh_port)]
        argv += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", f"root@{ADDRESSES[host]}", "true"]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_an_agent_a_jump_host_and_a_certificate(lab: Lab, own: Path, tmp_path: Path) -> None:
    authority, key = tmp_path / "authority", tmp_path / "id_ed25519"
    (tmp_path / "authority.pub").write_text(pki.new_ssh_key(authority) + "\n")
    (tmp_path / "id_ed25519.pub").write_text(pki.new_ssh_key(key) + "\n")
    sign = [program("ssh-keygen"), "-q", "-s", str(authority), "-I", "me", "-n", "root", str(key) + ".pub"]
    subprocess.run(sign, check=True)
    with Processes() as processes:
        sshd = type(lab.sshd)(tmp_path / "sshd", processes)
        trusts = f"TrustedUserCAKeys {tmp_path}/authority.pub"
        host = sshd.start("certified", lab.ssh_port, ["127.0.9.31"], [trusts], lets_in=False)["127.0.9.31"]
        socket = tmp_path / "agent"
        processes.start("agent", [program("ssh-agent"), "-D", "-a", str(socket)])
        wait_until("the agent listens", socket.exists)
        add = [program("ssh-add"), "-q", str(lab.private_key), str(key)]  # with the certificate beside the second one
        subprocess.run(add, check=True, env={"SSH_AUTH_SOCK": str(socket)}, capture_output=True)
        known = tmp_path / "known_hosts"
        known.write_text(lab.known_hosts.read_text() + host.known_hosts_line)
        options = tmp_path / "config"
        options.write_text(
            f"Host *\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n  IdentityFile none\n"
        )
        jump = f"root@{ADDRESSES['bastion']}:{lab.ssh_port}"
        run = lab.installed(
            *("-F", str(options), "-i", str(own), "-J", jump, "ping", "inner", "certified", "--json"),
            env={"SSH_AUTH_SOCK": str(socket)},
        )
        assert states(run) == {"inner": "CONNECTED", "certified": "CONNECTED"}, run.stderr
        log = sshd.log("certified")
        assert "Accepted publickey for root" in log
        assert "ED25519-CERT" in log


def test_a_proxy_command_an_option_for_the_key_and_one_for_the_user(lab: Lab, own: Path, tmp_path: Path) -> None:
    key = shlex.quote(str(lab.private_key))
    proxy = f"ssh -F {lab.ssh_config} -i {key} -o BatchMode=yes -p {lab.ssh_port} -W %h:%p root@{ADDRESSES['bastion']}"
    options = config(lab, tmp_path / "config", f"Host {ADDRESSES['inner']}", f"  ProxyCommand {proxy}")
    own.write_text(own.read_text().replace("ssh_user: root", "ssh_user: nobody"))
    arguments = ("-F", options, "-i", str(own), "--private-key", str(lab.private_key), "--user", "root")
    run = lab.fleet(*arguments, "ping", "edge-1", "inner", "--json")
    assert states(run) == {"edge-1": "CONNECTED", "inner": "CONNECTED"}, run.stderr
    assert json.loads(run.stdout)["servers"][1]["result"]["dns"] is None
