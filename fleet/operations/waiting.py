"""What daemons wait for before their tunnels come up: a release, a secret, a confirmation, a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.management import commands
from fleet.management.challenges import Challenge, DynamicChallenge, parse_static
from fleet.management.notifications import (
    HoldNotification,
    NeedNotification,
    Notification,
    PasswordNeededNotification,
)
from fleet.management.replies import State
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation


class WantKind(StrEnum):
    """What a daemon can wait for, as JSON spells it."""

    HOLD = "hold"
    PASSWORD = "password"  # noqa: S105 - a kind of request, no secret
    LOGIN = "username_password"
    CONFIRMATION = "confirmation"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Want:
    """One thing that a daemon waits for.

    Attributes:
        kind: what it is.
        name: what the answer has to repeat, for example `Private Key`; None for a hold.
        message: the daemon's words for its user, or None; of a challenge its question.
        challenge: a question that is answered along with the password, or in its place, or None.
    """

    kind: WantKind
    name: str | None = None
    message: str | None = None
    challenge: Challenge | None = None

    @property
    def secret(self) -> bool:
        """Whether a passphrase or password answers it."""
        return self.kind in (WantKind.PASSWORD, WantKind.LOGIN)

    @property
    def in_place(self) -> bool:
        """Whether the answer to a challenge takes the password's place."""
        return isinstance(self.challenge, DynamicChallenge)

    def challenged(self, challenge: Challenge) -> Want:
        """The same with a challenge."""
        return replace(self, message=challenge.question, challenge=challenge)

    def __str__(self) -> str:
        """In the notifications' own words: `'Private Key' password`."""
        words = {
            WantKind.HOLD: "hold release",
            WantKind.PASSWORD: f"'{self.name}' password",
            WantKind.LOGIN: f"'{self.name}' {'challenge' if self.in_place else 'username/password'}",
            WantKind.CONFIRMATION: f"'{self.name}' confirmation",
            WantKind.TEXT: f"'{self.name}' text",
        }[self.kind]
        return f"{words}: {self.message}" if self.message else words


def want_of(notification: Notification) -> Want | None:
    """What a real-time message asks for, or None where it asks for nothing."""
    if isinstance(notification, HoldNotification):
        return Want(WantKind.HOLD)
    if isinstance(notification, PasswordNeededNotification):
        want = Want(WantKind.LOGIN if notification.username else WantKind.PASSWORD, notification.realm)
        challenge = parse_static(notification.challenge)
        if challenge is not None:
            return want.challenged(challenge)
        return replace(want, message=notification.challenge or None)
    if isinstance(notification, NeedNotification):
        kind = WantKind.TEXT if notification.text_wanted else WantKind.CONFIRMATION
        return Want(kind, notification.request, notification.message or None)
    return None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one daemon waits for now.

    Attributes:
        waiting_for: nothing where the tuple is empty.
        state: the daemon's state.
    """

    waiting_for: tuple[Want, ...]
    state: State

    @property
    def nclients(self) -> int:
        """The clients that answering it reaches: it has no tunnel, and so none."""
        return 0


async def look(conversation: Conversation) -> Answer[Waiting]:
    """Asks what the daemon waits for, and its state; nothing is changed.

    Raises:
        ServerError: it could not be asked.
    """
    conversation.attempt.phase = "looking what it waits for"
    found = await conversation.session.waiting()
    (reply,) = await conversation.ask(commands.state())
    wants = [want for notification in found if (want := want_of(notification)) is not None]
    return Answer(Waiting(tuple(dict.fromkeys(wants)), reply.result()), reply.text())


def words(wants: tuple[Want, ...]) -> str:
    """Several in one cell."""
    return ", ".join(map(str, wants)) if wants else "nothing"


def shown(wants: tuple[Want, ...]) -> list[object]:
    """What JSON shows: of a challenge the question alone, since its state is part of what lets its user in."""
    return [{"kind": want.kind, "name": want.name, "message": want.message} for want in wants]


LOOK: Operation[Waiting] = Operation(
    "unlock",
    look,
    (Column("waits_for", Kind.TEXT), Column("state", Kind.TEXT)),
    lambda value: [(words(value.waiting_for), value.state.name)],
    result=lambda value: {"waiting_for": shown(value.waiting_for), "state": value.state},
)


def without_message(want: Want) -> Want:
    """The want by its kind and name alone: what one secret is for."""
    return replace(want, message=None, challenge=None)
