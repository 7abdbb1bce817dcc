"""A command of fleet for each management command that needs nothing more: `net`, `echo`, `client-kill` ...

They are thin: the table of management commands checks what they take, and the daemon's answer is shown as it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.cli.choosing import Target, admit
from fleet.cli.numbers import NumbersCommand
from fleet.cli.options import Options, with_options
from fleet.cli.rolling import change
from fleet.cli.run import run
from fleet.cli.terminal import terminal
from fleet.errors import CommandFailedError, UsageError
from fleet.inventory.model import PasswordCommand, PasswordFile, PasswordSource
from fleet.inventory.secrets import read_password
from fleet.management import commands
from fleet.operations import settings, tell
from fleet.operations.execute import for_one_server
from fleet.operations.operation import Confirm
from fleet.operations.secret import Secret
from fleet.render.text import escape

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to ask; all without any.")]
ClientID = Annotated[str, typer.Argument(metavar="CID", help="The client's ID: fleet clients -o wide shows it.")]
KeyID = Annotated[str, typer.Argument(metavar="KID", help="The key's ID, of the daemon's CONNECT or REAUTH message.")]
Request = Annotated[
    str, typer.Argument(metavar="TYPE", help="What the daemon waits for: fleet unlock --list shows it.")
]
SecretFile = Annotated[
    str | None, typer.Option("--secret-file", metavar="PATH", help="It is the first line of this file (mode 0600).")
]
SecretCommand = Annotated[
    str | None,
    typer.Option(
        "--secret-command",
        metavar="COMMAND",
        help="It is the first line that this prints; no shell; {server} and {realm} are replaced.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.command("help")(with_options(_help))
    app.command("net")(with_options(_net))
    app.command("auth-retry")(with_options(_auth_retry, changes=True))
    app.command("forget-passwords")(with_options(_forget_passwords, changes=True))
    app.command("needok")(with_options(_needok, changes=True))
    app.command("password")(with_options(_password, changes=True))
    app.command("username")(with_options(_username, changes=True))
    app.command("remote-entry-count")(with_options(_remote_entry_count))
    app.command("push-update-broad")(with_options(_push_update_broad, changes=True))
    app.command("needstr")(with_options(_needstr, shown=lambda args: args[:1], changes=True))
    app.command("echo", cls=NumbersCommand)(with_options(_echo))
    app.command("client-kill", cls=NumbersCommand)(with_options(_client_kill, changes=True))
    app.command("client-deny", cls=NumbersCommand)(with_options(_client_deny, changes=True))
    app.command("client-auth-nt", cls=NumbersCommand)(with_options(_client_auth_nt, changes=True))
    app.command("remote-entry-get", cls=NumbersCommand)(with_options(_remote_entry_get))
    app.command("push-update-cid", cls=NumbersCommand)(with_options(_push_update_cid, changes=True))


# Questions


def _help(*, patterns: Patterns = None, options: Options) -> int:
    """Show the management commands that each daemon knows.

    For fleet's own commands: fleet --help.
    """
    return run(tell.show_help(), options, Target(args=tuple(patterns or ())))


def _net(*, patterns: Patterns = None, options: Options) -> int:
    """Show network adapters and routes of daemons on Windows; others refuse it."""
    return run(tell.tell(commands.net(), key="lines"), options, Target(args=tuple(patterns or ())))


def _echo(
    *,
    count: Annotated[str, typer.Argument(metavar="N|all", help="How many.")] = "all",
    options: Options,
) -> int:
    """Show the last parameters of echo directives of each daemon."""
    return run(tell.echo(count).operation(), options, Target(args=(count,)))


def _remote_entry_count(*, patterns: Patterns = None, options: Options) -> int:
    """Show how many remotes each client daemon has (OpenVPN 2.6)."""
    return run(tell.remote_entry_count().operation(), options, Target(args=tuple(patterns or ())))


def _remote_entry_get(
    *,
    first: Annotated[str, typer.Argument(metavar="I|all", help="The first remote, counted from 0.")] = "all",
    stop: Annotated[str | None, typer.Argument(metavar="J", help="The remote to stop before.")] = None,
    options: Options,
) -> int:
    """Show the remotes of each client daemon (OpenVPN 2.6)."""
    args = (first,) if stop is None else (first, stop)
    return run(tell.remote_entries(first, stop).operation(), options, Target(args=args))


# Changes


def _auth_retry(
    *,
    mode: Annotated[
        str | None, typer.Argument(metavar="none|nointeract|interact", help="What to do after a failure.")
    ] = None,
    options: Options,
) -> int:
    """Show or set how each client daemon goes on after a failed authentication.

    none: it ends; interact: it asks its management client again; nointeract: it tries the same again, without end.
    Setting it wants --limit or --all.
    """
    if mode is None:
        return run(tell.show_auth_retry().operation(), options, Target())
    return change(settings.change_auth_retry(mode), options, Target(args=(mode,), explicit=True))


def _forget_passwords(*, options: Options) -> int:
    """Make daemons drop the passwords and passphrases that they were given.

    Wants --limit or --all. At its next restart a daemon asks for them again.
    """
    return _change(commands.forget_passwords(), options)


def _client_kill(
    *,
    client_id: ClientID,
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="RESTART or HALT, and a reason behind a comma; HALT ends the client."),
    ] = None,
    options: Options,
) -> int:
    """End the session of one client of one server by its client ID.

    Wants -l SERVER. fleet kill finds a client by its name on the whole fleet.
    """
    return _change(commands.client_kill(client_id, message), options)


def _client_deny(
    *,
    client_id: ClientID,
    key_id: KeyID,
    reason: Annotated[str, typer.Argument(metavar="REASON", help="For the server's log.")],
    client_reason: Annotated[
        str | None, typer.Argument(metavar="CLIENT-REASON", help="What the client is told.")
    ] = None,
    options: Options,
) -> int:
    """Keep a client out that waits for its management client's word (management-client-auth).

    Wants -l SERVER.
    """
    return _change(commands.client_deny(client_id, key_id, reason, client_reason), options)


def _client_auth_nt(*, client_id: ClientID, key_id: KeyID, options: Options) -> int:
    """Let a client in that waits for its management client's word (management-client-auth).

    Wants -l SERVER.
    """
    return _change(commands.client_auth_nt(client_id, key_id), options)


def _needok(
    *,
    request: Request,
    action: Annotated[str, typer.Argument(metavar="ok|cancel", help="The answer.")],
    options: Options,
) -> int:
    """Confirm or cancel what a daemon waits for (NEED-OK).

    Wants --limit or --all. fleet unlock --ok does it wherever something is to be confirmed.
    """
    return _change(commands.needok(request, action), options)


def _needstr(
    *,
    request: Request,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer; no secret.")],
    options: Options,
) -> int:
    """Give the text that a daemon waits for (NEED-STR).

    Wants --limit or --all. The text can be read by others while the command runs; for a secret there is fleet
    console.
    """
    return _change(commands.needstr(request, text), options, args=(request,))


def _push_update_broad(
    *,
    update: Annotated[str, typer.Argument(metavar="OPTIONS", help="For example: 'route 10.7.0.0 255.255.0.0, -dns'.")],
    options: Options,
) -> int:
    """Change pushed options of all clients of each server (OpenVPN 2.7).

    Wants --limit or --all.
    """
    return _change(commands.push_update_broad(update), options)


def _push_update_cid(
    *,
    client_id: ClientID,
    update: Annotated[str, typer.Argument(metavar="OPTIONS", help="For example: 'route 10.7.0.0 255.255.0.0, -dns'.")],
    options: Options,
) -> int:
    """Change pushed options of one client of one server (OpenVPN 2.7).

    Wants -l SERVER.
    """
    return _change(commands.push_update_cid(client_id, update), options)


def _change(command: commands.Command[Any], options: Options, args: tuple[str, ...] | None = None) -> int:
    shown = command.arguments if args is None else args
    target = Target(args=shown, explicit=True, single=for_one_server([command]))
    return change(tell.tell(command), options, target)


# Secrets


def _password(
    *, request: Request, secret_file: SecretFile = None, secret_command: SecretCommand = None, options: Options
) -> int:
    """Give the password or passphrase that a daemon waits for.

    Wants --limit or --all. It is asked for at the terminal without echo, or comes from a file or a command; it is
    never an argument. fleet unlock does the whole dialogue, and gives a wrong one another try: here the daemon may
    end over it.
    """
    return _give("password", request, _source(request, secret_file, secret_command), options)


def _username(
    *, request: Request, secret_file: SecretFile = None, secret_command: SecretCommand = None, options: Options
) -> int:
    """Give the username that a daemon waits for.

    Wants --limit or --all. It comes from the terminal, a file or a command, as with fleet password, which has to
    follow.
    """
    return _give("username", request, _source(request, secret_file, secret_command), options)


def _give(name: str, request: str, source: tell.SecretSource | None, options: Options) -> int:
    typed: list[Secret] = []

    async def from_terminal(_server: str) -> Secret:
        return typed[0]

    operation = tell.give_secret(name, request, source or from_terminal)
    if source is None:
        operation = replace(operation, confirm=Confirm.NEVER)  # who types the secret has agreed
    target = Target(args=(request,), explicit=True)
    if source is None:
        if admit(operation, options, target) is None:  # nobody is asked for a secret that cannot be given
            return 0
        typed.append(_ask(name, request))
    return change(operation, options, target)


def _ask(name: str, request: str) -> Secret:
    person = terminal()
    if person is None:
        raise UsageError(f"there is no terminal to ask for the {name} at", hint="use --secret-file or --secret-command")
    return Secret(person.secret(f"{name} for {escape(request)}: "), f"the {name}")


def _source(request: str, file: str | None, command: str | None) -> tell.SecretSource | None:
    """Where the secret comes from; None for the terminal.

    Raises:
        UsageError: two places, or one that cannot be.
    """
    if file is not None and command is not None:
        raise UsageError("--secret-file and --secret-command contradict each other", hint="give one of them")
    if file is not None:
        return _reads(lambda _server: PasswordFile(Path(file).expanduser()), f"secret file {file}")
    if command is not None:
        argv = _argv(command)

        def source(server: str) -> PasswordSource:
            return PasswordCommand(tuple(word.replace("{server}", server).replace("{realm}", request) for word in argv))

        return _reads(source, f"secret command {argv[0]}")
    return None


def _reads(source: Callable[[str], PasswordSource], what: str) -> tell.SecretSource:
    async def read(server: str) -> Secret:
        try:
            return Secret.of_bytes(await read_password(source(server), called="secret"), what)
        except UsageError as error:
            raise CommandFailedError(error.message, hint=error.hint) from error

    return read


def _argv(text: str) -> Sequence[str]:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--secret-command cannot be read: {error}", hint="quote it as for a shell") from error
    if not argv:
        raise UsageError("--secret-command is empty")
    return argv
