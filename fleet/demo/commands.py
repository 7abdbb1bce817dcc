"""What a simulated daemon does with each command, in the words of its release."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from types import MappingProxyType
from typing import Protocol

from fleet.demo.daemon import Phase, SimulatedDaemon
from fleet.demo.lexer import LexerError, parse_parameters
from fleet.demo.status import StatusWriter

_NAME_BYTES = 128  # of the daemon's buffers in `kill`, the final NUL included
_MAX_VERB = 15
_COMMAND_VERB = 3  # from this verb on every command is logged
_SIGNALS = ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")


class Session(Protocol):
    """The management session, as a command sees it."""

    realtime: dict[str, bool]

    def write(self, *lines: str) -> None:
        """Answers."""

    def leave(self) -> None:
        """The session ends, and what was not written yet is lost."""

    def swallow(self, answer: str) -> None:
        """Takes every line up to END for the body of the command, and gives the answer then."""


def run(daemon: SimulatedDaemon, line: bytes, session: Session) -> str:
    """Runs one line and writes its answer to the session. Gives the command's name, empty where there is none."""
    text = line.decode("utf-8", "surrogateescape")
    try:
        parameters = [parameter.decode("utf-8", "surrogateescape") for parameter in parse_parameters(line)]
    except LexerError as error:
        session.write(f"ERROR: {error}")
        return ""
    if not parameters:  # a blank line or a comment: no answer
        return ""
    name, *arguments = parameters
    daemon.executed.append(text)
    if name != "load-stats":
        secret = name in ("password", "username")
        daemon.log(f"MANAGEMENT: CMD '{f'{name} [...]' if secret else text}'", "D", verb=_COMMAND_VERB)
    if name in ("exit", "quit"):
        session.leave()
    elif name not in _COMMANDS or not daemon.release.has_command(name):
        shown = f" [{name}]" if daemon.release.series >= (2, 7) else ""
        session.write(f"ERROR: unknown command{shown}, enter 'help' for more options")
    elif missing := _missing(daemon, name, arguments):
        session.write(missing)
    else:
        session.write(*_COMMANDS[name].run(daemon, arguments, session))
    return name


Handler = Callable[[SimulatedDaemon, list[str], Session], list[str]]


@dataclass(frozen=True, slots=True)
class _Command:
    """One command.

    Attributes:
        run: gives the lines of the answer.
        required: parameters that it needs.
        at_least: says so in the complaint about missing ones; extra ones are ignored anyway.
    """

    run: Handler
    required: int = 0
    at_least: bool = False


def _missing(daemon: SimulatedDaemon, name: str, arguments: list[str]) -> str | None:
    required, at_least = _COMMANDS[name].required, _COMMANDS[name].at_least
    if name == "password" and not arguments and daemon.release.series >= (2, 7):
        required, at_least = 1, True
    if len(arguments) >= required:
        return None
    words = f"{'at least ' if at_least else ''}{required} parameter{'s' if required > 1 else ''}"
    return f"ERROR: the '{name}' command requires {words}"


def _always(*lines: str) -> Handler:
    return lambda _daemon, _arguments, _session: list(lines)


def _unsupported(daemon: SimulatedDaemon, name: str) -> list[str]:
    shown = name if name in daemon.release.unquoted else f"'{name}'"
    return [f"ERROR: The {shown} command is not supported by the current daemon mode"]


def _never_supported(name: str) -> Handler:
    return lambda daemon, _arguments, _session: _unsupported(daemon, name)


def _server_only(name: str, handler: Handler) -> Handler:
    """Only while the tunnel of a server is up (protocol-facts 3, 10.6)."""

    def run(daemon: SimulatedDaemon, arguments: list[str], session: Session) -> list[str]:
        if daemon.phase is not Phase.UP or daemon.client_mode:
            return _unsupported(daemon, name)
        return handler(daemon, arguments, session)

    return run


