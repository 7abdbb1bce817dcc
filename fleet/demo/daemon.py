"""A simulated OpenVPN daemon: its clients, log, states and signals. No I/O, only a clock.

What it says and does follows recordings of real daemons (protocol-facts 1 to 6; tests/transcripts), so that fleet
meets here what it will meet on a server. `management.py` is the session that a management client has with it,
`commands.py` what the commands do, `serve.py` puts it behind a stream, `farm.py` behind SSH.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network
from itertools import count
from typing import Protocol

from fleet.demo.clients import ClientInstance, SimulatedClient, Slots, source_ports
from fleet.demo.clock import Clock, LoopClock, Timer
from fleet.demo.releases import RELEASES, Release
from fleet.demo.requests import Dialogue, Request

LOG_LINES = 250  # the daemon's own history (protocol-facts 5)
STATE_LINES = 100
ECHO_LINES = 100
_UNREAD = "ERROR: could not read {} username/password/ok/string from management interface"  # protocol-facts 5
_SIGNAL_DELAY = 0.015  # seconds between SUCCESS and the effect, as seen


class Phase(Enum):
    """How far the daemon is."""

    UP = "the tunnel is up"
    HOLD = "it waits for `hold release`"
    PAUSE = "between RECONNECTING and CONNECTED"
    WAIT = "it waits for an answer of its management client"
    EXITED = "it is gone, nobody listens"


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Seconds until a client is back after it lost its server; None: never (protocol-facts 10.9, 10.10).

    Attributes:
        udp_kill: after `kill` over UDP, when its ping-restart ends.
        tcp_kill: after `kill` over TCP.
        client_kill: after `client-kill` with RESTART.
        restart: after SIGUSR1 or SIGHUP, counted from CONNECTED; 3.4 is a server with explicit-exit-notify.
        linger: how long the row of a client over UDP outlives its `client-kill`.
    """

    udp_kill: float | None = 31.0
    tcp_kill: float | None = 5.0
    client_kill: float | None = 1.2
    restart: float | None = 3.4
    linger: float = 5.0


NEVER = Reconnect(udp_kill=None, tcp_kill=None, client_kill=None, restart=None)


class Listener(Protocol):
    """The management session, as the daemon sees it."""

    @property
    def realtime(self) -> Mapping[str, bool]:
        """Which notifications are on, of `log`, `state` and `echo`."""

    def emit(self, lines: Iterable[str]) -> None:
        """Real-time messages."""

    def end(self) -> None:
        """The daemon's process ends."""


