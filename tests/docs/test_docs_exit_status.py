"""docs/exit-status.md against the error tree and the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from docs.markdown import pages
from fleet import engine, errors
from fleet.engine import Outcome, Report
from fleet.inventory.model import Server, TCPEndpoint

PAGE = pages()["docs/exit-status.md"]
CODES = {row[0].strip("`"): row[1:] for row in PAGE.rows("code")}
STATUSES = {int(row[0]): row[1] for row in PAGE.rows("status")}


def classes(base: type[errors.FleetError]) -> Iterator[type[errors.FleetError]]:
    for kind in base.__subclasses__():
        if "code" in vars(kind):
            yield kind
        yield from classes(kind)


BY_CODE = {kind.code: kind for kind in classes(errors.FleetError)}


def exit_status(kind: type[errors.FleetError]) -> int:
    """What a run says that meets this error."""
    now = datetime.now(UTC)
    if not issubclass(kind, errors.ServerError):
        refused: Report[None] = Report("status", (), now, 0.0, error=kind("refused"))
        return refused.exit_status
    server = Server("edge-1", "edge-1", None, TCPEndpoint("127.0.0.1", 7505))
    attempted = kind is not errors.StoppedRunError
    outcome: Outcome[None] = Outcome(server, 0.0, error=kind("broken"), attempted=attempted)
    interrupted = kind is errors.InterruptedRunError
    return Report("status", (), now, 0.0, (outcome,), interrupted=interrupted).exit_status


def test_every_code_is_documented_and_no_other() -> None:
    assert set(CODES) == set(BY_CODE)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_its_exit_status(code: str) -> None:
    assert int(CODES[code][0]) == exit_status(BY_CODE[code])


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_the_meaning_of_its_class(code: str) -> None:
    summary = (BY_CODE[code].__doc__ or "").split("\n\n", maxsplit=1)[0]
    assert CODES[code][1] == re.sub(r" \(protocol-facts [^)]*\)", "", summary).removesuffix(".")


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_its_remedy(code: str) -> None:
    assert len(CODES[code][2]) > len("do something")


def test_every_exit_status_is_documented_and_no_other() -> None:
    assert set(STATUSES) == {value for name, value in vars(engine).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in CODES.values()} <= set(STATUSES)