def _help(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    return [*daemon.release.help, "END"]


def _version(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    release = daemon.release
    if arguments and release.series >= (2, 5):  # protocol-facts 7
        number = _atoi(arguments[0])
        answered = release.series >= (2, 7) and number >= 4  # noqa: PLR2004  (a version number, protocol-facts 7)
        return [f"SUCCESS: Management client version set to {number}"] if answered else []
    return [f"OpenVPN Version: {release.title}", f"Management Version: {release.management_version}", "END"]


def _pid(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    return [f"SUCCESS: pid={daemon.pid}"]


def _nclients(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    return [f"SUCCESS: nclients={daemon.established}"]


def _load_stats(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    received, sent = daemon.totals()
    return [f"SUCCESS: nclients={daemon.established},bytesin={received},bytesout={sent}"]


def _status(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    if daemon.phase is not Phase.UP:
        return _unsupported(daemon, "status")
    now = daemon.clock.time()
    if daemon.client_mode:
        counters = ("TUN/TAP read", "TUN/TAP write", "TCP/UDP read", "TCP/UDP write", "Auth read")
        updated = f"Updated,{daemon.release.date(now)}"
        return ["OpenVPN STATISTICS", updated, *(f"{name} bytes,0" for name in counters), "END"]
    status_format = _atoi(arguments[0]) if arguments else 0
    if status_format not in range(4):
        return ["ERROR: bad status format version number"]
    writer = StatusWriter(daemon.release, daemon.protocol, daemon.instances, now)
    return writer.lines(status_format or daemon.status_version)


def _history(kind: str) -> Handler:
    """`log`, `state` and `echo`: each of the first two parameters has an answer of its own (protocol-facts 1.5)."""

    def run(daemon: SimulatedDaemon, arguments: list[str], session: Session) -> list[str]:
        lines: list[str] = []
        for argument in arguments[:2] or ["1"]:
            if argument in ("on", "off"):
                session.realtime[kind] = argument == "on"
                lines.append(f"SUCCESS: real-time {kind} notification set to {argument.upper()}")
            elif argument == "all" or _atoi(argument) > 0:
                lines += daemon.history(kind)[0 if argument == "all" else -_atoi(argument) :]
                lines.append("END")
            else:
                lines.append(f"ERROR: {kind} parameter must be 'on' or 'off' or some number n or 'all'")
        return lines

    return run


def _hold(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    match arguments[:1]:
        case []:
            return [f"SUCCESS: hold={int(daemon.hold_flag)}"]
        case ["on" | "off" as flag]:
            daemon.hold_flag = flag == "on"
            return [f"SUCCESS: hold flag set to {flag.upper()}"]
        case ["release"]:
            daemon.release_hold()
            return ["SUCCESS: hold release succeeded"]
    return ["ERROR: bad hold command parameter"]


def _verb(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    if not arguments:
        return [f"SUCCESS: verb={daemon.verb}"]
    level = _atoi(arguments[0])
    if level not in range(_MAX_VERB + 1):
        return ["ERROR: verb level is out of range"]
    daemon.verb = level
    return ["SUCCESS: verb level changed"]


def _mute(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    if not arguments:
        return [f"SUCCESS: mute={daemon.mute}"]
    number = _atoi(arguments[0])
    if number < 0:
        return ["ERROR: mute level is out of range"]
    daemon.mute = number
    return ["SUCCESS: mute level changed"]


def _auth_retry(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    if not arguments:
        return [f"SUCCESS: auth-retry={daemon.auth_retry}"]
    if arguments[0] not in ("none", "interact", "nointeract"):
        return ["--auth-retry method must be 'interact', 'nointeract', or 'none'", "ERROR: bad auth-retry parameter"]
    daemon.auth_retry = arguments[0]
    return ["SUCCESS: auth-retry parameter changed"]


def _bytecount(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    daemon.count_bytes(_atoi(arguments[0]))
    return ["SUCCESS: bytecount interval changed"]


def _kill(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    """`kill` of a common name or an address, with each release's traps (protocol-facts 4)."""
    with_protocol = daemon.release.series >= (2, 7)
    parts = _kill_parts(arguments[0], 3 if with_protocol else 2)
    name = parts[0]
    if all(parts):
        return _kill_address(daemon, *parts) if with_protocol else _kill_address(daemon, "", *parts)
    if not name:
        return ["ERROR: kill parse"]
    found = [instance for instance in daemon.instances if daemon.common_name(instance) == name]
    if not found:
        return [f"ERROR: common name '{name}' not found"]
    return [f"SUCCESS: common name '{name}' found, {daemon.kill(found)} client(s) killed"]


def _kill_address(daemon: SimulatedDaemon, protocol: str, address: str, port_text: str) -> list[str]:
    try:
        numeric = IPv4Address(address)
    except AddressValueError:
        return [f"ERROR: error parsing IP address: {address}"]
    port = _atoi(port_text)
    if port not in range(1, 65536) or protocol not in ("", "tcp", "udp"):
        if daemon.release.series >= (2, 7):
            return [f"ERROR: port number or protocol out of range: {port_text} {protocol}"]
        return [f"ERROR: port number is out of range: {port_text}"]
    # A dual-stack socket keeps an IPv4 client under another kind of address: it is never found.
    family = f"{protocol or daemon.protocol[:3]}4"
    found = [
        instance
        for instance in daemon.instances
        if daemon.protocol.startswith(family) and (instance.client.address, instance.port) == (str(numeric), port)
    ]
    prefix = {"": "", "tcp": "tcp-server:", "udp": "udp:"}[protocol]
    if not found:
        return [f"ERROR: client at address {prefix}{numeric}:{port} not found"]
    return [f"SUCCESS: {daemon.kill(found)} client(s) at address {prefix}{numeric}:{port} killed"]


def _kill_parts(argument: str, number: int) -> list[str]:
    """Cuts at colons as the daemon does: each part fills a buffer, and one byte too many is lost."""
    rest = argument.encode("utf-8", "surrogateescape")
    parts = []
    for _ in range(number):
        window = rest[:_NAME_BYTES]
        colon = window.find(b":")
        end = colon if colon >= 0 else len(window)
        parts.append(window[: min(end, _NAME_BYTES - 1)].decode("utf-8", "surrogateescape"))
        rest = rest[end + 1 :]
    return parts


_NO_CLIENT_ID = "ERROR: cannot parse CID"


def _client_id(text: str) -> int | None:
    """A client ID as sscanf reads it: `5abc` is 5."""
    number = re.match(r"\d+", text)
    return int(number[0]) if number else None


def _client_kill(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    client_id = _client_id(arguments[0])
    if client_id is None:
        return [_NO_CLIENT_ID]
    found = [instance for instance in daemon.instances if instance.client_id == client_id]
    if not found:
        return ["ERROR: client-kill command failed"]
    daemon.dismiss(found[0], arguments[1] if len(arguments) > 1 else "RESTART")
    return ["SUCCESS: client-kill command succeeded"]


def _signal(daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    name = arguments[0]
    if name not in _SIGNALS:
        return [f"ERROR: signal '{name}' is not a known signal type"]
    if daemon.phase is Phase.HOLD and name in ("SIGUSR1", "SIGHUP"):  # protocol-facts 1.6
        ignored = [f"ERROR: signal '{name}' is currently ignored"] if daemon.release.series >= (2, 5) else []
        return [*ignored, daemon.hold_line()]
    daemon.signal(name)
    return [f"SUCCESS: signal {name} thrown"]


def _env_filter(_daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    return [f"SUCCESS: env_filter_level={_atoi(arguments[0]) if arguments else 0}"]


def _test(_daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    purpose = "The purpose of this command is to generate large amounts of output."
    return [f"[{number}] {purpose}" for number in range(_atoi(arguments[0]))]


def _net(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    if daemon.phase is not Phase.UP:
        return _unsupported(daemon, "net")
    return ["ERROR: Sorry, this command is currently only implemented on Windows"]


def _pkcs11_id_get(_daemon: SimulatedDaemon, arguments: list[str], _session: Session) -> list[str]:
    return [f">PKCS11ID-ENTRY:'{_atoi(arguments[0])}'"]


def _swallow(answer: str) -> Handler:
    """A command of a client with lines behind it: swallowed where the client's ID is one, commands where not."""

    def run(_daemon: SimulatedDaemon, arguments: list[str], session: Session) -> list[str]:
        if _client_id(arguments[0]) is None:
            return [_NO_CLIENT_ID]
        session.swallow(answer)
        return []

    return run


def _atoi(text: str) -> int:
    """What C's atoi makes of a parameter: `3x` is 3, `foo` is 0 (protocol-facts 2)."""
    number = re.match(r"\s*([+-]?[0-9]+)", text)
    return int(number[1]) if number else 0


def _unavailable(name: str) -> Handler:
    return _always(f"ERROR: The {name} command is not currently available")


def _answer(command: str) -> Handler:
    return lambda daemon, arguments, _session: [daemon.enter(command, arguments[0], arguments[1])]


def _forget_passwords(daemon: SimulatedDaemon, _arguments: list[str], _session: Session) -> list[str]:
    daemon.forget_passwords()
    return ["SUCCESS: Passwords were forgotten"]


_NO_UPDATE = _always("ERROR: no client updated", "ERROR: push-update command failed")
_NO_PENDING = _always("ERROR: client-pending-auth command failed. Extra parameter might be too long")

_COMMANDS: Mapping[str, _Command] = MappingProxyType(
    {
        "auth-retry": _Command(_auth_retry),
        "bytecount": _Command(_bytecount, 1),
        "certificate": _Command(_unavailable("certificate")),
        "client-auth": _Command(_swallow("ERROR: client-auth command failed"), 2),
        "client-auth-nt": _Command(_always("ERROR: client-auth command failed"), 2),
        "client-deny": _Command(_always("ERROR: client-deny command failed"), 3, at_least=True),
        "client-kill": _Command(_server_only("client-kill", _client_kill), 1, at_least=True),
        "client-pending-auth": _Command(_NO_PENDING, 4),
        "client-pf": _Command(_swallow("ERROR: client-pf command failed"), 1),
        "cr-response": _Command(_never_supported("cr-repsonse"), 1),  # spelt so by the daemon
        "echo": _Command(_history("echo"), 1, at_least=True),
        "env-filter": _Command(_env_filter),
        "forget-passwords": _Command(_forget_passwords),
        "help": _Command(_help),
        "hold": _Command(_hold),
        "kill": _Command(_server_only("kill", _kill), 1),
        "load-stats": _Command(_load_stats),
        "log": _Command(_history("log"), 1, at_least=True),
        "mute": _Command(_mute),
        "nclients": _Command(_server_only("nclients", _nclients)),
        "needok": _Command(_answer("needok"), 2),
        "needstr": _Command(_answer("needstr"), 2),
        "net": _Command(_net),
        "password": _Command(_answer("password"), 2),
        "pid": _Command(_pid),
        "pk-sig": _Command(_unavailable("pk-sig")),
        "pkcs11-id-count": _Command(_always(">PKCS11ID-COUNT:0")),
        "pkcs11-id-get": _Command(_pkcs11_id_get, 1),
        "proxy": _Command(_never_supported("proxy"), 1, at_least=True),
        "push-update-broad": _Command(_NO_UPDATE, 1),
        "push-update-cid": _Command(_NO_UPDATE, 2),
        "remote": _Command(_never_supported("remote"), 1, at_least=True),
        "remote-entry-count": _Command(_never_supported("remote-entry-count")),
        "remote-entry-get": _Command(_never_supported("remote-entry-get"), 1, at_least=True),
        "rsa-sig": _Command(_unavailable("rsa-sig")),
        "signal": _Command(_signal, 1),
        "state": _Command(_history("state")),
        "status": _Command(_status),
        "test": _Command(_test, 1),
        "username": _Command(_answer("username"), 2),
        "verb": _Command(_verb),
        "version": _Command(_version),
    }
)
