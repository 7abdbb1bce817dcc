"""Imports run one way, third parties live in one room each, and start-up is cheap (docs/architecture.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fleet"

# Which rooms a room may import, besides itself. A room that does not stand here may not exist.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "management": {"errors"},
    "session": {"errors", "management"},
    "inventory": {"errors"},
    "transport": {"errors", "inventory"},
    "engine": {"errors", "inventory"},
    "journal": {"errors", "inventory", "engine"},
    "operations": {"errors", "management", "session", "inventory", "transport", "engine"},
    "shards": {
        *("errors", "inventory", "transport", "engine", "journal", "operations"),
        "",  # fleet itself: a cluster's workers have to have the same version
    },
    "render": {"errors", "management", "session", "inventory", "engine", "operations"},
    "usage": {"errors", "management"},
    "top": {"errors", "management", "inventory", "engine", "operations", "render"},
    "demo": {"errors", "management", "session", "inventory", "transport", "engine", "operations", "render"},
    "cli": {
        *("errors", "management", "session", "inventory", "transport", "engine", "journal", "operations"),
        *("render", "demo", "top", "usage", "shards"),
        "",  # fleet itself, for its version
    },
    "__main__": {"cli"},
    "": set(),  # fleet/__init__.py
}

# The modules that may import a third party. A prefix that ends in a dot is a package.
THIRD_PARTIES: dict[str, tuple[str, ...]] = {
    "asyncssh": ("fleet.transport", "fleet.transport.", "fleet.demo", "fleet.demo."),
    "yaml": ("fleet.inventory.yaml_tree",),
    "tabulate": ("fleet.render.table",),
    "prometheus_client": ("fleet.render.prometheus",),
    "textual": ("fleet.top", "fleet.top."),
    "wcwidth": ("fleet.render.",),
    "typer": ("fleet.cli", "fleet.cli."),
    "click": ("fleet.cli", "fleet.cli."),
    "rich": ("fleet.cli", "fleet.cli.", "fleet.top."),
    "cryptography": ("fleet.cli.version",),
    "prompt_toolkit": ("fleet.cli.prompt",),
    "distributed": ("fleet.shards.cluster",),
}

# Modules that others import at start-up, so that what they import of third parties waits for a call. The modules inside
# fleet/transport may import asyncssh at their top: fleet.transport itself imports them late.
MUST_BE_LATE = {
    "fleet.transport",
    "fleet.demo",
    "fleet.render.table",
    "fleet.render.progress",
    "fleet.render.prometheus",
    "fleet.shards.cluster",
}

# The management protocol is sans-I/O: bytes in, events out.
NO_IO = {
    "asyncio",
    "socket",
    "socketserver",
    "select",
    "selectors",
    "ssl",
    "threading",
    "subprocess",
    "multiprocessing",
}
CLOCKS = {"time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep"}
CLOCK_METHODS = {"now", "utcnow", "today"}


@dataclass(frozen=True)
class Import:
    """One imported module or name, and where it stands."""

    importer: str
    imported: str
    line: int
    late: bool

    @property
    def where(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk(node: ast.AST, *, late: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether it is reached only when something is called (or only by a type checker)."""
    for child in ast.iter_child_nodes(node):
        inside = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node)
        yield child, inside
        yield from walk(child, late=inside)


def imports_of(name: str, source: str, *, is_package: bool = False) -> list[Import]:
    found: list[Import] = []
    for node, late in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.extend(Import(name, alias.name, node.lineno, late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                above = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*above, base] if base else above)
            if base == "fleet":  # `from fleet import x`: x may be a room
                found.extend(Import(name, f"fleet.{alias.name}", node.lineno, late) for alias in node.names)
            else:
                found.append(Import(name, base, node.lineno, late))
    return found


def known(module: str) -> str:
    """`fleet.x` where x is no room is a name of fleet/__init__.py."""
    head = ".".join(module.split(".")[:2])
    is_room = (PACKAGE / room(head)).is_dir() or (PACKAGE / f"{room(head)}.py").is_file()
    return module if is_room else "fleet"


def allowed(module: str, places: tuple[str, ...]) -> bool:
    return any(module.startswith(place) if place.endswith(".") else module == place for place in places)


