"""Every error of fleet.

    FleetError
    ├── RefusedError                   nothing was sent to any server; exit status 2
    │   ├── UsageError                 usage
    │   ├── InventoryError             inventory
    │   ├── EmptyTargetError           empty-target
    │   └── RunLockedError             locked; exit status 75
    └── ServerError                    one server's outcome, never the end of a run
        ├── UnreachableError           the server could not be asked; exit status 4
        │   ├── DNSError               dns
        │   ├── ConnectRefusedError    connect-refused
        │   ├── ConnectTimeoutError    connect-timeout
        │   ├── ConnectionLostError    connection-lost
        │   ├── HostKeyUnknownError    host-key-unknown
        │   ├── HostKeyChangedError    host-key-changed
        │   ├── AuthFailedError        auth-failed
        │   ├── JumpFailedError        jump-failed
        │   ├── ForwardingRefusedError forwarding-refused
        │   ├── ManagementClosedError  management-closed
        │   ├── ManagementBusyError    management-busy
        │   ├── ManagementPasswordError management-password
        │   ├── ReplyTimeoutError      reply-timeout
        │   ├── HostTimeoutError       host-timeout
        │   ├── RunTimeoutError        run-timeout
        │   ├── LockedError            locked; exit status 75
        │   ├── WorkerLostError        worker-lost
        │   └── InterruptedRunError    interrupted
        │       └── StoppedRunError    stopped
        └── FailedError                the server was reached and refused or failed; exit status 1
            ├── CommandFailedError     command-failed
            ├── ProtocolError          protocol
            └── InternalError          internal: a bug in fleet; exit status 3

Each class has a stable `code`, the one that JSON and stderr show (docs/exit-status.md). A message says what
happened without naming the server, so that equal messages of many servers fold into one line; a hint says what
to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class FleetError(Exception):
    """Base of every error that fleet raises on purpose.

    Attributes:
        code: the stable code of the class.
        message: what happened, in one sentence without the server's name and without a final full stop.
        hint: what to do about it, or None where nothing can be said.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RefusedError(FleetError):
    """The run was refused before anything was sent to any server."""


class UsageError(RefusedError):
    """An option or argument is not one that fleet takes."""

    code = "usage"


class InventoryError(RefusedError):
    """The inventory cannot be used as it is; the message begins with file:line:column where there is one."""

    code = "inventory"


class EmptyTargetError(RefusedError):
    """The selection names no server."""

    code = "empty-target"


class RunLockedError(RefusedError):
    """Another run of fleet on this machine does what only one may do at a time."""

    code = "locked"


class ServerError(FleetError):
    """What kept one server from answering; other servers are not touched by it.

    Attributes:
        sent: the command that was written to the daemon and whose reply was not seen, or None. A change that
            was sent may have been done: it is reported as sent but not confirmed, and never sent again.
    """

    def __init__(self, message: str, *, hint: str | None = None, sent: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sent = sent


class UnreachableError(ServerError):
    """The server could not be asked."""


class DNSError(UnreachableError):
    """The host's name has no address."""

    code = "dns"


class ConnectRefusedError(UnreachableError):
    """The host refused the TCP connection to its SSH port, or no route leads there."""

    code = "connect-refused"


class ConnectTimeoutError(UnreachableError):
    """The SSH connection did not stand within the connect timeout."""

    code = "connect-timeout"


class ConnectionLostError(UnreachableError):
    """A connection that stood was lost, or the daemon hung up in the middle of a reply."""

    code = "connection-lost"


class HostKeyUnknownError(UnreachableError):
    """No known_hosts file and no pin has a key for the host."""

    code = "host-key-unknown"


class HostKeyChangedError(UnreachableError):
    """The host shows another key than the one that is known for it."""

    code = "host-key-changed"


class AuthFailedError(UnreachableError):
    """The host let none of the user's keys in."""

    code = "auth-failed"


class JumpFailedError(UnreachableError):
    """The jump host, or the way from it to the host, failed."""

    code = "jump-failed"


class ForwardingRefusedError(UnreachableError):
    """The policy of sshd forbids the channel to the management endpoint."""

    code = "forwarding-refused"


class ManagementClosedError(UnreachableError):
    """Nobody listens on the management endpoint."""

    code = "management-closed"


class ManagementBusyError(UnreachableError):
    """The management endpoint accepts and never greets: another client holds it (protocol-facts 6.2)."""

    code = "management-busy"


class ManagementPasswordError(UnreachableError):
    """The daemon wants a management password that is missing, cannot be had, or is wrong."""

    code = "management-password"


class ReplyTimeoutError(UnreachableError):
    """The daemon greeted and then did not finish a reply within the reply timeout."""

    code = "reply-timeout"


class HostTimeoutError(UnreachableError):
    """The server was not done within the host timeout."""

    code = "host-timeout"


class RunTimeoutError(UnreachableError):
    """The whole run's time was over before the server was done."""

    code = "run-timeout"


class LockedError(UnreachableError):
    """Another run of fleet on this machine holds the server's management endpoint."""

    code = "locked"


class WorkerLostError(UnreachableError):
    """The process that was to ask the server ended, or did not answer any more."""

    code = "worker-lost"


class InterruptedRunError(UnreachableError):
    """The operator interrupted the run before the server was done."""

    code = "interrupted"


class StoppedRunError(InterruptedRunError):
    """The run stopped by a rule of its own before the server's turn came."""

    code = "stopped"


class FailedError(ServerError):
    """The server was reached and refused or failed."""


class CommandFailedError(FailedError):
    """The daemon answered ERROR, or fleet refused a command that would have done harm there."""

    code = "command-failed"


class ProtocolError(FailedError):
    """The peer does not speak the management protocol, or went over one of fleet's security limits."""

    code = "protocol"


class InternalError(FailedError):
    """A bug in fleet met on one server."""

    code = "internal"
