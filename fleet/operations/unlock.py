"""`unlock`: brings a daemon that waits up to CONNECTED, with what the operator has for it.

One session does as much as it can: it releases a hold, answers what it has an answer for, and watches what the daemon
makes of it. Where the daemon asks for more, it is left waiting, and the session says what for: people are asked
between two sessions, while no clock runs and the daemon's one management session is free for others.

Whatever is asked for is seen before it is answered: a password that is sent before the prompt is an error
(protocol-facts 11.4). Before a secret is sent, `auth-retry interact` makes a wrong one a second question instead of
a dead daemon; the former value is put back in the same session, also where it is broken off. That is no change in the
sense of the report; one that could not be put back is, and stays in the mapping that the caller has given for it.

A challenge of the daemon's own configuration is asked, and answered, with the username and password. One of the far
end comes in the words in which that refuses the password, and its answer goes in the password's place when the daemon
asks again: in a later session, since somebody has to be asked (fleet.management.challenges).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from fleet.errors import CommandFailedError, ConnectionLostError, ServerError, UsageError
from fleet.management import commands
from fleet.management.challenges import Challenge, DynamicChallenge, parse_dynamic
from fleet.management.commands import Command
from fleet.management.notifications import (
    FatalNotification,
    Notification,
    PasswordFailedNotification,
    StateNotification,
)
from fleet.management.protocol import Reply
from fleet.management.replies import State
from fleet.operations.columns import Column, Kind
from fleet.operations.conversation import Conversation
from fleet.operations.operation import Answer, Operation
from fleet.operations.secret import CUT_AT, Secret
from fleet.operations.waiting import LOOK, Want, WantKind, shown, want_of, without_message, words

T = TypeVar("T")

INTERACT = "interact"
UP = "CONNECTED"
"""The state of a daemon that is up (management notes, COMMAND -- state)."""

_NOINTERACT = "nointeract"
_RELEASE = commands.hold("release")
_FAILURES = {"private-key-password-failure": "Private Key", "auth-failure": "Auth"}  # reasons of RECONNECTING


@dataclass(frozen=True, slots=True)
class Login:
    """A passphrase or password, and the username where one is asked for too."""

    secret: Secret
    username: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one challenge; good for that one, and once."""

    challenge: Challenge
    text: Secret


@dataclass(frozen=True, slots=True)
class Answers:
    """What the operator has for one daemon.

    Attributes:
        logins: by what asks for them, without its message.
        responses: to challenges, by what asks for the username and password, without its message.
        words: `ok`, `cancel` or a text, by the NEED-OK or NEED-STR that asks for it, without its message.
        confirm: the answer to any other NEED-OK, or None.
        text: the answer to any other NEED-STR, or None.
    """

    logins: Mapping[Want, Login] = field(default_factory=dict)
    responses: Mapping[Want, Response] = field(default_factory=dict)
    words: Mapping[Want, str] = field(default_factory=dict)
    confirm: str | None = None
    text: str | None = None

    def login(self, want: Want) -> Login | None:
        """What to send for a passphrase or password, a challenge answered in it; None where something is missing.

        Raises:
            UsageError: it cannot be sent: with the answer in it, it is too long.
        """
        response = self.responses.get(without_message(want))
        text = None if response is None or response.challenge != want.challenge else response.text.reveal()
        if isinstance(want.challenge, DynamicChallenge):
            if text is None and want.challenge.wants_answer:
                return None
            return Login(Secret(want.challenge.password(text or "")), want.challenge.username)
        login = self.logins.get(without_message(want))
        if login is None or (want.kind is WantKind.LOGIN and login.username is None):
            return None
        if want.challenge is None:
            return login
        if text is None:
            return None
        return replace(login, secret=Secret(want.challenge.password(login.secret.reveal(), text)))

    def word(self, want: Want) -> str | None:
        """The answer to a NEED-OK or NEED-STR, or None."""
        default = self.confirm if want.kind is WantKind.CONFIRMATION else self.text
        return self.words.get(without_message(want), default)


