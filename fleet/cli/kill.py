"""`fleet kill`: disconnecting a client, and looking again whether it is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from fleet.cli.asking import Asked, Interrupts, ask
from fleet.cli.choosing import Target
from fleet.cli.options import Options, duration, with_options
from fleet.cli.run import Ending, of_servers, run
from fleet.engine import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE, Outcome
from fleet.errors import UnreachableError, UsageError
from fleet.operations import who as persons
from fleet.operations.kill import Killed, KilledClient, is_halt, kill
from fleet.operations.operation import Answer
from fleet.operations.verify import Fate, Judge, Look, name_of, watch
from fleet.operations.who import Who
from fleet.render.text import escape

_ONE_SERVER = "a client id means something on one server only"
_READERS: dict[str, Callable[[str], Who]] = {
    "WHO": persons.name_or_address,
    "--username": persons.username,
    "--real-address": persons.real_address,
    "--virtual-address": persons.virtual_address,
    "--cid": persons.client_id,
}
"""The ways to say who is meant."""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("kill")(with_options(_kill, changes=True))


def _kill(
    *,
    who: Annotated[
        str | None, typer.Argument(metavar="WHO", help="A common name, or a real address as IP:port.")
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="Who logged in with this username.")
    ] = None,
    real_address: Annotated[
        str | None,
        typer.Option("--real-address", metavar="IP[:PORT]", help="Who comes from this address; without a port, all."),
    ] = None,
    virtual_address: Annotated[
        str | None, typer.Option("--virtual-address", metavar="IP", help="Who has this address in the tunnel.")
    ] = None,
    cid: Annotated[
        str | None, typer.Option("--cid", metavar="CID", help="The client with this id, of the server that -l names.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message",
            metavar="RESTART|HALT[,TEXT]",
            help="Tell the client: RESTART to connect again, HALT to end its VPN process for good.",
        ),
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option("--verify", metavar="DURATION", help="Look for so long who is gone, and who is back and where."),
    ] = None,
    ignore_not_found: Annotated[
        bool, typer.Option("--ignore-not-found", help="Exit with 0 also where no server has that client.")
    ] = False,
    options: Options,
) -> int:
    """Disconnect a client wherever in the fleet it is.

    Only the client that is meant is hit: it is looked up first, and killed by its client id where a daemon would
    read its name as something else. A client whose certificate still holds may come back; --verify tells.

    Who is given by WHO is killed without a question; any other way shows first who is meant, and so does a message
    that begins with HALT: nothing but its user brings that client back. RESTART,[N] sends a client to its next remote.
    A message goes to daemons from OpenVPN 2.4 on.

    --verify keeps the management interfaces of the servers for that time. A client over UDP that was killed by its
    client id may stay listed for 6 s: then the look lasts so long.
    """
    if options.in_batches:
        raise UsageError("kill goes to all servers at once, not in batches", hint="leave --serial and the like out")
    ways = zip(_READERS, (who, username, real_address, virtual_address, cid), strict=True)
    given = [(way, text) for way, text in ways if text is not None]
    if len(given) != 1:
        raise UsageError(
            "say whom to kill in one way" if given else "whom to kill is missing",
            hint="a common name or IP:port, or one of --username, --real-address, --virtual-address and --cid",
        )
    ((way, text),) = given
    meant = _READERS[way](text)
    args = (text,) if way == "WHO" else (way, text)
    target = Target(args=args, single=_ONE_SERVER if way == "--cid" else "")
    seconds = duration(verify)
    operation = kill(meant, message=message, verify=seconds is not None)
    halts = is_halt(message)
    if seconds is None:
        killing = _Killing(meant, halts=halts, ignore_not_found=ignore_not_found)
        return run(operation, options, target, Ending(answer_status=killing.status, words=killing.words))
    verifying = _Verifying(meant, seconds, halts=halts, ignore_not_found=ignore_not_found)
    ending = Ending(answer_status=verifying.status, words=verifying.words, settle=verifying.settle)
    return run(operation, options, target, ending)


class _Killing:
    """What is said of one kill when every server has answered."""

    def __init__(self, who: Who, *, halts: bool, ignore_not_found: bool) -> None:
        self._who = who
        self._halts = halts
        self._ignore_not_found = ignore_not_found

    def status(self, values: Sequence[Killed]) -> int:
        """The exit status where every server was asked."""
        return EXIT_OK if self._ignore_not_found or _sessions(values) else EXIT_FAILED

    def words(self, values: Sequence[Killed], asked: int) -> str:
        """`killed 1 session on 1 of 6 servers; its certificate still holds, so it may come back ...`."""
        count = _sessions(values)
        if count:
            hit = sum(1 for value in values if value.killed)
            return (
                f"killed {count} {'session' if count == 1 else 'sessions'} on {hit} of {of_servers(asked, asked)}; "
                f"{self.outlook(values)}"
            )
        if any(value.clients for value in values):
            return f"{escape(str(self._who))} left by itself before it was killed"
        return f"no {escape(str(self._who))} on {of_servers(len(values), asked)}" if values or not asked else ""

    def outlook(self, _values: Sequence[Killed]) -> str:
        """What to expect of the clients that were killed."""
        if self._halts:
            return "its VPN process was told to end, so that only its user brings it back"
        return "its certificate still holds, so it may come back (--verify 10s looks again)"


class _Verifying(_Killing):
    """A kill, and the looks at the same servers after it."""

    def __init__(self, who: Who, seconds: float, *, halts: bool, ignore_not_found: bool) -> None:
        super().__init__(who, halts=halts, ignore_not_found=ignore_not_found)
        self._seconds = seconds
        by_username = isinstance(who, persons.Username)
        self._judge = Judge((lambda row: row.username) if by_username else name_of)
        self._unseen = EXIT_OK  # where a server could not be looked at again: why

    def settle(self, asked: Asked[Killed], options: Options, interrupts: Interrupts) -> Asked[Killed]:
        """Looks at every server that answered, and tells each killed client's fate."""
        killed = [(outcome.server, outcome.value.value) for outcome in asked.outcomes if outcome.value is not None]
        if asked.interrupted or not _sessions([value for _server, value in killed]):
            return asked
        for _server, value in killed:
            if value.before is not None:
                self._judge.before(value.before, [client for client in value.clients if client.result == "killed"])
        servers = [server for server, _value in killed]
        # All at once, or those that wait for a fork would not be looked at within the time.
        together = replace(options, forks=len(servers))
        looked = ask(watch(self._judge, time.monotonic() + self._seconds), servers, together, interrupts)
        looks = {outcome.server.name: outcome for outcome in looked.outcomes}
        outcomes = [self._settled(outcome, looks.get(outcome.server.name)) for outcome in asked.outcomes]
        return Asked(outcomes, looked.interrupted)

    def _settled(
        self, outcome: Outcome[Answer[Killed]], looked: Outcome[Answer[Look]] | None
    ) -> Outcome[Answer[Killed]]:
        if outcome.value is None or looked is None:
            return outcome
        warnings = [*outcome.warnings, *looked.warnings]
        if looked.error is not None:
            unreachable = isinstance(looked.error, UnreachableError)
            self._unseen = max(self._unseen, EXIT_UNREACHABLE if unreachable else EXIT_FAILED)
            warnings.append(f"it could not be looked at again: {looked.error.message}")
        value = outcome.value.value
        clients = tuple(self._verified(outcome.server.name, client) for client in value.clients)
        return replace(
            outcome,
            elapsed=outcome.elapsed + looked.elapsed,
            value=replace(outcome.value, value=replace(value, clients=clients)),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _verified(self, server: str, client: KilledClient) -> KilledClient:
        if client.result != "killed":
            return client
        return replace(client, verified=self._judge.verdict(server, client))

    def status(self, values: Sequence[Killed]) -> int:
        """4 where a server could not be looked at again, and 1 where somebody who was killed is still there."""
        if self._unseen:
            return self._unseen
        return EXIT_FAILED if _fates(values)[Fate.STILL_THERE] else super().status(values)

    def outlook(self, values: Sequence[Killed]) -> str:
        """`1 gone, 2 back`."""
        fates = _fates(values)
        told = [f"{count} {fate.value.replace('_', ' ')}" for fate, count in fates.items() if count]
        unknown = _sessions(values) - sum(fates.values())
        return ", ".join([*told, *([f"{unknown} not looked at again"] if unknown else [])])


def _sessions(values: Sequence[Killed]) -> int:
    return sum(value.killed for value in values)


def _fates(values: Sequence[Killed]) -> dict[Fate, int]:
    """How many killed sessions have which fate."""
    fates = [client.verified.fate for value in values for client in value.clients if client.verified is not None]
    return {fate: fates.count(fate) for fate in Fate}
