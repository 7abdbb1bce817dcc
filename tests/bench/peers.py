"""The peers of fleet: how each asks all servers for `status 3`, and how it comes onto this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.endpoints import ROOT, Files, python_environment

VENV = ROOT / "build" / "bench-peers"
"""Where the benchmark installs what it must not mix with fleet's own environment."""

HERE = Path(__file__).parent

# Each ssh reads the request from a file: a shell gives it that, and becomes it.
SSH_W = 'exec ssh -F "$1" -W "$3:$2" "$3" <"$4"'


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to ask all servers.

    Attributes:
        command: the command line, for these servers and so many at a time.
        variables: of its environment.
        program: that has to be there; a path, or a name to be found.
        packages: Debian's, that bring it.
        wheels: from the Python package index, that bring it into `VENV`.
        version: the command that tells its version.
    """

    name: str
    command: Callable[[Files, int], list[str]]
    version: Callable[[], list[str]]
    variables: Callable[[Files], dict[str, str]] = lambda _files: {}
    program: str = sys.executable
    packages: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()

    @property
    def is_there(self) -> bool:
        return shutil.which(self.program) is not None

    def environment(self, files: Files) -> dict[str, str]:
        """Its whole environment: the benchmark's, with an empty home and nobody's agent."""
        kept = {name: value for name, value in python_environment().items() if name != "SSH_AUTH_SOCK"}
        return {**kept, "HOME": str(files.home), "LC_ALL": "C.UTF-8", **self.variables(files)}


def fleet(name: str, *words: str) -> Peer:
    """fleet itself with a command, its start-up included."""
    return Peer(
        name,
        lambda files, forks: [
            *(sys.executable, "-m", "fleet", *words, "-i", str(files.inventory), "-F", str(files.ssh_config)),
            *("-f", str(forks), "--all", "--connect-timeout", "60s", "--host-timeout", "120s"),
            *("--workers", "1"),  # the CPU of processes of its own would not be seen
        ],
        version=lambda: [sys.executable, "-m", "fleet", "version"],
    )


FLEET = fleet("fleet exec 'status 3' -o raw", "exec", "status 3", "-o", "raw")
"""The same work as the peers': one answer, printed as it came."""


def _asyncssh(files: Files, forks: int) -> list[str]:
    numbers = [str(files.ssh_port), str(files.management_port)]
    keys = [str(files.user_key), str(files.known_hosts)]
    return [sys.executable, str(HERE / "bare.py"), str(files.hosts), *numbers, "root", *keys, str(forks)]


def _xargs(files: Files, forks: int) -> list[str]:
    shell = ["sh", "-c", SSH_W, "sh", str(files.ssh_config), str(files.management_port), "{}", str(files.request)]
    return ["xargs", "-a", str(files.hosts), "-P", str(forks), "-I", "{}", *shell]


def _clush(files: Files, forks: int) -> list[str]:
    options = ["-o", f"-F {files.ssh_config}", "-f", str(forks), "-t", "60", "-q"]
    return ["clush", *options, "--hostfile", str(files.hosts), f"bash {files.ask}"]


def _pdsh(files: Files, forks: int) -> list[str]:
    return ["pdsh", "-R", "ssh", "-f", str(forks), "-t", "60", "-w", f"^{files.hosts}", f"bash {files.ask}"]


def _ansible(files: Files, forks: int) -> list[str]:
    raw = ["-m", "raw", "-a", f"bash {files.ask}", "-f", str(forks)]
    return [str(Path(sys.executable).parent / "ansible"), "all", "-i", str(files.ansible_inventory), *raw]


def _pssh(files: Files, forks: int) -> list[str]:
    options = ["-x", f"-F {files.ssh_config}", "-p", str(forks), "-t", "60", "-i"]
    return ["parallel-ssh", "-h", str(files.hosts), *options, f"bash {files.ask}"]


def _library(files: Files, forks: int) -> list[str]:
    way = [str(files.hosts), str(files.ssh_port), "root", str(files.user_key), str(forks)]
    return [str(VENV / "bin" / "python"), str(HERE / "library.py"), *way, f"bash {files.ask}"]


PEERS = (
    Peer(
        "asyncssh script",
        _asyncssh,
        version=lambda: [sys.executable, "-c", "import asyncssh; print('asyncssh', asyncssh.__version__)"],
    ),
    Peer("xargs ssh -W", _xargs, program="ssh", packages=("openssh-client",), version=lambda: ["ssh", "-V"]),
    Peer(
        "pdsh",
        _pdsh,
        program="pdsh",
        packages=("pdsh",),
        variables=lambda files: {"PDSH_SSH_ARGS_APPEND": f"-F {files.ssh_config}"},
        version=lambda: ["pdsh", "-V"],
    ),
    Peer("clush", _clush, program="clush", packages=("clustershell",), version=lambda: ["clush", "--version"]),
    Peer(
        "parallel-ssh", _pssh, program="parallel-ssh", packages=("pssh",), version=lambda: ["parallel-ssh", "--version"]
    ),
    Peer(
        "parallel-ssh (library)",
        _library,
        program=str(VENV / "bin" / "python"),
        wheels=("parallel-ssh",),
        version=lambda: [str(VENV / "bin" / "pip"), "list", "--disable-pip-version-check", "--format=freeze"],
    ),
    Peer(
        "ansible -m raw",
        _ansible,
        program=str(Path(sys.executable).parent / "ansible"),
        # A master connection that stays would hide its cost from who measures.
        variables=lambda files: {
            "ANSIBLE_SSH_ARGS": f"-F {files.ssh_config} -o ControlMaster=no",
            "ANSIBLE_LOCAL_TEMP": str(files.home / "ansible"),
            "ANSIBLE_TIMEOUT": "60",
            "ANSIBLE_NOCOLOR": "1",
        },
        version=lambda: [str(Path(sys.executable).parent / "ansible"), "--version"],
    ),
)


def install(peers: Sequence[Peer], say: Callable[[str], None]) -> None:
    """Install what is missing, with apt-get where this is root's, and into a virtual environment of its own."""
    packages = [package for peer in peers if not peer.is_there for package in peer.packages]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing with apt-get: {' '.join(packages)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-q", *words], stdout=sys.stderr, env=environment, check=False)
    wheels = [wheel for peer in peers if not peer.is_there for wheel in peer.wheels]
    if wheels:
        say(f"installing into {VENV}: {' '.join(wheels)}")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels]
        if subprocess.run(pip, check=False).returncode:
            shutil.rmtree(VENV, ignore_errors=True)


def version_of(peer: Peer) -> str:
    """What a peer says of its version, on one line."""
    done = subprocess.run(peer.version(), capture_output=True, text=True, env=python_environment(), check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    wanted = [line for line in lines if any(line.startswith(wheel) for wheel in peer.wheels)] or lines
    return wanted[0] if wanted else "?"
