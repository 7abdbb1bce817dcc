"""docs/SECURITY.md: each promise has tests, and they are there; and what can be seen of promises in the source."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.markdown import ROOT
from fleet.transport import lean

_ROW = re.compile(r"^\| (?P<promise>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_LISTENS = {
    "start_server",
    "start_unix_server",
    "create_server",
    "create_unix_server",
    "asyncssh.listen",
    "forward_local_port",
    "forward_local_path",
    "forward_socks",
    "forward_remote_port",
}


def promises() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "SECURITY.md").read_text("utf-8").partition("| promise | test |")[2].partition("\n## ")[0]
    return [(row["promise"], row["tests"]) for row in _ROW.finditer(text) if row["promise"].strip("-")]


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The functions of a file that pytest takes for tests: they are on its first level."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(function.name for function in functions if function.name.startswith("test_") and asserts(function))


def asserts(function: ast.AST) -> bool:
    """Whether it can fail by what it looks at: it asserts, expects an error, or leaves that to what it calls."""
    return any(isinstance(node, ast.Assert | ast.With | ast.AsyncWith | ast.Call) for node in ast.walk(function))


def test_there_are_promises() -> None:
    assert len(promises()) > 20


@pytest.mark.parametrize(("promise", "tests"), promises(), ids=[promise[:60] for promise, _tests in promises()])
def test_each_promise_has_tests_that_are_there(promise: str, tests: str) -> None:
    named = _TEST.findall(tests)
    assert named, promise
    assert len(named) == tests.count("`") // 2, f"something else than tests is named for: {promise}"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in functions_of(ROOT / path), f"{path} has no {name}"


def calls(path: Path) -> set[str]:
    """The names of what is called in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            found.add(called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", ""))
            found.add(ast.unparse(called))
    return found


def test_nothing_listens_but_metrics() -> None:
    """A listening socket would show a management port to every user of the operator's machine; the demo has its own."""
    listening = {
        str(path.relative_to(ROOT)) for path in (ROOT / "fleet").rglob("*.py") if calls(path) & _LISTENS
    }  # fmt: skip
    assert {name for name in listening if not name.startswith("fleet/demo/")} == {
        "fleet/cli/http.py",
        "fleet/cli/exporter.py",
    }


def test_no_agent_is_forwarded() -> None:
    assert lean._COMMON["agent_forwarding"] is False
    assert lean._COMMON["x11_forwarding"] is False


def test_no_shell_is_started() -> None:
    """Programs are run with the arguments that stand in the inventory or ssh_config."""
    for path in (ROOT / "fleet").rglob("*.py"):
        text = path.read_text("utf-8")
        assert not calls(path) & {"create_subprocess_shell", "getoutput", "getstatusoutput"}, path
        assert "shell=True" not in text, path
        assert "os.system" not in text, path
        assert "os.popen" not in text, path
