"""The real-time messages of the management interface: lines that begin with `>` and answer nothing.

What a daemon may send is in management notes, REAL-TIME MESSAGE FORMAT, and protocol-facts 1, "Real-time lines".
A message that is unknown, or that is not formed as its type is, becomes an `UnknownNotification`: a daemon newer
than fleet loses nothing, and no text of a daemon can end a session here.

Servers with management-client-auth send their users' clear passwords (protocol-facts 10.11). Those values are
replaced by `REDACTED` before any object is made of the line, so that no log and no traceback can show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeGuard

from fleet.management.replies import EchoLine, LogLine, State, parse_echo_line, parse_log_line, parse_state_line

REDACTED = "[redacted]"
_SECRET_NAMES = frozenset({"password", "response", "auth_token"})

ENVIRONMENT_END = "END"
"""What stands in place of a variable behind the last one."""


@dataclass(frozen=True, slots=True)
class Notification:
    """Base of every real-time message."""


@dataclass(frozen=True, slots=True)
class UnknownNotification(Notification):
    """A real-time message of no known type or form: `>source:text`; source is empty where there is no colon."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class TextNotification(Notification):
    """Base of the messages that fleet keeps as text, which differ by their class alone."""

    text: str


class FatalNotification(TextNotification):
    """`>FATAL:`: the daemon is about to exit; EOF follows."""

    __slots__ = ()


class InfoNotification(TextNotification):
    """`>INFO:`, other than the one that greets."""

    __slots__ = ()


class InfoMessageNotification(TextNotification):
    """`>INFOMSG:`: a server's message to the user of a client daemon."""

    __slots__ = ()


class NotifyNotification(TextNotification):
    """`>NOTIFY:`: a change that a user interface should show."""

    __slots__ = ()


class ProxyNotification(TextNotification):
    """`>PROXY:`: a client daemon asks which proxy to take."""

    __slots__ = ()


class RemoteNotification(TextNotification):
    """`>REMOTE:`: a client daemon asks whether to take this remote."""

    __slots__ = ()


class RSASignNotification(TextNotification):
    """`>RSA_SIGN:`: a client daemon asks for a signature of its RSA key."""

    __slots__ = ()


class PKSignNotification(TextNotification):
    """`>PK_SIGN:`: a client daemon asks for a signature of its key, and says by which algorithm."""

    __slots__ = ()


class NeedCertificateNotification(TextNotification):
    """`>NEED-CERTIFICATE:`: a client daemon asks for a certificate."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class HoldNotification(Notification):
    """`>HOLD:`: the daemon waits for `hold release`.

    Attributes:
        text: without the number.
        wait: seconds that the daemon would have waited by itself; None before OpenVPN 2.4 (protocol-facts 5).
    """

    text: str
    wait: int | None


@dataclass(frozen=True, slots=True)
class StateNotification(Notification):
    """`>STATE:`: the daemon is in another state."""

    state: State


@dataclass(frozen=True, slots=True)
class LogNotification(Notification):
    """`>LOG:`: a line of the daemon's log."""

    entry: LogLine


@dataclass(frozen=True, slots=True)
class EchoNotification(Notification):
    """`>ECHO:`: a parameter of an `echo` directive."""

    entry: EchoLine


@dataclass(frozen=True, slots=True)
class ByteCountNotification(Notification):
    """`>BYTECOUNT:`: bytes that a client daemon received and sent so far."""

    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class ClientByteCountNotification(Notification):
    """`>BYTECOUNT_CLI:`: bytes that a server received from one client and sent to it so far."""

    client_id: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class PasswordNeededNotification(Notification):
    """`>PASSWORD:Need 'Auth' username/password`.

    Attributes:
        realm: what the password is for, for example `Private Key`.
        username: a username is wanted too.
        challenge: what follows, for example `SC:1,Enter the code`; empty where nothing does.
    """

    realm: str
    username: bool
    challenge: str


@dataclass(frozen=True, slots=True)
class PasswordFailedNotification(Notification):
    """`>PASSWORD:Verification Failed: 'Auth'`; detail is what follows, mostly nothing."""

    realm: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuthTokenNotification(Notification):
    """`>PASSWORD:Auth-Token:`: a server gave its client a token in place of the password.

    Attributes:
        token: redacted.
    """

    token: str = REDACTED


@dataclass(frozen=True, slots=True)
class NeedNotification(Notification):
    """`>NEED-OK:` or `>NEED-STR:`: the daemon waits for the user's confirmation, or for a text.

    Attributes:
        text_wanted: a text (NEED-STR) rather than a confirmation (NEED-OK).
        request: the name that the answer has to repeat.
        message: for the user.
    """

    text_wanted: bool
    request: str
    message: str


@dataclass(frozen=True, slots=True)
class PKCS11CountNotification(Notification):
    """`>PKCS11ID-COUNT:`: the answer to pkcs11-id-count."""

    count: int


