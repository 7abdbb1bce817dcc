"""What differs on the management interface between the releases of OpenVPN that the simulator can play.

2.4.12, 2.6.14 and 2.7.6 are checked against recordings of the real daemons (tests/transcripts); 2.2.3 is written
after protocol-facts sections 3 to 7 alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

_BASE_COLUMNS = (
    "Common Name",
    "Real Address",
    "Virtual Address",
    "Bytes Received",
    "Bytes Sent",
    "Connected Since",
    "Connected Since (time_t)",
)
_COLUMNS_2_4 = (*_BASE_COLUMNS[:3], "Virtual IPv6 Address", *_BASE_COLUMNS[3:], "Username", "Client ID", "Peer ID")
_COLUMNS_2_5 = (*_COLUMNS_2_4, "Data Channel Cipher")


@dataclass(frozen=True, slots=True)
class Release:
    """One release's ways.

    Attributes:
        series: major and minor version, for comparisons.
        management_version: the number in the banner and in `version`.
        title: the first line of `help` behind `Management Interface for `, and all of TITLE.
        client_columns: of HEADER,CLIENT_LIST.
        restart_pause: seconds between RECONNECTING and CONNECTED (protocol-facts 5).
        unquoted: commands whose `not supported by the current daemon mode` has no quotes (protocol-facts 3).
        pkcs11: built with PKCS#11, as Debian does.
    """

    version: str
    series: tuple[int, int]
    management_version: int
    title: str
    client_columns: tuple[str, ...]
    restart_pause: float
    unquoted: frozenset[str] = frozenset()
    pkcs11: bool = False

    def date(self, time: float) -> str:
        """Local time as this release writes it, without a zone (protocol-facts 3)."""
        return _local_date(int(time), iso=self.series >= (2, 5))

    def name(self, certificate_name: str) -> str:
        """A common name or username as the daemon keeps it (protocol-facts 4)."""
        if self.series >= (2, 3):
            return re.sub(r"[\x00-\x1f\x7f]", "_", certificate_name)
        per_byte = certificate_name.encode("utf-8", "surrogateescape").decode("latin-1")
        return re.sub(r"[^A-Za-z0-9_.@/-]", "_", per_byte)

    def real_address(self, protocol: str, address: str, port: int) -> str:
        """The Real Address column of a client that came over `protocol` (protocol-facts 3)."""
        ipv6 = ":" in address
        if self.series >= (2, 7):
            return f"{protocol}:[{address}]:{port}" if ipv6 else f"{protocol}:{address}:{port}"
        return address if ipv6 else f"{address}:{port}"

    @property
    def hold_suffix(self) -> bool:
        """Whether `>HOLD:Waiting for hold release` ends in `:N`."""
        return self.series >= (2, 4)

    @property
    def help(self) -> tuple[str, ...]:
        """The lines of `help`, END excluded."""
        lines = (line for tag, line in _HELP if self._has(tag))
        return (f"Management Interface for {self.title}", "Commands:", *lines)

    def has_command(self, name: str) -> bool:
        """Whether this release knows the command (protocol-facts 7)."""
        return self._has(_SINCE.get(name, ""))

    def _has(self, tag: str) -> bool:
        """`tag` is empty, `pkcs11`, `2.5+` or `2.5-` (up to 2.5), or `2.3+2.5-`."""
        if tag == "pkcs11":
            return self.pkcs11
        return all(
            self.series >= (2, int(minor)) if sign == "+" else self.series <= (2, int(minor))
            for minor, sign in re.findall(r"2\.(\d+)([+-])", tag)
        )


@lru_cache(maxsize=65_536)  # a status of thousands of clients writes each date twice
def _local_date(time: int, *, iso: bool) -> str:
    moment = datetime.fromtimestamp(time).astimezone()
    return f"{moment:%Y-%m-%d %H:%M:%S}" if iso else f"{moment:%a %b} {moment.day:2} {moment:%H:%M:%S %Y}"


_PLATFORM = "x86_64-pc-linux-gnu"
RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        release.version: release
        for release in (
            Release(
                version="2.2.3",
                series=(2, 2),
                management_version=1,
                title=f"OpenVPN 2.2.3 {_PLATFORM} [SSL] [LZO2] [EPOLL] [eurephia] built on Nov 22 2026",
                client_columns=_BASE_COLUMNS,
                restart_pause=2.0,
                unquoted=frozenset({"nclients", "client-kill"}),
            ),
            Release(
                version="2.4.12",
                series=(2, 4),
                management_version=1,
                title=f"OpenVPN 2.4.12 {_PLATFORM} [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [MH/PKTINFO] [AEAD] "
                "built on Nov 22 2026",
                client_columns=_COLUMNS_2_4,
                restart_pause=5.0,
                unquoted=frozenset({"nclients", "client-kill", "remote", "proxy"}),
            ),
            Release(
                version="2.6.14",
                series=(2, 6),
                management_version=5,
                title=f"OpenVPN 2.6.14 {_PLATFORM} [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [PKCS11] [MH/PKTINFO] [AEAD] "
                "[DCO]",
                client_columns=_COLUMNS_2_5,
                restart_pause=1.0,
                pkcs11=True,
            ),
            Release(
                version="2.7.6",
                series=(2, 7),
                management_version=6,
                title=f"OpenVPN 2.7.6 {_PLATFORM} [SSL (OpenSSL)] [LZO] [LZ4] [EPOLL] [MH/PKTINFO] [AEAD]",
                client_columns=_COLUMNS_2_5,
                restart_pause=1.0,
            ),
        )
    }
)

# Releases that know a command; those not named know it all.
_SINCE: Mapping[str, str] = {
    "remote": "2.3+",
    "proxy": "2.3+",
    "rsa-sig": "2.3+",
    "certificate": "2.4+",
    "client-pf": "2.5-",
    "cr-response": "2.5+",
    "client-pending-auth": "2.5+",
    "pk-sig": "2.5+",
    "remote-entry-count": "2.6+",
    "remote-entry-get": "2.6+",
    "pkcs11-id-count": "pkcs11",
    "pkcs11-id-get": "pkcs11",
    "push-update-broad": "2.7+",
    "push-update-cid": "2.7+",
}

_HELP: tuple[tuple[str, str], ...] = (
    ("", "auth-retry t           : Auth failure retry mode (none,interact,nointeract)."),
    ("", "bytecount n            : Show bytes in/out, update every n secs (0=off)."),
    ("", "echo [on|off] [N|all]  : Like log, but only show messages in echo buffer."),
    ("2.5+", "cr-response response   : Send a challenge response answer via CR_RESPONSE to server"),
    ("", "exit|quit              : Close management session."),
    ("", "forget-passwords       : Forget passwords entered so far."),
    ("", "help                   : Print this message."),
    ("", "hold [on|off|release]  : Set/show hold flag to on/off state, or"),
    ("", "                         release current hold and start tunnel."),
    ("", "kill cn                : Kill the client instance(s) having common name cn."),
    ("", "kill IP:port           : Kill the client instance connecting from IP:port."),
    ("", "load-stats             : Show global server load stats."),
    ("", "log [on|off] [N|all]   : Turn on/off realtime log display"),
    ("", "                         + show last N lines or 'all' for entire history."),
    ("", "mute [n]               : Set log mute level to n, or show level if n is absent."),
    ("", "needok type action     : Enter confirmation for NEED-OK request of 'type',"),
    ("", "                         where action = 'ok' or 'cancel'."),
    ("", "needstr type action    : Enter confirmation for NEED-STR request of 'type',"),
    ("", "                         where action is reply string."),
    ("", "net                    : (Windows only) Show network info and routing table."),
    ("", "password type p        : Enter password p for a queried OpenVPN password."),
    ("2.7+", "password type          : (version >=5) Enter password base64-encoded on"),
    ("2.7+", "                         subsequent lines followed by END."),
    ("2.3+", "remote type [host port] : Override remote directive, type=ACCEPT|MOD|SKIP."),
    ("2.6+", "remote-entry-count     : Get number of available remote entries."),
    ("2.6+", "remote-entry-get  i|all [j]: Get remote entry at index = i to to j-1 or all."),
    ("2.3+", "proxy type [host port flags] : Enter dynamic proxy server info."),
    ("", "pid                    : Show process ID of the current OpenVPN process."),
    ("pkcs11", "pkcs11-id-count        : Get number of available PKCS#11 identities."),
    ("pkcs11", "pkcs11-id-get index    : Get PKCS#11 identity at index."),
    ("", "client-auth CID KID    : Authenticate client-id/key-id CID/KID (MULTILINE)"),
    ("", "client-auth-nt CID KID : Authenticate client-id/key-id CID/KID"),
    ("", "client-deny CID KID R [CR] : Deny auth client-id/key-id CID/KID with log reason"),
    ("", "                             text R and optional client reason text CR"),
    ("2.5+", "client-pending-auth CID KID MSG timeout : Instruct OpenVPN to send AUTH_PENDING and INFO_PRE msg"),
    ("2.5+", "                                      to the client and wait for a final client-auth/client-deny"),
    ("", "client-kill CID [M]    : Kill client instance CID with message M (def=RESTART)"),
    ("", "env-filter [level]     : Set env-var filter level"),
    ("2.5-", "client-pf CID          : Define packet filter for client CID (MULTILINE)"),
    ("2.3+2.4-", "rsa-sig                : Enter an RSA signature in response to >RSA_SIGN challenge"),
    ("2.3+2.4-", "                         Enter signature base64 on subsequent lines followed by END"),
    ("2.5+", "rsa-sig                : Enter a signature in response to >RSA_SIGN challenge"),
    ("2.5+", "                         Enter signature base64 on subsequent lines followed by END"),
    ("2.5+", "pk-sig                 : Enter a signature in response to >PK_SIGN challenge"),
    ("2.5+", "                         Enter signature base64 on subsequent lines followed by END"),
    ("2.4+", "certificate            : Enter a client certificate in response to >NEED-CERT challenge"),
    ("2.4+", "                         Enter certificate base64 on subsequent lines followed by END"),
    ("", "signal s               : Send signal s to daemon,"),
    ("", "                         s = SIGHUP|SIGTERM|SIGUSR1|SIGUSR2."),
    ("", "state [on|off] [N|all] : Like log, but show state history."),
    ("", "status [n]             : Show current daemon status info using format #n."),
    ("", "test n                 : Produce n lines of output for testing/debugging."),
    ("", "username type u        : Enter username u for a queried OpenVPN username."),
    ("", "verb [n]               : Set log verbosity level to n, or show if n is absent."),
    ("2.4-", "version                : Show current version number."),
    ("2.5+", "version [n]            : Set client's version to n or show current version of daemon."),
    ("2.7+", "push-update-broad options : Broadcast a message to update the specified options."),
    ("2.7+", '                            Ex. push-update-broad "route something, -dns"'),
    ("2.7+", "push-update-cid CID options : Send an update message to the client identified by CID."),
)
