"""What daemons answer to all commands but `status`: frozen dataclasses and the parsers that fill them.

A parser takes the reply as `Command.parse` does: for LINE, one line, the text behind `SUCCESS: `; for BLOCK, the
lines before END. It raises ValueError, with a plain sentence, where the text is not what the command answers.
Where a daemon's release has no value, or an empty one, the attribute is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

_STATE_FIELDS = 9  # in 2.4 to 2.7; 8 without a tunnel IPv6 address, 5 in 2.1 to 2.3 (protocol-facts 5)
_STATE_FEWEST = 4  # what the management notes promise

_KILLED_BY_NAME = re.compile(r"common name '.*' found, ([0-9]+) client\(s\) killed", re.DOTALL)
_KILLED_BY_ADDRESS = re.compile(r"([0-9]+) client\(s\) at address .* killed", re.DOTALL)
_SIGNAL_THROWN = re.compile(r"signal ([A-Z0-9]+) thrown")
_EXCERPT = 80
_LOG_LINE = re.compile(r"([0-9]+),([A-Z]*),(.*)", re.DOTALL)
_ECHO_LINE = re.compile(r"([0-9]+),(.*)", re.DOTALL)
_RELEASE = re.compile(r"\bOpenVPN (\S+)")
_VERSION_TITLE = "OpenVPN Version: "
_SUCCESS = "SUCCESS:"
_PKCS11_ENTRY = re.compile(
    r"'(?P<index>[0-9]{1,9})'(?:, ?ID:'(?P<identity>.*)', ?BLOB:'(?P<certificate>[^']*)')?", re.DOTALL
)
_MANAGEMENT_VERSION = re.compile(r"Management (?:Interface )?Version: ([0-9]+)")


@dataclass(frozen=True, slots=True)
class State:
    """One state of the daemon's tunnel (protocol-facts 5; management notes, COMMAND -- state).

    Attributes:
        time: when the daemon came into this state, UTC, in whole seconds. While it is CONNECTED this is also the
            epoch that its client IDs count in (protocol-facts 11.3).
        name: CONNECTING, CONNECTED, RECONNECTING, EXITING ... as the daemon spells it.
        description: SUCCESS for CONNECTED, a reason for RECONNECTING and EXITING.
        local_address: the daemon's own IPv4 address in the tunnel.
        remote_address: where a client daemon is connected to.
        remote_port: the port of `remote_address`.
        local_source_address: the address that the daemon's socket is bound to, or sends from.
        local_port: the port of `local_source_address`.
        local_ipv6_address: the daemon's own IPv6 address in the tunnel.
        extra: values behind those, which no release up to 2.7 sends.
    """

    time: datetime
    name: str
    description: str | None = None
    local_address: str | None = None
    remote_address: str | None = None
    remote_port: int | None = None
    local_source_address: str | None = None
    local_port: int | None = None
    local_ipv6_address: str | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadStats:
    """The answer to `load-stats`.

    Attributes:
        nclients: established clients; one that is mid-handshake or pending is not counted (protocol-facts 3).
        bytes_in: bytes received since the daemon's process began; SIGUSR1 does not reset them (protocol-facts 10.10).
        bytes_out: bytes sent since the daemon's process began.
    """

    nclients: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class Version:
    """The answer to `version`.

    Attributes:
        openvpn: the release, for example `2.6.14`; the whole title where it names none.
        title: the daemon's own text, with the build's features.
        management: version of the management interface; None where the daemon does not say (protocol-facts 10.14).
    """

    openvpn: str
    title: str
    management: int | None


@dataclass(frozen=True, slots=True)
class LogLine:
    """One message of the daemon's log (management notes, COMMAND -- log).

    Attributes:
        time: UTC, in whole seconds.
        flags: any of `I F N W D`, or the empty text.
        text: the message; names in it are chosen by VPN clients and may hold anything.
    """

    time: datetime
    flags: str
    text: str


@dataclass(frozen=True, slots=True)
class EchoLine:
    """One message of the daemon's echo buffer (management notes, COMMAND -- echo).

    Attributes:
        time: UTC, in whole seconds.
        text: the message.
    """

    time: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Help:
    """The answer to `help`.

    Attributes:
        title: its first line, which names the release.
        commands: the names of the commands that the daemon lists. Some work unlisted (protocol-facts 7).
    """

    title: str
    commands: frozenset[str]


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """One remote of a client daemon: a line of the answer to `remote-entry-get`.

    Attributes:
        index: counted from 0.
        host: name or address, as the configuration has it.
        port: as the configuration has it, which may be a service's name.
        protocol: `udp`, `tcp-client` ...
        enabled: False where the daemon leaves it out, as for its protocol or proxy; None where it does not say.
    """

    index: int
    host: str
    port: str | None = None
    protocol: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class PKCS11Entry:
    """The answer to `pkcs11-id-get`.

    Attributes:
        index: counted from 0.
        identity: the identity, or None where there is none with this index.
        certificate: its certificate in base64, or None.
    """

    index: int
    identity: str | None = None
    certificate: str | None = None


def excerpt(text: str) -> str:
    """The text as an error message quotes it: escaped, and no more than its first 80 characters."""
    return repr(text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}...")


def parse_number(text: str) -> int:
    """Reads a decimal number without sign, blank or underscore, all of which int() would take.

    Raises:
        ValueError: the text is anything else, or has thousands of digits.
    """
    try:
        if text.isascii() and text.isdecimal():
            return int(text)
    except ValueError as error:  # more digits than Python converts
        raise ValueError(f"not a number: {excerpt(text)}") from error
    raise ValueError(f"not a number: {excerpt(text)}")


def parse_time(text: str) -> datetime:
    """Reads a time_t, seconds since 1970, as a time in UTC.

    Raises:
        ValueError: the text is no number, or a time out of the calendar.
    """
    try:
        return datetime.fromtimestamp(parse_number(text), UTC)
    except (ValueError, OverflowError, OSError) as error:  # the platform decides which of the three
        raise ValueError(f"not a time: {excerpt(text)}") from error


def parse_state(lines: tuple[str, ...]) -> State:
    """The answer to `state`: the current state, which is the only line, or the last.

    Raises:
        ValueError: there is no line, or it is no state.
    """
    if not lines:
        raise ValueError("the daemon answered state without a state")
    return parse_state_line(lines[-1])


def parse_state_history(lines: tuple[str, ...]) -> tuple[State, ...]:
    """The answer to `state N` and `state all`, oldest first.

    Raises:
        ValueError: a line is no state.
    """
    return tuple(parse_state_line(line) for line in lines)


def parse_state_line(line: str) -> State:
    """One state, as in the answer to `state` and behind `>STATE:`.

    Raises:
        ValueError: the line has too few values, or a time or port that is none.
    """
    values = line.split(",")
    if len(values) < _STATE_FEWEST or not values[1]:
        raise ValueError(f"not a state: {excerpt(line)}")
    time, name, *known = values[:_STATE_FIELDS]
    known += [""] * (_STATE_FIELDS - len(values))
    description, local, remote, remote_port, source, local_port, local_ipv6 = known
    return State(
        time=parse_time(time),
        name=name,
        description=description or None,
        local_address=local or None,
        remote_address=remote or None,
        remote_port=parse_number(remote_port) if remote_port else None,
        local_source_address=source or None,
        local_port=parse_number(local_port) if local_port else None,
        local_ipv6_address=local_ipv6 or None,
        extra=tuple(values[_STATE_FIELDS:]),
    )


def parse_version(lines: tuple[str, ...]) -> Version:
    """The answer to `version`; both spellings of the management version occur (protocol-facts 10.7).

    Raises:
        ValueError: no line names OpenVPN's version.
    """
    title = next((line.removeprefix(_VERSION_TITLE) for line in lines if line.startswith(_VERSION_TITLE)), None)
    if title is None:
        raise ValueError("the daemon answered version without an OpenVPN version")
    release = _RELEASE.search(title)
    management = next(filter(None, map(_MANAGEMENT_VERSION.fullmatch, lines)), None)
    return Version(
        openvpn=release[1] if release else title,
        title=title,
        management=parse_number(management[1]) if management else None,
    )


def parse_log(lines: tuple[str, ...]) -> tuple[LogLine, ...]:
    """The answer to `log N` and `log all`, oldest first.

    A message with a line end in it comes as several lines, of which only the first has a time: the others are put
    back to it.

    Raises:
        ValueError: the first line is no log line.
    """
    messages: list[list[str]] = []
    for line in lines:
        if messages and not _LOG_LINE.fullmatch(line):
            messages[-1].append(line)
        else:
            messages.append([line])
    return tuple(parse_log_line("\n".join(message)) for message in messages)


def parse_log_line(line: str) -> LogLine:
    """One log line, as in the answer to `log` and behind `>LOG:`; the text may have commas.

    Raises:
        ValueError: the line does not begin with a time and flags.
    """
    found = _LOG_LINE.fullmatch(line)
    if not found:
        raise ValueError(f"not a log line: {excerpt(line)}")
    return LogLine(parse_time(found[1]), found[2], found[3])


def parse_echo(lines: tuple[str, ...]) -> tuple[EchoLine, ...]:
    """The answer to `echo N` and `echo all`, oldest first.

    Raises:
        ValueError: a line is no echo line.
    """
    return tuple(parse_echo_line(line) for line in lines)


def parse_echo_line(line: str) -> EchoLine:
    """One echo line, as in the answer to `echo` and behind `>ECHO:`; the text may have commas.

    Raises:
        ValueError: the line does not begin with a time.
    """
    found = _ECHO_LINE.fullmatch(line)
    if not found:
        raise ValueError(f"not an echo line: {excerpt(line)}")
    return EchoLine(parse_time(found[1]), found[2])


def parse_help(lines: tuple[str, ...]) -> Help:
    """The answer to `help`: its title and the commands that it lists, `exit|quit` as two.

    Raises:
        ValueError: there is no line.
    """
    if not lines:
        raise ValueError("the daemon answered help without a line")
    listed = (line for line in lines[1:] if ":" in line and not line.startswith(" "))
    commands = (line.replace(":", " ").split() for line in listed if line != "Commands:")
    return Help(lines[0], frozenset(name for words in commands if words for name in words[0].split("|")))


def parse_pid(lines: tuple[str, ...]) -> int:
    """The answer to `pid`: the daemon's process ID.

    Raises:
        ValueError: the text is not `pid=N`.
    """
    return _value("pid", lines)


def parse_verb(lines: tuple[str, ...]) -> int:
    """The answer to `verb`: the log verbosity, 0 to 15.

    Raises:
        ValueError: the text is not `verb=N`.
    """
    return _value("verb", lines)


def parse_mute(lines: tuple[str, ...]) -> int:
    """The answer to `mute`: how many messages of one category in a row are logged, 0 for all.

    Raises:
        ValueError: the text is not `mute=N`.
    """
    return _value("mute", lines)


def parse_nclients(lines: tuple[str, ...]) -> int:
    """The answer to `nclients`: established clients.

    Raises:
        ValueError: the text is not `nclients=N`.
    """
    return _value("nclients", lines)


def parse_auth_retry(lines: tuple[str, ...]) -> str:
    """The answer to `auth-retry`: `none`, `nointeract` or `interact`.

    Raises:
        ValueError: the text is not `auth-retry=WORD`, in letters: people are told to type it again.
    """
    text = parse_text(lines)
    name, _, word = text.partition("=")
    if name != "auth-retry" or not (word.isascii() and word.isalpha()):
        raise ValueError(f"expected auth-retry=WORD, got {excerpt(text)}")
    return word


def parse_hold(lines: tuple[str, ...]) -> bool:
    """The answer to `hold`: the flag. It survives restarts, and says nothing of whether the daemon holds now.

    Raises:
        ValueError: the text is not `hold=0` or `hold=1`.
    """
    flag = _value("hold", lines)
    if flag not in (0, 1):
        raise ValueError(f"expected hold=0 or hold=1, got hold={flag}")
    return flag == 1


def parse_load_stats(lines: tuple[str, ...]) -> LoadStats:
    """The answer to `load-stats`.

    Raises:
        ValueError: the text is not `nclients=N,bytesin=N,bytesout=N`.
    """
    text = parse_text(lines)
    values = dict(pair.partition("=")[::2] for pair in text.split(","))
    try:
        return LoadStats(*(parse_number(values[key]) for key in ("nclients", "bytesin", "bytesout")))
    except (KeyError, ValueError) as error:
        raise ValueError(f"expected nclients=N,bytesin=N,bytesout=N, got {excerpt(text)}") from error


def parse_killed(lines: tuple[str, ...]) -> int:
    """The answer to `kill`: how many sessions were killed (protocol-facts 4).

    Raises:
        ValueError: the text does not say so.
    """
    text = parse_text(lines)
    found = _KILLED_BY_NAME.fullmatch(text) or _KILLED_BY_ADDRESS.fullmatch(text)
    if not found:
        raise ValueError(f"expected a count of killed clients, got {excerpt(text)}")
    return parse_number(found[1])


def parse_signal(lines: tuple[str, ...]) -> str:
    """The answer to `signal`: the signal's name. It comes before the effect (protocol-facts 5).

    Raises:
        ValueError: the text is not `signal NAME thrown`.
    """
    text = parse_text(lines)
    found = _SIGNAL_THROWN.fullmatch(text)
    if not found:
        raise ValueError(f"expected a thrown signal, got {excerpt(text)}")
    return found[1]


def parse_remote_entry_count(lines: tuple[str, ...]) -> int:
    """The answer to `remote-entry-count`: a line with a number.

    Raises:
        ValueError: it is anything else.
    """
    return parse_number(parse_text(lines))


def parse_remote_entries(lines: tuple[str, ...]) -> tuple[RemoteEntry, ...]:
    """The answer to `remote-entry-get`: `index,host,port,protocol,enabled|disabled`, a line each.

    Raises:
        ValueError: a line has no index or no host.
    """
    return tuple(map(_parse_remote_entry, lines))


def _parse_remote_entry(line: str) -> RemoteEntry:
    index, *values = line.split(",")
    if not values or not values[0]:
        raise ValueError(f"not a remote: {excerpt(line)}")
    host, port, protocol, word, *_ = [*values, "", "", "", ""]
    return RemoteEntry(
        index=parse_number(index),
        host=host,
        port=port or None,
        protocol=protocol or None,
        enabled={"enabled": True, "disabled": False}.get(word),
    )


def parse_pkcs11_count(lines: tuple[str, ...]) -> int:
    """The answer to `pkcs11-id-count`: the number behind `>PKCS11ID-COUNT:`.

    Raises:
        ValueError: it is no number.
    """
    return parse_number(parse_text(lines))


def parse_pkcs11_entry(lines: tuple[str, ...]) -> PKCS11Entry:
    """The answer to `pkcs11-id-get`: the text behind `>PKCS11ID-ENTRY:`, `'0', ID:'...', BLOB:'...'` or `'0'`.

    Raises:
        ValueError: it is anything else.
    """
    text = parse_text(lines)
    found = _PKCS11_ENTRY.fullmatch(text)
    if not found:
        raise ValueError(f"not a PKCS#11 identity: {excerpt(text)}")
    return PKCS11Entry(parse_number(found["index"]), found["identity"], found["certificate"])


def parse_client_version(lines: tuple[str, ...]) -> str | None:
    """The answer to `version N`: what a daemon said behind SUCCESS; None where it said nothing, or its version.

    Raises:
        ValueError: it is one line that is no SUCCESS.
    """
    if len(lines) != 1:
        return None
    return parse_answers(lines)[0]


def parse_answers(lines: tuple[str, ...]) -> tuple[str, ...]:
    """The texts behind `SUCCESS: ` of an answer of any number of lines.

    Raises:
        ValueError: a line is no SUCCESS, or there is none.
    """
    if not lines or not all(line.startswith(_SUCCESS) for line in lines):
        raise ValueError(f"expected SUCCESS, got {excerpt(' / '.join(lines))}")
    return tuple(line.removeprefix(_SUCCESS).removeprefix(" ") for line in lines)


def parse_text(lines: tuple[str, ...]) -> str:
    """The answer to a command that sets something: the daemon's own words.

    Any text will do, since SUCCESS alone says that it was done: a change must not be reported as failed for its
    wording. So it is for `verb N`, `mute N`, `hold on|off|release`, `client-kill`.

    Raises:
        ValueError: it is not one line.
    """
    if len(lines) != 1:
        raise ValueError(f"expected one line, got {len(lines)}")
    return lines[0]


def _value(key: str, lines: tuple[str, ...]) -> int:
    text = parse_text(lines)
    name, _, value = text.partition("=")
    if name != key or not (value.isascii() and value.isdecimal()):
        raise ValueError(f"expected {key}=N, got {excerpt(text)}")
    return parse_number(value)