@dataclass(frozen=True, slots=True)
class PKCS11EntryNotification(Notification):
    """`>PKCS11ID-ENTRY:`: the answer to pkcs11-id-get; text is what follows the index."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ClientNotification(Notification):
    """`>CLIENT:` and the `>CLIENT:ENV` lines that follow it.

    Every server sends ESTABLISHED, without being asked to; CONNECT, REAUTH, DISCONNECT, ADDRESS and CR_RESPONSE
    come from those with management-client-auth (protocol-facts 1).

    Attributes:
        kind: the word behind `>CLIENT:`.
        client_id: the CID.
        key_id: the KID, of CONNECT, REAUTH and CR_RESPONSE.
        address: of ADDRESS, the virtual address.
        environment: the variables, with secret values redacted. Of ADDRESS, none.
    """

    kind: str
    client_id: int
    key_id: int | None = None
    address: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class UpDownNotification(Notification):
    """`>UPDOWN:` and the `>UPDOWN:ENV` lines that follow it, of client daemons with management-up-down.

    Attributes:
        kind: `UP` or `DOWN`, what the tunnel did.
        environment: the variables that a script would have been given, with secret values redacted.
    """

    kind: str
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def parse_notification(line: str) -> Notification:
    """The notification that a whole line, `>` included, is. Of one with an environment, without it.

    Never raises: what is not formed as its type is comes back as UnknownNotification.
    """
    source, colon, text = line.removeprefix(">").partition(":")
    if not colon:
        return UnknownNotification("", source)
    parser = _PARSERS.get(source)
    if parser is not None:
        try:
            return parser(text)
        except ValueError:
            pass  # kept as it came, below
    return UnknownNotification(source, _redact(source, text))


def notification_size(notification: Notification) -> int:
    """About how many characters of the daemon's a notification keeps, for limits."""
    texts: Iterable[str | None]
    match notification:
        case ClientNotification(environment=environment) | UpDownNotification(environment=environment):
            texts = (*environment, *environment.values())
        case LogNotification(entry=LogLine(text=text)) | EchoNotification(entry=EchoLine(text=text)):
            texts = (text,)
        case TextNotification(text=text) | HoldNotification(text=text) | PKCS11EntryNotification(text=text):
            texts = (text,)
        case UnknownNotification(source=name, text=text) | PasswordNeededNotification(realm=name, challenge=text):
            texts = (name, text)
        case PasswordFailedNotification(realm=name, detail=text) | NeedNotification(request=name, message=text):
            texts = (name, text)
        case StateNotification(state=state):
            texts = _state_texts(state)
        case _:
            texts = ()
    return sum(len(text) for text in texts if text is not None)


def _state_texts(state: State) -> tuple[str | None, ...]:
    return (
        state.name,
        state.description,
        state.local_address,
        state.remote_address,
        state.local_source_address,
        state.local_ipv6_address,
        *state.extra,
    )


def has_environment(notification: Notification) -> TypeGuard[ClientNotification | UpDownNotification]:
    """Whether `ENV` lines of its type follow this line: after every client message but ADDRESS (protocol-facts 1)."""
    match notification:
        case ClientNotification(kind=kind):
            return kind != "ADDRESS"
        case UpDownNotification():
            return True
    return False


def environment_prefix(notification: ClientNotification | UpDownNotification) -> str:
    """How the lines of its environment begin."""
    return ">CLIENT:ENV," if isinstance(notification, ClientNotification) else ">UPDOWN:ENV,"


def parse_environment(line: str) -> tuple[str, str]:
    """Name and value of a line of an environment, the value redacted where the name says it is secret."""
    name, _, value = line.partition(",")[2].partition("=")
    return name, REDACTED if _is_secret(name) else value


LOGGED_COMMAND = "MANAGEMENT: CMD '"
_SECRET_COMMAND = re.compile(
    rf"^((?:>LOG:)?[0-9]+,[A-Z]*,{LOGGED_COMMAND}(?:cr-response|needstr|password|username)) [^\r\n]*'", re.MULTILINE
)


def redact_log(text: str) -> str:
    """Whole lines, without the secrets in those of a daemon's log that repeat a command which a client has sent.

    Daemons mask passwords and usernames themselves, but neither strings nor responses.
    """
    return _SECRET_COMMAND.sub(r"\1 [...]'", text) if LOGGED_COMMAND in text else text


def _is_secret(name: str) -> bool:
    return name in _SECRET_NAMES or name.endswith("_password")


def _redact(source: str, text: str) -> str:
    """Text without the secrets that the known messages carry; those formed otherwise lose more than they need."""
    if source == "CLIENT" and text.startswith("CR_RESPONSE,"):
        return f"CR_RESPONSE,{REDACTED}"
    if source in {"CLIENT", "UPDOWN"} and text.startswith("ENV,"):
        name, equals, value = text.removeprefix("ENV,").partition("=")
        return f"ENV,{name}{equals}{REDACTED if _is_secret(name) else value}"
    return text