@dataclass(frozen=True, slots=True)
class Unlocked:
    """What became of one daemon.

    Attributes:
        waited_for: what it waited for, in the order in which it asked.
        verification_failed: what each wrong secret was for, once for each of them.
        result: `connected`; `not waiting` where there was nothing to do; `cancelled` where the operator declined;
            `waiting` where it still waits for `needs`.
        state: the daemon's last state.
        needs: what there was no answer for, or only a wrong one.
        done: changes whose effect was seen, though the daemon is not up.
        sent: changes whose effect was not seen yet: secrets that nobody has said to be right or wrong.
    """

    waited_for: tuple[Want, ...]
    verification_failed: tuple[str, ...]
    result: str
    state: State | None
    needs: Want | None = None
    done: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()

    def after(self, earlier: Unlocked) -> Unlocked:
        """This and what an earlier session of the same run did."""
        return replace(
            self,
            waited_for=tuple(dict.fromkeys((*earlier.waited_for, *self.waited_for))),
            verification_failed=(*earlier.verification_failed, *self.verification_failed),
            result="connected" if self.result == "not waiting" else self.result,
            done=(*earlier.done, *self.done),
        )


def result_of(value: Unlocked) -> object:
    """What JSON shows."""
    return {
        "waited_for": shown(value.waited_for),
        "verification_failed": value.verification_failed,
        "result": value.result,
        "state": value.state,
    }


def unlock(
    answers: Callable[[str], Answers], wait_timeout: float, owed: MutableMapping[str, str]
) -> Operation[Unlocked]:
    """One session with each daemon, of which it is known that it was not up a moment ago.

    Args:
        answers: what there is for a server, by its name.
        wait_timeout: seconds until the daemon is CONNECTED, or asks for what is not there.
        owed: by a server's name, what its auth-retry was, as long as it is something else; kept up to date. What
            earlier sessions left there is put back too.
    """
    return Operation(
        "unlock",
        partial(_perform, answers, wait_timeout, owed),
        (Column("waited_for", Kind.TEXT), Column("result", Kind.TEXT, keep=True), Column("state", Kind.TEXT)),
        lambda value: [(words(value.waited_for), value.result, "" if value.state is None else value.state.name)],
        result=result_of,
        changes=True,
        preview=LOOK,
        effect="brings up {servers}",
    )


async def _perform(
    answers: Callable[[str], Answers],
    wait_timeout: float,
    owed: MutableMapping[str, str],
    conversation: Conversation,
) -> Answer[Unlocked]:
    return await _Unlocking(conversation, answers(conversation.server.name), wait_timeout, owed).run()


def left_changed(former: str) -> str:
    """What to tell of a daemon whose auth-retry could not be put back."""
    return f"auth-retry was {former} and is {INTERACT} (fleet auth-retry {former} sets it, once the daemon is up)"


def challenged(want: Want) -> CommandFailedError:
    """A daemon wants more than a username and password, in a form that no release of OpenVPN that fleet knows has."""
    return CommandFailedError(
        f"it asks for more than a username and password ({want}), which fleet unlock does not give; nothing was sent",
        hint="answer it by hand: fleet console gives a session with the daemon",
    )


