"""The screen of `fleet top`: what is to be seen, and the keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from fleet.inventory.model import Server
from fleet.management.replies import LogLine
from fleet.render.text import escape
from fleet.render.units import rfc3339, size
from fleet.top.board import CLIENTS_SHOWN, Board
from fleet.top.dialogs import Ask, Help
from fleet.top.killing import Killer
from fleet.top.rows import CLIENT_FIELDS, SERVER_FIELDS, ClientRow, Field, Now, ServerRow, arrange
from fleet.top.widgets import Line, Table, Tail

REFRESH = 0.5
"""Seconds between two looks at what has changed."""

SAID = 10.0
"""Seconds that a message stays."""

_KEYS = "enter clients  tab all  s sort  / find  f failed  l log  k kill  ? help  q quit"
_REST = 4
_LATE = 3.0  # intervals after which an answer is old


class TopApp(App[None]):
    """The fleet live.

    Args:
        board: what is known of it.
        title: what is watched, as it was typed.
        interval: seconds between two looks at each server.
        hurry: asks a server at once.
        killer: disconnects clients; None where nothing may be changed.
    """

    CSS = """
    Screen { layout: vertical; background: ansi_default; color: ansi_default; }
    Line { height: 1; }
    Table { height: 1fr; }
    Tail { height: 40%; max-height: 21; display: none; }
    Input { height: 1; border: none; padding: 0; display: none; background: ansi_default; }
    Input:focus { border: none; }
    .shown { display: block; }
    .hidden { display: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("question_mark", "help", show=False),
        Binding("tab", "switch", show=False, priority=True),
        Binding("s", "sort", show=False),
        Binding("r", "reverse", show=False),
        Binding("slash", "search", show=False),
        Binding("f", "failed", show=False),
        Binding("l", "log", show=False),
        Binding("k", "kill", show=False),
        Binding("escape", "leave", show=False),
    ]

    def __init__(
        self,
        board: Board,
        *,
        title: str,
        interval: float,
        hurry: Callable[[str], None],
        killer: Killer | None,
    ) -> None:
        super().__init__(ansi_color=True)
        self._board = board
        self._title = title
        self._interval = interval
        self._hurry = hurry
        self._killer = killer
        self._of: str | None = None  # the server whose clients are shown
        self._clients_shown = False
        self._failed = False
        self._search = ""
        self._message, self._said = "", 0.0
        self._rest_until = 0.0
        self._sorting: dict[bool, tuple[int | None, bool]] = {False: (None, False), True: (None, False)}

    def compose(self) -> ComposeResult:
        """What there is on the screen, from its top to its end."""
        yield Line(id="head", bold=True)
        yield Line(id="view")
        yield Table(SERVER_FIELDS, id="servers")
        yield Table(CLIENT_FIELDS, id="clients")
        yield Tail(id="log")
        yield Input(id="search", placeholder="part of a name", select_on_focus=False)
        yield Line(id="foot")

    def on_mount(self) -> None:
        """The screen is there."""
        self.theme = "ansi-dark"
        self._clients.add_class("hidden")
        self._servers.focus()
        self.set_interval(REFRESH, self._look)
        self.refresh_rows()

    @property
    def _servers(self) -> Table[ServerRow]:
        return self.query_one("#servers", Table)

    @property
    def _clients(self) -> Table[ClientRow]:
        return self.query_one("#clients", Table)

    # --- what is to be seen

    def _look(self) -> None:
        """Shows what is known now, but for no more than a fourth of the time: keys are to be heard."""
        begun = time.monotonic()
        if begun >= self._rest_until:
            self.refresh_rows()
            self._rest_until = begun + _REST * (time.monotonic() - begun)

    def refresh_rows(self) -> None:
        """Shows what is known now."""
        if not self.is_running or not self.query("#servers"):
            return
        now = Now(datetime.now(UTC), time.monotonic(), late=_LATE * self._interval)
        self._show_head(now)
        if self._clients_shown:
            self._show_clients(now)
        else:
            self._show_servers(now)
        self._show_log()
        self.query_one("#foot", Line).show(self._message if now.at < self._said + SAID else _KEYS)

    def _show_head(self, now: Now) -> None:
        totals = self._board.totals()
        parts = [
            f"{totals.up} of {_count(totals.servers, 'server')} up" + (f", {totals.down} down" if totals.down else ""),
            _count(totals.clients, "client"),
            f"in {_rate(totals.rate_in)}  out {_rate(totals.rate_out)}",
            rfc3339(now.time.replace(microsecond=0)),
            f"every {self._interval:g} s",
            self._title,
        ]
        self.query_one("#head", Line).show(_as_fits(parts, self.size.width))

    def _show_servers(self, now: Now) -> None:
        field, reverse = self._sorted_by(SERVER_FIELDS)
        rows = self._board.servers(search=self._search, failed=self._failed)
        empty = "all servers are well" if self._failed and not self._search else "no server has such a name"
        self._servers.show(arrange(rows, field, reverse=reverse), now, sorted_by=field, reverse=reverse, empty=empty)
        self._show_view("failed servers" if self._failed else "servers", field, reverse=reverse)

    def _show_clients(self, now: Now) -> None:
        field, reverse = self._sorted_by(CLIENT_FIELDS)
        rows = self._board.clients(of=self._of, search=self._search)
        empty = "no client has such a name" if self._search else "nobody is connected"
        self._clients.show(arrange(rows, field, reverse=reverse), now, sorted_by=field, reverse=reverse, empty=empty)
        what = "all clients" if self._of is None else f"clients of {escape(self._of)}"
        cut = f", the first {CLIENTS_SHOWN} (/ searches all)" if len(rows) == CLIENTS_SHOWN else ""
        self._show_view(f"{what}{cut}", field, reverse=reverse)

    def _show_view(self, what: str, field: Field[ServerRow] | Field[ClientRow] | None, *, reverse: bool) -> None:
        order = "" if field is None else f", by {field.title.lower()}"
        search = f", with '{escape(self._search)}' in their names" if self._search else ""
        self.query_one("#view", Line).show(f"{what}{search}{order}{', reversed' if reverse else ''}")

    def _show_log(self) -> None:
        tail = self.query_one("#log", Tail)
        log = self._board.log
        tail.set_class(log is not None, "shown")
        if log is not None:
            lines = [_log_line(line) for line in log.lines]
            nothing = "nothing in it but of management clients" if log.asked else "asking for it"
            tail.show(f"log of {escape(log.server)}", lines or [nothing])

    def _sorted_by(self, fields: Sequence[Field[ServerRow]] | Sequence[Field[ClientRow]]) -> tuple[Any, bool]:
        index, reverse = self._sorting[self._clients_shown]
        return (None if index is None else fields[index]), reverse

    # --- keys

    def action_sort(self) -> None:
        """Sorts by the next column; behind the last one comes the order of the inventory."""
        fields = len(CLIENT_FIELDS if self._clients_shown else SERVER_FIELDS)
        index, _reverse = self._sorting[self._clients_shown]
        following = 0 if index is None else index + 1
        self._sorting[self._clients_shown] = (following if following < fields else None, False)
        self.refresh_rows()

    def action_reverse(self) -> None:
        """Turns the order round."""
        index, reverse = self._sorting[self._clients_shown]
        self._sorting[self._clients_shown] = (index, not reverse)
        self.refresh_rows()

    def action_failed(self) -> None:
        """Shows the servers alone that are not well, or all again."""
        self._failed = not self._failed
        self._switch(clients=False)

    def action_switch(self) -> None:
        """Shows all clients, or the servers again."""
        self._of = None
        self._switch(clients=not self._clients_shown)

    def on_table_chosen(self) -> None:
        """Shows the clients of the server under the cursor."""
        row = self._servers.current
        if not self._clients_shown and row is not None:
            self._of = row.server.name
            self._end_search(keep=False)
            self._switch(clients=True)

    def _switch(self, *, clients: bool) -> None:
        self._clients_shown = clients
        self._servers.set_class(clients, "hidden")
        self._clients.set_class(not clients, "hidden")
        self._table.focus()
        self.refresh_rows()

    @property
    def _table(self) -> Table[ServerRow] | Table[ClientRow]:
        return self._clients if self._clients_shown else self._servers

    @property
    def _server(self) -> Server | None:
        """The server under the cursor, or that of the client there."""
        row = self._table.current
        return None if row is None else row.server

    def action_leave(self) -> None:
        """Leaves the search, else the clients, else the log."""
        if self._search or self.query_one(Input).has_focus:
            self._end_search(keep=False)
        elif self._clients_shown:
            self._switch(clients=False)
        elif self._board.log is not None:
            self._board.show_log(None)
        self.refresh_rows()

    def action_log(self) -> None:
        """Shows the log of the server under the cursor, or hides it."""
        server = self._server
        if server is None or self._board.wants_log(server.name):
            self._board.show_log(None)
        else:
            self._board.show_log(server.name)
            self._hurry(server.name)
        self.refresh_rows()

    async def action_help(self) -> None:
        """Shows what the keys do."""
        await self.push_screen(Help())

    # --- search

    def action_search(self) -> None:
        """Asks for a part of a name; what is typed counts at once."""
        field = self.query_one(Input)
        field.value = self._search
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Somebody types."""
        self._search = event.value
        self.refresh_rows()

    def on_input_submitted(self) -> None:
        """Enter: back to the table, which stays as it is."""
        self._end_search(keep=True)

    def _end_search(self, *, keep: bool) -> None:
        field = self.query_one(Input)
        if not keep:
            self._search = field.value = ""
        field.remove_class("shown")
        self._table.focus()

    # --- killing

    def action_kill(self) -> None:
        """Asks whether the client under the cursor is to be disconnected."""
        row = self._clients.current if self._clients_shown else None
        if self._killer is None:
            self._say("this run is read-only: --readonly or FLEET_READONLY is set")
        elif row is None:
            self._say("k disconnects a client: enter shows those of a server, tab all")
        else:
            self.run_worker(self._kill(self._killer, row), group="kill", exclusive=True)

    async def _kill(self, killer: Killer, row: ClientRow) -> None:
        self._say(f"looking at {escape(row.server.name)}")
        question = await killer.prepare(row.server, row.client)
        if isinstance(question, str):
            self._say(question)
            return
        if not await self.push_screen_wait(Ask(question.lines)):
            self._say("nothing was changed")
            return
        self._say(await question.do())
        self._hurry(row.server.name)

    def _say(self, text: str) -> None:
        self._message, self._said = text, time.monotonic()
        self.refresh_rows()


def _log_line(line: LogLine) -> str:
    return f"{rfc3339(line.time)} {line.flags or '-'} {escape(line.text)}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else f'{noun}s'}"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{size(round(rate))}/s"


def _as_fits(parts: Sequence[str], width: int) -> str:
    """As many of the parts as there is room for, the first ones first."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 3 + len(part) <= width:
            text = f"{text}   {part}"
    return text
