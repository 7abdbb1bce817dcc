"""What a simulated daemon asks its management client for before its tunnel comes up: passphrases, passwords, words.

After recordings of real daemons (protocol-facts 5, 11.4; management notes, COMMAND -- password and username, needok).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

PRIVATE_KEY = "Private Key"


class RequestKind(Enum):
    """What is asked for; the values are the daemon's own words behind the name."""

    PASSWORD = "password"  # noqa: S105 - a kind of request, no secret
    LOGIN = "username/password"
    CONFIRMATION = "confirmation"
    TEXT = "input"


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a daemon asks for.

    Attributes:
        kind: what it is.
        name: `Private Key`, `Auth`, `token-insertion-request`; what the answer has to repeat.
        right: the answer that is right; of a confirmation `ok`. Empty: any is.
        username: the right one, of a LOGIN.
        message: for the user, of a confirmation or a text; of a LOGIN the challenge behind it.
        further: of a LOGIN, what the far end refuses the right answer with, to be asked for more: `CRV1:...`.
        answer: what is right then, in the password's place.
    """

    kind: RequestKind
    name: str
    right: str = ""
    username: str = ""
    message: str = ""
    further: str = ""
    answer: str = ""

    @property
    def line(self) -> str:
        """The real-time message that asks."""
        if self.kind in (RequestKind.CONFIRMATION, RequestKind.TEXT):
            source = "NEED-OK" if self.kind is RequestKind.CONFIRMATION else "NEED-STR"
            return f">{source}:Need '{self.name}' {self.kind.value} MSG:{self.message}"
        return f">PASSWORD:Need '{self.name}' {self.kind.value}" + (f" {self.message}" if self.message else "")

    @property
    def at_once(self) -> bool:
        """A private key is tried as soon as its passphrase is there, everything else by the VPN's far end."""
        return self.name == PRIVATE_KEY


def passphrase(right: str) -> Request:
    """The passphrase of an encrypted private key."""
    return Request(RequestKind.PASSWORD, PRIVATE_KEY, right)


def login(username: str, right: str, *, challenge: str = "", further: str = "", answer: str = "") -> Request:
    """The username and password of a VPN client, and what goes along with them (Request)."""
    return Request(RequestKind.LOGIN, "Auth", right, username, challenge, further, answer)


class Dialogue:
    """The requests of one daemon: which is open, what was answered; a right answer is kept over restarts."""

    # By command: the kinds that it answers, and what the daemon calls its argument.
    _COMMANDS: ClassVar[dict[str, tuple[tuple[RequestKind, ...], str]]] = {
        "password": ((RequestKind.PASSWORD, RequestKind.LOGIN), "password"),
        "username": ((RequestKind.LOGIN,), "username"),
        "needok": ((RequestKind.CONFIRMATION,), "needok-confirmation"),
        "needstr": ((RequestKind.TEXT,), "needstr-string"),
    }

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self._requests = tuple(requests)
        self._answers: dict[str, dict[str, str]] = {}  # by name: what was entered, by command
        self.open: Request | None = None

    def ask(self) -> Request | None:
        """Opens the next request that has no answer, if there is one."""
        self.open = next((request for request in self._requests if request.name not in self._answers), None)
        return self.open

    def close(self) -> None:
        """The daemon restarts or goes into hold: nothing is asked for."""
        self.open = None

    def enter(self, command: str, name: str, value: str, entered: dict[str, str]) -> str:
        """One line of an answer, and what the daemon says to it.

        Args:
            command: `password`, `username`, `needok` or `needstr`.
            name: which request it is for.
            value: the answer.
            entered: what was entered for the open request so far; the line adds to it.
        """
        kinds, word = self._COMMANDS[command]
        if self.open is None or self.open.kind not in kinds:
            return f"ERROR: no {word} is currently needed at this time"
        if self.open.name != name:
            return f"ERROR: {word} of type '{name}' entered, but we need one of type '{self.open.name}'"
        entered[command] = value
        return f"SUCCESS: '{name}' {word} entered, but not yet verified"

    def is_complete(self, entered: dict[str, str]) -> bool:
        """Whether the open request has all of its answer."""
        if self.open is None:
            return False
        return len(entered) == (2 if self.open.kind is RequestKind.LOGIN else 1)

    def keep(self, entered: dict[str, str]) -> Request:
        """Takes what was entered for the answer to the open request, which is closed."""
        if self.open is None:
            raise RuntimeError("nothing is asked for")
        request, self.open = self.open, None
        self._answers[request.name] = dict(entered)
        return request

    def is_wrong(self, request: Request) -> bool:
        """Whether the answer that was kept is a wrong one."""
        answer = self._answers.get(request.name)
        if answer is None or not request.right:
            return False
        given = {name: value for name, value in answer.items() if name != "username"}
        right = request.answer if request.further else request.right
        return answer.get("username", "") != request.username or set(given.values()) != {right}

    def why(self, request: Request) -> str:
        """What follows `Verification Failed`: where the first answer was right and the far end asks for more, that."""
        answer = self._answers[request.name]
        right = {"username": request.username, "password": request.right}
        return f" ['{request.further}']" if request.further and answer == right else ""

    def wrong(self) -> Request | None:
        """The first request with a wrong answer."""
        return next((request for request in self._requests if self.is_wrong(request)), None)

    def forget(self, *requests: Request) -> None:
        """The answers to these are dropped; without any, all."""
        for request in requests or self._requests:
            self._answers.pop(request.name, None)
