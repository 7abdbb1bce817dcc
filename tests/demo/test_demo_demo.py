"""`fleet demo` itself: real subprocesses of fleet against the example farm; the screen in README.md is of one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from docs.markdown import pages
from fleet.demo import demo
from fleet.demo.example import BUSY, SERVERS, example_farm

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo's folder is made, so that a test sees whether it was removed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_every_command_behaves_and_nothing_is_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_READONLY", "1")  # the user's own settings have no part in it
    written: list[str] = []
    status = demo.run_demo(keep=False, write=written.append)
    text = "".join(written)
    assert (status, "not what the demo expects" in text) == (0, False), text
    assert [line for line in text.split("\n") if line.startswith("$ fleet")] == [
        "$ fleet status --all",
        "$ fleet clients gw.eu.example.net/udp",
        "$ fleet kill Test-Client",
        "$ fleet verb 4 -l eu --yes",
        "$ fleet status --all --json | head -n 24",
    ]
    assert f"$ export FLEET_INVENTORY={temporary}/fleet-demo-" in text
    assert text.count("(exit status 4: a server could not be asked)") == 3
    assert "management-busy" in text
    assert "connect-refused" in text
    assert list(temporary.iterdir()) == []
    assert shown_otherwise(text) == []


def shown_otherwise(printed: str) -> list[str]:
    """The lines of the screen in README.md that the demo does not print, apart from numbers."""
    blocks = [block for block in pages()["README.md"].blocks if block.language == "console"]
    shown = [line for block in blocks for line in block.text.split("\n")]
    assert len(shown) > 15
    lines = {masked(line) for line in printed.split("\n")}
    return [line for line in shown if masked(line) not in lines]


def masked(line: str) -> str:
    """The line without what differs from run to run: sizes, numbers, the width of columns."""
    return re.sub(r"\d+", "N", re.sub(r"[\d.]+ ([KMGT]i)?B\b", "SIZE", " ".join(line.split())))


def test_the_masks_leave_words() -> None:
    assert masked("edge-1   CONNECTED  12d 3h   7.6 GiB") == "edge-N CONNECTED Nd Nh SIZE"


@pytest.mark.parametrize(
    "step",
    [
        demo.Step("Refused.", ("inventory", "show", "nobody"), 0, lambda _farm, _output: True),
        demo.Step("Done, but not what was meant.", ("inventory", "list"), 0, lambda _farm, _output: False),
    ],
)
def test_a_command_that_does_not_behave_is_told(monkeypatch: pytest.MonkeyPatch, step: demo.Step) -> None:
    monkeypatch.setattr(demo, "STEPS", (step,))
    written: list[str] = []
    assert demo.run_demo(keep=False, write=written.append) == 1
    assert "This is not what the demo expects" in "".join(written)


async def test_what_counts_as_behaving() -> None:
    farm = example_farm()
    *_, kill, verb, document = demo.STEPS
    assert not kill.behaved(farm, "Test-Client")  # it is still there
    assert not verb.behaved(farm, "")
    assert not document.behaved(farm, "not JSON")
    assert not document.behaved(farm, '{"servers": []}')
    assert len(farm[BUSY].daemon.instances) > 0
    assert sum(len(farm[server].daemon.instances) for server in SERVERS) >= 36


@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 0)])
def test_keep_runs_until_it_is_interrupted(temporary: Path, how: signal.Signals, status: int) -> None:
    with demo_process(keep=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("until Ctrl-C.\n"):
            text += process.stdout.readline()
        assert len(list(temporary.iterdir())) == 1
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (status, "")
    assert "  fleet status --all\n" in text
    assert list(temporary.iterdir()) == []


def test_an_interrupted_demo_removes_its_folder(temporary: Path) -> None:
    with demo_process(keep=False) as process:
        assert process.stdout is not None
        while "$ fleet status" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert list(temporary.iterdir()) == []


def demo_process(*, keep: bool) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "fleet", "demo", *(["--keep"] if keep else [])]
    return subprocess.Popen(
        arguments, cwd=REPOSITORY, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
