"""A table of any number of rows, of which only those are drawn that are to be seen; and a window on lines.

Cells are text and nothing else: no name is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from fleet.top.rows import Field, Now

_BETWEEN = "  "
_CUT = "…"
_TEXT_AT_MOST = 40  # columns that a column takes while others have no room
_PLAIN = Style()
_HEADING = Style(bold=True)
_ALARM = Style(color="red")
_CURSOR = Style(reverse=True)


class Keyed(Protocol):
    """A row."""

    @property
    def key(self) -> Hashable:
        """What it is known by, wherever it stands."""
        ...


K = TypeVar("K", bound=Keyed)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many columns of a terminal."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(width - 1, 0)) + _CUT if width else ""
    blanks = " " * (width - length)
    return blanks + text if right else text + blanks


class Table(Widget, Generic[K], can_focus=True):
    """Rows under a heading, with a cursor that stays on its row wherever that goes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "edge(-1)", show=False),
        Binding("end", "edge(1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter was pressed on a row."""

    def __init__(self, fields: Sequence[Field[K]], *, id: str) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._fields = tuple(fields)
        self._rows: Sequence[K] = ()
        self._widths = [max(field.width, len(field.title) + 2) for field in self._fields]
        self._now: Now | None = None
        self._sorted: tuple[Field[K] | None, bool] = (None, False)
        self._empty = ""
        self._first = 0
        self._cursor = 0

    # --- what it shows

    def show(self, rows: Sequence[K], now: Now, *, sorted_by: Field[K] | None, reverse: bool, empty: str = "") -> None:
        """Shows other rows.

        Args:
            rows: in their order.
            now: what ages are counted from.
            sorted_by: the column that is marked as what they are sorted by.
            reverse: whether they are the other way round.
            empty: what to say where there is none.
        """
        current = self.current
        self._rows, self._now, self._sorted, self._empty = rows, now, (sorted_by, reverse), empty
        if current is not None:
            self._follow(current.key)
        self._cursor = max(0, min(self._cursor, len(rows) - 1))
        self._scroll()
        self._measure()
        self.refresh()

    def _follow(self, key: Hashable) -> None:
        if self._cursor < len(self._rows) and self._rows[self._cursor].key == key:
            return
        for index, row in enumerate(self._rows):
            if row.key == key:
                self._cursor = index
                return

    @property
    def current(self) -> K | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    # --- moving

    def action_move(self, step: int) -> None:
        """Moves the cursor by so many rows."""
        self._go(self._cursor + step)

    def action_page(self, direction: int) -> None:
        """Moves the cursor by a page."""
        self._go(self._cursor + direction * max(self._height - 1, 1))

    def action_edge(self, direction: int) -> None:
        """Moves the cursor to the first or the last row."""
        self._go(0 if direction < 0 else len(self._rows) - 1)

    def action_choose(self) -> None:
        """Tells that the row was chosen."""
        if self.current is not None:
            self.post_message(self.Chosen())

    def _go(self, index: int) -> None:
        self._cursor = max(0, min(index, len(self._rows) - 1))
        self._scroll()
        self._measure()
        self.refresh()

    @property
    def _height(self) -> int:
        return max(self.size.height - 1, 1)

    def _scroll(self) -> None:
        """Keeps the cursor in sight."""
        last = max(len(self._rows) - self._height, 0)
        self._first = min(max(self._first, self._cursor - self._height + 1), self._cursor, last)

    def on_resize(self) -> None:
        """There is another size for it: of the terminal, or since it is to be seen again."""
        self._scroll()
        self._measure()
        self.refresh()

    # --- drawing

    def _visible(self) -> Sequence[K]:
        return self._rows[self._first : self._first + self._height]

    def _measure(self) -> None:
        """Columns get wider with what is to be seen, and not narrower again: nothing jumps."""
        if self._now is None:
            return
        for index, field in enumerate(self._fields):
            for row in () if field.stretches else self._visible():
                self._widths[index] = max(self._widths[index], cell_len(field.text(row, self._now)))

    def _room(self) -> list[tuple[int, int]]:
        """The columns for which there is room, and how much each gets; the least wanted go first."""
        widths = [min(width, _TEXT_AT_MOST) for width in self._widths]
        shown = [index for index, field in enumerate(self._fields) if not field.stretches]

        def left() -> int:
            return self.size.width - sum(widths[index] + len(_BETWEEN) for index in shown)

        while len(shown) > 1 and left() + len(_BETWEEN) < 0:
            shown.remove(min(shown, key=lambda index: self._fields[index].keep))
        for index, field in enumerate(self._fields):
            if field.stretches and left() >= widths[index]:
                widths[index] = left()
                shown.append(index)
        return [(index, min(widths[index], self.size.width)) for index in shown]

    def render_line(self, y: int) -> Strip:
        """One line, as Textual wants it."""
        room = self._room()
        if y == 0:
            return self._strip([self._title(index, width) for index, width in room], _HEADING)
        index = self._first + y - 1
        if index >= len(self._rows) or self._now is None:
            text = self._empty if not self._rows and y == 1 else ""
            return self._strip([text], _PLAIN)
        row = self._rows[index]
        cells = [
            fit(self._fields[column].text(row, self._now), width, right=self._fields[column].right)
            for column, width in room
        ]
        style = _PLAIN if getattr(row, "well", True) or not getattr(row, "asked", True) else _ALARM
        return self._strip(cells, style + _CURSOR if index == self._cursor and self.has_focus else style)

    def _title(self, index: int, width: int) -> str:
        field = self._fields[index]
        by, reverse = self._sorted
        mark = ("v", "^")[field.right == reverse] if field is by else ""
        return fit(f"{field.title} {mark}".rstrip(), width, right=field.right)

    def _strip(self, cells: Sequence[str], style: Style) -> Strip:
        text = fit(_BETWEEN.join(cells), self.size.width)
        return Strip([Segment(text, style)], self.size.width)


class Tail(Widget):
    """The last lines that there is room for, under a heading; what is too long is cut."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._heading = ""
        self._lines: Sequence[str] = ()

    def show(self, heading: str, lines: Sequence[str]) -> None:
        """Shows other lines; they are escaped already."""
        self._heading, self._lines = heading, lines
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line, as Textual wants it."""
        width = self.size.width
        if y == 0:
            return Strip([Segment(fit(self._heading, width), _HEADING)], width)
        lines = self._lines[-max(self.size.height - 1, 1) :]
        return Strip([Segment(fit(lines[y - 1] if y <= len(lines) else "", width), _PLAIN)], width)


class Line(Widget):
    """One line of text."""

    def __init__(self, *, id: str, bold: bool = False) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._style = _HEADING if bold else _PLAIN
        self.text = ""

    def show(self, text: str) -> None:
        """Shows another text, escaped already."""
        if text != self.text:
            self.text = text
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """The line, as Textual wants it."""
        width = self.size.width
        return Strip([Segment(fit(self.text if y == 0 else "", width), self._style)], width)
