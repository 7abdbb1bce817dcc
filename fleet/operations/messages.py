"""Real-time messages of many servers, each with its server, time and type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fleet.management import notifications
from fleet.management.notifications import Notification

_SOURCES: Final[dict[type[Notification], str]] = {
    notifications.FatalNotification: "FATAL",
    notifications.InfoNotification: "INFO",
    notifications.InfoMessageNotification: "INFOMSG",
    notifications.NotifyNotification: "NOTIFY",
    notifications.ProxyNotification: "PROXY",
    notifications.RemoteNotification: "REMOTE",
    notifications.UpDownNotification: "UPDOWN",
    notifications.PKSignNotification: "PK_SIGN",
    notifications.RSASignNotification: "RSA_SIGN",
    notifications.NeedCertificateNotification: "NEED-CERTIFICATE",
    notifications.HoldNotification: "HOLD",
    notifications.StateNotification: "STATE",
    notifications.LogNotification: "LOG",
    notifications.EchoNotification: "ECHO",
    notifications.ByteCountNotification: "BYTECOUNT",
    notifications.ClientByteCountNotification: "BYTECOUNT_CLI",
    notifications.PasswordNeededNotification: "PASSWORD",
    notifications.PasswordFailedNotification: "PASSWORD",
    notifications.AuthTokenNotification: "PASSWORD",
    notifications.PKCS11CountNotification: "PKCS11ID-COUNT",
    notifications.PKCS11EntryNotification: "PKCS11ID-ENTRY",
    notifications.ClientNotification: "CLIENT",
}

SOURCES: Final = tuple(sorted({*_SOURCES.values(), "NEED-OK", "NEED-STR"}))
"""Every type of real-time message (protocol-facts 1)."""


def source_of(notification: Notification) -> str:
    """The word that stood between `>` and the colon; of an unknown message as it came."""
    if isinstance(notification, notifications.UnknownNotification):
        return notification.source
    if isinstance(notification, notifications.NeedNotification):
        return "NEED-STR" if notification.text_wanted else "NEED-OK"
    return _SOURCES[type(notification)]


def time_of(notification: Notification, now: datetime) -> datetime:
    """The daemon's own time of a message that has one, else `now`. Aware, UTC."""
    match notification:
        case notifications.StateNotification(state=entry):
            return entry.time
        case notifications.LogNotification(entry=entry) | notifications.EchoNotification(entry=entry):
            return entry.time
    return now


@dataclass(frozen=True, slots=True)
class Message:
    """One real-time message of one server.

    Attributes:
        server: the server's name.
        time: the daemon's own where the message has one, else when it was read. Aware, UTC.
        source: the message's type as the management interface spells it.
        notification: the message.
    """

    server: str
    time: datetime
    source: str
    notification: Notification


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages of a server may be missing here.

    Attributes:
        server: the server's name.
        time: when this was noticed. Aware, UTC.
        reason: why, as a plain sentence.
    """

    server: str
    time: datetime
    reason: str


Event = Message | Gap