class _Unlocking:
    """One session with a daemon that may wait."""

    def __init__(
        self, conversation: Conversation, answers: Answers, wait_timeout: float, owed: MutableMapping[str, str]
    ) -> None:
        self._conversation = conversation
        self._session = conversation.session
        self._owed = owed
        self._answers = answers
        self._wait_timeout = wait_timeout
        self._waited: list[Want] = []
        self._failed: list[str] = []
        self._given: dict[Want, Secret | None] = {}  # what was answered in this session
        self._rejected: set[str] = set()  # names of secrets that were wrong, and are not sent again
        self._challenges = {  # by the name of the secret in whose place the answer goes; until they are answered
            want.name or "": response.challenge
            for want, response in answers.responses.items()
            if isinstance(response.challenge, DynamicChallenge)
        }
        self._on_trial: list[str] = []  # names of those secrets of which the daemon has not said what it makes
        self._effects: list[str] = []  # changes that were sent and whose effect was not seen
        self._fatal: str | None = None
        self._dead = False
        self._gone = False
        self._connected = False
        self._raw: list[str] = []

    async def run(self) -> Answer[Unlocked]:
        self._conversation.attempt.phase = "looking what it waits for"
        waiting = await self._session.waiting()
        (reply,) = await self._ask(commands.state_live(1))
        states: tuple[State, ...] = reply.result()
        if not waiting and states and states[-1].name == UP:
            self._connected = True
            await self._put_back()
            return Answer(self._value("not waiting", states[-1]), "".join(self._raw))
        try:
            value = await self._come_up()
        except ConnectionLostError as error:
            self._gone = True
            raise self._ended(error) from error
        finally:
            await self._put_back()
        self._conversation.attempt.sent = None  # what is not known of it is in the value
        return Answer(value, "".join(self._raw))

    async def _come_up(self) -> Unlocked:
        clock = asyncio.get_running_loop().time
        until = clock() + self._wait_timeout
        while True:
            self._conversation.attempt.phase = "waiting for CONNECTED"
            left = until - clock()
            notification = await self._session.wait(left) if left > 0 else None
            if notification is None:
                raise await self._not_up()
            value = await self._take(notification)
            if value is not None:
                return value

    # What the daemon says

    async def _take(self, notification: Notification) -> Unlocked | None:
        """Answers one real-time message, if it asks; a value where this session is done."""
        want = want_of(notification)
        if want is not None:
            try:
                return await self._answer(want)
            except UsageError as error:  # a name of the daemon's own that cannot be repeated to it
                raise CommandFailedError(f"what it waits for cannot be answered: {error.message}") from error
        if isinstance(notification, FatalNotification):
            self._fatal = notification.text
        elif isinstance(notification, PasswordFailedNotification):
            challenge = parse_dynamic(notification.detail)
            if challenge is None:
                self._fail(notification.realm)
            else:
                self._challenge(notification.realm, challenge)
        elif isinstance(notification, StateNotification):
            return self._take_state(notification.state)
        return None

    def _take_state(self, state: State) -> Unlocked | None:
        if state.name == UP:
            self._connected = True
            self._seen(*self._effects)
            return self._value("connected", state)
        failed = _FAILURES.get(state.description or "") if state.name == "RECONNECTING" else None
        if failed is not None and failed not in self._challenges:
            self._fail(failed)  # all that 2.7 says of a wrong passphrase (protocol-facts 11.4)
        return None

    def _challenge(self, name: str, challenge: DynamicChallenge) -> None:
        """The secret was right, and the far end asks for more: the next question is for the answer to that."""
        self._challenges[name] = challenge
        if not challenge.wants_answer:
            self._conversation.warn(f"the far end says: {challenge.question}")
        self._given = {want: secret for want, secret in self._given.items() if want.name != name}
        self._on_trial = [other for other in self._on_trial if other != name]
        self._effects.clear()

    def _fail(self, name: str) -> None:
        """A secret was wrong: one of this session, or one that an earlier session gave and only now was tried.

        The daemon says so once, twice or not at all before it asks again.
        """
        if name in self._on_trial:
            self._on_trial.remove(name)
            self._failed.append(name)
            self._effects.clear()
        elif name not in self._rejected:
            self._failed.append(name)
        self._rejected.add(name)

    async def _answer(self, want: Want) -> Unlocked | None:
        if want.kind is WantKind.LOGIN and (challenge := self._challenges.get(want.name or "")):
            want = want.challenged(challenge)
        if want not in self._waited:
            self._waited.append(want)
        if want.kind is WantKind.HOLD:
            await self._change(_RELEASE)
            return None
        self._seen(_RELEASE.text)  # it goes on, and asks for more
        if without_message(want) in self._given:
            self._fail(want.name or "")  # where it was not said: asked for again, so it was wrong
            return self._value("waiting", None, needs=want)
        if want.secret:
            return await self._give_secret(want)
        return await self._give_word(want)

    # What is sent

    async def _give_secret(self, want: Want) -> Unlocked | None:
        name = want.name or ""
        if want.message is not None and want.challenge is None:
            raise challenged(want)
        login = self._answers.login(want)
        if login is None or name in self._rejected:
            return self._value("waiting", None, needs=want)
        await self._interact()
        self._given[without_message(want)] = login.secret
        self._on_trial.append(name)
        self._challenges.pop(name, None)
        lines: list[Command[Any]] = []
        if want.kind is WantKind.LOGIN:
            lines.append(commands.username(name, login.username or ""))
        await self._change(*lines, commands.password(name, login.secret.reveal()))
        return None

    async def _give_word(self, want: Want) -> Unlocked | None:
        name, word = want.name or "", self._answers.word(want)
        if word is None:
            return self._value("waiting", None, needs=want)
        self._given[without_message(want)] = None
        if want.kind is WantKind.TEXT:
            await self._change(commands.needstr(name, word))
            return None
        await self._change(commands.needok(name, word))
        return self._value("cancelled", None) if word == "cancel" else None

    async def _interact(self) -> None:
        """Makes a wrong secret a second question; what has to be put back is owed from before it is changed.

        Raises:
            UsageError: the daemon has it set to what no release of OpenVPN knows.
        """
        name = self._conversation.server.name
        (reply,) = await self._ask(commands.auth_retry(None))
        former: str = reply.result()
        if former != INTERACT:
            commands.auth_retry(former)  # a word that could not be put back is refused before anything is changed
            self._owed[name] = former
            await self._set_auth_retry(INTERACT)

    async def _put_back(self) -> None:
        """Gives auth-retry its former value again; it would outlive the session (protocol-facts 6.6).

        Only `nointeract` is not put back while the daemon waits: there a wrong secret is an endless loop.
        """
        name = self._conversation.server.name
        former = self._owed.get(name)
        if former is None:
            return
        if self._fatal is None and not self._dead:
            if self._gone or (former == _NOINTERACT and not self._connected):
                return
            try:
                await self._set_auth_retry(former)
            except (ServerError, RuntimeError):  # RuntimeError: the session is over, by whatever came before
                return
        del self._owed[name]

    async def _set_auth_retry(self, mode: str) -> None:
        """Sets it as something that is no change: whoever is told of changes is told what is owed instead."""
        await self._ask(replace(commands.auth_retry(mode), changes=False))

    async def _change(self, *lines: Command[Any]) -> None:
        await self._ask(*lines)
        texts = [line.text for line in lines]
        attempt = self._conversation.attempt
        # Of an answer, SUCCESS says only that it was read.
        attempt.confirmed[:] = [text for text in attempt.confirmed if text not in texts]
        self._effects += texts
        self._tell_effects()

    def _seen(self, *texts: str) -> None:
        """These changes were seen to have had their effect, where they were made."""
        self._conversation.attempt.confirmed += [text for text in self._effects if text in texts]
        self._effects = [text for text in self._effects if text not in texts]
        self._tell_effects()

    def _tell_effects(self) -> None:
        self._conversation.attempt.sent = "; ".join(self._effects) or None

    async def _ask(self, *lines: Command[Any]) -> tuple[Reply[Any], ...]:
        """Sends commands and reads all their replies, whoever breaks that off: the session is to go on.

        Raises:
            CommandFailedError: the daemon answered ERROR; its words without the secret.
        """
        replies = await _whole(partial(self._conversation.ask, *lines))
        for reply in replies:
            if reply.error is not None:
                raise CommandFailedError(self._without_secret(reply.error))
            self._raw.append(reply.text())
        return replies

    def _without_secret(self, error: str) -> str:
        """A daemon's ERROR; cut out of it, a short secret could be told by what is missing, so it is all or nothing."""
        if any(secret is not None and secret.is_in(error) for secret in self._given.values()):
            return "the daemon refused the answer, in words that may repeat the secret and are not shown"
        return error

    # How it ends

    def _value(self, result: str, state: State | None, *, needs: Want | None = None) -> Unlocked:
        done = tuple(self._conversation.attempt.confirmed)
        return Unlocked(tuple(self._waited), tuple(self._failed), result, state, needs, done, tuple(self._effects))

    async def _not_up(self) -> CommandFailedError:
        (reply,) = await self._ask(commands.state())
        state: State = reply.result()
        detail = f" ({state.description})" if state.description else ""
        return CommandFailedError(
            f"not CONNECTED within {self._wait_timeout:g} s: its state is {state.name}{detail}",
            hint="see why with fleet log 20, or wait longer with --wait-timeout",
        )

    def _ended(self, error: ConnectionLostError) -> ServerError:
        """What it means that the daemon hung up."""
        for notification in self._session.notifications:  # also those that came while a reply was waited for
            if isinstance(notification, FatalNotification):
                self._fatal = notification.text
        if self._fatal is None and not self._failed:
            return error
        self._dead = True
        self._conversation.attempt.sent = None
        if self._fatal is not None:
            return CommandFailedError(f"the daemon ended with a fatal error: {self._fatal}", hint=self._long())
        what = f"the daemon ended: verification failed for '{self._failed[-1]}'"
        return CommandFailedError(what, hint=self._long())

    def _long(self) -> str | None:
        if any(secret is not None and secret.may_be_cut for secret in self._given.values()):
            return f"OpenVPN built without PKCS11 keeps {CUT_AT} bytes of a secret, and this one is longer"
        return None


async def _whole(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The work's result; a cancellation is held back until it is done. The work has a clock of its own.

    What has not begun when it is cancelled does not begin: the server has its outcome by then, and a change that is
    sent behind it would be told by nobody.
    """
    caller = asyncio.current_task()
    assert caller is not None  # noqa: S101 - for mypy: a coroutine runs in a task
    before = caller.cancelling()  # what is put back is put back by one that was cancelled

    async def begin() -> T:
        if caller.cancelling() > before:
            raise asyncio.CancelledError
        return await work()

    task = asyncio.ensure_future(begin())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains; the cancellation is what counts
        raise
