"""Where `fleet unlock` has its answers from: files, commands, options, and the person at the terminal."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.cli.output import say
from fleet.cli.terminal import Terminal
from fleet.errors import CommandFailedError, ManagementPasswordError, UsageError
from fleet.inventory.model import PasswordCommand, PasswordFile
from fleet.inventory.secrets import read_password
from fleet.management.challenges import Challenge
from fleet.management.commands import check_argument
from fleet.operations.secret import Secret
from fleet.operations.unlock import Answers, Login, Response, challenged
from fleet.operations.waiting import Want, WantKind, without_message
from fleet.render.fold import fold_counted
from fleet.render.text import escape

TRIES = 3
"""How often a person may type a secret for one server."""

COMMAND_TIMEOUT = 60.0
"""Seconds that a secret command may run: it may ask somebody for the passphrase of its store."""

_SERVER, _REALM = "{server}", "{realm}"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says of the answers.

    Attributes:
        secret: what `--secret-file` gave, or None.
        command: `--secret-command`, its arguments with `{server}` and `{realm}` in them, or None.
        response_command: `--response-command`, likewise.
        username: `--username`, or None.
        each: ask for each server by itself.
        confirm: `ok` or `cancel`, or None.
        text: `--string`, or None.
    """

    secret: Secret | None = None
    command: tuple[str, ...] | None = None
    response_command: tuple[str, ...] | None = None
    username: str | None = None
    each: bool = False
    confirm: str | None = None
    text: str | None = None

    @property
    def source(self) -> str:
        """How the source of secrets is called, empty where there is none."""
        if self.secret is not None:
            return "--secret-file"
        return "--secret-command" if self.command is not None else ""


def choices(
    *,
    secret_file: str | None,
    secret_command: str | None,
    response_command: str | None,
    username: str | None,
    each: bool,
    ok: bool,
    cancel: bool,
    string: str | None,
) -> Choices:
    """The choices as the options give them; a file is read now, before anything is sent.

    Raises:
        UsageError: they contradict each other, or one of them cannot be used.
    """
    if secret_file is not None and secret_command is not None:
        raise UsageError("--secret-file and --secret-command contradict each other", hint="give one of them")
    if ok and cancel:
        raise UsageError("--ok and --cancel contradict each other", hint="give one of them")
    if each and secret_file is not None:
        raise UsageError(
            "--each asks for each server, and --secret-file has one secret for all of them",
            hint="a secret for each server comes from --secret-command 'pass show vpn/{server}'",
        )
    for text, option in ((username, "--username"), (string, "--string")):
        if text is not None:
            check_argument(text, option)
            if not text:
                raise UsageError(f"{option} is empty")
    return Choices(
        None if secret_file is None else _from_file(Path(secret_file).expanduser()),
        None if secret_command is None else _argv(secret_command, "secret"),
        None if response_command is None else _argv(response_command, "response"),
        username,
        each,
        "ok" if ok else "cancel" if cancel else None,
        string,
    )


def _from_file(path: Path) -> Secret:
    try:
        return Secret.of_bytes(asyncio.run(read_password(PasswordFile(path), called="secret")), f"secret file {path}")
    except ManagementPasswordError as error:
        raise UsageError(error.message, hint=error.hint) from error


