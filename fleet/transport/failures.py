"""The one place where foreign exceptions of SSH become fleet's errors.

What has no code of its own: a key exchange without a common algorithm and a disconnect by the SSH server before the
login is `connection-lost` (exit status 4, the server could not be asked); a peer that does not speak SSH, or breaks it,
is `protocol`; an ssh_config that cannot be used is `connect-refused`, no way leads there.
"""

from __future__ import annotations

import errno
import shlex
import socket

import asyncssh

from fleet.errors import (
    AuthFailedError,
    ConnectionLostError,
    ConnectRefusedError,
    ConnectTimeoutError,
    DNSError,
    ForwardingRefusedError,
    InternalError,
    JumpFailedError,
    ManagementBusyError,
    ManagementClosedError,
    ProtocolError,
    ServerError,
)
from fleet.inventory.model import ManagementEndpoint, UnixEndpoint
from fleet.transport.progress import THIS_SERVER, Phase, Progress, printable
from fleet.transport.resolve import Resolved

TOO_MANY_TRIES = "authentication failures"
"""OpenSSH's words when MaxAuthTries is over."""

_PING = f"fleet ping {THIS_SERVER}, or "
_BUSY_GREETINGS = ("Exceeded MaxStartups",)
_PENALTY_GREETINGS = ("Not allowed at this time",)  # OpenSSH 9.8, PerSourcePenalties


_CROWDED = (
    "the SSH server turned logins away at first, because too many begin there at a time: "
    "raise MaxStartups of its sshd, or lower --forks"
)
_LOST_BEFORE = "the SSH server closed a connection before the login was done, and took a later one"


def is_overload(progress: Progress) -> bool:
    """Whether the SSH server said that it has too many logins to begin at a time (MaxStartups)."""
    return progress.first_line.startswith(_BUSY_GREETINGS)


def is_penalty(progress: Progress) -> bool:
    """Whether the SSH server has shut this machine out for a while (PerSourcePenalties)."""
    return progress.first_line.startswith(_PENALTY_GREETINGS)


def notes(progress: Progress) -> list[str]:
    """What the operator should know of a login that took more than one try."""
    if not progress.lost:
        return []
    return [_CROWDED if progress.crowded else _LOST_BEFORE]


def is_passing_loss(exc: BaseException, progress: Progress) -> bool:
    """Whether a connection was lost before its login was done, in a way that another try may mend."""
    if progress.phase in (Phase.DNS, Phase.TCP, Phase.JUMP) or is_penalty(progress):
        return False
    if not isinstance(exc, asyncssh.ConnectionLost | ConnectionError):
        return False
    return progress.phase is not Phase.GREETING or not progress.first_line or is_overload(progress)


def of_handshake(  # noqa: PLR0911 - a table of errors, read from top to bottom
    exc: Exception, resolved: Resolved, progress: Progress, account: str
) -> ServerError:
    """What kept an SSH connection from standing.

    Args:
        exc: what was raised.
        resolved: where it was going.
        progress: how far it came.
        account: the keys that were tried.
    """
    if isinstance(exc, ServerError):
        return exc
    if isinstance(exc, TimeoutError) and not (isinstance(exc, OSError) and exc.errno):
        return _late(resolved, progress)
    if isinstance(exc, asyncssh.ChannelOpenError):
        return _no_way_on(exc, resolved)
    if isinstance(exc, asyncssh.PermissionDenied):
        return _not_let_in(resolved, account)
    if isinstance(exc, asyncssh.ProtocolNotSupported):
        return ProtocolError(f"port {resolved.port} speaks a version of SSH that is not 2.0", hint="update that host")
    if isinstance(exc, asyncssh.KeyExchangeFailed):
        return ConnectionLostError(
            f"no common way to encrypt: {printable(exc.reason)}",
            hint="allow a common algorithm in ssh_config (KexAlgorithms, Ciphers, MACs), or update the host",
        )
    if isinstance(exc, asyncssh.ConnectionLost):
        return _lost(resolved, progress)
    if isinstance(exc, asyncssh.DisconnectError):
        return _ended(exc, resolved, account)
    if isinstance(exc, socket.gaierror | UnicodeError) and progress.phase is Phase.DNS:
        return DNSError(
            f"the name {resolved.host} has no address",
            hint="correct ssh_host in the inventory, or the name's DNS entry",
        )
    if isinstance(exc, OSError):
        return _system(exc, resolved, progress)
    if isinstance(exc, ValueError):
        return ProtocolError(f"the peer on port {resolved.port} breaks the SSH protocol: {printable(str(exc))}")
    return InternalError(f"{type(exc).__name__} in the SSH connection: {printable(str(exc))}")


