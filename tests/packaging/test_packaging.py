"""The wheel and the sdist, built here, and the wheel installed in an environment of its own.

No registry is asked: what fleet depends on is linked from the environment of the tests, as far as the wheel's own
metadata names it, and nothing else is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import distribution
from pathlib import Path

import hatchling.build
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0  # seconds that a child may take; far more than it does
EVERY_MODULE = """
import importlib, pkgutil, fleet
for module in pkgutil.walk_packages(fleet.__path__, "fleet."):
    if module.name != "fleet.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
print(fleet.__file__)
"""


@dataclass(frozen=True, slots=True)
class Built:
    wheel: Path
    sdist: Path

    @property
    def metadata(self) -> HeaderParser:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return HeaderParser().parsestr(archive.read(name).decode("utf-8"))


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with fleet and what its metadata says that it needs."""

    folder: Path

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A program of it, without anything of this process's own environment."""
        return subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8", **more},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    return Built(*build(ROOT, folder))


def build(source: Path, folder: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a source tree, by the backend itself, so that it need not be downloaded."""
    before = Path.cwd()
    os.chdir(source)
    try:
        return folder / hatchling.build.build_wheel(str(folder)), folder / hatchling.build.build_sdist(str(folder))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=TIMEOUT)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-index", "--no-deps", built.wheel], check=True, timeout=TIMEOUT)
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    link(needed(built), packages)
    return Environment(folder)


def needed(built: Built, *extras: str) -> set[str]:
    """The names of the distributions that the wheel needs with these extras, and those that they need in turn."""
    own = [Requirement(text) for text in built.metadata.get_all("Requires-Dist", [])]
    wanted = [(requirement, frozenset({"", *extras})) for requirement in own]
    found: dict[str, frozenset[str]] = {}
    while wanted:
        requirement, given = wanted.pop()
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": one}) for one in given):
            continue
        asked = frozenset({"", *requirement.extras})
        if asked <= found.get(requirement.name, frozenset()):
            continue
        found[requirement.name] = asked | found.get(requirement.name, frozenset())
        if requirement.name == "openvpn-fleet":
            wanted += [(one, asked) for one in own]
        else:
            wanted += [(Requirement(text), asked) for text in distribution(requirement.name).requires or ()]
    return set(found) - {"openvpn-fleet"}


def link(names: set[str], packages: Path) -> None:
    for name in names:
        found = distribution(name)
        tops = {path.parts[0] for path in found.files or () if path.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (packages / top).exists():
                (packages / top).symlink_to(found.locate_file(top))


def test_the_first_line_of_the_version(installed: Environment) -> None:
    done = installed.run("fleet", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"fleet \d+\.\d+\.\d+", done.stdout.split("\n")[0])


def test_the_demo_runs(installed: Environment) -> None:
    done = installed.run("fleet", "demo", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: fleet demo" in done.stdout


def test_every_module_can_be_imported_but_those_of_an_extra(installed: Environment) -> None:
    done = installed.run("python", "-c", EVERY_MODULE)
    assert (done.returncode, done.stderr) == (0, "")
    *missing, where = done.stdout.split("\n")[:-1]
    assert Path(where).is_relative_to(installed.folder)
    assert {line.split(" ")[1] for line in missing} <= {"textual", "prometheus_client", "rich"}


def test_without_its_extra_a_command_says_what_to_install(installed: Environment) -> None:
    inventory = installed.folder / "inventory.yaml"
    inventory.write_text("all: {hosts: {edge-1: {management: '127.0.0.1:7505', connection: local}}}\n")
    for command, extra in (("top", "top"), ("metrics", "metrics")):
        done = installed.run("fleet", command)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert f"openvpn-fleet[{extra}]" in done.stderr


def test_the_manual_pages_are_where_man_finds_them(installed: Environment) -> None:
    manual = installed.folder / "share" / "man"
    for name in ("fleet", "fleet-status", "fleet-history-list"):
        done = subprocess.run(
            ["man", "-M", manual, name],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert done.stderr == ""
        assert f"{name} - " in done.stdout


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_the_sdist_builds_the_same_wheel_and_holds_the_tests(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - it was made here; Python 3.11.2 has no filters
    (source,) = tmp_path.iterdir()
    again, _ = build(source, tmp_path)
    assert contents(again) == contents(built.wheel)
    for name in ("tests/run", ".ci/constraints.txt", "docs/man/fleet.1", "docs/schema/status.json", "README.md"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
    assert os.access(source / "tests" / "run", os.X_OK)
    there = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    assert {path.relative_to(source / "tests") for path in (source / "tests").rglob("*.py")} == there


def test_nothing_but_the_package_is_in_the_wheel(built: Built) -> None:
    assert {name.split("/")[0] for name in contents(built.wheel)} == {
        "fleet",
        "openvpn_fleet-0.1.0.data",
        "openvpn_fleet-0.1.0.dist-info",
    }


def test_the_extras(built: Built) -> None:
    assert set(built.metadata.get_all("Provides-Extra", [])) == {"top", "metrics", "dask", "test"}


def test_everything_that_is_installed_for_the_tests_is_pinned(built: Built) -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").split("\n")
    pinned = {same(line.partition("==")[0]) for line in lines if line and not line.startswith("#")}
    wanted = {same(name) for name in needed(built, "test")}
    assert {"asyncssh", "textual", "pytest", "jsonschema"} <= wanted
    assert wanted - pinned == set()


def same(name: str) -> str:
    """A package's name as every spelling of it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_groff_has_nothing_to_say_of_the_manual_pages() -> None:
    groff = shutil.which("groff")
    assert groff is not None
    done = subprocess.run(
        [groff, "-ww", "-man", "-Tutf8", "-z", *sorted((ROOT / "docs" / "man").glob("*.1"))],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stderr == ""
