"""asyncssh with less work for each connection, where it is a version that this was tried with.

What is left out is only what costs: the protocol, and every check of it, stay asyncssh's.

- The options of a connection are put together once for many and copied for each, with all that tells hosts apart set
  anew; asyncssh's `connect` computes them each time, in a thread.
- Nothing is spelled out for a log that nobody reads.
- What is sent within one turn of the loop goes out in one piece (`Gathered`).
- The first key is offered with its signature at once, in place of asking what may be tried (`none`) and whether the key
  would do, and right behind the request for the service: three round trips less. The host's key was verified before.
  What is refused counts as one attempt, as before. A key of an agent may want a finger, so it is offered without its
  signature; but for one that this very host has taken before in this run.

FLEET_ASYNCSSH=stock switches all of it off; so does another version of asyncssh, and for one host a connection that is
lost, or broken off for an error of the protocol, on this way.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import asyncssh
from asyncssh.auth import lookup_client_auth
from asyncssh.logging import SSHLogger
from asyncssh.packet import Boolean

from fleet.transport.dial import Dialer, Gathered
from fleet.transport.failures import TOO_MANY_TRIES

TRIED = re.compile(r"2\.24\.")
"""Versions of asyncssh whose hooks were tried: another one is used as it comes."""

MSG_EXT_INFO = 7
"""What an SSH server says of itself behind the key exchange (RFC 8308): among that, which signatures it takes."""

SWITCH = "FLEET_ASYNCSSH"
"""The environment variable; `stock` is asyncssh as it comes."""

_COMMON: Mapping[str, Any] = {
    "config": None,  # or asyncssh would read ~/.ssh/config, and for this name
    "agent_path": None,  # the offer holds the agent's keys already
    "passphrase": None,
    "preferred_auth": "publickey",
    "password_auth": False,
    "kbdint_auth": False,
    "host_based_auth": False,
    "client_host_keysign": False,
    "gss_host": None,  # a GSS key exchange would not look at the host key
    "pkcs11_provider": None,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": (),
    "canonicalize_hostname": False,
    "connect_timeout": None,  # the clocks are fleet's, which can say what was late
    "login_timeout": 0,
}


async def connect(
    dialer: Dialer,
    *,
    host: str,
    port: int,
    username: str,
    client_factory: Callable[[], asyncssh.SSHClient],
    known_hosts: Callable[..., Any],
    host_key_alias: str,
    server_host_key_algs: Sequence[str] | str,
    client_keys: Sequence[Any],
    extra: Mapping[str, Any],
    templates: Templates,
    place: Hashable,
    stock: bool = False,
) -> asyncssh.SSHClientConnection:
    """A connection that is logged in.

    Args:
        dialer: the way.
        host: where to; the rest as `asyncssh.connect` has it.
        port: of the SSH server.
        username: who logs in.
        client_factory: makes what is told of the connection.
        known_hosts: gives what is trusted.
        host_key_alias: the host's name there.
        server_host_key_algs: in the order of preference.
        client_keys: to be offered.
        extra: further options, as far as they differ from host to host.
        templates: of this run.
        place: what tells this account of this host from all others, the way to it included.
        stock: the way of asyncssh, whatever the templates say.

    Raises:
        Exception: whatever asyncssh and the system raise; `failures` tells them apart.
    """
    own: dict[str, Any] = {
        "host": host,
        "port": port,
        "username": username,
        "client_factory": client_factory,
        "known_hosts": known_hosts,
        "host_key_alias": host_key_alias,
        "server_host_key_algs": server_host_key_algs,
    }
    options = None if stock else templates.options(own, client_keys, extra)
    if options is None:
        plain: dict[str, Any] = {**_COMMON, **extra, **own, "options": None, "tunnel": dialer}
        # an empty list of keys would be asyncssh's own default files
        return await asyncssh.connect(**plain, client_keys=list(client_keys) or None)
    loop = asyncio.get_running_loop()
    waiter = options.waiter = loop.create_future()
    favourite = templates.taken.get(place)
    if favourite is not None and options.client_keys:
        options.client_keys = sorted(options.client_keys, key=lambda pair: bool(pair.public_data != favourite))
    factory = lambda: Connection(loop, options, wait="auth", favourite=favourite)  # noqa: E731 - as asyncssh does it
    connection: Connection | None = None
    try:
        _, connection = await dialer.create_connection(factory, host, port)
        connection.set_extra_info(host=host, port=port)
        await waiter
    except BaseException as exc:
        if not waiter.cancel() and not waiter.cancelled():
            waiter.exception()  # it is seen: another one came before it
        if connection is not None and connection.was_too_much(exc):
            raise asyncssh.PermissionDenied("no key was taken") from exc
        raise
    assert connection is not None  # noqa: S101 - the dialer gives what the factory made
    if connection.taken is not None:
        templates.taken[place] = connection.taken
    return connection


class Templates:
    """Options of asyncssh for the hosts of one run, without what tells them apart.

    Attributes:
        stock: asyncssh is used as it comes.
        taken: by place, the public key that let in last, where that is worth knowing: it was not the first one that was
            tried, or it is of an agent. It is tried first the next time; at that place only, because another host
            might take both keys, and each may be allowed something else there.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.stock = environ.get(SWITCH) == "stock" or not TRIED.match(asyncssh.__version__)
        self.taken: dict[Hashable, bytes] = {}
        self._made: dict[str, asyncssh.SSHClientConnectionOptions] = {}

    def options(
        self, own: Mapping[str, Any], client_keys: Sequence[Any], extra: Mapping[str, Any]
    ) -> asyncssh.SSHClientConnectionOptions | None:
        """A host's options; None where asyncssh is to be used as it comes."""
        if self.stock:
            return None
        key = repr(sorted(extra.items()))
        if key not in self._made:
            self._made[key] = asyncssh.SSHClientConnectionOptions(None, host="", client_keys=None, **_COMMON, **extra)
        options = copy.copy(self._made[key])
        for name, value in own.items():
            setattr(options, _STORED_AS.get(name, name), value)
        options.orig_host = own["host"]
        options.client_keys = asyncssh.load_keypairs(list(client_keys)) if client_keys else None
        return options


