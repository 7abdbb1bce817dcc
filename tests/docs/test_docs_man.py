"""docs/man: a page for fleet and for each command, as the code says."""

from __future__ import annotations

import pytest

from docs.markdown import DOCS
from fleet.cli.manpages import pages, roff

PAGES = pages()


def test_the_pages_are_what_the_code_says() -> None:
    there = {path.name: path.read_text("ascii") for path in (DOCS / "man").glob("*.1")}
    assert there.keys() == PAGES.keys(), "old: python -m fleet.cli.generate docs"
    assert [name for name in PAGES if there[name] != PAGES[name]] == [], "old: python -m fleet.cli.generate docs"


def test_a_page_has_what_help_has() -> None:
    page = PAGES["fleet-kill.1"]
    assert r"fleet\-kill \- disconnect a client wherever in the fleet it is" in page
    assert r"\fB\-\-message\fR \fIRESTART|HALT[,TEXT]\fR" in page
    assert r"\-\-forks" not in page
    main = PAGES["fleet.1"]
    assert r"\fB\-f\fR, \fB\-\-forks\fR \fIN\fR" in main
    assert r"\fBFLEET_FORKS\fR" in main
    assert all(
        rf"\fBfleet\-{name.removeprefix('fleet-').removesuffix('.1').replace('-', chr(92) + '-')}(1)" in main
        for name in PAGES
        if name != "fleet.1"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (".TH is no request here", r"\&.TH is no request here"),
        ("'quoted' at a line's begin", r"\(aqquoted\(aq at a line\(aqs begin"),
        (r"--sort-by C:\x", r"\-\-sort\-by C:\ex"),
        ("~regex `x` ^", r"\(tiregex \(gax\(ga \(ha"),
    ],
)
def test_text_stays_text(text: str, written: str) -> None:
    assert roff(text) == written
