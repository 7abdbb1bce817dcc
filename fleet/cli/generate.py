"""Writes everything in docs that is made from the code: the reference, the manual pages, the JSON Schemas.

    python -m fleet.cli.generate docs

Tests compare the files with the code.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from fleet.cli import manpages, reference, schema


def generate(docs: Path) -> None:
    """Writes all of it into a docs folder, and removes pages and schemas of commands that are no more."""
    (docs / "cli.md").write_text(reference.render(), "utf-8")
    _replace(docs / "man", manpages.pages())
    _replace(docs / "schema", schema.files())


def _replace(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name not in files:
            old.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
