"""A small lab of its own for `fleet unlock`: real OpenVPN daemons that wait, behind a real sshd, on loopback.

    with UnlockLab(folder) as lab:
        lab.server("edge-1", "management-hold", passphrase="open sesame")
        lab.fleet("unlock", "edge-1", "--secret-file", str(lab.secret("open sesame")))      # in this process
        lab.installed("unlock", "--list", "edge-1")                                         # the installed program

Daemons are started by each test, since one that came up does not wait again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import pki
from lab.inside import run_inside
from lab.lab import FLEET_TIMEOUT, Run
from lab.openvpn import VPN, Daemon, Management
from lab.processes import FreePorts, LabError, Processes, wait_until
from lab.sshd import SSHServers

ADDRESS = "127.0.9.31"
"""The SSH address of the one host."""


class UnlockLab:
    """A context manager: entering starts an sshd, leaving ends everything.

    Attributes:
        folder: keys, configurations and logs; removed by whoever made it.
        daemons: by server name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, Daemon] = {}
        self._ports = FreePorts()
        self._stack = contextlib.ExitStack()
        self._secrets = 0

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LabError("the lab needs root: its OpenVPN servers open tun devices (tests/run asks sudo for it)")
        with self._stack:
            (self.folder / "home").mkdir(mode=0o700)
            self._processes = self._stack.enter_context(Processes())
            self._sshd = SSHServers(self.folder / "sshd", self._processes)
            self._host = self._sshd.start("unlock", self._ports.take(), [ADDRESS])[ADDRESS]
            authority = pki.Authority(self.folder / "pki")
            prefix = f"unl{secrets.token_hex(4)}n"
            self._vpn = VPN(self.folder / "vpn", self._processes, authority, tun_prefix=prefix)
            known_hosts = self.folder / "known_hosts"
            known_hosts.write_text(self._host.known_hosts_line)
            self._ssh_config = self.folder / "ssh_config"
            self._ssh_config.write_text(
                f"Host *\n    UserKnownHostsFile {known_hosts}\n    GlobalKnownHostsFile /dev/null\n"
            )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _management(self) -> Management:
        return Management(("127.0.0.1", self._ports.take()))

    def server(self, name: str, *directives: str, passphrase: str | None = None) -> Daemon:
        """A server that is started now; returned once its management interface answers."""
        more = [*directives, *([] if passphrase is None else ["management-query-passwords"])]
        daemon = self._vpn.start_server(
            name, "udp", self._ports.take(), self._management(), (), passphrase=passphrase, directives=more
        )
        return self._answering(daemon)

    def gate(self, name: str, logins: dict[str, str]) -> Daemon:
        """A server that is up and lets in who knows one of these usernames and its password."""
        known = self.folder / f"{name}.logins"
        known.write_text("".join(f"{username}\n{password}\n\n" for username, password in logins.items()))
        script = self.folder / f"{name}.sh"
        # OpenVPN writes the username and the password to a file, on a line each, and gives its name to the script.
        program = (
            "import sys; given = open(sys.argv[2]).read().rstrip(chr(10)); "
            "sys.exit(given not in open(sys.argv[1]).read().split(chr(10) * 2))"
        )
        command = shlex.join([sys.executable, "-c", program, str(known)])
        script.write_text(f'#!/bin/sh\nexec {command} "$1"\n')
        script.chmod(0o700)
        daemon = self.server(name, "script-security 2", f'auth-user-pass-verify "{script}" via-file')
        self._vpn.wait_for_server(daemon)
        return daemon

    def challenging_gate(self, name: str, password: str, answer: str) -> Daemon:
        """A server that is up, and answers the right password with a question of its own."""
        script = self.folder / f"{name}.sh"
        script.write_text(
            "#!/bin/sh\n"
            'case "$(sed -n 2p "$1")" in\n'
            f"{shlex.quote(password)})\n"
            "    printf 'CRV1:R,E:5tate:Y3Ix:Please enter token PIN: now' > \"$auth_failed_reason_file\"\n"
            "    exit 1;;\n"
            f"CRV1::5tate::{shlex.quote(answer)}) exit 0;;\n"
            "esac\n"
            "exit 1\n"
        )
        script.chmod(0o700)
        daemon = self.server(name, "script-security 2", f'auth-user-pass-verify "{script}" via-file')
        self._vpn.wait_for_server(daemon)
        return daemon

    def client(self, name: str, server: Daemon, *directives: str) -> Daemon:
        """A client daemon of the server, which asks for its username and password."""
        directives = ("auth-user-pass", "management-query-passwords", *directives)
        return self._answering(self._vpn.start_client_daemon(name, server, self._management(), directives))

    def _answering(self, daemon: Daemon) -> Daemon:
        self.daemons[daemon.name] = daemon

        def answers() -> bool:
            self._processes.check_running(daemon.name, daemon.log)
            try:
                return daemon.ask("pid").startswith("SUCCESS")
            except ConnectionRefusedError:
                return False

        wait_until(f"{daemon.name} answers", answers, log=daemon.log)
        return daemon

    def is_connected(self, name: str) -> bool:
        return ",CONNECTED,SUCCESS" in self.daemons[name].ask("state")

    def has_ended(self, name: str) -> bool:
        """Whether the daemon's process is gone, within a few seconds."""

        def is_gone() -> bool:
            try:
                self._processes.check_running(name, self.daemons[name].log)
            except LabError:
                return True
            return False

        with contextlib.suppress(LabError):
            return wait_until(f"{name} ended", is_gone, wait_timeout=3.0)
        return False

    def secret(self, text: str) -> Path:
        """A file with a secret in it."""
        self._secrets += 1
        path = self.folder / f"secret-{self._secrets}"
        pki.write_private(path, f"{text}\n".encode())
        return path

    def environment(self) -> dict[str, str]:
        """What fleet runs in: nothing of the developer's own SSH, XDG and fleet settings."""
        prefixes = ("FLEET_", "SSH_", "XDG_", "NO_COLOR", "CLICOLOR", "FORCE_COLOR", "COLUMNS", "LC_")
        own = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        return own | {"HOME": str(self.folder / "home"), "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb"}

    def words(self, *args: str) -> list[str]:
        """The words of a command line behind `fleet`, with an inventory of the daemons that were started so far."""
        inventory = self.folder / "inventory.yaml"
        key = json.dumps(str(self._sshd.user_key))
        lines = [
            "all:",
            f'  vars: {{ssh_host: "{ADDRESS}", ssh_user: root, ssh_port: {self._host.port}, private_key: {key}}}',
            "  hosts:",
            *(f'    {name}: {{management: "{daemon.management}"}}' for name, daemon in self.daemons.items()),
            "",
        ]
        inventory.write_text("\n".join(lines))
        return ["-i", str(inventory), "--ssh-config", str(self._ssh_config), *args]

    def argv(self, *args: str) -> list[str]:
        """fleet as a program, with the words that it takes."""
        return [sys.executable, "-m", "fleet", *self.words(*args)]

    def fleet(self, *args: str) -> Run:
        """Run fleet to its end in this process (see `inside`)."""
        return Run.of(args, *run_inside(self.words(*args), self.environment()))

    def installed(self, *args: str) -> Run:
        """Run the installed fleet to its end, as `fleet` does in this process."""
        return self.run(self.argv(*args))

    def run(self, argv: Sequence[str]) -> Run:
        """Run a program to its end."""
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment(),
            timeout=FLEET_TIMEOUT,
            check=False,
        )
        return Run.of(argv, ended.returncode, ended.stdout, ended.stderr)