_STORED_AS = {"client_factory": "protocol_factory"}


class _Quiet(SSHLogger):
    """Spells nothing out that nobody reads."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Passes on what is read."""
        if self.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)


class Connection(asyncssh.SSHClientConnection):
    """asyncssh's connection; what is overridden is public there, and some attributes that are not are read.

    Attributes:
        hurried: a request to log in went out before the server had accepted the service.
        asked_in_vain: whether one may come in without anything was asked last, after all keys.
    """

    def __init__(self, *arguments: Any, favourite: bytes | None = None, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        logger = super().logger
        self._reads_packets = logger.isEnabledFor(logging.DEBUG)
        self._quiet = logger if self._reads_packets else _Quiet(logger.logger)
        self._favourite = favourite
        self._pair: Any = None  # the key that is tried
        self._pairs = 0
        self._may_hurry = False
        self._accepted = False
        self._asked_none = False
        self.hurried = False
        self.asked_in_vain = False

    @property
    def logger(self) -> SSHLogger:
        """Where asyncssh logs to."""
        return self._quiet

    def log_sent_packet(self, *arguments: Any, **keywords: Any) -> None:
        """Of each packet."""
        if self._reads_packets:
            super().log_sent_packet(*arguments, **keywords)

    def log_received_packet(self, pkttype: int, *arguments: Any, **keywords: Any) -> None:
        """Of each packet, before it is processed."""
        if pkttype == MSG_EXT_INFO and self._may_hurry:
            self._loop.call_soon(self._hurry)
        if self._reads_packets:
            super().log_received_packet(pkttype, *arguments, **keywords)

    @property
    def taken(self) -> bytes | None:
        """The public key that let in, where the next time would be shorter for knowing it."""
        if self._pair is None or (self._pairs == 1 and not _may_want_a_finger(self._pair)):
            return None
        return bytes(self._pair.public_data)

    def was_too_much(self, exc: BaseException) -> bool:
        """Whether it was not a key that was too much for the server, but the question that asyncssh asks uncounted."""
        return self.asked_in_vain and isinstance(exc, asyncssh.DisconnectError) and TOO_MANY_TRIES in exc.reason

    def send_service_request(self, service: bytes) -> None:
        """Asks for the service once the keys are exchanged and the host's is verified, and does not wait for it.

        A key with several kinds of signatures (RSA) waits until the server has said which it takes: most say so right
        behind the key exchange.
        """
        super().send_service_request(service)
        self._may_hurry = bool(self._client_keys)
        if self._may_hurry and len(self._client_keys[0].sig_algorithms) == 1:
            self._hurry()

    def _hurry(self) -> None:
        if self._may_hurry and not self._accepted and self._transport is not None:
            self._may_hurry = False
            self.hurried = True
            owner = self.get_owner()
            if isinstance(owner, asyncssh.SSHClient):  # as it is, on this side; asyncssh tells it again later
                owner.begin_auth(self._username)
            self._auth = lookup_client_auth(self, b"publickey")
            if isinstance(self._transport, Gathered):
                self._transport.wait_a_turn()  # for the signature

    async def public_key_auth_requested(self) -> Any:
        """The next key to try."""
        self._pair = await super().public_key_auth_requested()
        self._pairs += self._pair is not None
        return self._pair

    async def send_userauth_request(self, method: bytes, *args: bytes, key: Any = None, trivial: bool = True) -> None:
        """Offers a key with its signature, where asyncssh would ask whether it would do."""
        pair = self._pair
        self._asked_none = self._asked_none or method == b"none"
        if method != b"publickey" or key is not None or pair is None or not self._signs_at_once(pair):
            await super().send_userauth_request(method, *args, key=key, trivial=trivial)
            return
        try:
            await super().send_userauth_request(method, Boolean(True), *args[1:], key=pair, trivial=False)
        except ValueError:  # there is no signature; asyncssh says no more of it either
            self.try_next_auth()

    def _signs_at_once(self, pair: Any) -> bool:
        return not _may_want_a_finger(pair) or pair.public_data == self._favourite

    def try_next_auth(self, *, next_method: bool = False) -> None:
        """Goes on; a server that takes no keys may still let in who asks for nothing: it is asked last, not first."""
        if not self._auth_in_progress:  # no key could be offered early; it goes on when the service is accepted
            self._stop()
            self.hurried = False
            return
        if not self._accepted:
            self._accepted = True
            if self.hurried:
                return  # the answer is on its way
            if self._client_keys:
                self._auth = lookup_client_auth(self, b"publickey")
                return
        elif not self.get_server_auth_methods()[1 if next_method else 0 :] and not self._asked_none:
            self.asked_in_vain = True
            self._pair = None
            self._stop()
            self._auth = lookup_client_auth(self, b"none")
            return
        super().try_next_auth(next_method=next_method)

    def _stop(self) -> None:
        if self._auth:
            self._auth.cancel()
            self._auth = None


def _may_want_a_finger(pair: Any) -> bool:
    """Whether a signature may cost the user something: a touch, a confirmation, a code."""
    return isinstance(pair, asyncssh.SSHAgentKeyPair)
