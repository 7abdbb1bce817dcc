"""`fleet find`: where somebody is connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from fleet.cli.asking import Asked, Interrupts
from fleet.cli.choosing import Target
from fleet.cli.options import Options, with_options
from fleet.cli.run import Ending, of_servers, run
from fleet.engine import EXIT_FAILED, EXIT_OK, Outcome
from fleet.operations.find import Found, Places, find, places_of_duplicates, say_duplicates, with_duplicates
from fleet.operations.operation import Answer
from fleet.render.text import escape


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("find")(with_options(_find))


def _find(
    *,
    who: Annotated[
        str, typer.Argument(metavar="WHO", help="A common name or username, also as a glob, or an address.")
    ],
    options: Options,
) -> int:
    """Find where in the fleet somebody is connected.

    An address is a real one, one in the tunnel, or one of a subnet that is routed to a client (iroute), in any
    spelling. A name that is connected more than once at a time is pointed out. Exits with 0 where somebody was found
    and every server was asked, with 1 where nobody was.
    """
    finding = _Finding(who)
    ending = Ending(answer_status=_status, words=finding.words, settle=finding.settle)
    return run(find(who), options, Target(args=(who,)), ending)


def _status(values: Sequence[Found]) -> int:
    return EXIT_OK if any(value.clients for value in values) else EXIT_FAILED


class _Finding:
    """One search: what the servers' answers say together."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._places: Places = {}

    def settle(self, asked: Asked[Found], _options: Options, _interrupts: Interrupts) -> Asked[Found]:
        """Tells each session of the others with its name."""
        found = {outcome.server.name: outcome.value.value for outcome in asked.outcomes if outcome.value is not None}
        self._places = places_of_duplicates(found)
        return replace(asked, outcomes=[self._settled(outcome) for outcome in asked.outcomes])

    def _settled(self, outcome: Outcome[Answer[Found]]) -> Outcome[Answer[Found]]:
        if outcome.value is None:
            return outcome
        value = with_duplicates(outcome.server.name, outcome.value.value, self._places)
        return replace(outcome, value=replace(outcome.value, value=value))

    def words(self, values: Sequence[Found], asked: int) -> str:
        """Who is connected more than once; or that nobody was found."""
        if asked and not values:
            return ""  # their errors say it all
        if any(value.clients for value in values):
            return "\n".join(map(escape, say_duplicates(self._places)))
        return f"nobody matches '{escape(self._who)}' on {of_servers(len(values), asked)}"
