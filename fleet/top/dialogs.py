"""What is asked and told over the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

_HELP = """\
up down pgup pgdn home end   move
enter    the clients of this server
tab      all clients, or the servers again
escape   back
s        sort by the next column; r the other way round
/        search by name: enter keeps it, escape ends it
f        failed servers only: not reachable, or not CONNECTED
l        the log of this server, as it grows
k        disconnect this client, after a question
q        quit

IN and OUT are bytes per second between the last two looks at a
server. A dash is what nobody can know: before the second look,
and where a counter began again.

any key goes on"""


class _Dialog:
    """The looks of a dialog."""

    CSS: ClassVar[str] = """
    ModalScreen { align: center middle; background: ansi_default; }
    Vertical { width: auto; max-width: 100%; height: auto; max-height: 100%; border: solid; padding: 0 1;
               background: ansi_default; }
    Static { width: auto; max-width: 100%; height: auto; background: ansi_default; color: ansi_default; }
    """


class Help(ModalScreen[None]):
    """What the keys do."""

    CSS = _Dialog.CSS

    def compose(self) -> ComposeResult:
        """The text."""
        with Vertical():
            yield Static(_HELP, markup=False)

    def on_key(self) -> None:
        """Any key goes back."""
        self.dismiss()


class Ask(ModalScreen[bool]):
    """A question that only `y` answers with yes.

    Args:
        lines: what would be done, escaped already.
    """

    CSS = _Dialog.CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,Y", "answer(True)", show=False),
        Binding("n,N,escape,enter,q,ctrl+c", "answer(False)", show=False),
    ]

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self._text = "\n".join([*lines, "", "Go on? [y/N]"])

    def compose(self) -> ComposeResult:
        """The text."""
        with Vertical():
            yield Static(self._text, markup=False)

    def action_answer(self, yes: bool) -> None:
        """Takes the answer."""
        self.dismiss(yes)
