"""What `fleet --version` says: what a bug report needs."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from fleet import __version__
from fleet.cli.version import EXTRAS, PACKAGES, version_text


def test_the_versions_are_those_of_what_is_imported() -> None:
    first, python, *rest = version_text().split("\n")
    assert first == f"fleet {__version__}"
    assert python == f"Python {sys.version.split(' ')[0]} ({sys.executable})"
    assert rest[:-2] == [f"{name} {version(name)}" for name in (*PACKAGES, *EXTRAS)]
    assert rest[-2].startswith("OpenSSL ")
    assert rest[-1].startswith(f"{os.uname().sysname} {os.uname().release} ")


def test_the_first_of_two_counts_and_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (
        ("a", "typer-1.2.3.dist-info"),
        ("b", "typer-9.9.dist-info"),
        ("b", "pyyaml-6.0-py3.11.egg-info"),
    ):
        (tmp_path / folder / name).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "gone.zip"), str(tmp_path / "a"), str(tmp_path / "b")])
    lines = version_text().split("\n")
    assert {"typer 1.2.3", "PyYAML 6.0", "asyncssh is missing"} <= {*lines}
    assert not [line for line in lines if line.startswith(EXTRAS)]
