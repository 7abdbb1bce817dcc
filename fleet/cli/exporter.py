"""`fleet metrics --listen`: asks the servers in rounds over warm connections, and answers scrapes from the last one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final

from fleet.cli.asking import Interrupts, access_to, transport_options
from fleet.cli.http import Page, Server
from fleet.cli.options import Options
from fleet.cli.output import say
from fleet.cli.sshing import forks_for
from fleet.engine import EXIT_OK, Outcome
from fleet.errors import HostTimeoutError, UsageError
from fleet.inventory import model
from fleet.operations.operation import Answer, Operation
from fleet.operations.probe import Probe
from fleet.operations.rounds import Round, Rounds, Sample
from fleet.render.prometheus import CONTENT_TYPE, Scrape, age_text, metrics_text
from fleet.render.text import escape
from fleet.transport import Transport

LOOPBACK: Final = "127.0.0.1"
"""Where it listens unless another address is given: metrics name people, and have no password."""

STALE_AFTER: Final = 3
"""So many intervals after its last answer a server that does not end answering is down."""

_HIGHEST_PORT: Final = 65535
_BACKLOG: Final = 16
_HOME: Final = b"fleet: the metrics are at /metrics\n"


def listener(text: str) -> socket.socket:
    """A socket that listens at an address as it was typed: `9176`, `127.0.0.1:9176`, `[::1]:9176`, `localhost:0`.

    Raises:
        UsageError: it is no address, or cannot be listened at.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not port.isascii() or not port.isdigit() or int(port) > _HIGHEST_PORT:
        raise UsageError(f"--listen: {text!r} is no address", hint="write 127.0.0.1:9176, [::1]:9176, or only 9176")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {text}: {error.strerror or error}",
            hint="take another port; ss -ltnp shows who has this one",
        ) from error


def address_of(listening: socket.socket) -> str:
    """Where a socket listens: `127.0.0.1:9176`, `[::1]:9176`."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class _Exposed:
    """A complete round as text."""

    round: Round[Answer[Probe]]
    body: bytes


class Exporter:
    """Asks the servers again and again, and serves what they said last.

    Args:
        operation: what each is asked.
        servers: in inventory order.
        options: of the command line.
        interval: seconds between two rounds.
        per_client: give the traffic of each client too.
    """

    def __init__(
        self,
        operation: Operation[Probe],
        servers: Sequence[model.Server],
        options: Options,
        interval: float,
        *,
        per_client: bool,
    ) -> None:
        self._operation = operation
        self._servers = servers
        self._options = options
        self._interval = interval
        self._per_client = per_client
        self._last: _Exposed | None = None
        self._errors: dict[str, str] = {}  # by server's name, what was last said of it

    def serve(self, listening: socket.socket) -> int:
        """Serves on a socket until it is interrupted, or the run's time is over, which is its ordinary end.

        Raises:
            RefusedError: no server was asked.
        """
        with Interrupts() as interrupts:
            asyncio.run(self._serve(listening, interrupts))
        return EXIT_OK

    async def _serve(self, listening: socket.socket, interrupts: Interrupts) -> None:
        options, stop = self._options, asyncio.Event()
        pages: dict[str, Callable[[], Awaitable[Page]]] = {"/": self._home, "/metrics": self._metrics}
        async with (
            Transport(self._servers, transport_options(options, keep=True)) as transport,
            Rounds(
                access_to(transport, options),
                self._servers,
                self._operation.perform,
                interval=self._interval,
                forks=forks_for(options, self._servers),
                host_timeout=options.host_timeout,
                on_sample=self._tell,
            ) as rounds,
            Server(listening, pages),
        ):
            interrupts.end_with(stop.set)
            if not options.quiet:
                say(f"serving http://{address_of(listening)}/metrics")
            following = asyncio.create_task(self._follow(rounds))
            ended = asyncio.create_task(stop.wait())
            try:
                done, _ = await asyncio.wait(
                    (following, ended), timeout=options.timeout, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                following.cancel()
                ended.cancel()
            if following in done:
                following.result()  # the rounds broke: old numbers are not served as if nothing were wrong

    async def _follow(self, rounds: Rounds[Answer[Probe]]) -> None:
        """Makes each round into text, in a thread: ten thousand clients take some time."""
        while True:
            ended = await rounds.next_round()
            self._last = _Exposed(ended, await asyncio.to_thread(partial(self._text, ended)))

    def _text(self, ended: Round[Answer[Probe]]) -> bytes:
        outcomes = [self._settled(ended, outcome) for outcome in ended.outcomes]
        when = {name: sample.when for name, sample in ended.samples.items()}
        return metrics_text(Scrape(outcomes, ended.ended, ended.elapsed, when, per_client=self._per_client))

    def _settled(self, ended: Round[Answer[Probe]], outcome: Outcome[Answer[Probe]]) -> Outcome[Answer[Probe]]:
        """The outcome of a server, or that it is down where it has not ended answering for too long."""
        name = outcome.server.name
        sample = ended.samples.get(name)
        if sample is None or outcome.error is not None or name not in ended.late:
            return outcome
        if (ended.ended - sample.when).total_seconds() <= STALE_AFTER * self._interval:
            return outcome
        error = HostTimeoutError(f"no answer since {sample.when:%H:%M:%S}Z; it is {ended.late[name]}")
        return replace(outcome, value=None, error=error)

    def _tell(self, sample: Sample[Answer[Probe]]) -> None:
        """Says on stderr when a server fails, in another way than before, and when it answers again."""
        name, error = sample.server.name, sample.outcome.error
        said = "" if error is None else f"{error.code}: {error.message}"
        before = self._errors.get(name, "")
        if self._options.quiet or said == before:
            return
        self._errors[name] = said
        say(f"{escape(name)}: {escape(said) or 'answers again'}")

    # The pages

    async def _home(self) -> Page:
        return Page(_HOME)

    async def _metrics(self) -> Page:
        last = self._last
        if last is None:
            return Page(b"the first round is not complete yet\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Page(last.body + age_text(last.round.age), CONTENT_TYPE)