def _late(resolved: Resolved, progress: Progress) -> ServerError:
    if is_penalty(progress):
        return _lost(resolved, progress)
    if progress.phase is Phase.GREETING and progress.first_line and not is_overload(progress):
        return _not_ssh(resolved, progress)
    if progress.lost:
        return _lost(resolved, progress)
    where = f" on port {resolved.port}" if progress.phase is Phase.TCP else ""
    hint = f"{_PING}{resolved.command}; a slow host may need a longer --connect-timeout"
    return ConnectTimeoutError(f"{progress.phase.value}{where} within {resolved.connect_timeout:g} s", hint=hint)


def _lost(resolved: Resolved, progress: Progress) -> ServerError:
    said = progress.first_line
    hint = resolved.command
    tries = f", {progress.lost + 1} times in a row" if progress.lost else ""
    if is_penalty(progress):
        return ConnectionLostError(
            "the SSH server has shut this machine out for a while, and is not tried again meanwhile",
            hint="wait some minutes, and correct user and key: sshd does so after failed logins (PerSourcePenalties)",
        )
    if progress.phase is Phase.PROXY:
        complaint = f": {progress.first_complaint}" if progress.first_complaint else ""
        return ConnectionLostError(f"the ProxyCommand gave no SSH greeting{tries}{complaint}", hint=hint)
    if said and not is_overload(progress) and progress.phase is Phase.GREETING:
        return _not_ssh(resolved, progress)
    if is_overload(progress) or progress.crowded:
        hint = "raise MaxStartups of its sshd, or lower --forks: too many logins begin there at a time"
    return ConnectionLostError(f"the SSH server closed the connection before the login was done{tries}", hint=hint)


def _not_ssh(resolved: Resolved, progress: Progress) -> ServerError:
    return ProtocolError(
        f"the peer on port {resolved.port} is not an SSH server: it says {progress.first_line!r}",
        hint="correct ssh_port in the inventory",
    )


def _no_way_on(exc: asyncssh.ChannelOpenError, resolved: Resolved) -> ServerError:
    jump = resolved.jump.host if resolved.jump else resolved.name
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return JumpFailedError(
            f"jump host {jump} forbids connections to port {resolved.port} of hosts behind it",
            hint="allow it in its sshd_config (AllowTcpForwarding, PermitOpen) or in the key's permitopen",
        )
    return JumpFailedError(
        f"jump host {jump} cannot reach port {resolved.port} of the host: {printable(exc.reason)}",
        hint=resolved.command,
    )


def _not_let_in(resolved: Resolved, account: str) -> ServerError:
    return AuthFailedError(f"user {resolved.user} was not let in", hint=f"{resolved.command}; {account}")


def _ended(exc: asyncssh.DisconnectError, resolved: Resolved, account: str) -> ServerError:
    reason = printable(exc.reason)
    if TOO_MANY_TRIES in exc.reason:
        return AuthFailedError(
            f"user {resolved.user} was not let in: too many keys were tried",
            hint=f"name the right one: private_key in the inventory, or IdentitiesOnly in ssh_config; {account}",
        )
    if isinstance(exc, asyncssh.ProtocolError | asyncssh.MACError | asyncssh.CompressionError):
        return ProtocolError(f"the peer on port {resolved.port} breaks the SSH protocol: {reason}")
    return ConnectionLostError(f"the SSH connection was ended: {reason}", hint=resolved.command)


