"""Management interfaces that say in every place what would harm whoever believes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fleet.demo.daemon import SimulatedDaemon
from fleet.demo.serve import ManagementServer, Reader, Writer

TERMINAL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\x08\x7f"
"""What a terminal would obey: a title, a cleared screen, an 8-bit escape, a turned line, a return, a step back."""

FORMULAS = ("=1+cmd", "+1+cmd", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0")
"""What a spreadsheet would compute."""

NAMES = (
    f"evil{TERMINAL}",
    *(f"{formula}{TERMINAL}" for formula in FORMULAS if "\t" not in formula and "\r" not in formula),
    f'a"}} 1\\n# HELP x{TERMINAL}',
    f"'; touch owned; '{TERMINAL}",
    f"<script>alert(1)</script>|{TERMINAL}",
    f"[bold red]x[/]{TERMINAL}",
    f"caf\udce9{TERMINAL}",
)
"""Common names, by what they are to harm: terminal, spreadsheet, metrics, shell, HTML and plugin output, a markup."""

_TEXT = f"=evil{TERMINAL}"
_GREETING = f">INFO:OpenVPN Management Interface Version 5 -- {_TEXT}\n"
_HEADERS = (
    f"TITLE\t{_TEXT}\nTIME\t{_TEXT}\t1795336588\n"
    "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\tBytes Sent"
    f"\tConnected Since\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher\t{_TEXT}\n"
    "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\tLast Ref (time_t)\n"
)
_STATE = f"1795336588,CONNECTED{_TEXT},{_TEXT},10.8.0.1{TERMINAL},{_TEXT},1194,{_TEXT},{_TEXT}\n"
_BLOCKS = ("state", "status", "log", "echo", "version", "help", "net", "remote-entry-get")


def status() -> str:
    """A status whose every text harms."""
    clients = "".join(
        f"CLIENT_LIST\t{name}\t203.0.113.{number}:5000\t10.8.0.6{TERMINAL}\t{_TEXT}\t1\t2\t{_TEXT}\t1795336588"
        f"\t{name}\t{number}\t0\t{_TEXT}\t{_TEXT}\n"
        for number, name in enumerate(NAMES)
    )
    routes = "".join(f"ROUTING_TABLE\t10.8.0.6{TERMINAL}\t{name}\t{_TEXT}\t{_TEXT}\t1795336588\n" for name in NAMES)
    return f"{_HEADERS}{clients}{routes}GLOBAL_STATS\t{_TEXT}\t{_TEXT}\nCLIENT_LIST\t{_TEXT}\nEND\n"


_FORMED = {
    "state": f"{_STATE}END\n",
    "log": f"1795336588,{_TEXT},{_TEXT}\nEND\n",
    "echo": f"1795336588,{_TEXT}\nEND\n",
    "version": f"OpenVPN Version: {_TEXT}\nManagement Version: 5\nEND\n",
    "load-stats": "SUCCESS: nclients=1,bytesin=1,bytesout=2\n",
    "pid": "SUCCESS: pid=9\n",
    "status": status(),
}


def believable(command: str) -> str:
    """An answer of the right form, every text in it a harmful one."""
    name = command.partition(" ")[0]
    other = f"{_TEXT}\nEND\n" if name in _BLOCKS else f"SUCCESS: {_TEXT}\n"
    before = f"SUCCESS: real-time {_TEXT}\n" if command.endswith("on all") else ""
    return before + _FORMED.get(name, other)


def refused(_command: str) -> str:
    """An error in harmful words."""
    return f"ERROR: {_TEXT}\n"


def nonsense(command: str) -> str:
    """An answer that is none, in harmful words."""
    if command.partition(" ")[0] in _BLOCKS:
        return f"{_TEXT}\n{_TEXT},{_TEXT}\nEND\n"
    return f"SUCCESS: {_TEXT}\n" if command.startswith(("pid", "load")) else f"{_TEXT}\n"


ASKING = "".join(
    f">{text}\n"
    for text in (
        f"HOLD:{_TEXT}:0", f"PASSWORD:Need '{_TEXT}' username/password",
        f"PASSWORD:Verification Failed: '{_TEXT}' ['CRV1:R,E:x:eA==:{_TEXT}']",
        f"PASSWORD:Auth-Token:{_TEXT}", f"NEED-OK:Need '{_TEXT}' confirmation MSG:{_TEXT}",
        f"NEED-STR:Need '{_TEXT}' input MSG:{_TEXT}", f"INFOMSG:{_TEXT}", f"INFO:{_TEXT}", f"FATAL:{_TEXT}",
        f"LOG:1795336588,{_TEXT},{_TEXT}", f"STATE:{_STATE.strip()}", f"ECHO:1795336588,{_TEXT}", f"{_TEXT}:{_TEXT}",
        f"REMOTE:{_TEXT},1,{_TEXT}", f"PROXY:{_TEXT},1,{_TEXT}", f"NOTIFY:{_TEXT},{_TEXT},{_TEXT}",
        f"PK_SIGN:{_TEXT}", f"RSA_SIGN:{_TEXT}", f"NEED-CERTIFICATE:{_TEXT}", f"UPDOWN:{_TEXT}",
        f"UPDOWN:ENV,{_TEXT}={_TEXT}", "UPDOWN:ENV,END", "CLIENT:CONNECT,0,1",
        f"CLIENT:ENV,{_TEXT}={_TEXT}", f"CLIENT:ENV,common_name={_TEXT}", "CLIENT:ENV,END", f"CLIENT:{_TEXT},{_TEXT}",
        f"BYTECOUNT:{_TEXT}", f"BYTECOUNT_CLI:{_TEXT}",
    )
)  # fmt: skip
"""Real-time messages of every kind, each in harmful words."""


class Liar(ManagementServer):
    """A management interface that lies.

    Args:
        answer: the answer to a command.
        greeting: what it says first.
        unasked: what it says behind the first answer.
    """

    def __init__(self, answer: Callable[[str], str], *, greeting: str = _GREETING, unasked: str = "") -> None:
        super().__init__(SimulatedDaemon())
        self._answer = answer
        self._greeting = greeting
        self._unasked = unasked

    async def serve(self, reader: Reader, writer: Writer) -> None:
        try:
            with suppress(OSError):
                await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        writer.write(_on_the_wire(self._greeting))
        unasked, rest = self._unasked, b""
        while data := await reader.read(4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                writer.write(_on_the_wire(self._answer(line.decode("utf-8", "surrogateescape").strip()) + unasked))
                unasked = ""
            await writer.drain()
            await asyncio.sleep(0)


def _on_the_wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def everybody() -> dict[str, Liar]:
    """Liars of every kind, by the names that their servers have."""
    return {
        "believable": Liar(believable, unasked=ASKING),
        "refused": Liar(refused),
        "nonsense": Liar(nonsense),
        "garbage": Liar(refused, greeting=f"{_TEXT}\n{_TEXT}\n"),
        "asking": Liar(believable, greeting=_GREETING + ASKING),
        "locked": Liar(refused, greeting=f"ENTER PASSWORD:{_TEXT}\nERROR: {_TEXT}\n"),
    }
