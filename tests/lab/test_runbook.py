"""docs/operations.md: every command of the runbook does, as it stands there, what the page says of it.

The sections are read in the order of the page, at a terminal, one after the other: what one leaves the next one finds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from docs.markdown import Block, pages
from lab.openvpn import Conversation
from lab.processes import wait_until
from lab.runbook import RunbookLab
from support.tmux import Tmux

pytestmark = pytest.mark.lab

END_TIMEOUT = 120.0
"""Seconds that a command of the page may take to its end."""

BLOCKS = [block for block in pages()["docs/operations.md"].blocks if block.language == "sh"]
SECTIONS = {heading: [*blocks] for heading, blocks in groupby(BLOCKS, lambda block: block.heading)}

_COMMENT = re.compile(r"\s{2,}#.*$")

Meanwhile = Mapping[str, Callable[[], None]]
"""What happens while a command waits for it, by the command."""


@dataclass(frozen=True, slots=True)
class Step:
    """What the operator sees and does.

    Attributes:
        says: texts that are to be seen in the end.
        answers: the questions that are asked, each with what is typed.
        status: the exit status.
        ready: of a command without an end of its own: what is seen before Ctrl-C is pressed.
        beside: it goes on beside the command that follows it on the page.
    """

    says: tuple[str, ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    status: int = 0
    ready: str = ""
    beside: bool = False


GO_ON = (("Go on? [y/N]", "y"),)
ROLLING = "fleet signal SIGUSR1 -l eu --serial 1,25%,100% --wait connected,clients=80%"

STEPS: Mapping[str, Step] = {
    # Before any change
    "fleet status": Step(("edge-1", "gw-2", "5 servers")),
    "fleet signal SIGUSR1 -l eu --list-hosts": Step(("edge-1\nedge-2\nedge-3\n",)),
    "fleet signal SIGUSR1 -l eu --dry-run": Step(("WOULD SEND", "signal SIGUSR1")),
    "fleet snapshot > before.json": Step(),
    # Rolling restart
    f"{ROLLING} --dry-run": Step(("batch 3  edge-3", "WOULD SEND")),
    f"{ROLLING} --max-fail 1": Step(("batch 1  edge-1", "edge-3  sent  RECONNECTING  CONNECTED after"), answers=GO_ON),
    "fleet diff before.json": Step(("reconnected", "since ")),
    "fleet signal SIGHUP -l us --serial 1 --step": Step(
        ("gw-1  sent  RECONNECTING", "gw-2  sent  RECONNECTING"), answers=(("Type us to go on: ", "us"), ("[y/N]", "y"))
    ),
    # When it stops, A run that was killed
    "fleet history show last": Step(("fleet signal SIGUSR1 -l eu --serial 1",)),
    "fleet state -l eu": Step(("edge-1", "edge-3")),
    "fleet log 30 -l edge-1": Step(("MANAGEMENT: ",)),
    "fleet history list --changes -n 3": Step(("fleet signal SIGUSR1 -l eu --serial 1",)),
    "fleet history show $RUN": Step(("edge-1  unconfirmed", "edge-2  not attempted", "edge-3  not attempted")),
    "fleet history rerun $RUN --only not-attempted": Step(
        ("again for edge-[2-3] (2): fleet signal SIGUSR1", "edge-2  sent", "edge-3  sent")
    ),
    # Drain a server for maintenance
    "fleet drain edge-1 --dry-run": Step(("they can go to edge-2",)),
    "fleet drain edge-1 --rate 5/s --cordon": Step(("new clients are kept out",), answers=GO_ON),
    "fleet status edge-1": Step(("HOLD",)),
    "fleet uncordon edge-1": Step(("released", "CONNECTED")),
    "fleet drain gw-1 --then SIGTERM": Step(("gw-1 was sent SIGTERM",), answers=(("Type gw-1 to go on: ", "gw-1"),)),
    # Throw a user off
    "fleet find alice": Step(("alice", "common name")),
    "fleet kill alice --dry-run": Step(("kill alice",)),
    "fleet kill alice --verify 10s": Step(("killed 1 session on 1 of 5 servers",)),
    "fleet kill --username mallory@example.net --message 'HALT,call the office' --verify 5s": Step(
        ("killed 1 session on 1 of 5 servers; 1 gone",), answers=GO_ON
    ),
    # Incident
    "fleet verb 5 -l eu --for 10m": Step(
        ("edge-3  5     3       done",), answers=GO_ON, status=130, ready="Ctrl-C puts it back now", beside=True
    ),
    "fleet log --follow eu --level W,N,F": Step(status=130, ready="+ edge-3"),
    "fleet log --follow -l eu --verb 5": Step(answers=GO_ON, status=130, ready="+ edge-3"),
    "fleet log --no-follow -l eu --since 10m -e 'TLS|AUTH'": Step(("TLS",)),
    "fleet events -l eu --type CLIENT,STATE": Step(status=130, ready="+ edge-3"),
    # Somebody else is there
    "fleet status edge-1 --lock-timeout 0": Step(("locked: edge-1: ", "'fleet log --follow -l edge-1'"), status=75),
    "fleet status edge-1 --lock-timeout 5m": Step(("CONNECTED",)),
    "fleet status edge-2 --wait-busy 1m": Step(("CONNECTED",)),
    # Who did what
    "fleet history list --changes": Step(("fleet drain gw-1 --then SIGTERM", "killed")),
    """grep '"server": "edge-1"' ~/.local/state/fleet/audit.ndjson | tail -n 3""": Step(
        # The last is of the run that was killed: the change that came next has told it.
        ('"server": "edge-1"', '"command": "fleet verb 5 -l eu --for 10m"', '"sent": ["signal SIGUSR1"]')
    ),
}


def lines(block: Block) -> list[str]:
    """The commands of a block, without what is said of them."""
    return [_COMMENT.sub("", line) for line in block.text.split("\n") if line]


def newest_change(lab: RunbookLab) -> str:
    """The ID of the newest run that changed something; empty before there is one."""
    runs = lab.fleet("history", "list", "--changes", "-n", "1", "--json").json()["runs"]
    return str(runs[0]["run"]) if runs else ""


# What each section is about has to be there first


@contextmanager
def a_run_that_stopped(lab: RunbookLab) -> Iterator[Meanwhile]:
    """The first server of a rolling change was busy, so the others were not attempted."""
    holder = Conversation(lab.daemons["edge-1"].management)
    try:
        run = lab.shell("fleet signal SIGUSR1 -l eu --serial 1 --reply-timeout 1s --yes")
    finally:
        holder.close()
    assert run.exit_status == 4, run.stderr
    yield {}


@contextmanager
def a_run_that_was_killed(lab: RunbookLab) -> Iterator[Meanwhile]:
    """It ended between the signal and the state that was waited for."""
    log = lab.daemons["edge-1"].log
    told = log.read_text().count("CMD 'signal SIGUSR1'")
    with lab.spawn("fleet signal SIGUSR1 -l eu --serial 1 --yes") as process:
        wait_until("it is told", lambda: log.read_text().count("CMD 'signal SIGUSR1'") > told, log=log)
        process.kill()
        process.communicate()
    yield {}


@contextmanager
def others(lab: RunbookLab) -> Iterator[Meanwhile]:
    """A run of fleet is on edge-1, and something else on edge-2; both leave when they are waited for."""
    with ExitStack() as stack:
        holder = stack.enter_context(ExitStack())
        holder.callback(Conversation(lab.daemons["edge-2"].management).close)
        follow = stack.enter_context(lab.spawn("fleet log --follow -l edge-1"))
        stack.callback(follow.terminate)
        assert follow.stderr is not None
        assert any(b"+ edge-1" in told for told in follow.stderr)

        def leave_the_port() -> None:
            wait_until("fleet waits for edge-2", lambda: lab.waiting("edge-2"))
            holder.close()

        yield {
            "fleet status edge-1 --lock-timeout 5m": follow.terminate,
            "fleet status edge-2 --wait-busy 1m": leave_the_port,
        }


@contextmanager
def a_host_that_starts_its_daemon_again(lab: RunbookLab) -> Iterator[Meanwhile]:
    yield {}
    lab.start_again("gw-1")


def nothing(_lab: RunbookLab) -> AbstractContextManager[Meanwhile]:
    return nullcontext({})


PREPARED: Mapping[str, Callable[[RunbookLab], AbstractContextManager[Meanwhile]]] = {
    "When it stops": a_run_that_stopped,
    "A run that was killed": a_run_that_was_killed,
    "Drain a server for maintenance": a_host_that_starts_its_daemon_again,
    "Somebody else is there": others,
}


class Operator:
    """Who sits at the terminals and does what the page says."""

    def __init__(self, lab: RunbookLab, folder: Path, stack: ExitStack) -> None:
        self._lab = lab
        self._folder = folder
        self._stack = stack
        self._run = newest_change(lab)
        self._terminals = 0
        self._beside: list[tuple[str, Tmux]] = []

    def does(self, line: str, meanwhile: Callable[[], None] | None) -> None:
        """Types a command and what it asks for, and looks at what comes of it."""
        step = STEPS[line]
        screen = self._terminal()
        folder = shlex.quote(str(self._lab.folder))
        screen.run(["bash", "-c", f"cd {folder} && {line}"], self._lab.environment() | {"RUN": self._run})
        if meanwhile is not None:
            meanwhile()
        for question, answer in step.answers:
            screen.wait_for(question)
            screen.line(answer)
        if step.ready:
            screen.wait_for(step.ready)
        self._beside.append((line, screen))
        if not step.beside:
            while self._beside:
                self._ends(*self._beside.pop())

    def _terminal(self) -> Tmux:
        self._terminals += 1
        folder = self._folder / f"terminal-{self._terminals}"
        folder.mkdir()
        return self._stack.enter_context(Tmux(folder))

    def _ends(self, line: str, screen: Tmux) -> None:
        step = STEPS[line]
        if step.ready:
            screen.type("C-c")
        ended = screen.folder / "exit-status"
        wait_until(f"the end of {line}", ended.exists, wait_timeout=END_TIMEOUT)
        status, seen = screen.exit_status(), f"{screen.text.rstrip()}\n"
        assert (status, [text for text in step.says if text not in seen]) == (step.status, []), f"{line}\n{seen}"


@pytest.fixture(scope="module")
def runbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunbookLab]:
    with RunbookLab(tmp_path_factory.mktemp("runbook")) as started:
        yield started


def test_every_command_of_the_page_is_known_here_and_no_other() -> None:
    assert {line for block in BLOCKS for line in lines(block)} == set(STEPS)
    assert set(PREPARED) <= set(SECTIONS)
    assert len(BLOCKS) == sum(map(len, SECTIONS.values()))  # no heading stands twice


@pytest.mark.parametrize("heading", SECTIONS)
def test_a_section_can_be_followed(runbook: RunbookLab, tmp_path: Path, heading: str) -> None:
    runbook.everybody_is_there()
    with PREPARED.get(heading, nothing)(runbook) as meanwhile, ExitStack() as stack:
        operator = Operator(runbook, tmp_path, stack)
        for block in SECTIONS[heading]:
            for line in lines(block):
                operator.does(line, meanwhile.get(line))
