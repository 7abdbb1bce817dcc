"""The pages of the documentation, as far as its tests look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

_FENCE = re.compile(r"\s*```(?P<language>\w*)\s*$")
_HEADING = re.compile(r"#{1,6} +(?P<text>.+?)\s*$")
_LINK = re.compile(r"\[(?P<text>[^][]*)\]\((?P<target>[^()\s]+)\)")
_CODE = re.compile(r"`[^`]*`")
_SIGNS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, the heading above it and its first line's number in the page."""

    page: str
    language: str
    text: str
    heading: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a page to another place."""

    page: str
    target: str


@dataclass(frozen=True, slots=True)
class Page:
    """One Markdown file; `name` is its path from the root of the repository."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def blocks(self) -> list[Block]:
        return list(_blocks(self))

    @property
    def prose(self) -> str:
        """The page without its fenced blocks."""
        inside = False
        kept = []
        for line in self.text.split("\n"):
            if _FENCE.match(line):
                inside = not inside
            elif not inside:
                kept.append(line)
        return "\n".join(kept)

    @property
    def links(self) -> list[Link]:
        return [Link(self.name, found["target"]) for found in _LINK.finditer(_CODE.sub("`code`", self.prose))]

    @property
    def anchors(self) -> set[str]:
        """The anchors of its headings, made as GitHub and GitLab do."""
        return {anchor(heading["text"]) for line in self.prose.split("\n") if (heading := _HEADING.match(line))}

    def rows(self, first_heading: str) -> list[list[str]]:
        """The cells of the table whose first column is called so."""
        lines = iter(self.text.split("\n"))
        for line in lines:
            if line.startswith("|") and _cells(line)[0] == first_heading:
                break
        next(lines)  # the dashes
        rows = []
        for line in lines:
            if not line.startswith("|"):
                break
            rows.append(_cells(line))
        return rows


def anchor(heading: str) -> str:
    return _SIGNS.sub("", heading.replace("`", "").lower()).replace(" ", "-")


@cache
def pages() -> dict[str, Page]:
    """README.md and every page of docs, by their path from the root of the repository."""
    paths = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    names = [str(path.relative_to(ROOT)) for path in paths]
    return {name: Page(name, path.read_text("utf-8")) for name, path in zip(names, paths, strict=True)}


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _blocks(page: Page) -> Iterator[Block]:
    heading, language, begun = "", None, 0
    lines: list[str] = []
    for number, line in enumerate(page.text.split("\n"), 1):
        fence = _FENCE.match(line)
        if language is None:
            if fence:
                language, begun, lines = fence["language"], number + 1, []
            elif found := _HEADING.match(line):
                heading = found["text"]
        elif fence:
            yield Block(page.name, language, "\n".join(lines), heading, begun)
            language = None
        else:
            lines.append(line)
    assert language is None, f"{page.name}:{begun}: a fenced block has no end"
