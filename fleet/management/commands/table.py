"""The table of all commands of OpenVPN 2.1 to 2.7, and commands made of a user's text.

Names, arguments and releases are those of the daemons' own `help` (protocol-facts 7) and of the management notes. What
is refused here would be misunderstood by a daemon, or is not known to end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from fleet.errors import UsageError
from fleet.management.commands import clients, dialogues, queries, settings
from fleet.management.commands.command import BODY_END, Command, ReplyKind, as_lines
from fleet.management.commands.lexer import split_line

FIRST_RELEASE = "2.1"

ANY_LINES = ("AA==",)
"""Lines that any command takes that takes lines, to look at the command without them."""

Build = Callable[..., Command[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """One command of the management interface.

    Attributes:
        name: as the daemon spells it.
        arguments: what may follow it, as `help` writes it.
        help: what it does, in one line.
        build: makes the command of its arguments, and checks their bounds.
        fewest: arguments that it needs.
        most: arguments that it takes. A daemon ignores more; fleet refuses them.
        since: the first release that has it, of those that fleet knows.
        until: the last one; None where the newest has it.
        changes: some form of it changes the daemon or its clients; `Command.changes` says which.
        secret: arguments of it are secrets.
        hidden: no daemon's `help` lists it.
        needs: what a build needs besides the release.
        section: the heading of its section in the management notes, of OpenVPN 2.7 where those of 2.1 have none, and
            without a release that stands in it; None where no notes have one.
        body: lines up to END follow it.
    """

    name: str
    arguments: str = ""
    help: str
    build: Build
    fewest: int = 0
    most: int = 0
    since: str = FIRST_RELEASE
    until: str | None = None
    changes: bool = False
    secret: bool = False
    hidden: bool = False
    needs: str | None = None
    section: str | None = None
    body: bool = False

    @property
    def usage(self) -> str:
        """The name with its arguments."""
        return f"{self.name} {self.arguments}".rstrip()

    @property
    def releases(self) -> str:
        """The releases that have it, for a sentence."""
        if self.until is not None:
            return f"OpenVPN {self.since} to {self.until}"
        return f"OpenVPN {self.since} or later"

    def command(self, arguments: Sequence[str] = (), body: Sequence[str] | None = None) -> Command[Any]:
        """The command with these arguments, and these lines behind it.

        Raises:
            UsageError: too few or too many arguments, one that is out of its bounds, lines where none may follow, or a
                line that would be done as a command of its own by a daemon that refuses this one.
        """
        if not self.fewest <= len(arguments) <= self.most:
            raise UsageError(f"'{self.name}' takes {self._number}, not {len(arguments)}", hint=f"usage: {self.usage}")
        if not self.body:
            if body:
                raise UsageError(f"no lines can follow '{self.name}'")
            return self.build(*arguments)
        lines = tuple(body or ())
        for line in lines:
            if (word := line.split(" ")[0]) in COMMANDS:
                raise UsageError(
                    f"a line behind '{self.name}' begins with the command '{word}'",
                    hint=f"a daemon that refuses '{self.name}' would do what the lines behind it say",
                )
        return self.build(*arguments, lines)

    def replies(self, arguments: Sequence[str] = ()) -> ReplyKind | tuple[ReplyKind, ...]:
        """What ends the reply to the command with these arguments.

        Raises:
            UsageError: as `command`, but for the lines behind it.
        """
        return self.command(arguments, ANY_LINES if self.body else None).reply

    @property
    def _number(self) -> str:
        span = str(self.fewest) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return "no argument" if self.most == 0 else f"{span} argument{'' if self.most == 1 else 's'}"


def _status(format_version: str | None = None) -> Command[Any]:
    if format_version is None:
        return queries.status(None)
    if format_version not in {"1", "2", "3"}:
        raise UsageError("'status' takes the format 1, 2 or 3", hint="OpenVPN takes anything else for its default")
    return queries.status(int(format_version))


def _state(*words: str) -> Command[Any]:
    return queries.listing("state", words) if words else queries.state()


def _version(number: str | None = None) -> Command[Any]:
    return queries.version() if number is None else settings.client_version(number)


def _client_pending_auth(client_id: str, *arguments: str) -> Command[Any]:
    match arguments:
        case (extra,):
            return clients.client_pending_auth(client_id, None, extra, None)
        case (key_id, extra, timeout):
            return clients.client_pending_auth(client_id, key_id, extra, timeout)
    raise UsageError("'client-pending-auth' takes CID KID EXTRA TIMEOUT, or with OpenVPN 2.5 CID EXTRA")


_TABLE = (
    CommandSpec(
        name="auth-retry",
        arguments="[none|nointeract|interact]",
        help="Show or set how a client daemon goes on after a failed authentication.",
        build=settings.auth_retry,
        most=1,
        changes=True,
        section="auth-retry",
    ),
    CommandSpec(
        name="bytecount",
        arguments="N",
        help="Send byte counters as real-time messages every N seconds, 0 for none.",
        build=queries.bytecount,
        fewest=1,
        most=1,
        section="bytecount",
    ),
    CommandSpec(
        name="certificate",
        help="Give the certificate that a client daemon asked for, in lines of base64.",
        build=lambda lines: dialogues.signature("certificate", lines),
        since="2.4",
        changes=True,
        body=True,
        section="certificate",
    ),
    CommandSpec(
        name="client-auth",
        arguments="CID KID",
        help="Let a client in, with the lines of configuration that follow.",
        build=clients.client_auth,
        fewest=2,
        most=2,
        changes=True,
        body=True,
        section="client-auth",
    ),
    CommandSpec(
        name="client-auth-nt",
        arguments="CID KID",
        help="Let a client in.",
        build=clients.client_auth_nt,
        fewest=2,
        most=2,
        changes=True,
        section="client-auth-nt",
    ),
    CommandSpec(
        name="client-deny",
        arguments="CID KID REASON [CLIENT-REASON]",
        help="Keep a client out.",
        build=clients.client_deny,
        fewest=3,
        most=4,
        changes=True,
        section="client-deny",
    ),
    CommandSpec(
        name="client-kill",
        arguments="CID [RESTART|HALT[,REASON]]",
        help="End the session of one client by its client ID.",
        build=clients.client_kill,
        fewest=1,
        most=2,
        changes=True,
        section="client-kill",
    ),
    CommandSpec(
        name="client-pending-auth",
        arguments="CID KID EXTRA TIMEOUT",
        help="Tell a client that its authentication goes on elsewhere.",
        build=_client_pending_auth,
        fewest=2,
        most=4,
        since="2.5",
        changes=True,
        section="client-pending-auth",
    ),
    CommandSpec(
        name="client-pf",
        arguments="CID",
        help="Set a client's packet filter to the lines that follow.",
        build=clients.client_pf,
        fewest=1,
        most=1,
        until="2.5",
        changes=True,
        body=True,
    ),
    CommandSpec(
        name="cr-response",
        arguments="RESPONSE",
        help="Answer a challenge of the server that a client daemon is connected to.",
        build=dialogues.cr_response,
        fewest=1,
        most=1,
        since="2.5",
        changes=True,
        secret=True,
        section="cr-response",
    ),
    CommandSpec(
        name="echo",
        arguments="[on|off] [N|all]",
        help="Show the parameters of echo directives, or send new ones as real-time messages.",
        build=lambda *words: queries.listing("echo", words),
        fewest=1,
        most=2,
        section="echo",
    ),
    CommandSpec(
        name="env-filter",
        arguments="[LEVEL]",
        help="Set which variables the messages about clients show; without a level all.",
        build=settings.env_filter,
        most=1,
        changes=True,
    ),
    CommandSpec(name="exit", help="Close the session.", build=queries.exit_, section="exit, quit"),
    CommandSpec(
        name="forget-passwords",
        help="Drop the passwords that the daemon was given.",
        build=settings.forget_passwords,
        changes=True,
        section="forget-passwords",
    ),
    CommandSpec(name="help", help="Show the commands that the daemon knows.", build=queries.help_, section="help"),
    CommandSpec(
        name="hold",
        arguments="[on|off|release]",
        help="Show or set the hold flag, or let a daemon that waits go on.",
        build=settings.hold,
        most=1,
        changes=True,
        section="hold",
    ),
    CommandSpec(
        name="http-proxy-fallback",
        arguments="SERVER PORT [FLAGS]",
        help="Set the proxy that a client daemon tries where nothing else works.",
        build=settings.http_proxy_fallback,
        fewest=2,
        most=3,
        until="2.2",
        changes=True,
    ),
    CommandSpec(
        name="http-proxy-fallback-disable",
        help="Take the fallback proxy away.",
        build=settings.http_proxy_fallback_disable,
        until="2.2",
        changes=True,
    ),
    CommandSpec(
        name="kill",
        arguments="CN|IP:port|PROTOCOL:IP:port",
        help="End the sessions of a common name, or of the client at an address.",
        build=clients.kill,
        fewest=1,
        most=1,
        changes=True,
        section="kill",
    ),
    CommandSpec(name="load-stats", help="Show connected clients and total bytes.", build=queries.load_stats),
    CommandSpec(
        name="log",
        arguments="[on|off] [N|all]",
        help="Show the last lines of the log, or send new ones as real-time messages.",
        build=lambda *words: queries.listing("log", words),
        fewest=1,
        most=2,
        section="log",
    ),
    CommandSpec(
        name="mute",
        arguments="[N]",
        help="Show or set after how many messages of one kind the log is silent.",
        build=settings.mute,
        most=1,
        changes=True,
        section="mute",
    ),
    CommandSpec(name="nclients", help="Show connected clients.", build=queries.nclients, hidden=True),
    CommandSpec(
        name="needok",
        arguments="TYPE ok|cancel",
        help="Confirm or cancel what the daemon waits for.",
        build=dialogues.needok,
        fewest=2,
        most=2,
        changes=True,
        section="needok",
    ),
    CommandSpec(
        name="needstr",
        arguments="TYPE TEXT",
        help="Give the text that the daemon waits for.",
        build=dialogues.needstr,
        fewest=2,
        most=2,
        changes=True,
        secret=True,
        section="needstr",
    ),
    CommandSpec(
        name="net",
        help="Show network adapters and routes of a daemon on Windows.",
        build=queries.net,
        section="net",
    ),
    CommandSpec(
        name="password",
        arguments="TYPE SECRET",
        help="Give the password or passphrase that the daemon waits for.",
        build=dialogues.password,
        fewest=2,
        most=2,
        changes=True,
        secret=True,
        section="password and username",
    ),
    CommandSpec(name="pid", help="Show the process ID.", build=queries.pid, section="pid"),
    CommandSpec(
        name="pk-sig",
        help="Give the signature that a client daemon asked for, in lines of base64.",
        build=lambda lines: dialogues.signature("pk-sig", lines),
        since="2.5",
        changes=True,
        body=True,
        section="pk-sig",
    ),
    CommandSpec(
        name="pkcs11-id-count",
        help="Show how many PKCS#11 identities there are.",
        build=dialogues.pkcs11_id_count,
        needs="PKCS11",
        section="pkcs11-id-count",
    ),
    CommandSpec(
        name="pkcs11-id-get",
        arguments="INDEX",
        help="Show a PKCS#11 identity.",
        build=dialogues.pkcs11_id_get,
        fewest=1,
        most=1,
        needs="PKCS11",
        section="pkcs11-id-get",
    ),
    CommandSpec(
        name="proxy",
        arguments="NONE | HTTP|SOCKS HOST PORT [FLAGS]",
        help="Say which proxy a client daemon is to take.",
        build=dialogues.proxy,
        fewest=1,
        most=4,
        since="2.3",
        changes=True,
        section="proxy",
    ),
    CommandSpec(
        name="push-update-broad",
        arguments="OPTIONS",
        help="Change pushed options of all clients.",
        build=clients.push_update_broad,
        fewest=1,
        most=1,
        since="2.7",
        changes=True,
        section="push-update-broad",
    ),
    CommandSpec(
        name="push-update-cid",
        arguments="CID OPTIONS",
        help="Change pushed options of one client.",
        build=clients.push_update_cid,
        fewest=2,
        most=2,
        since="2.7",
        changes=True,
        section="push-update-cid",
    ),
    CommandSpec(name="quit", help="Close the session.", build=queries.quit_, section="exit, quit"),
    CommandSpec(
        name="remote",
        arguments="ACCEPT | SKIP [N] | MOD HOST PORT",
        help="Say which remote a client daemon is to take.",
        build=dialogues.remote,
        fewest=1,
        most=3,
        since="2.3",
        changes=True,
        section="remote",
    ),
    CommandSpec(
        name="remote-entry-count",
        help="Show how many remotes a client daemon has.",
        build=queries.remote_entry_count,
        since="2.6",
        section="remote-entry-count",
    ),
    CommandSpec(
        name="remote-entry-get",
        arguments="I [J] | all",
        help="Show the remotes of a client daemon, from I to J - 1.",
        build=queries.remote_entry_get,
        fewest=1,
        most=2,
        since="2.6",
        section="remote-entry-get",
    ),
    CommandSpec(
        name="rsa-sig",
        help="Give the RSA signature that a client daemon asked for, in lines of base64.",
        build=lambda lines: dialogues.signature("rsa-sig", lines),
        since="2.3",
        changes=True,
        body=True,
        section="rsa-sig",
    ),
    CommandSpec(
        name="signal",
        arguments="SIGHUP|SIGTERM|SIGUSR1|SIGUSR2",
        help="Send the daemon a signal.",
        build=settings.signal,
        fewest=1,
        most=1,
        changes=True,
        section="signal",
    ),
    CommandSpec(
        name="state",
        arguments="[on|off] [N|all]",
        help="Show the state or the last ones, or send new ones as real-time messages.",
        build=_state,
        most=2,
        section="state",
    ),
    CommandSpec(
        name="status",
        arguments="[1|2|3]",
        help="Show clients and routes.",
        build=_status,
        most=1,
        section="status",
    ),
    CommandSpec(
        name="test",
        arguments="N",
        help="Produce N lines for testing.",
        build=queries.test,
        fewest=1,
        most=1,
    ),
    CommandSpec(
        name="username",
        arguments="TYPE NAME",
        help="Give the username that the daemon waits for.",
        build=dialogues.username,
        fewest=2,
        most=2,
        changes=True,
        secret=True,
        section="username",
    ),
    CommandSpec(
        name="verb",
        arguments="[0..15]",
        help="Show or set the verbosity of the log.",
        build=settings.verb,
        most=1,
        changes=True,
        section="verb",
    ),
    CommandSpec(
        name="version",
        arguments="[N]",
        help="Show the releases of OpenVPN and of its interface, or say which one the client speaks.",
        build=_version,
        most=1,
        changes=True,
        section="version",
    ),
)

COMMANDS: Mapping[str, CommandSpec] = MappingProxyType({spec.name: spec for spec in _TABLE})
"""Every command of OpenVPN 2.1 to 2.7 by its name, in alphabetical order."""


def parse_command(text: str) -> Command[Any]:
    r"""The command that a text is, in the spelling of the management interface.

    Args:
        text: one line by the lexer's rules; lines behind it are the body of a command that has one, with or without
            the END that ends them.

    Raises:
        UsageError: no command, or one that is not in the table; arguments that it does not take; what the lexer of a
            daemon would not read as it is meant. Secrets of the text are in no error.
    """
    name, arguments, body = _split(text)
    spec = COMMANDS.get(name)
    if spec is None:
        close = get_close_matches(name.lower(), COMMANDS, n=1)
        meant = f"did you mean '{close[0]}'? " if close else ""
        raise UsageError(
            f"'{_cut(name)}' is not a command that fleet knows",
            hint=f"{meant}say what ends its reply, with --reply line, block or none, to send it all the same",
        )
    command = spec.command(arguments, body)
    command.encode()  # refuses what cannot be sent
    return command


def custom_command(text: str, reply: ReplyKind) -> Command[tuple[str, ...]]:
    """A command of whatever name, with a reply that its user declares; it counts as a change.

    Args:
        text: one line by the lexer's rules.
        reply: what ends the reply. If it is another, that costs the session.

    Raises:
        UsageError: no command; several lines; what the lexer of a daemon would not read as it is meant.
    """
    name, arguments, body = _split(text)
    if body is not None:
        raise UsageError("a command with a declared reply has one line")
    # Of a command that fleet knows the secrets stay secrets; of another nobody knows.
    known = COMMANDS.get(name)
    shown = known.command(arguments).shown if known is not None and known.secret else None
    ends_waiting = name.startswith("pkcs11-id-") or [name, *arguments[:1]] == ["signal", "SIGUSR2"]
    command = Command(name, tuple(arguments), reply, as_lines, changes=True, shown=shown, ends_waiting=ends_waiting)
    command.encode()
    return command


def _split(text: str) -> tuple[str, list[str], list[str] | None]:
    """Name, arguments, and the lines behind the command without their END; None where there is no other line."""
    first, *lines = text.removesuffix("\n").split("\n")
    parameters = split_line(first)
    if not parameters or not parameters[0]:
        raise UsageError("there is no command", hint="OpenVPN answers an empty line with nothing")
    if not lines:
        return parameters[0], parameters[1:], None
    if lines[-1] == BODY_END:
        lines.pop()
    return parameters[0], parameters[1:], lines


def _cut(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}..."


_NAME_SHOWN = 40
