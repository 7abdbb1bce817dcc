"""The bytes under an SSH connection: a TCP connection, a channel through a jump host, or a ProxyCommand.

asyncssh takes a `Dialer` for its tunnel. So the name look-up has threads of its own (asyncio's default executor has
few, and slow names would hold up everything else), every step can be told apart, and what a peer says before its
greeting is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import asyncssh

from fleet.transport.names import Names, connect_tcp
from fleet.transport.progress import MAX_SAID, Phase, Progress
from fleet.transport.tasks import Tasks

READ_SIZE = 64 * 1024
"""Bytes of a ProxyCommand's standard error read, and forgotten, at a time."""


class Dialer:
    """What asyncssh opens its connection through.

    Attributes:
        via: the connection to the jump host, or None.
        proxy_command: ssh_config's ProxyCommand, or None; not asked where there is a jump host.
    """

    def __init__(
        self,
        *,
        names: Names,
        tasks: Tasks,
        progress: Progress,
        via: asyncssh.SSHClientConnection | None,
        proxy_command: Sequence[str] | None,
        family: int,
        local_address: tuple[str, int] | None,
        deadline: float,
        gathers: bool,
    ) -> None:
        self.via = via
        self.proxy_command = proxy_command
        self.proxy: Proxy | None = None
        self._names = names
        self._tasks = tasks
        self._progress = progress
        self._family = family
        self._local_address = local_address
        self._deadline = deadline
        self._gathers = gathers

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> tuple[Any, Any]:
        """Called by asyncssh: the bytes' way to the host, with the SSH connection on top."""

        def listener() -> Listener:
            return Listener(session_factory(), self._progress, self.proxy, gathers=self._gathers)

        if self.via is not None:
            self._progress.phase = Phase.JUMP
            opening = self.via.create_connection(cast("Any", listener), remote_host, remote_port)
            channel, session = await self._tasks.run(opening, late=lambda late: late[0].abort())
            return channel, cast("Any", session).connection
        if self.proxy_command is not None:
            self._progress.phase = Phase.PROXY
            self.proxy = Proxy(self.proxy_command, self._progress)
            sock = self.proxy.socket
        else:
            sock = await self._tcp(remote_host, remote_port)
        transport, protocol = await asyncio.get_running_loop().create_connection(listener, sock=sock)
        return transport, protocol.connection

    async def _tcp(self, host: str, port: int) -> socket.socket:
        self._progress.phase = Phase.DNS
        addresses = await self._names.lookup(host, port, self._family)
        self._progress.phase = Phase.TCP
        return await connect_tcp(addresses, self._local_address, self._deadline)

    def close(self) -> None:
        """Part of what asyncssh wants of a tunnel; the jump host's connection is shared and stays."""

    async def wait_closed(self) -> None:
        """Part of what asyncssh wants of a tunnel."""


class Proxy:
    """A running ProxyCommand.

    Its input and output are one end of a socket pair, and a thread collects what it complains of and its end: asyncio's
    own subprocesses log a warning where a child has ended before it is closed.

    Attributes:
        socket: the other end, which whoever connects it closes.

    Raises:
        OSError: the command cannot be run.
    """

    def __init__(self, command: Sequence[str], progress: Progress) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own ssh_config names it, and no shell reads it
                list(command),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()
        self.socket.setblocking(False)
        self._collector = threading.Thread(target=self._collect, args=(progress,), name="ProxyCommand", daemon=True)
        self._collector.start()

    def _collect(self, progress: Progress) -> None:
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        with self._process.stderr as complaints:
            progress.complaint = complaints.readline(MAX_SAID)
            while complaints.read(READ_SIZE):
                pass  # read on, so that the command is never held up
        self._process.wait()

    def end(self) -> None:
        """End the command and what it started; it may have ended by itself."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self, grace_timeout: float) -> None:
        """Wait until all that the command said is there, for some seconds at most."""
        await asyncio.to_thread(self._collector.join, grace_timeout)


class Gathered:
    """What is written within one turn of the loop, as one piece: each packet of its own would be a call of the system.

    It is what asyncssh wants of a transport; closing loses nothing that was written.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._more = False
        self._loop = asyncio.get_running_loop()

    def wait_a_turn(self) -> None:
        """What is written in the next turn of the loop belongs to what was written in this one."""
        self._more = bool(self._pieces)

    def write(self, data: bytes) -> None:
        """Send it when everything else of this turn was done."""
        if not self._pieces:
            self._loop.call_soon(self._turn)
        self._pieces.append(data)

    def _turn(self) -> None:
        if self._more:
            self._more = False
            self._loop.call_soon(self._turn)
        else:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            data, self._pieces = b"".join(self._pieces), []
            if not self._transport.is_closing():  # what was lost is told by connection_lost
                with contextlib.suppress(OSError):  # a channel through a jump host that was closed meanwhile
                    self._transport.write(data)

    def abort(self) -> None:
        """End it now, with what was written."""
        self._flush()
        self._transport.abort()

    def close(self) -> None:
        """End it in order."""
        self._flush()
        self._transport.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of what lies below."""
        return self._transport.get_extra_info(name, default)


class Listener(asyncio.Protocol):
    """Stands before an SSH connection and keeps the first bytes that come."""

    def __init__(self, connection: Any, progress: Progress, proxy: Proxy | None, *, gathers: bool) -> None:
        self.connection = connection
        self._gathers = gathers
        self._greeted = False
        self._progress = progress
        self._proxy = proxy

    def connection_made(self, transport: Any) -> None:
        """The way stands."""
        if self._proxy is None:
            self._progress.phase = Phase.GREETING
        self.connection.connection_made(Gathered(transport) if self._gathers else transport)

    def session_started(self) -> None:
        """The channel through the jump host stands."""
        self.connection.session_started()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Keep the first bytes, and pass all on."""
        if self._greeted:
            self.connection.data_received(data, datatype)
            return
        room = MAX_SAID - len(self._progress.said)
        if room > 0:
            self._progress.said += data[:room]
        self.connection.data_received(data, datatype)
        if self.connection.get_extra_info("server_version"):
            self._greeted = True
            if self._progress.phase in (Phase.GREETING, Phase.PROXY):
                self._progress.phase = Phase.KEY_EXCHANGE

    def eof_received(self) -> None:
        """Pass on."""
        self.connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on, and end the ProxyCommand."""
        self.connection.connection_lost(exc)
        if self._proxy is not None:
            self._proxy.end()

    def pause_writing(self) -> None:
        """Pass on."""
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self.connection.resume_writing()