def _number(text: str) -> int:
    """A decimal number as the daemon prints one: digits only, at most 20 (an unsigned 64-bit counter)."""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise ValueError(text)
    return int(text)


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match


def _parse_client(text: str) -> ClientNotification:
    kind, *fields = text.split(",")
    if kind in {"ESTABLISHED", "DISCONNECT"} and len(fields) == 1:
        return ClientNotification(kind, _number(fields[0]))
    if kind in {"CONNECT", "REAUTH"} and len(fields) == 2:  # noqa: PLR2004 - CID and KID
        return ClientNotification(kind, _number(fields[0]), _number(fields[1]))
    if kind == "CR_RESPONSE" and len(fields) == 3:  # noqa: PLR2004 - CID, KID and the response, which is a secret
        return ClientNotification(kind, _number(fields[0]), _number(fields[1]))
    if kind == "ADDRESS" and len(fields) == 3:  # noqa: PLR2004 - CID, address, and 1 for the primary one
        return ClientNotification(kind, _number(fields[0]), address=fields[1])
    raise ValueError(kind)


_HOLD = re.compile(r"(?P<text>.*?)(?::(?P<wait>[0-9]{1,9}))?", re.DOTALL)


def _parse_hold(text: str) -> HoldNotification:
    match = _match(_HOLD, text)
    return HoldNotification(match["text"], int(match["wait"]) if match["wait"] else None)


_PASSWORD_NEED = re.compile(
    r"Need '(?P<realm>[^']*)' (?P<what>username/password|password)(?: (?P<rest>.*))?", re.DOTALL
)
_PASSWORD_FAILED = re.compile(r"Verification Failed: '(?P<realm>[^']*)'(?: (?P<rest>.*))?", re.DOTALL)


def _parse_password(text: str) -> Notification:
    if text.startswith("Auth-Token:"):
        return AuthTokenNotification()
    if need := _PASSWORD_NEED.fullmatch(text):
        return PasswordNeededNotification(need["realm"], need["what"] == "username/password", need["rest"] or "")
    failed = _match(_PASSWORD_FAILED, text)
    return PasswordFailedNotification(failed["realm"], failed["rest"] or "")


_NEED = re.compile(r"Need '(?P<request>[^']*)' (?:confirmation|input) MSG:(?P<message>.*)", re.DOTALL)


def _parse_need_ok(text: str) -> NeedNotification:
    match = _match(_NEED, text)
    return NeedNotification(text_wanted=False, request=match["request"], message=match["message"])


def _parse_need_str(text: str) -> NeedNotification:
    match = _match(_NEED, text)
    return NeedNotification(text_wanted=True, request=match["request"], message=match["message"])


def _parse_bytecount(text: str) -> ByteCountNotification:
    bytes_in, bytes_out = map(_number, text.split(","))
    return ByteCountNotification(bytes_in, bytes_out)


def _parse_bytecount_cli(text: str) -> ClientByteCountNotification:
    client_id, bytes_in, bytes_out = map(_number, text.split(","))
    return ClientByteCountNotification(client_id, bytes_in, bytes_out)


_PKCS11_ENTRY = re.compile(r"'(?P<index>[0-9]{1,9})'(?:, ?(?P<text>.*))?", re.DOTALL)


def _parse_pkcs11_entry(text: str) -> PKCS11EntryNotification:
    match = _match(_PKCS11_ENTRY, text)
    return PKCS11EntryNotification(int(match["index"]), match["text"] or "")


def _parse_updown(text: str) -> UpDownNotification:
    if text not in {"UP", "DOWN"}:
        raise ValueError(text)
    return UpDownNotification(text)


_PARSERS: Mapping[str, Callable[[str], Notification]] = {
    "BYTECOUNT": _parse_bytecount,
    "BYTECOUNT_CLI": _parse_bytecount_cli,
    "CLIENT": _parse_client,
    "ECHO": lambda text: EchoNotification(parse_echo_line(text)),
    "FATAL": FatalNotification,
    "HOLD": _parse_hold,
    "INFO": InfoNotification,
    "INFOMSG": InfoMessageNotification,
    "LOG": lambda text: LogNotification(parse_log_line(text)),
    "NEED-CERTIFICATE": NeedCertificateNotification,
    "NEED-OK": _parse_need_ok,
    "NEED-STR": _parse_need_str,
    "NOTIFY": NotifyNotification,
    "PASSWORD": _parse_password,
    "PKCS11ID-COUNT": lambda text: PKCS11CountNotification(_number(text)),
    "PKCS11ID-ENTRY": _parse_pkcs11_entry,
    "PK_SIGN": PKSignNotification,
    "PROXY": ProxyNotification,
    "REMOTE": RemoteNotification,
    "RSA_SIGN": RSASignNotification,
    "STATE": lambda text: StateNotification(parse_state_line(text)),
    "UPDOWN": _parse_updown,
}
