"""Completion: what may stand where somebody presses TAB, in this process and in a real bash."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli.harness import Fleet
from fleet.cli import complete, remembered, words

INVENTORY = (
    "all: {vars: {management: '127.0.0.1:7505'}}\neu:\n  hosts: {edge-1: {}, edge-2: {}}\nus:\n  hosts: {gw: {}}\n"
)
BREAKS = " \t\n\"'@><=;|&(:"


@pytest.fixture
def known(fleet: Fleet) -> Fleet:
    fleet.inventory(INVENTORY)
    return fleet


def answer(*typed: str) -> list[str]:
    return [word for word, _text in complete.answer_to(typed).words]


def test_the_words_are_those_of_the_commands() -> None:
    kept = json.loads(Path(words.__file__).with_name("words.json").read_text("utf-8"))
    assert kept == json.loads(json.dumps(words.table())), "python -m fleet.cli.words > fleet/cli/words.json"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["stat"], ["status", "state"]),
        (["config", ""], ["show", "path"]),
        (["-o", "y"], ["yaml"]),
        (["--output=nd"], ["--output=ndjson"]),
        (["status", "-oj"], []),
        (["signal", "SIGU"], ["SIGUSR1", "SIGUSR2"]),
        (["-l", "eu", "signal", "SIGH"], ["SIGHUP"]),
        (["signal", "SIGHUP", ""], []),
        (["hold", "o"], ["on", "off"]),
        (["log", "--le"], ["--level"]),
        (["signal", "--seri"], ["--serial"]),
        (["status", "--seri"], []),
        (["--seri"], ["--serial"]),
        (["state", "--", "--fol"], []),
        (["clients", "--columns", "server,real"], ["server,real_address"]),
        (["clients", "--sort-by", "-bytes_s"], ["-bytes_sent"]),
        (["exec", "load"], ["load-stats"]),
        (["completion", "b"], ["bash"]),
        (["events", "--type", "STATE,LO"], ["STATE,LOG"]),
        (["nonsense", "x"], []),
    ],
)
def test_words_that_are_always_the_same(typed: list[str], expected: list[str]) -> None:
    assert answer(*typed) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ed", ["edge-1", "edge-2"]),
        ("edge-1,", ["edge-1,edge-1", "edge-1,edge-2", "edge-1,gw", "edge-1,eu", "edge-1,us"]),
        ("eu:!edge-2", ["eu:!edge-2"]),
        ("eu:&u", ["eu:&us"]),
        ("e", ["edge-1", "edge-2", "eu"]),
    ],
)
@pytest.mark.usefixtures("known")
def test_servers_and_groups(typed: str, expected: list[str]) -> None:
    assert [word for word in answer("status", typed) if not word.endswith(("all", "ungrouped"))] == expected
    assert answer("status", "-l", typed) == answer("-x", typed) == answer("status", typed)


@pytest.mark.usefixtures("known")
def test_a_server_is_a_server() -> None:
    assert answer("inventory", "show", "e") == ["edge-1", "edge-2"]


@pytest.mark.usefixtures("known")
def test_files(tmp_path: Path) -> None:
    (tmp_path / "fleet-names").write_text("edge-1\n")
    (tmp_path / "fleet-more").mkdir()
    assert complete.answer_to(["-i", ""]).how == "files"
    assert complete.answer_to(["status", "-F", "x"]).how == "files"
    assert answer("status", "@fleet-") == ["@fleet-more/", "@fleet-names"]


def test_an_inventory_is_read_once_and_again_when_it_changes(known: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("status", "gw") == ["gw"]
    kept = Path(os.environ["XDG_CACHE_HOME"], "fleet", "inventories.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with monkeypatch.context() as patched:
        patched.setattr(remembered, "_load", lambda _: pytest.fail("it was read again"))
        assert answer("status", "gw") == ["gw"]
    known.inventory(INVENTORY + "de:\n  hosts: {gwen: {}}\n")
    assert answer("status", "gw") == ["gw", "gwen"]


def test_a_program_is_not_started(fleet: Fleet, tmp_path: Path) -> None:
    program = fleet.inventory(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    assert answer("status", "") == []
    assert not (tmp_path / "started").exists()


def test_a_broken_inventory_and_cache_complete_nothing(fleet: Fleet) -> None:
    fleet.inventory("[")
    assert answer("status", "") == []
    Path(os.environ["XDG_CACHE_HOME"], "fleet", "common-names.json").write_bytes(b"\xff{")
    assert answer("kill", "") == []


def test_common_names_are_those_that_runs_have_seen(small: Fleet) -> None:
    assert answer("kill", "Te") == []
    assert small("clients", "edge-1").status == 0
    assert set(answer("kill", "")) == {"Test-Client", "Doe, Jane"}
    assert answer("find", "Te") == ["Test-Client"]
    kept = Path(os.environ["XDG_CACHE_HOME"], "fleet", "common-names.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert answer("history", "show", "")[0] == "last"
    assert len(answer("history", "show", "")) == 2


@pytest.mark.usefixtures("fleet")
def test_common_names_are_bounded_and_none_drives_a_terminal() -> None:
    remembered.remember_common_names(["evil\x1b[2J", "x" * 200, None, "", *map(str, range(6000))])
    remembered.remember_common_names(["newest"])
    names = remembered.common_names()
    assert (len(names), names[0]) == (remembered.NAMES_LIMIT, "newest")
    assert all(name.isprintable() and len(name) <= 127 for name in names)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fleet sta", ["done", "status", "state"]),
        ("fleet status --output=ya", ["done", "yaml"]),
        ("fleet status eu:!ed", ["open", r"\!edge-1", r"\!edge-2"]),
        (r"fleet status \!gw:ed", ["open", "edge-1", "edge-2"]),
        ("fleet kill Do", ["done", r"Doe,\ Jane"]),
        ("fleet kill 'Do", ["done", "Doe, Jane"]),
        ("fleet kill \\$", ["done", r"\$\(x\)"]),
        ("fleet -l 'eu' signal SIGH", ["done", "SIGHUP"]),
    ],
)
def test_bash_gets_what_it_replaces(known: Fleet, line: str, expected: list[str]) -> None:
    remembered.remember_common_names(["Doe, Jane", "$(x)"])
    known.capture.readouterr()
    assert complete.main(["bash", line, BREAKS]) == 0
    assert known.capture.readouterr().out.decode().splitlines() == expected


EVIL = ("x&touch owned&", "x;touch owned", "x'&touch owned&'", 'x"&touch owned&"', "x$(touch owned)", "x`touch owned`",
        "x|touch owned", "x>owned", "x !1", "x\\", "x*", "x#")  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_common_name_starts_nothing_in_a_shell(fleet: Fleet, tmp_path: Path, name: str, quote: str) -> None:
    """What bash is given for a name is one word, and that name: no client chooses what its operator runs."""
    remembered.remember_common_names([name])
    fleet.capture.readouterr()
    assert complete.main(["bash", f"fleet kill {quote}x", BREAKS]) == 0
    _how, *words = fleet.capture.readouterr().out.decode().splitlines()
    assert len(words) == 1
    line = f"printf '%s.' {quote}{words[0]}{quote}"
    done = subprocess.run(["bash", "--norc", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, (tmp_path / "owned").exists()) == (f"{name}.", "", False)


@pytest.mark.usefixtures("fleet")
def test_a_common_name_is_no_option() -> None:
    remembered.remember_common_names(["--yes", "-y", "x"])
    assert answer("kill", "") == ["x"]
    assert "--yes" in answer("kill", "--", "")


def test_quotes_that_were_closed_complete_nothing(fleet: Fleet) -> None:
    remembered.remember_common_names(["ab"])
    fleet.capture.readouterr()
    complete.main(["bash", "fleet kill 'a'", BREAKS])
    assert fleet.capture.readouterr().out.decode().splitlines() == ["done"]


_BASH = """\
source <(fleet completion bash)
try() {
    COMP_LINE=$1 COMP_POINT=${#1}
    read -ra COMP_WORDS <<<"$1"
    _fleet
    printf '%s\\n' "${COMPREPLY[@]}"
}
compopt() { :; }
try 'fleet status edge'
try 'fleet signal SIGT'
"""


def test_a_real_bash(known: Fleet, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    program = tmp_path / "bin" / "fleet"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fleet "$@"\n')
    program.chmod(0o755)
    environment = known.child_environment(PATH=f"{program.parent}:{os.environ['PATH']}")
    done = subprocess.run(
        [bash, "--norc", "-c", _BASH], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["edge-1", "edge-2", "SIGTERM"], "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(fleet: Fleet, shell: str) -> None:
    result = fleet("completion", shell)
    assert result.status == 0
    assert f"__complete {shell}" in result.out


def test_another_shell_is_refused(fleet: Fleet) -> None:
    assert fleet("completion", "csh").status == 2
