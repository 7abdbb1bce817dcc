"""Real-time messages as lines: one for people, or one JSON object."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from fleet.management import notifications as notices
from fleet.management.notifications import Notification
from fleet.management.replies import LogLine, State
from fleet.operations.messages import Event, Gap
from fleet.render.jsonout import dumps, to_jsonable
from fleet.render.text import escape
from fleet.render.units import duration, rfc3339, size
from fleet.render.width import display_width, pad

_COLOURS: Final = ("36", "35", "34", "32", "96", "95", "94", "92")
"""Of server names: neither red nor yellow, which say that something is wrong."""

_NAME_WIDTH: Final = 24  # longer names stand out of their column rather than push all others to the right


def server_colour(server: str) -> str:
    """The terminal's code of a server's colour: the same in every run, whoever else is followed."""
    return _COLOURS[zlib.crc32(server.encode("utf-8", "surrogateescape")) % len(_COLOURS)]


class EventLines:
    """Makes lines of events for people: `edge-1 09:14:02 N  alice/203.0.113.9:40112 TLS: soft reset`."""

    def __init__(
        self, servers: Iterable[str], *, colour: bool = False, wide: bool = False, types: bool = False
    ) -> None:
        """Looks at the names.

        Args:
            servers: the names of all that are followed, for the width of their column.
            colour: whether names have colours.
            wide: whole times in RFC 3339, in place of those of the day.
            types: each line says the message's type.
        """
        widths = (display_width(escape(name)) for name in servers)
        self._width = max((width for width in widths if width <= _NAME_WIDTH), default=0)
        self._colour = colour
        self._wide = wide
        self._types = types

    def line(self, event: Event, now: datetime) -> str:
        """The event as one line without its end; nothing in it drives a terminal. `now` is aware."""
        return f"{self._head(event.server, event.time, now)} {self._text(event)}".rstrip()

    def _text(self, event: Event) -> str:
        if isinstance(event, Gap):
            return self._paint("33", f"--- {escape(event.reason)} ---")
        if not self._types and isinstance(event.notification, notices.LogNotification):
            line = event.notification.entry
            return f"{line.flags:<2} {escape(line.text)}"
        text = escape(describe(event.notification))
        if self._types or isinstance(event.notification, notices.FatalNotification):
            return f"{escape(event.source)} {text}"
        return text

    def _head(self, server: str, time: datetime, now: datetime) -> str:
        name = escape(server)
        padding = pad(name, self._width).removeprefix(name)
        return f"{self._paint(server_colour(server), name)}{padding} {self._time(time, now)}"

    def _time(self, time: datetime, now: datetime) -> str:
        if self._wide:
            return rfc3339(time)
        utc = time.astimezone(UTC)
        # A line of another day says so: a history may be old.
        return f"{utc:%H:%M:%S}" if utc.date() == now.astimezone(UTC).date() else f"{utc:%Y-%m-%d %H:%M:%S}"

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and text else text


def event_json(event: Event) -> str:
    """The event as one line of JSON, without the newline (docs/json.md)."""
    if isinstance(event, Gap):
        kind, data = "gap", {"reason": event.reason}
    else:
        kind, data = event.source, _data(event.notification)
    return dumps({"type": kind, "server": event.server, "time": rfc3339(event.time), "data": data})


def _data(notification: Notification) -> Any:
    match notification:
        case notices.LogNotification(entry=entry) | notices.EchoNotification(entry=entry):
            return to_jsonable(entry)
        case notices.StateNotification(state=state):
            return to_jsonable(state)
    return to_jsonable(notification)


def describe(notification: Notification) -> str:
    """What a message says, for people: not escaped, and without its type."""
    describer = _DESCRIBERS.get(type(notification))
    if describer is not None:
        return describer(notification)
    return _described(getattr(notification, field.name) for field in fields(notification))


def _described(values: Iterable[object]) -> str:
    """The values one behind the other; what is empty is left out."""
    return " ".join(str(value) for value in values if value is not None and value != "")


def _state(notification: notices.StateNotification) -> str:
    state: State = notification.state
    remote = _endpoint(state.remote_address, state.remote_port)
    return _described(
        (state.name, state.description, state.local_address, state.local_ipv6_address, remote and f"to {remote}")
    )


def _log(notification: notices.LogNotification) -> str:
    line: LogLine = notification.entry
    return _described((line.flags, line.text))


def _client(notification: notices.ClientNotification) -> str:
    environment = notification.environment
    name = environment.get("common_name") or environment.get("username")
    identity = str(notification.client_id) if notification.key_id is None else _ids(notification)
    address = _endpoint(_first(environment, "trusted_ip", "untrusted_ip"), _first(environment, "trusted_port"))
    virtual = notification.address or environment.get("ifconfig_pool_remote_ip")
    return _described((notification.kind, identity, name, address, virtual, _traffic(environment)))


def _ids(notification: notices.ClientNotification) -> str:
    return f"{notification.client_id},{notification.key_id}"


def _traffic(environment: Mapping[str, str]) -> str:
    """What a client that leaves has used, where its daemon says so."""
    counters = [environment.get(name, "") for name in ("bytes_received", "bytes_sent", "time_duration")]
    if not all(counter.isascii() and counter.isdigit() for counter in counters):
        return ""
    received, sent, seconds = map(int, counters)
    return f"in {size(received)} out {size(sent)} after {duration(seconds)}"


def _first(environment: Mapping[str, str], *names: str) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _endpoint(address: object, port: object) -> str | None:
    if address is None:
        return None
    shown = f"[{address}]" if ":" in str(address) else str(address)
    return shown if port is None else f"{shown}:{port}"


def _hold(notification: notices.HoldNotification) -> str:
    return notification.text if notification.wait is None else f"{notification.text} ({notification.wait} s)"


def _bytes(notification: notices.ByteCountNotification) -> str:
    return f"in {size(notification.bytes_in)} out {size(notification.bytes_out)}"


def _client_bytes(notification: notices.ClientByteCountNotification) -> str:
    return f"client {notification.client_id} in {size(notification.bytes_in)} out {size(notification.bytes_out)}"


def _password_needed(notification: notices.PasswordNeededNotification) -> str:
    what = "username and password" if notification.username else "password"
    return _described((f"needs the {what} for '{notification.realm}'", notification.challenge))


def _password_failed(notification: notices.PasswordFailedNotification) -> str:
    return _described((f"verification failed for '{notification.realm}'", notification.detail))


def _need(notification: notices.NeedNotification) -> str:
    what = "a text" if notification.text_wanted else "a confirmation"
    return f"needs {what} for '{notification.request}': {notification.message}"


def _auth_token(notification: notices.AuthTokenNotification) -> str:
    return f"the server gave a token in place of the password: {notification.token}"


def _updown(notification: notices.UpDownNotification) -> str:
    """Which device, and its address: of some thirty variables those that say what went up."""
    environment = notification.environment
    address = _first(environment, "ifconfig_local", "ifconfig_ipv6_local")
    remote = _endpoint(_first(environment, "trusted_ip"), _first(environment, "trusted_port"))
    return _described((notification.kind, environment.get("dev"), address, remote and f"to {remote}"))


def _unknown(notification: notices.UnknownNotification) -> str:
    return notification.text


_DESCRIBERS: Final[Mapping[type[Notification], Callable[[Any], str]]] = {
    notices.StateNotification: _state,
    notices.LogNotification: _log,
    notices.EchoNotification: lambda notification: str(notification.entry.text),
    notices.ClientNotification: _client,
    notices.HoldNotification: _hold,
    notices.ByteCountNotification: _bytes,
    notices.ClientByteCountNotification: _client_bytes,
    notices.PasswordNeededNotification: _password_needed,
    notices.PasswordFailedNotification: _password_failed,
    notices.NeedNotification: _need,
    notices.AuthTokenNotification: _auth_token,
    notices.UpDownNotification: _updown,
    notices.UnknownNotification: _unknown,
}
"""The others are shown value by value."""