def _system(exc: OSError, resolved: Resolved, progress: Progress) -> ServerError:
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return ConnectRefusedError(
            "no file descriptor is free on this machine", hint="lower --forks, or raise ulimit -n"
        )
    if progress.phase is Phase.PROXY and not isinstance(exc, ConnectionError):
        message = f"the ProxyCommand cannot be run: {exc.strerror or exc}"
        return ConnectRefusedError(message, hint="correct ProxyCommand in ssh_config")
    if progress.phase not in (Phase.DNS, Phase.TCP):
        return _lost(resolved, progress)
    if exc.errno == errno.ECONNREFUSED:
        return ConnectRefusedError(
            f"port {resolved.port} refuses connections", hint="start sshd there, or correct ssh_port in the inventory"
        )
    if exc.errno == errno.ETIMEDOUT:
        return ConnectTimeoutError(f"nothing answered on port {resolved.port}", hint=_PING + resolved.command)
    return ConnectRefusedError(
        f"no way to port {resolved.port}: {exc.strerror or exc}", hint="look at this machine's network and routes"
    )


def of_jump(exc: ServerError, name: str) -> JumpFailedError:
    """The error of every host behind a jump host that failed; the innermost failure keeps its name."""
    if isinstance(exc, JumpFailedError):
        return JumpFailedError(exc.message, hint=exc.hint)
    return JumpFailedError(f"jump host {name}: {exc.message}", hint=exc.hint)


def of_channel(exc: Exception, endpoint: ManagementEndpoint, connect_timeout: float, *, connected: bool) -> ServerError:
    """What kept a channel to a management endpoint from opening (protocol-facts 11.10, 11.11).

    Args:
        exc: what was raised.
        endpoint: where the channel was to lead.
        connect_timeout: seconds that it had.
        connected: whether the SSH connection still stands.
    """
    if isinstance(exc, TimeoutError):
        # The SSH server is well and its own connection hangs: the queue of a socket that somebody holds is full, as it
        # is after two clients have waited there, even if they gave up since (protocol-facts 6.2).
        return ManagementBusyError(
            f"the channel to {endpoint} was not open within {connect_timeout:g} s: another management client holds it "
            "and others wait there, or the host hangs",
            hint=f"see who is connected on the host: {_who_holds(endpoint)}",
        )
    if not isinstance(exc, asyncssh.Error | OSError):
        return InternalError(f"{type(exc).__name__} in the SSH channel: {printable(str(exc))}")
    if not isinstance(exc, asyncssh.ChannelOpenError) or not connected:
        return ConnectionLostError("the SSH connection was lost", hint="try again; sshd's log on the host may say why")
    reason = printable(exc.reason)
    if exc.code == asyncssh.OPEN_CONNECT_FAILED:
        return _nobody_there(endpoint, reason)
    permission = f'permitopen="{_permission(endpoint)}"'
    return ForwardingRefusedError(
        f"the SSH server forbids the channel to {endpoint}: {reason}",
        hint=f"allow it on the host: {_policy(endpoint)} in sshd_config, and {permission} where the key is restricted",
    )


def _who_holds(endpoint: ManagementEndpoint) -> str:
    if isinstance(endpoint, UnixEndpoint):
        return f"ss -xp src {shlex.quote(endpoint.path)}"
    return f"ss -tnp 'sport = :{endpoint.port}'"


def _nobody_there(endpoint: ManagementEndpoint, reason: str) -> ServerError:
    if isinstance(endpoint, UnixEndpoint):
        # OpenSSH says "open failed" of a missing socket, one that its user may not use, and one that its policy forbids
        return ManagementClosedError(
            f"the SSH server could not open {endpoint}: {reason}",
            hint="ls -l on the host: the socket is missing, the SSH user may not write to it, or sshd forbids it: "
            f'{_policy(endpoint)} in sshd_config, permitopen="{_permission(endpoint)}" where the key is restricted',
        )
    return ManagementClosedError(
        f"nobody listens on {endpoint}: {reason}",
        hint="start the daemon, or correct management in the inventory; see ss -tlnp on the host",
    )


def _policy(endpoint: ManagementEndpoint) -> str:
    return "AllowStreamLocalForwarding" if isinstance(endpoint, UnixEndpoint) else "AllowTcpForwarding, PermitOpen"


def _permission(endpoint: ManagementEndpoint) -> str:
    return f"[{endpoint}]:*" if isinstance(endpoint, UnixEndpoint) else str(endpoint)