def _argv(text: str, what: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--{what}-command cannot be read: {error}", hint="quote it as for a shell") from error
    if not argv:
        raise UsageError(f"--{what}-command is empty")
    if _SERVER not in argv[0] and shutil.which(argv[0]) is None:
        raise UsageError(f"{what} command {argv[0]} is no program that can be run", hint="name it with its path")
    return argv


@dataclass(frozen=True, slots=True)
class Need:
    """One server that waits for something.

    Attributes:
        server: its name.
        want: what it waits for.
    """

    server: str
    want: Want


class Asker:
    """The answers for each server, as far as they are known; asks for the rest.

    A file or a command gives one kind of secret, that of the first request that it is used for: a private key's
    passphrase is never sent to the far end of a VPN as a password, because the daemon asked for that too.

    The answer to a challenge is found for each server by itself, and for each time that it asks: it is mostly a code
    that is good for one login.
    """

    def __init__(self, chosen: Choices, terminal: Terminal | None) -> None:
        """Asks nobody yet; without a terminal nobody ever."""
        self._chosen = chosen
        self._terminal = terminal
        self._answers: dict[str, Answers] = {}
        self._source_for: Want | None = None  # what the secret source answers
        self._tries: dict[Need, int] = {}
        self._shared: dict[Want, Login] = {}  # typed once for all
        self._commands: dict[tuple[str, ...], Secret] = {}

    def answers(self, server: str) -> Answers:
        """What there is for a server."""
        return self._answers.get(server) or Answers(confirm=self._chosen.confirm, text=self._chosen.text)

    def check(self, needs: Sequence[Need]) -> None:
        """Refuses what can be seen to end with daemons that still wait, before anything is sent.

        Raises:
            UsageError: there is nobody to ask, or one secret is meant for two kinds of requests.
        """
        wanted = dict.fromkeys(without_message(need.want) for need in needs if need.want.secret)
        if len(wanted) > 1 and self._chosen.source and not self._by_realm:
            raise UsageError(
                f"the servers wait for different secrets ({', '.join(map(str, wanted))}), and {self._chosen.source} "
                "is one of them",
                hint="name servers of one kind, or use --secret-command with {realm} in it",
            )
        lost = [need for need in needs if self._terminal is None and not self._is_given(need.want)]
        if lost:
            raise UsageError(
                f"{fold_counted([need.server for need in lost])}: waiting for {lost[0].want}, and there is no terminal "
                "to ask at",
                hint=_option_for(lost[0].want),
            )

    def types(self, need: Need) -> bool:
        """Whether a person is to type the answer."""
        return not self._is_given(need.want)

    def fill(self, needs: Iterable[Need]) -> dict[str, CommandFailedError]:
        """Finds an answer for each need; gives the servers that there is none for, and why.

        Raises:
            KeyboardInterrupt: somebody had enough of being asked.
        """
        failures: dict[str, CommandFailedError] = {}
        to_ask: dict[Want, list[Need]] = {}  # by what is asked for, its message included
        wanted = {Need(need.server, without_message(need.want)): need.want for need in needs}
        self._drop_the_wrong(need for need, want in wanted.items() if not want.in_place)
        for need, want in wanted.items():
            self._drop_response(need)
            try:
                if want.secret and want.message is not None and want.challenge is None:
                    raise challenged(want)
                if want.kind is not WantKind.HOLD and not want.in_place and not self._find(need):
                    to_ask.setdefault(want if want.challenge is None else need.want, []).append(need)
            except CommandFailedError as error:
                failures[need.server] = error
        for want, waiting in to_ask.items():
            failures |= self._ask(want, waiting)
        for need, want in wanted.items():
            try:
                if want.challenge is not None and need.server not in failures:
                    self._respond(need, want, want.challenge)
            except CommandFailedError as error:
                failures[need.server] = error
        return failures

    def _drop_response(self, need: Need) -> None:
        """What answered an earlier challenge answers no other."""
        known = self._answers.get(need.server)
        if known is not None:
            kept = {want: response for want, response in known.responses.items() if want != need.want}
            self._answers[need.server] = replace(known, responses=kept)

    def _drop_the_wrong(self, needs: Iterable[Need]) -> None:
        """What was typed for all, and was wrong for one, is not tried on those who had not asked yet."""
        for need in needs:
            given = self.answers(need.server).logins.get(need.want)
            if given is not None and given == self._shared.get(need.want):
                del self._shared[need.want]

    # What is known without asking

    @property
    def _by_realm(self) -> bool:
        return any(_REALM in argument for argument in self._chosen.command or ())

    def _is_given(self, want: Want) -> bool:
        if want.kind is WantKind.HOLD:
            return True
        if want.kind is WantKind.CONFIRMATION:
            return self._chosen.confirm is not None
        if want.kind is WantKind.TEXT:
            return self._chosen.text is not None
        if want.challenge is not None and self._chosen.response_command is None:
            return False
        return bool(self._chosen.source) and (want.kind is WantKind.PASSWORD or self._chosen.username is not None)

    def _find(self, need: Need) -> bool:
        """Whether there is an answer that was not tried.

        Raises:
            CommandFailedError: the secret command failed for this server.
        """
        if not need.want.secret:
            return self._is_given(need.want) and not self._count(need)
        shared = self._shared.get(need.want)
        if need not in self._tries and self._is_given(need.want) and self._is_for(need.want):
            login = Login(self._from_source(need), self._chosen.username)
        elif shared is not None and need not in self._tries:
            login = shared
        else:
            return False
        self._count(need)
        self._give(need, login)
        return True

    def _is_for(self, want: Want) -> bool:
        """Whether the source's secret is meant for this request: any, or the kind that it was first used for."""
        if self._source_for is None:
            self._source_for = want
        return self._by_realm or want == self._source_for

    def _from_source(self, need: Need) -> Secret:
        if self._chosen.secret is not None:
            return self._chosen.secret
        argv = _filled(self._chosen.command or (), need)
        if argv not in self._commands:
            self._commands[argv] = _of_command(argv, need.want, "secret")
        return self._commands[argv]

    def _respond(self, need: Need, want: Want, challenge: Challenge) -> None:
        """Finds the answer to a challenge.

        Raises:
            CommandFailedError: there is none.
        """
        asked = Need(need.server, replace(want, challenge=None))  # each challenge of a server has a state of its own
        over = self._over(asked, want)
        text: Secret | None
        if self._chosen.response_command is not None and asked not in self._tries:
            text = _of_command(_filled(self._chosen.response_command, need), want, "response")
        elif over is None:
            text = self._type_secret(f"{escape(need.server)}: {escape(challenge.question)}: ", echo=challenge.echo)
        else:
            raise over
        if text is None:
            raise CommandFailedError(f"left waiting for {want}: nothing was given for it")
        self._count(asked)
        known = self.answers(need.server)
        responses = {**known.responses, need.want: Response(challenge, text)}
        self._answers[need.server] = replace(known, responses=responses)

    # What somebody types

    def _ask(self, want: Want, needs: list[Need]) -> dict[str, CommandFailedError]:
        failures: dict[str, CommandFailedError] = {}
        askable: list[Need] = []
        for need in needs:
            error = self._over(need, need.want)
            if error is None:
                askable.append(need)
            else:
                failures[need.server] = error
        groups = [[need] for need in askable] if self._chosen.each else [askable] if askable else []
        for group in groups:
            failures |= self._ask_group(want, group)
        return failures

    def _over(self, need: Need, want: Want) -> CommandFailedError | None:
        """Why nobody is asked for this server any more, or None."""
        tried = self._tries.get(need, 0)
        if self._terminal is None or tried >= TRIES:
            if not tried:
                return CommandFailedError(f"it waits for {want}, and was not given it", hint=_option_for(want))
            return _still_waits(want, tried)
        return None

    def _ask_group(self, want: Want, group: list[Need]) -> dict[str, CommandFailedError]:
        names = escape(fold_counted([need.server for need in group]))
        again = ", not the one tried before" if any(need in self._tries for need in group) else ""
        login = self._type_login(f"{names}: {escape(str(want))}{again}: ", want) if want.secret else None
        word = None if want.secret else self._type_word(f"{names}: {escape(str(want))}", want)
        failures: dict[str, CommandFailedError] = {}
        for need in group:
            if login is None and word is None:
                failures[need.server] = CommandFailedError(f"left waiting for {want}: nothing was given for it")
                continue
            self._count(need)
            if login is not None:
                self._give(need, login)
            elif word is not None:
                known = self.answers(need.server)
                self._answers[need.server] = replace(known, words={**known.words, need.want: word})
        if login is not None and not self._chosen.each:
            self._shared[without_message(want)] = login
        return failures

    def _type_login(self, prompt: str, want: Want) -> Login | None:
        terminal = self._require_terminal()
        username = self._chosen.username
        if want.kind is WantKind.LOGIN and username is None:
            while not (username := terminal.line(f"{prompt}username: ")) or not _is_sendable(username):
                if not username:
                    return None
        secret = self._type_secret(prompt if want.kind is WantKind.PASSWORD else f"{prompt}password: ")
        return None if secret is None else Login(secret, username)

    def _type_secret(self, prompt: str, *, echo: bool = False) -> Secret | None:
        terminal = self._require_terminal()
        while text := terminal.line(prompt) if echo else terminal.secret(prompt):
            try:
                return Secret(text)
            except UsageError as error:
                say(f"{error.message}; {error.hint}" if error.hint else error.message)
        return None

    def _type_word(self, prompt: str, want: Want) -> str | None:
        terminal = self._require_terminal()
        if want.kind is WantKind.TEXT:
            while (text := terminal.line(f"{prompt}: ")) and not _is_sendable(text):
                pass
            return text or None
        while (word := terminal.line(f"{prompt} [ok/cancel]: ").strip().lower()) not in ("", "ok", "cancel"):
            pass
        return word or None

    def _require_terminal(self) -> Terminal:
        if self._terminal is None:
            raise RuntimeError("nobody can be asked")
        return self._terminal

    # Keeping books

    def _count(self, need: Need) -> int:
        """Counts a try; gives how many there were before it."""
        before = self._tries.get(need, 0)
        self._tries[need] = before + 1
        return before

    def _give(self, need: Need, login: Login) -> None:
        known = self.answers(need.server)
        logins: Mapping[Want, Login] = {**known.logins, need.want: login}
        self._answers[need.server] = replace(known, logins=logins)


def _filled(argv: tuple[str, ...], need: Need) -> tuple[str, ...]:
    """A command's arguments for one server."""
    return tuple(argument.replace(_SERVER, need.server).replace(_REALM, need.want.name or "") for argument in argv)


def _of_command(argv: tuple[str, ...], want: Want, called: str) -> Secret:
    """What a command prints.

    Raises:
        CommandFailedError: it failed, or what it prints cannot be sent.
    """
    try:
        data = asyncio.run(read_password(PasswordCommand(argv), command_timeout=COMMAND_TIMEOUT, called=called))
        return Secret.of_bytes(data, f"what {called} command {argv[0]} gives")
    except (ManagementPasswordError, UsageError) as error:
        raise CommandFailedError(f"{error.message}; it still waits for {want}", hint=error.hint) from error


def _is_sendable(text: str) -> bool:
    try:
        check_argument(text, "this")
    except UsageError as error:
        say(error.message)
        return False
    return True


def _still_waits(want: Want, tried: int) -> CommandFailedError:
    if not want.secret:
        return CommandFailedError(f"it asks for {want} again, after it was answered")
    times = "once" if tried == 1 else f"{tried} times"
    return CommandFailedError(
        f"verification failed for '{want.name}' ({times}); the daemon lives and waits for {want} again",
        hint="fleet unlock with the right one brings it up",
    )


def _option_for(want: Want) -> str:
    if want.kind is WantKind.CONFIRMATION:
        return "answer with --ok or --cancel, or run it in a terminal; fleet unlock --list shows what each waits for"
    if want.kind is WantKind.TEXT:
        return "answer with --string TEXT, or run it in a terminal; fleet unlock --list shows what each waits for"
    options = [
        *(["--username NAME"] if want.kind is WantKind.LOGIN and not want.in_place else []),
        *([] if want.in_place else ["--secret-file or --secret-command"]),
        *(["--response-command"] if want.challenge is not None else []),
    ]
    return f"give {' and '.join(options)}, or run it in a terminal; fleet unlock --list shows what each waits for"
