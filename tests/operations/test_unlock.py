"""`unlock` on simulated daemons over real sockets, through the engine: what is sent, when, and what is left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.requests import PRIVATE_KEY, Request, RequestKind, login, passphrase
from fleet.engine import FanOut, Outcome, fan_out
from fleet.errors import CommandFailedError, UsageError
from fleet.inventory.model import Server
from fleet.management.challenges import Challenge, DynamicChallenge, StaticChallenge
from fleet.operations.conversation import Access, work_on
from fleet.operations.operation import Answer, Operation
from fleet.operations.secret import Secret
from fleet.operations.unlock import Answers, Login, Response, Unlocked, left_changed, result_of, unlock
from fleet.operations.waiting import LOOK, Waiting, Want, WantKind
from fleet.render.jsonout import to_jsonable
from fleet.transport import SSHOptions, Transport
from support.farm import Listen

KEY = Want(WantKind.PASSWORD, PRIVATE_KEY)
AUTH = Want(WantKind.LOGIN, "Auth")
HOLD = Want(WantKind.HOLD)
RELEASES = ("2.2.3", "2.4.12", "2.6.14", "2.7.6")


def key(text: str) -> Answers:
    return Answers({KEY: Login(Secret(text))})


def auth(username: str, text: str) -> Answers:
    return Answers({AUTH: Login(Secret(text), username)})


class Fleet:
    """One daemon, and outcomes of operations on it."""

    def __init__(self, listen: Listen, daemon: SimulatedDaemon) -> None:
        self.listen = listen
        self.daemon = daemon
        self.owed: dict[str, str] = {}
        self._server: Server | None = None

    async def outcome(
        self, operation: Operation[Unlocked], *, when: Callable[[FanOut[Answer[Unlocked]]], object] | None = None
    ) -> Outcome[Answer[Unlocked]]:
        """The outcome of one session; `when` is called as it begins."""
        if self._server is None:
            self._server = Server("edge-1", "edge-1", None, await self.listen(self.daemon))
        async with Transport([self._server], SSHOptions()) as transport:
            work = work_on(Access(transport, 5.0), operation.perform)
            async with fan_out([self._server], work, host_timeout=20.0) as fan:
                if when is not None:
                    when(fan)
                return await anext(aiter(fan))

    async def unlock(self, answers: Answers, *, wait_timeout: float = 10.0) -> Outcome[Answer[Unlocked]]:
        return await self.outcome(unlock(lambda _name: answers, wait_timeout, self.owed))

    async def value(self, answers: Answers) -> Unlocked:
        return (await self.unlock(answers)).require().value

    @property
    def commands(self) -> list[str]:
        return self.daemon.executed


@pytest.fixture
def fleet(listen: Listen) -> Callable[[SimulatedDaemon], Fleet]:
    return lambda daemon: Fleet(listen, daemon)


MakeFleet = Callable[[SimulatedDaemon], Fleet]


@pytest.mark.parametrize("release", RELEASES)
async def test_a_hold_is_released_and_the_daemon_seen_to_come_up(fleet: MakeFleet, release: str) -> None:
    one = fleet(SimulatedDaemon(release, hold=True))
    value = await one.value(Answers())
    assert (value.result, value.waited_for, value.verification_failed, value.needs) == ("connected", (HOLD,), (), None)
    assert value.state is not None
    assert value.state.name == "CONNECTED"
    assert one.commands == ["pid", "state on 1", "hold release"]
    assert one.daemon.hold_flag  # of future restarts: not ours to change


async def test_a_daemon_that_waits_for_nothing_is_told_nothing(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon())
    value = await one.value(key("keypass"))
    assert (value.result, value.waited_for) == ("not waiting", ())
    assert one.commands == ["pid", "state on 1"]


async def test_a_daemon_that_restarts_just_now_is_waited_for(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon("2.4.12", requests=[passphrase("keypass")])
    one = fleet(daemon)
    assert (await one.value(key("keypass"))).result == "connected"
    daemon.forget_passwords()
    daemon.restart("SIGUSR1")
    value = await one.value(key("keypass"))
    assert (value.result, value.waited_for) == ("connected", (KEY,))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("hold", [False, True])
async def test_a_passphrase_is_given_when_it_was_asked_for(fleet: MakeFleet, release: str, hold: bool) -> None:
    one = fleet(SimulatedDaemon(release, hold=hold, requests=[passphrase("keypass")]))
    value = await one.value(key("keypass"))
    assert (value.result, value.waited_for) == ("connected", (HOLD, KEY) if hold else (KEY,))
    assert one.commands == [
        *("pid", "state on 1"),
        *(["hold release"] if hold else []),
        *("auth-retry", "auth-retry interact", 'password "Private Key" keypass', "auth-retry none"),
    ]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("hold", [False, True])
async def test_a_wrong_passphrase_leaves_the_daemon_asking(fleet: MakeFleet, release: str, hold: bool) -> None:
    one = fleet(SimulatedDaemon(release, hold=hold, requests=[passphrase("keypass")]))
    value = await one.value(key("wrong"))
    assert (value.result, value.needs, value.verification_failed) == ("waiting", KEY, ("Private Key",))
    assert one.daemon.phase is Phase.WAIT
    assert one.daemon.auth_retry == "none"
    assert one.commands.count('password "Private Key" wrong') == 1
    assert (await one.value(key("keypass"))).result == "connected"


@pytest.mark.parametrize("former", ["none", "interact"])
async def test_auth_retry_is_what_it_was(fleet: MakeFleet, former: str) -> None:
    one = fleet(SimulatedDaemon(requests=[passphrase("keypass")]))
    one.daemon.auth_retry = former
    await one.value(key("wrong"))
    await one.value(key("keypass"))
    assert one.daemon.auth_retry == former
    assert (former == "interact") is not any(command.startswith("auth-retry ") for command in one.commands)


async def test_a_former_value_that_could_not_be_put_back_stays(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(requests=[passphrase("keypass")]))
    one.daemon.auth_retry = "sometimes"
    outcome = await one.unlock(key("keypass"))
    assert isinstance(outcome.error, CommandFailedError)
    assert "'sometimes' is not a mode of auth-retry" in outcome.error.message
    assert (one.daemon.auth_retry, one.owed, outcome.sent) == ("sometimes", {}, None)
    assert not [text for text in one.commands if text.startswith(("password", "auth-retry "))]


async def test_nointeract_is_put_back_only_where_it_can_do_no_harm(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(requests=[passphrase("keypass")]))
    one.daemon.auth_retry = "nointeract"
    await one.value(key("wrong"))
    assert (one.daemon.auth_retry, one.daemon.phase, one.owed) == ("interact", Phase.WAIT, {"edge-1": "nointeract"})
    await one.value(key("keypass"))  # the next session of the same run knows what it was
    assert (one.daemon.auth_retry, one.owed) == ("nointeract", {})


@pytest.mark.parametrize("release", RELEASES)
async def test_username_and_password_wrong_then_right(fleet: MakeFleet, release: str) -> None:
    one = fleet(SimulatedDaemon(release, client_mode=True, requests=[login("al ice", 'a"b\\')]))
    value = await one.value(auth("al ice", "wrong"))
    assert (value.result, value.needs, value.verification_failed) == ("waiting", AUTH, ("Auth",))
    assert (await one.value(auth("al ice", 'a"b\\'))).result == "connected"
    assert 'username Auth "al ice"' in one.commands


async def test_what_could_not_be_put_back_stays_owed(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon(client_mode=True, requests=[login("alice", "good")])
    daemon._try = lambda _request: daemon.shut_down()  # type: ignore[method-assign]  # hangs up without a word
    one = fleet(daemon)
    outcome = await one.unlock(auth("alice", "good"))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.sent) == ("connection-lost", "username Auth [secret]; password Auth [secret]")
    assert (outcome.confirmed, outcome.warnings) == ((), ())
    assert one.owed == {"edge-1": "none"}
    assert left_changed("none").startswith("auth-retry was none and is interact (fleet auth-retry none sets it")


async def test_what_an_earlier_session_owes_is_put_back(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "good")]))
    one.owed["edge-1"] = "none"
    one.daemon.auth_retry = "interact"
    assert (await one.value(Answers())).result == "waiting"
    assert (one.daemon.auth_retry, one.owed) == ("none", {})


async def test_a_daemon_that_is_up_gets_back_what_an_earlier_session_owes_it(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon())
    one.owed["edge-1"] = "nointeract"
    one.daemon.auth_retry = "interact"
    assert (await one.value(Answers())).result == "not waiting"
    assert (one.daemon.auth_retry, one.owed) == ("nointeract", {})


async def test_what_was_done_before_it_asked_for_more_is_known(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(hold=True, requests=[passphrase("keypass")]))
    value = await one.value(Answers())
    assert (value.needs, value.done, value.sent) == (KEY, ("hold release",), ())
    two = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "good"), passphrase("keypass")]))
    value = await two.value(auth("alice", "good"))
    assert (value.needs, value.done, value.sent) == (KEY, (), ("username Auth [secret]", "password Auth [secret]"))


async def test_one_secret_is_not_given_to_another_question(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "good"), passphrase("keypass")]))
    value = await one.value(auth("alice", "good"))
    assert (value.result, value.needs, value.waited_for) == ("waiting", KEY, (AUTH, KEY))
    assert value.verification_failed == ()


async def test_without_an_answer_nothing_is_sent(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(requests=[passphrase("keypass")]))
    value = await one.value(Answers())
    assert (value.result, value.needs) == ("waiting", KEY)
    assert one.commands == ["pid", "state on 1"]


TOKEN = Request(RequestKind.CONFIRMATION, "token-insertion-request", "ok", message="Please insert your token")
PIN = Request(RequestKind.TEXT, "pin", "12 34", message="PIN of the token")


async def test_confirmations_and_texts(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(requests=[TOKEN, PIN]))
    value = await one.value(Answers(confirm="ok"))
    assert value.needs == Want(WantKind.TEXT, "pin", "PIN of the token")
    value = await one.value(Answers(confirm="ok", text="12 34"))
    assert value.result == "connected"
    assert one.commands[-2:] == ["state on 1", 'needstr pin "12 34"']
    assert "needok token-insertion-request ok" in one.commands


async def test_a_confirmation_is_declined(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(requests=[TOKEN, PIN]))
    assert (await one.value(Answers(confirm="cancel"))).result == "cancelled"


CODE = StaticChallenge("Enter the code", echo=True)
FURTHER = "CRV1:R,E:5tate:YWxpY2U=:Enter the PIN: now"
PIN_CODE = DynamicChallenge("Enter the PIN: now", True, True, "5tate", "alice")


def response(challenge: Challenge, text: str, *, given: str = "good") -> Answers:
    return Answers({AUTH: Login(Secret(given), "alice")}, {AUTH: Response(challenge, Secret(text))})


@pytest.mark.parametrize(
    ("flag", "challenge", "right"),
    [
        (1, CODE, "SCRV1:Z29vZA==:MTIz"),
        (0, StaticChallenge("Enter the code", echo=False), "SCRV1:Z29vZA==:MTIz"),
        (2, StaticChallenge("Enter the code", echo=False, concatenated=True), "good123"),
    ],
)
async def test_a_static_challenge_is_answered_with_the_password(
    fleet: MakeFleet, flag: int, challenge: StaticChallenge, right: str
) -> None:
    asks = login("alice", right, challenge=f"SC:{flag},Enter the code")
    one = fleet(SimulatedDaemon(client_mode=True, requests=[asks]))
    wanted = AUTH.challenged(challenge)
    assert (await one.value(auth("alice", "good"))).needs == wanted
    assert not any(command.startswith(("password", "username")) for command in one.commands)
    value = await one.value(response(challenge, "456"))
    assert (value.needs, value.verification_failed) == (wanted, ("Auth",))
    value = await one.value(response(challenge, "123"))
    assert (value.result, value.waited_for) == ("connected", (wanted,))
    assert str(wanted) == "'Auth' username/password: Enter the code"


async def test_the_answer_to_another_challenge_is_not_given(fleet: MakeFleet) -> None:
    asks = login("alice", "x", challenge="SC:1,Another code")
    one = fleet(SimulatedDaemon(client_mode=True, requests=[asks]))
    assert (await one.value(response(CODE, "123"))).result == "waiting"
    assert not any(command.startswith("password") for command in one.commands)


async def test_a_dynamic_challenge_is_answered_in_the_passwords_place(fleet: MakeFleet) -> None:
    asks = login("alice", "good", further=FURTHER, answer="CRV1::5tate::123")
    one = fleet(SimulatedDaemon(client_mode=True, requests=[asks]))
    value = await one.value(auth("alice", "good"))
    assert (value.result, value.needs, value.verification_failed) == ("waiting", AUTH.challenged(PIN_CODE), ())
    assert value.waited_for == (AUTH, AUTH.challenged(PIN_CODE))
    assert one.daemon.auth_retry == "none"
    shown = json.dumps(to_jsonable(result_of(value)))
    assert "Enter the PIN: now" in shown
    assert "5tate" not in shown + str(value.needs) + repr(value)
    value = await one.value(response(PIN_CODE, "123"))
    assert (value.result, value.verification_failed) == ("connected", ())
    assert one.commands[-3:] == ["username Auth alice", "password Auth CRV1::5tate::123", "auth-retry none"]


async def test_a_wrong_answer_to_a_dynamic_challenge_is_a_failure_and_the_password_is_wanted_again(
    fleet: MakeFleet,
) -> None:
    asks = login("alice", "good", further=FURTHER, answer="CRV1::5tate::123")
    one = fleet(SimulatedDaemon(client_mode=True, requests=[asks]))
    await one.value(auth("alice", "good"))
    value = await one.value(response(PIN_CODE, "456"))
    assert (value.result, value.needs, value.verification_failed) == ("waiting", AUTH, ("Auth",))
    assert one.daemon.phase is Phase.WAIT


async def test_a_challenge_that_wants_no_answer_gets_an_empty_one(fleet: MakeFleet) -> None:
    further = "CRV1::5tate:YWxpY2U=:Look at your phone"
    asks = login("alice", "good", further=further, answer="CRV1::5tate::")
    outcome = await fleet(SimulatedDaemon(client_mode=True, requests=[asks])).unlock(auth("alice", "good"))
    assert outcome.require().value.result == "connected"
    assert outcome.warnings == ("the far end says: Look at your phone",)


async def test_a_password_that_is_too_long_with_its_answer_is_not_sent(fleet: MakeFleet) -> None:
    asks = login("alice", "x", challenge="SC:1,Enter the code")
    one = fleet(SimulatedDaemon(client_mode=True, requests=[asks]))
    outcome = await one.unlock(response(CODE, "1" * 20, given="s" * 200))
    assert outcome.error is not None
    assert "longer than the 255 bytes" in outcome.error.message
    assert "sss" not in outcome.error.message
    assert not any(command.startswith("password") for command in one.commands)


async def test_what_no_release_asks_for_is_not_answered(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "good", challenge="XC:Enter the code")]))
    outcome = await one.unlock(auth("alice", "good"))
    assert outcome.error is not None
    assert "more than a username and password" in outcome.error.message
    assert not any(command.startswith(("password", "username")) for command in one.commands)


async def test_a_fatal_error_is_the_outcome(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon(requests=[passphrase("keypass")])
    reject = daemon._reject

    def die(request: Request) -> None:
        daemon.auth_retry = "none"
        reject(request)

    daemon._reject = die  # type: ignore[method-assign]  # a daemon that dies in spite of auth-retry
    one = fleet(daemon)
    outcome = await one.unlock(key("wrong"))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.status) == ("command-failed", "failed")
    assert "private key password verification failed" in outcome.error.message
    assert outcome.sent is None
    assert one.owed == {}  # it is gone


async def test_a_daemon_that_does_not_come_up_is_reported(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon(hold=True)
    daemon._start_up = lambda: None  # type: ignore[method-assign]  # released, and nothing follows
    outcome = await fleet(daemon).unlock(Answers(), wait_timeout=0.3)
    assert outcome.error is not None
    assert outcome.error.code == "command-failed"
    assert outcome.error.message.startswith("not CONNECTED within 0.3 s: its state is CONNECTING")
    assert (outcome.sent, outcome.confirmed) == ("hold release", ())  # it is done once the daemon comes up


@pytest.mark.parametrize("secret", ['"', "\\", "a b", " lead", "trail ", "#x", ";x", "it's", "Zoë-日本-ключ", "$x`y`"])
async def test_odd_secrets_arrive_as_they_are(fleet: MakeFleet, secret: str) -> None:
    one = fleet(SimulatedDaemon(requests=[passphrase(secret)]))
    assert (await one.value(key(secret))).result == "connected"


async def test_what_is_shown_has_no_secret(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "s3cret")]))
    seen: list[str] = []
    operation = unlock(lambda _name: auth("alice", "s3cret"), 5.0, {})
    outcome = await one.outcome(operation, when=lambda fan: seen.append(repr(fan.in_flight)))
    assert "s3cret" in " ".join(one.commands)
    assert "s3cret" not in repr(outcome)
    assert "s3cret" not in repr(operation)
    assert "s3cret" not in outcome.require().raw
    assert outcome.require().raw.count("SUCCESS") > 2


async def test_interrupted_it_puts_auth_retry_back_and_says_what_was_sent(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon(client_mode=True, requests=[login("alice", "good")])
    daemon._try = lambda _request: None  # type: ignore[method-assign]  # the far end does not answer
    one = fleet(daemon)

    def interrupt(fan: FanOut[Answer[Unlocked]]) -> None:
        async def once_sent() -> None:
            while not any(attempt.sent and "password" in attempt.sent for attempt in fan.in_flight):  # noqa: ASYNC110 - no such event
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            fan.interrupt()

        tasks.append(asyncio.ensure_future(once_sent()))

    tasks: list[asyncio.Task[None]] = []
    outcome = await one.outcome(unlock(lambda _name: auth("alice", "good"), 15.0, one.owed), when=interrupt)
    await asyncio.gather(*tasks)
    assert outcome.error is not None
    assert outcome.error.code == "interrupted"
    assert outcome.sent == "username Auth [secret]; password Auth [secret]"
    assert outcome.confirmed == ()  # auth-retry is as it was: nothing to tell
    assert one.commands[-1] == "auth-retry none"
    assert (daemon.auth_retry, one.owed) == ("none", {})


async def test_looking_changes_nothing(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(hold=True, requests=[passphrase("x")]))
    outcome = await one.outcome(LOOK)  # type: ignore[arg-type]  # another value's operation
    value = outcome.require().value
    assert isinstance(value, Waiting)
    assert value.waiting_for == (HOLD,)
    assert one.commands == ["pid", "state"]


async def test_a_secret_that_an_earlier_session_gave_is_not_given_twice(fleet: MakeFleet) -> None:
    one = fleet(SimulatedDaemon(client_mode=True, requests=[login("alice", "good"), passphrase("keypass")]))
    wrong = Login(Secret("wrong"), "alice")
    assert (await one.value(Answers({AUTH: wrong}))).needs == KEY
    value = await one.value(Answers({AUTH: wrong, KEY: Login(Secret("keypass"))}))
    assert (value.needs, value.verification_failed) == (AUTH, ("Auth",))
    assert one.commands.count("password Auth wrong") == 1


@pytest.mark.parametrize("text", ["", "a\tb", "line\n", "nul\0", "del\x7f", "x" * 256, "é" * 128])
def test_a_secret_that_cannot_be_sent_is_refused_unseen(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        Secret(text)
    assert not text or text not in raised.value.message


def test_a_secret_is_not_shown() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {Login(secret, 'alice')!r} {Answers({KEY: Login(secret)})!r}"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert secret.reveal() == "hunter2"


async def test_an_error_that_repeats_the_secret_is_not_shown(fleet: MakeFleet) -> None:
    daemon = SimulatedDaemon(requests=[passphrase("keypass")])
    daemon.enter = lambda _command, _name, value: f"ERROR: not {value}"  # type: ignore[method-assign]  # a rude one
    outcome = await fleet(daemon).unlock(key("hunter2"))
    assert outcome.error is not None
    assert "hunter2" not in outcome.error.message
    assert daemon.auth_retry == "none"