class SimulatedDaemon:
    """One OpenVPN daemon of a chosen release.

    Attributes:
        release: whose ways it has.
        protocol: `udp4`, `udp6`, `tcp4-server` or `tcp6-server`.
        phase: how far it is.
        verb: log level, as the last `verb N` set it; kept over sessions.
        mute: as the last `mute N` set it.
        hold_flag: as the last `hold on|off` set it.
        executed: every command line that was run, over all sessions, for tests to look at.
        fatal_on_restart: with a text, SIGUSR1 and SIGHUP end the daemon with `>FATAL:text` (protocol-facts 5).
    """

    _pids = count(4711)

    def __init__(
        self,
        release: str = "2.6.14",
        *,
        clients: Iterable[SimulatedClient] = (),
        protocol: str = "udp4",
        password: bytes | None = None,
        hold: bool = False,
        requests: Iterable[Request] = (),
        client_mode: bool = False,
        verb: int = 3,
        status_version: int = 1,
        echo: Iterable[str] = (),
        network: str = "10.8.0.0/16",
        local: str = "192.0.2.1,1194",
        uptime: float = 12 * 86_400.0,
        reconnect: Reconnect | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Starts the daemon.

        Args:
            release: a key of RELEASES.
            clients: who is connected from the start.
            protocol: of the socket that clients come to.
            password: of the management interface, None for none.
            hold: start in hold, with the flag set.
            requests: what it asks its management client for, in this order, before its tunnel comes up.
            client_mode: a VPN client's or point-to-point daemon: statistics instead of clients, no kill.
            verb: log level of the configuration.
            status_version: the format of a bare `status`.
            echo: lines of the echo buffer.
            network: of the tunnel; the server has its first address.
            local: address and port in the last fields of `state`.
            uptime: seconds that it is up already; no client is connected for longer.
            reconnect: when clients come back.
            clock: None for the running event loop's.
        """
        self.release: Release = RELEASES[release]
        self.protocol = protocol
        self.password = password
        self.client_mode = client_mode
        self.status_version = status_version
        self.clock = clock or LoopClock()
        self._dialogue = Dialogue(requests)
        self._entered: dict[str, str] = {}  # of an answer that is not whole
        self.phase = Phase.HOLD if hold else Phase.WAIT if self._dialogue.ask() else Phase.UP
        self.pid = next(self._pids)
        self.verb = self._configured_verb = verb
        self.mute = 0
        self.hold_flag = hold
        self.auth_retry = "none"
        self.executed: list[str] = []
        self.fatal_on_restart: str | None = None
        self._network = IPv4Network(network)
        self._local = local
        self._reconnect = reconnect or Reconnect()
        self._ports = source_ports()
        self._instances: dict[int, ClientInstance] = {}  # by client ID, in the order in which they came
        self._next_client_id = 0
        self._slots = Slots()
        self._gone_received = self._gone_sent = 0
        self._hold_wait = 0
        self._timers: dict[object, Timer] = {}
        self._session: Listener | None = None
        self._log: deque[tuple[float, str, str]] = deque(maxlen=LOG_LINES)
        self._states: deque[tuple[float, str]] = deque(maxlen=STATE_LINES)
        self._waiting = list(clients)  # who connects as soon as the tunnel is up
        self._begin(self.clock.time() - uptime, echo)

    def _begin(self, started: float, echo: Iterable[str]) -> None:
        self._echo = deque(((started, text) for text in echo), ECHO_LINES)
        self._log_at(started, self.release.title, "I")
        self._states.append((started, self._state_fields("CONNECTING")))
        if self.phase is Phase.HOLD:
            self._log_at(started, "Need hold release from management interface, waiting...")
            return
        if self.phase is Phase.WAIT:
            self._log_at(started, "Need password(s) from management interface, waiting...")
            return
        self._log_at(started, "Initialization Sequence Completed", "I")
        self._states.append((started, self._state_fields("CONNECTED", "SUCCESS")))
        clients, self._waiting = self._waiting, []
        for client in clients:
            self._connect(client, since=max(started, self.clock.time() - client.connected_for))

    # -- what a test or the demo does to it ------------------------------------------------------------------------

    def connect(self, client: SimulatedClient) -> ClientInstance:
        """A VPN client connects now; a management session is told unasked (protocol-facts 1)."""
        instance = self._connect(client, since=self.clock.time(), fresh=True)
        if not client.handshaking:
            peer = f"{client.address}:{instance.port}"
            name = self.common_name(instance)
            self.log(f"{peer} [{name}] Peer Connection Initiated with [AF_INET]{peer}", "I")
            self.notify(*self._established(instance))
        return instance

    def common_names(self) -> list[str]:
        """Names of the connected clients as the daemon shows them, in the order in which they came."""
        return [self.common_name(instance) for instance in self.instances]

    def restart(self, signal: str) -> None:
        """What SIGUSR1 and SIGHUP do, whoever sent them: clients are gone, CIDs begin again (protocol-facts 5)."""
        fatal = _UNREAD.format(self._dialogue.open.name) if self._dialogue.open else self.fatal_on_restart
        if fatal is not None:
            self._die(fatal)
            return
        if signal == "SIGHUP":
            self.verb, self.mute = self._configured_verb, 0
        self._set_state("RECONNECTING", self._reason(signal))
        for instance in self.instances:
            self._remove(instance)
            if not instance.client.handshaking and not instance.lingering:
                self._waiting.append(instance.client)
        self._next_client_id = 0
        self._pause()

    def _pause(self) -> None:
        if self.hold_flag:
            self.phase = Phase.HOLD
            self._hold_wait = int(self.release.restart_pause)
            self.notify(self.hold_line())
        else:
            self.phase = Phase.PAUSE
            self._later(self.release.restart_pause, self._start_up, "up")

    def terminate(self, signal: str = "SIGTERM") -> None:
        """What SIGTERM does: the session is told, then the process ends."""
        self._set_state("EXITING", self._reason(signal))
        self.shut_down()

    def _die(self, fatal: str) -> None:
        self.notify(f">FATAL:{fatal}")
        self.shut_down()

    def shut_down(self) -> None:
        """The process ends without a word: no more timers, EOF for the session, nobody listens any more."""
        self.phase = Phase.EXITED
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._session is not None:
            self._session.end()

    # -- what a management session does to it ----------------------------------------------------------------------

    def attach(self, session: Listener) -> None:
        """A management client connects.

        Raises:
            RuntimeError: there is one already; others have to wait (protocol-facts 6.2).
        """
        if self._session is not None:
            raise RuntimeError("a daemon serves one management session at a time")
        self._session = session
        self.log("MANAGEMENT: Client connected from [AF_INET]127.0.0.1:40000")

    def detach(self) -> None:
        """The management client has gone."""
        self._session = None
        self._cancel("bytecount")
        self.log("MANAGEMENT: Client disconnected")

    def signal(self, name: str) -> None:
        """`signal NAME` outside of hold, or a signal that ends the daemon in hold; its effect comes a little later."""
        if name == "SIGTERM" or self.phase is Phase.HOLD:
            self._later(_SIGNAL_DELAY, lambda: self.terminate(name), "signal")
        elif name != "SIGUSR2":
            self._later(_SIGNAL_DELAY, lambda: self.restart(name), "signal")

    def release_hold(self) -> None:
        """`hold release`."""
        if self.phase is Phase.HOLD:
            self._hold_wait = 0
            self._later(0.0, self._start_up, "up")

    def enter(self, command: str, name: str, value: str) -> str:
        """`password`, `username`, `needok` and `needstr`: an answer to what it waits for, and what it says to that."""
        answer = self._dialogue.enter(command, name, value, self._entered)
        if self._dialogue.is_complete(self._entered):
            request = self._dialogue.keep(self._entered)
            self._entered = {}
            self._later(0.0, lambda: self._try(request), "answer")
        return answer

    def forget_passwords(self) -> None:
        """`forget-passwords`: the next start asks again (protocol-facts 11.4)."""
        self._dialogue.forget()

    def kill(self, instances: Sequence[ClientInstance]) -> int:
        """Drops clients at once and tells them nothing, as `kill` does; gives how many."""
        for instance in instances:
            self._remove(instance)
            if not instance.client.handshaking and not instance.lingering:
                self._come_back(instance.client, self._ping_restart)
        return len(instances)

    def dismiss(self, instance: ClientInstance, message: str) -> None:
        """Tells a client to go, as `client-kill` does; over UDP its row stays a while (protocol-facts 4, 10.9)."""
        if instance.lingering:
            return
        if not message.startswith("HALT"):  # HALT ends the VPN client's process
            restarts = message.startswith("RESTART")
            self._come_back(instance.client, self._reconnect.client_kill if restarts else self._ping_restart)
        if self.protocol.startswith("tcp"):
            self._remove(instance)
        else:
            instance.lingering = True
            self._later(self._reconnect.linger, lambda: self._forget(instance))

    def count_bytes(self, interval: int) -> None:
        """Starts `>BYTECOUNT_CLI` every `interval` seconds, or stops it with 0."""
        self._cancel("bytecount")
        if interval > 0:
            self._later(interval, lambda: self._notify_bytes(interval), "bytecount")

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def instances(self) -> tuple[ClientInstance, ...]:
        """Clients that `status` shows, in the order in which they came."""
        return tuple(self._instances.values())

    @property
    def established(self) -> int:
        """How many clients are through the handshake, what `nclients` counts."""
        return sum(not instance.client.handshaking for instance in self.instances)

    def totals(self) -> tuple[int, int]:
        """Bytes received and sent since the process began, clients that are gone included."""
        now = self.clock.time()
        return (
            self._gone_received + sum(instance.received(now) for instance in self.instances),
            self._gone_sent + sum(instance.sent(now) for instance in self.instances),
        )

    def common_name(self, instance: ClientInstance) -> str:
        """The client's name as this release shows it, UNDEF in mid-handshake."""
        return "UNDEF" if instance.client.handshaking else self.release.name(instance.client.common_name)

    def history(self, kind: str) -> list[str]:
        """Lines of the `log`, `state` or `echo` history, oldest first."""
        if kind == "log":
            return [f"{int(time)},{flags},{text}" for time, flags, text in self._log]
        return [f"{int(time)},{text}" for time, text in (self._states if kind == "state" else self._echo)]

    def greeting(self) -> list[str]:
        """The lines that a session begins with once its password, if any, was right."""
        version = self.release.management_version
        banner = f">INFO:OpenVPN Management Interface Version {version} -- type 'help' for more info"
        if self.phase is Phase.HOLD:
            return [banner, self.hold_line()]
        return [banner] if self._dialogue.open is None else [banner, self._dialogue.open.line]

    def hold_line(self) -> str:
        """`>HOLD:...` as this release spells it at the moment."""
        return ">HOLD:Waiting for hold release" + (f":{self._hold_wait}" if self.release.hold_suffix else "")

    # -- notifications, log and states -----------------------------------------------------------------------------

    def notify(self, *lines: str) -> None:
        """Real-time messages to the session, where there is one."""
        if self._session is not None:
            self._session.emit(lines)

    def log(self, text: str, flags: str = "", *, verb: int = 1) -> None:
        """A line of the daemon's log, kept and shown from this verb on."""
        if self.verb >= verb:
            self._log_at(self.clock.time(), text, flags)

    def _log_at(self, time: float, text: str, flags: str = "") -> None:
        self._log.append((time, flags, text))
        if self._session is not None and self._session.realtime["log"]:
            self._session.emit((f">LOG:{int(time)},{flags},{text}",))

    def _state_fields(self, name: str, detail: str = "") -> str:
        connected = name == "CONNECTED"
        tunnel = str(self._network[1]) if connected else ""
        if self.release.series < (2, 4):
            return f"{name},{detail},{tunnel},"
        if self.client_mode and connected:
            return f"{name},{detail},{self._network[2]},{self._local},,"
        return f"{name},{detail},{tunnel},,,{self._local if connected else ','}"

    def _reason(self, signal: str) -> str:
        return signal if self.phase is Phase.UP else "init_instance"

    def _set_state(self, name: str, detail: str) -> None:
        time, fields = self.clock.time(), self._state_fields(name, detail)
        self._states.append((time, fields))
        if self._session is not None and self._session.realtime["state"]:
            line = f">STATE:{int(time)},{fields}"
            self.log(f"MANAGEMENT: {line}")
            self._session.emit((line,))

    def _later(self, delay: float, callback: Callable[[], None], key: object = None) -> None:
        """Puts something off; one that is put off under the same key already is called off."""
        key = object() if key is None else key

        def run() -> None:
            self._timers.pop(key, None)
            callback()

        self._cancel(key)
        self._timers[key] = self.clock.call_later(delay, run)

    def _cancel(self, key: object) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def _notify_bytes(self, interval: int) -> None:
        now = self.clock.time()
        for instance in self.instances:
            self.notify(f">BYTECOUNT_CLI:{instance.client_id},{instance.received(now)},{instance.sent(now)}")
        self.count_bytes(interval)

    # -- clients ----------------------------------------------------------------------------------------------------

    def _connect(self, client: SimulatedClient, *, since: float, fresh: bool = False) -> ClientInstance:
        slot = self._slots.take()
        pool_address = str(self._network[slot + 2])  # the first one is the server's own
        instance = ClientInstance(
            client=client,
            client_id=self._next_client_id,
            peer_id=slot,
            port=next(self._ports) if client.port is None or fresh else client.port,
            since=since,
            virtual_address="" if client.handshaking else client.virtual_address or pool_address,
            bytes_received=0 if fresh else client.bytes_received,
            bytes_sent=0 if fresh else client.bytes_sent,
            counted_from=self.clock.time(),
        )
        self._next_client_id += 1
        self._instances[instance.client_id] = instance
        return instance

    def _established(self, instance: ClientInstance) -> Iterator[str]:
        now = self.clock.time()
        name = self.common_name(instance)
        environment = {
            "n_clients": self.established,
            "time_unix": int(now),
            "time_ascii": self.release.date(now),
            "ifconfig_pool_netmask": self._network.netmask,
            "ifconfig_pool_remote_ip": instance.virtual_address,
            "trusted_port": instance.port,
            "trusted_ip": instance.client.address,
            "common_name": name,
            "IV_PLAT": "linux",
            "IV_VER": self.release.version,
            "untrusted_port": instance.port,
            "untrusted_ip": instance.client.address,
            "tls_id_0": f"CN={name}",
            "X509_0_CN": name,
            "daemon_pid": self.pid,
            "verb": self.verb,
            "dev": "tun0",
            "dev_type": "tun",
        }
        yield f">CLIENT:ESTABLISHED,{instance.client_id}"
        for variable, value in environment.items():
            yield f">CLIENT:ENV,{variable}={value}"
        yield ">CLIENT:ENV,END"

    def _remove(self, instance: ClientInstance) -> None:
        now = self.clock.time()
        del self._instances[instance.client_id]
        self._slots.give_back(instance.peer_id)
        self._gone_received += instance.received(now)
        self._gone_sent += instance.sent(now)

    def _forget(self, instance: ClientInstance) -> None:
        if self._instances.get(instance.client_id) is instance:  # a restart may have taken the row before
            self._remove(instance)

    def _come_back(self, client: SimulatedClient, delay: float | None) -> None:
        if delay is not None:
            self._later(delay, lambda: self._return(client))

    def _return(self, client: SimulatedClient) -> None:
        if self.phase is Phase.UP:
            self.connect(client)
        else:
            self._waiting.append(client)

    @property
    def _ping_restart(self) -> float | None:
        return self._reconnect.tcp_kill if self.protocol.startswith("tcp") else self._reconnect.udp_kill

    def _start_up(self) -> None:
        """Asks for the next thing that it needs to know; with everything there the tunnel comes up."""
        request = self._dialogue.ask()
        if request is not None:
            self.phase = Phase.WAIT
            self.notify(request.line)
            return
        if self.client_mode:
            self._set_state("WAIT", "")
            self._set_state("AUTH", "")
        wrong = self._dialogue.wrong()
        if wrong is None:
            self._up()
        else:
            self._reject(wrong)

    def _try(self, request: Request) -> None:
        if request.at_once and self._dialogue.is_wrong(request):
            self._reject(request)
        else:
            self._start_up()

    def _reject(self, request: Request) -> None:
        """What a wrong passphrase or password does, which is up to `auth-retry` (protocol-facts 11.4)."""
        if not (request.at_once and self.release.series >= (2, 7)):
            self.notify(f">PASSWORD:Verification Failed: '{request.name}'{self._dialogue.why(request)}")
        reason = "private-key-password-failure" if request.at_once else "auth-failure"
        if self.auth_retry == "none":
            if request.at_once:
                self._die("Error: private key password verification failed")
            else:
                self._set_state("EXITING", reason)
                self.shut_down()
            return
        if self.auth_retry == "interact":  # nointeract tries the same again, for ever
            self._dialogue.forget(request)
        self._set_state("RECONNECTING", reason)
        self._pause()

    def _up(self) -> None:
        self.phase = Phase.UP
        self.log("Initialization Sequence Completed", "I")
        self._set_state("CONNECTED", "SUCCESS")
        waiting, self._waiting = self._waiting, []
        for client in waiting:
            self._come_back(client, self._reconnect.restart)
