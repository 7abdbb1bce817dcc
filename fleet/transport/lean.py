"""asyncssh with less work for each connection, where it is a version that this was tried with.

What is left out is only what costs: the protocol, and every check of it, stay asyncssh's.

- The options of a connection are put together once for many and copied for each, with all that tells hosts apart set
  anew; asyncssh's `connect` computes them each time, in a thread.
- Nothing is spelled out for a log that nobody reads.
- What is sent within one turn of the loop goes out in one piece (`Gathered`).
- The first key is offered with its signature at once, in place of asking what may be tried (`none`) and whether the key
  would do: two round trips less. The host's key was verified before. What is refused counts as one attempt, as before.

FLEET_ASYNCSSH=stock switches all of it off; so does another version of asyncssh.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncssh
from asyncssh.auth import lookup_client_auth
from asyncssh.logging import SSHLogger
from asyncssh.packet import Boolean, String

from fleet.transport.dial import Dialer

TRIED = re.compile(r"2\.24\.")
"""Versions of asyncssh whose hooks were tried: another one is used as it comes."""

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
    options = templates.options(own, client_keys, extra)
    if options is None:
        stock: dict[str, Any] = {**_COMMON, **extra, **own, "options": None, "tunnel": dialer}
        # an empty list of keys would be asyncssh's own default files
        return await asyncssh.connect(**stock, client_keys=list(client_keys) or None)
    loop = asyncio.get_running_loop()
    waiter = options.waiter = loop.create_future()
    factory = lambda: Connection(loop, options, wait="auth")  # noqa: E731 - as asyncssh does it
    try:
        _, connection = await dialer.create_connection(factory, host, port)
        connection.set_extra_info(host=host, port=port)
        await waiter
    except BaseException:
        if not waiter.cancel() and not waiter.cancelled():
            waiter.exception()  # it is seen: another one came before it
        raise
    return connection  # type: ignore[no-any-return]  # the dialer gives what the factory made


class Templates:
    """Options of asyncssh for the hosts of one run, without what tells them apart."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.stock = environ.get(SWITCH) == "stock" or not TRIED.match(asyncssh.__version__)
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
    """asyncssh's connection; what is overridden is public there; two attributes that are not are read."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        logger = super().logger
        self._reads_packets = logger.isEnabledFor(logging.DEBUG)
        self._quiet = logger if self._reads_packets else _Quiet(logger.logger)
        self._signs_first = True
        self._asks_none = True

    @property
    def logger(self) -> SSHLogger:
        """Where asyncssh logs to."""
        return self._quiet

    def log_sent_packet(self, *arguments: Any, **keywords: Any) -> None:
        """Of each packet."""
        if self._reads_packets:
            super().log_sent_packet(*arguments, **keywords)

    def log_received_packet(self, *arguments: Any, **keywords: Any) -> None:
        """Of each packet."""
        if self._reads_packets:
            super().log_received_packet(*arguments, **keywords)

    async def send_userauth_request(self, method: bytes, *args: bytes, key: Any = None, trivial: bool = True) -> None:
        """Offers the first key, signed, where asyncssh would ask what there is to be tried.

        A key of an agent may want a finger, so it is asked for only when the server has said that it would do.
        """
        if method == b"none" and self._signs_first:
            self._signs_first = False
            if self._client_keys and not isinstance(self._client_keys[0], asyncssh.SSHAgentKeyPair):
                pair = await self.public_key_auth_requested()
                if pair is not None:
                    signed = (Boolean(True), String(pair.algorithm), String(pair.public_data))
                    await super().send_userauth_request(b"publickey", *signed, key=pair, trivial=False)
                    return
        if method == b"none":
            self._asks_none = False
        await super().send_userauth_request(method, *args, key=key, trivial=trivial)

    def try_next_auth(self, *, next_method: bool = False) -> None:
        """Goes on; a server that takes no keys may still let in who asks for nothing: it is asked last, not first."""
        left = self.get_server_auth_methods()[1 if next_method else 0 :]
        if not left and self._asks_none and not self._signs_first:
            self._asks_none = False
            if self._auth:
                self._auth.cancel()
            self._auth = lookup_client_auth(self, b"none")
            return
        super().try_next_auth(next_method=next_method)
