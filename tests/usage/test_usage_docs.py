"""docs/usage-database.md has the tables that there are, and the numbers that mark the file."""

from __future__ import annotations

import re
from pathlib import Path

from fleet.usage.database import Database
from fleet.usage.schema import APPLICATION_ID, VERSION

PAGE = (Path(__file__).parents[2] / "docs" / "usage-database.md").read_text("utf-8")


def documented() -> dict[str, list[str]]:
    sections = re.findall(r"^## ([a-z_]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return {name: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) for name, text in sections}


def test_every_table_and_column_is_documented(database: Database) -> None:
    names = database.connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    real = {name: [row[1] for row in database.connection.execute(f"PRAGMA table_info({name})")] for (name,) in names}
    assert documented() == real


def test_the_marks_of_the_file_are_documented() -> None:
    assert f"`PRAGMA application_id` is {APPLICATION_ID}," in PAGE
    assert f"`PRAGMA user_version` is {VERSION}," in PAGE