def faults(found: list[Import]) -> list[str]:
    """What breaks the house's rules."""
    bad: list[str] = []
    for one in found:
        top = one.imported.split(".")[0]
        here = room(one.importer)
        if top == "fleet":
            there = room(known(one.imported))
            if there != here and there not in MAY_IMPORT.get(here, set()):
                bad.append(one.where)
        elif top in THIRD_PARTIES:
            if not allowed(one.importer, THIRD_PARTIES[top]):
                bad.append(one.where)
            elif one.importer in MUST_BE_LATE and not one.late:
                bad.append(f"{one.where} before it is needed")
        elif top not in sys.stdlib_module_names or (here == "management" and top in NO_IO):
            bad.append(one.where)
    return bad


def clocks(name: str, source: str) -> list[str]:
    """Where a module reads a clock."""
    bad: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            owner = ast.unparse(node.value).rsplit(".", 1)[-1]
            if text in CLOCKS or (node.attr in CLOCK_METHODS and owner in ("datetime", "date")):
                bad.append(f"{name}:{node.lineno} reads a clock: {text}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            bad.extend(
                f"{name}:{node.lineno} reads a clock: time.{alias.name}"
                for alias in node.names
                if f"time.{alias.name}" in CLOCKS
            )
    return bad


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    path = MODULES[name]
    found = imports_of(name, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    assert faults(found) == []
    assert room(name) in MAY_IMPORT, f"docs/architecture.md has no room {room(name)}"


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "management"])
def test_the_protocol_has_no_clock(name: str) -> None:
    assert clocks(name, MODULES[name].read_text("utf-8")) == []


def test_the_directions_have_no_circle() -> None:
    done: set[str] = set()
    while True:
        ready = {name for name, needs in MAY_IMPORT.items() if name not in done and needs <= done}
        if not ready:
            break
        done |= ready
    assert done == set(MAY_IMPORT)
    assert "session" not in MAY_IMPORT["transport"]
    assert "transport" not in MAY_IMPORT["session"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fleet.errors", "import fleet.management"),
        ("fleet.management.protocol", "import asyncio"),
        ("fleet.management.protocol", "def f():\n    from socket import socket"),
        ("fleet.management.protocol", "from ..inventory import model"),
        ("fleet.management.protocol", "from fleet import inventory"),
        ("fleet.session", "from fleet.inventory.model import Server"),
        ("fleet.render.text", "from fleet.cli import main"),
        ("fleet.operations.kill", "from fleet.render import table"),
        ("fleet.render.json", "import tabulate"),
        ("fleet.render.table", "import tabulate"),
        ("fleet.engine", "def f():\n    import asyncssh"),
        ("fleet.transport", "import asyncssh"),
        ("fleet.transport", "class A:\n    import asyncssh.connection"),
        ("fleet.session", "import asyncssh"),
        ("fleet.inventory.pattern", "import yaml"),
        ("fleet.operations.kill", "import typer"),
        ("fleet.cli.main", "import requests"),
    ],
)
def test_what_breaks_the_rules_is_found(name: str, source: str) -> None:
    assert len(faults(imports_of(name, source))) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fleet.management.protocol", "from .commands import Command"),
        ("fleet.management.protocol", "from datetime import datetime\nfrom fleet.errors import ProtocolError"),
        ("fleet.cli.main", "import typer\nfrom fleet import __version__\nfrom fleet.render import table"),
        ("fleet.transport", "def f():\n    import asyncssh"),
        ("fleet.transport", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncssh"),
        ("fleet.demo.server", "import asyncssh"),
        ("fleet.transport.dial", "import asyncssh"),
        ("fleet.inventory.yaml_tree", "import yaml"),
    ],
)
def test_what_keeps_the_rules_is_let_be(name: str, source: str) -> None:
    assert faults(imports_of(name, source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\ndate.today()",
        "from time import monotonic",
    ],
)
def test_a_clock_is_found(source: str) -> None:
    assert len(clocks("fleet.management.x", source)) == 1


def test_a_time_that_was_given_is_no_clock() -> None:
    assert clocks("fleet.management.x", "from datetime import datetime\ndatetime.fromtimestamp(0)") == []


@pytest.mark.parametrize("name", [f"fleet.{name}" for name in ("transport", "operations", "render", "engine")])
def test_importing_a_room_does_not_import_the_heavy_parties(name: str) -> None:
    inner = name != "fleet.transport"  # its inner modules are what it imports late
    modules = [module for module in MODULES if module == name or (inner and module.startswith(f"{name}."))]
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"asyncssh", "tabulate", "wcwidth", "typer"} & set(done.stdout.split()) == set()
    assert set(modules) <= set(done.stdout.split())
