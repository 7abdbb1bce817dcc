"""The pages themselves: links lead somewhere, and facts that the code cites are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.markdown import DOCS, ROOT, Page, pages
from fleet.inventory.load import load

PAGES = list(pages().values())
FACTS = pages()["docs/protocol-facts.md"]

_NUMBERS = r"\d+(?:\.\d+)?"
_CITATION = re.compile(
    rf"protocol-facts (?:sections? )?(?P<numbers>{_NUMBERS}(?:(?:, | and | to ){_NUMBERS})*)(?:, \"(?P<name>[^\"]+)\")?"
)
_LINE_BREAK = re.compile(r"\s*\n\s*#?\s*")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    lost = []
    for link in page.links:
        path, _, fragment = link.target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        place = (page.path.parent / path).resolve() if path else page.path
        there = place.exists() and (not fragment or fragment in pages()[str(place.relative_to(ROOT))].anchors)
        if not there:
            lost.append(link.target)
    assert lost == []


def test_every_page_can_be_found_from_the_readme() -> None:
    found, new = set(), {"README.md"}
    while new:
        found |= new
        new = {
            str((pages()[name].path.parent / link.target.partition("#")[0]).resolve().relative_to(ROOT))
            for name in new
            for link in pages()[name].links
            if link.target.partition("#")[0].endswith(".md")
        } - found
    assert {str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md")} <= found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Page) -> None:
    named = re.findall(r"`((?:fleet|tests|docs|\.ci)/[\w./-]+)`", page.prose)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_first_inventory_can_be_read(tmp_path: Path) -> None:
    (block,) = [block for block in pages()["README.md"].blocks if block.language == "yaml"]
    assert len(block.text.split("\n")) == 5
    path = tmp_path / "inventory.yaml"
    path.write_text(block.text, "utf-8")
    inventory = load(str(path))
    assert [group for group in inventory.groups if inventory.groups[group].servers] == ["all", "eu", "us"]
    assert len(inventory.servers) == 4


# Citations of docs/protocol-facts.md


def cited() -> Iterator[tuple[str, str, str | None]]:
    """Every fact that the code or a test cites: where, its number, and the name of a paragraph in it."""
    sources = [*(ROOT / "fleet").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for path in sorted(sources):
        if path.parent != Path(__file__).parent:
            text = _LINE_BREAK.sub(" ", path.read_text("utf-8"))
            for citation in _CITATION.finditer(text):
                for number in re.findall(_NUMBERS, citation["numbers"]):
                    yield str(path.relative_to(ROOT)), number, citation["name"]


def is_there(number: str) -> bool:
    heading = rf"^## {number}\. " if "." not in number else rf"^- \*\*{re.escape(number)}\*\* "
    return re.search(heading, FACTS.text, re.MULTILINE) is not None


def section(number: str) -> str:
    return next(part for part in re.split(r"^## ", FACTS.text, flags=re.MULTILINE) if part.startswith(f"{number}. "))


CITED = sorted(set(cited()), key=str)


def test_facts_are_cited() -> None:
    assert len(CITED) > 50


@pytest.mark.parametrize("number", sorted({number for _, number, _ in CITED}))
def test_a_cited_fact_is_there(number: str) -> None:
    assert is_there(number), [place for place, other, _ in CITED if other == number]


@pytest.mark.parametrize(("number", "name"), sorted({(number, name) for _, number, name in CITED if name}))
def test_a_cited_paragraph_is_there(number: str, name: str) -> None:
    assert f"**{name}.**" in section(number)


@pytest.mark.parametrize("number", ["3", "12", "6.2", "6.12", "3.1"])
def test_a_fact_that_is_not_there_is_missed(number: str) -> None:
    assert is_there(number) == (number in ("3", "6.2"))


def test_the_releases_of_the_transcripts_are_named() -> None:
    releases = {path.name for path in (ROOT / "tests" / "transcripts").iterdir() if path.is_dir()}
    assert releases
    assert all(release in FACTS.text for release in releases)


# docs/architecture.md


def test_every_room_has_its_row() -> None:
    rows = pages()["docs/architecture.md"].rows("room")
    rooms = {f"fleet/{path.name}/" for path in (ROOT / "fleet").iterdir() if (path / "__init__.py").is_file()}
    rooms |= {f"fleet/{path.name}" for path in (ROOT / "fleet").glob("*.py") if not path.name.startswith("__")}
    assert {row[0].strip("`") for row in rows} == rooms


def test_every_place_to_change_is_there() -> None:
    named = [
        name
        for row in pages()["docs/architecture.md"].rows("to change")
        for name in re.findall(r"`(\w+/\w+\.py)`", row[1])
    ]
    assert named
    assert [name for name in named if not (ROOT / "fleet" / name).is_file()] == []
