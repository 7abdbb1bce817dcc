"""What a command typed by its own spelling could do to a daemon besides what it says, and is not sent for that.

`fleet exec` and `fleet console` send what people type. Fleet's own commands look first and then choose what they send;
here nothing is chosen, so that what would do harm is refused, with the command of fleet's that does it well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from fleet.errors import CommandFailedError, UsageError
from fleet.management.commands import Command, state, verb, version
from fleet.operations.conversation import Conversation
from fleet.operations.signals import refuse_harm

_FLOODING_VERB = 8  # from here on `log on` locks the session: its lines feed themselves (protocol-facts 6.4)
_BARE_ADDRESS = re.compile(r"[0-9.]+:[0-9]+")
_READS_NAMES = (2, 7)  # the first release that takes `IP:port` for a common name (protocol-facts 4)


class Guard:
    """Looks at each command of one session before it is sent."""

    def __init__(self, *, force: bool = False) -> None:
        """Nothing was sent yet; with `force` signals and kills pass."""
        self._force = force
        self._live = False  # the session has the log on

    async def check(self, conversation: Conversation, command: Command[Any]) -> None:
        """Looks at a command before it is sent.

        Raises:
            CommandFailedError: it would do harm; it was not sent, and the session goes on.
            ServerError: the daemon did not say what has to be known for that.
        """
        await self._check_flood(conversation, command)
        if self._force:
            return
        if command.name == "signal":
            refuse_harm(command.arguments[0], await conversation.run(state()), conversation)
        elif command.name == "kill":
            await _check_kill(conversation, command)

    async def _check_flood(self, conversation: Conversation, command: Command[Any]) -> None:
        """Keeps `log on` and a verbosity of 8 and more apart, in one session.

        Together they lock the session: each line about reading the command is a line of the log itself, nothing is
        read any more, and the daemon sends megabytes a second until the client leaves (protocol-facts 6.4).
        """
        if _switches_log_on(command):
            level = await conversation.run(verb(None))
            if level >= _FLOODING_VERB:
                raise CommandFailedError(
                    f"the daemon logs at verb {level}, where '{command.text}' locks the session; it was not sent",
                    hint="lower it with verb 7 or less first",
                )
            self._live = True
        elif command.name == "log" and "off" in command.arguments:
            self._live = False
        elif self._live and _is_flooding(command):
            raise CommandFailedError(
                f"'{command.text}' locks a session that has the log on; it was not sent", hint="send 'log off' first"
            )


def refuse_flood(commands: Sequence[Command[Any]]) -> None:
    """Refuses a list that by itself would lock the session, before anything is sent.

    Raises:
        UsageError: it would.
    """
    live = loud = False
    for command in commands:
        if command.name == "log":
            live = (live or _switches_log_on(command)) and "off" not in command.arguments
        if command.name == "verb" and command.arguments:
            loud = _is_flooding(command)
        if live and loud:
            raise UsageError(
                f"'log on' at verb {_FLOODING_VERB} and above locks the session: its lines feed themselves",
                hint="read what was logged with 'log all' in place of 'log on'",
            )


def _switches_log_on(command: Command[Any]) -> bool:
    return command.name == "log" and "on" in command.arguments


def _is_flooding(command: Command[Any]) -> bool:
    return command.name == "verb" and bool(command.arguments) and int(command.arguments[0]) >= _FLOODING_VERB


async def _check_kill(conversation: Conversation, command: Command[Any]) -> None:
    """Refuses an address that the daemon would take for a common name: it would end another client's session."""
    (target,) = command.arguments
    if not _BARE_ADDRESS.fullmatch(target):
        return
    release = (await conversation.run(version())).openvpn
    if _series(release) < _READS_NAMES:
        return
    raise CommandFailedError(
        f"OpenVPN {release} reads '{command.text}' as the common name '{target.partition(':')[0]}', which may be "
        "another client's; it was not sent",
        hint=f"fleet kill {shlex.quote(target)} looks the client up and kills just that one",
    )


def _series(release: str) -> tuple[int, ...]:
    """The first two numbers of a release; of one that has none, as of the newest."""
    numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    return tuple(map(int, numbers.groups())) if numbers else _READS_NAMES
