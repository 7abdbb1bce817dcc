"""`fleet demo`: an embedded fleet, and the main job run against it as a user would."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.demo.example import BUSY, DOWN, SERVERS, TEST_CLIENT, example_farm
from fleet.demo.farm import Farm
from fleet.demo.workspace import Workspace, write_workspace

OK, FAILED, INTERRUPTED = 0, 1, 130
_UNREACHABLE = 4  # fleet's exit status where a server could not be asked
_JSON_LINES = 24  # of the JSON document that are shown
_VERB = 4

Write = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the demo.

    Attributes:
        about: what it shows, in one line.
        arguments: of fleet.
        status: the exit status that it must have.
        behaved: looks at the farm and at stdout, and says whether the command did what it should.
        head: so many lines of its output are shown, None for all.
    """

    about: str
    arguments: tuple[str, ...]
    status: int
    behaved: Callable[[Farm, str], bool]
    head: int | None = None

    @property
    def text(self) -> str:
        """As a user types it."""
        return shlex.join(("fleet", *self.arguments)) + (f" | head -n {self.head}" if self.head else "")


def _shows_who_answered(_farm: Farm, output: str) -> bool:
    return all((server in output) == (server not in (BUSY, DOWN)) for server in SERVERS)


def _shows_odd_names(_farm: Farm, output: str) -> bool:
    return all(name in output for name in ("Doe, Jane", 'quo"te', "Client With Space", "Zoë-Ünïcode-日本"))


def _killed_the_client(farm: Farm, output: str) -> bool:
    left = [server for server in SERVERS if TEST_CLIENT in farm[server].daemon.common_names()]
    return not left and TEST_CLIENT in output


def _set_the_verb(farm: Farm, _output: str) -> bool:
    verbs = {
        (host.group == "eu", server.daemon.verb) for host in farm.hosts.values() for server in host.management.values()
    }
    return verbs == {(True, _VERB), (False, 3)}


def _is_the_document(_farm: Farm, output: str) -> bool:
    try:
        document = json.loads(output)
    except ValueError:
        return False
    return [server["name"] for server in document["servers"]] == list(SERVERS)


STEPS = (
    Step("The state of every server.", ("status", "--all"), _UNREACHABLE, _shows_who_answered),
    Step("Who is connected to one of them.", ("clients", "gw.eu.example.net/udp"), OK, _shows_odd_names),
    Step("Disconnect a client, wherever it is.", ("kill", TEST_CLIENT), _UNREACHABLE, _killed_the_client),
    Step("Let the servers of one group log more.", ("verb", str(_VERB), "-l", "eu", "--yes"), OK, _set_the_verb),
    Step("The same for programs.", ("status", "--all", "--json"), _UNREACHABLE, _is_the_document, _JSON_LINES),
)


def run_demo(keep: bool, write: Write) -> int:
    """Runs the demo, or with `keep` leaves the fleet running until Ctrl-C.

    Nothing of the user's own is read or written; what is temporary is removed however it ends.

    Args:
        keep: only start the fleet, and say how to play with it.
        write: takes text for stdout, line ends included.

    Returns:
        The exit status: 0 where every command behaved as it should (with `keep`: when it was left), 1 where one did
        not, 130 where the demo was interrupted.
    """
    try:
        return asyncio.run(_run(keep, write))
    except KeyboardInterrupt:
        return OK if keep else INTERRUPTED


async def _run(keep: bool, write: Write) -> int:
    with tempfile.TemporaryDirectory(prefix="fleet-demo-") as folder:  # made with mode 0700
        async with example_farm() as farm:
            await farm[BUSY].occupy()
            workspace = write_workspace(farm, Path(folder))
            _introduce(workspace, write)
            if keep:
                return await _keep(write)
            results = [await _step(step, farm, workspace, write) for step in STEPS]
            write("The demo ends here and removes its folder. `fleet demo --keep` leaves it running to play with.\n")
            return OK if all(results) else FAILED


def _introduce(workspace: Workspace, write: Write) -> None:
    write(
        f"Six simulated servers behind real SSH on loopback: {DOWN} is down,\n"
        f"{BUSY} is busy with somebody else's management session.\n\n"
        f"$ {_export(_variables(workspace))}\n\n"
    )


def _variables(workspace: Workspace) -> dict[str, str]:
    return {
        "FLEET_INVENTORY": str(workspace.inventory),
        "FLEET_CONFIG": os.devnull,  # the user's own settings have no part in the demo
        "FLEET_SSH_CONFIG": str(workspace.ssh_config),  # the user's own ssh_config has no part in the demo
        "FLEET_REPLY_TIMEOUT": "1s",  # so long the busy server is waited for, each time
    }


def _own_folders(workspace: Workspace) -> dict[str, str]:
    """What the demo's own commands keep goes with the demo; the user's history has no part in it."""
    return {name: str(workspace.folder) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")}


def _export(variables: dict[str, str]) -> str:
    return "export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())


async def _keep(write: Write) -> int:
    write("Try these in another terminal, after the line above:\n\n")
    for step in STEPS:
        write(f"  {step.text}\n")
    write("  fleet inventory list\n  fleet log 5 -l eu\n  fleet signal SIGUSR1 -l edge-1.eu.example.net\n\n")
    write("It runs until Ctrl-C.\n")
    await asyncio.Event().wait()
    return OK


async def _step(step: Step, farm: Farm, workspace: Workspace, write: Write) -> bool:
    """Shows a command, runs it, shows what it printed; says whether it behaved."""
    write(f"# {step.about}\n$ {step.text}\n")
    status, output, errors = await _fleet(step.arguments, _variables(workspace) | _own_folders(workspace))
    lines = output.splitlines(keepends=True)
    write("".join(lines[: step.head]))
    if step.head is not None and len(lines) > step.head:
        write("...\n")
    write(errors)
    write(_explain(status))
    if status == step.status and step.behaved(farm, output):
        return True
    write(f"This is not what the demo expects (exit status {step.status}): please report it.\n\n")
    return False


def _explain(status: int) -> str:
    if status == OK:
        return "\n"
    reason = ": a server could not be asked" if status == _UNREACHABLE else ""
    return f"(exit status {status}{reason})\n\n"


async def _fleet(arguments: Sequence[str], variables: dict[str, str]) -> tuple[int, str, str]:
    """Runs fleet in a process of its own while the farm goes on serving; exit status, stdout and stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fleet",
        *arguments,
        env=inherited | variables | {"PYTHONIOENCODING": "utf-8"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or OK, _text(output), _text(errors)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
