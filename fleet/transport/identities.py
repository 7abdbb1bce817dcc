"""What the user can log in with: key files, their certificates, and the keys of an agent.

A key that wants a passphrase is skipped, never asked for; the agent is the place for it. Files and the agent's list are
read once per run; every connection gets key pairs of its own, because asyncssh keeps the signature algorithm in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh

from fleet.transport.agent import Agent, AgentKey, AgentRefusedError
from fleet.transport.known_hosts import short

DEFAULT_FILES = ("id_rsa", "id_ecdsa", "id_ed25519")
"""As in ssh(1), in its order; keys on security keys (`-sk`) work through the agent, where they can be touched for."""

_OfferedKey = asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate] | asyncssh.SSHKeyPair


@dataclass(frozen=True, slots=True)
class Identity:
    """One key file.

    Attributes:
        key: None where the file cannot be used by itself; its public part may still name a key of the agent.
        public: the public key as it goes over the wire, where it is known.
        problem: why the file itself is not used, or "".
    """

    path: Path
    key: asyncssh.SSHKey | None = None
    public: bytes | None = None
    certificate: asyncssh.SSHCertificate | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Identities:
    """What a host may be offered.

    Attributes:
        files: in the order to offer.
        agent: the path of the agent's socket, or "" for none.
        only: no keys of the agent but those of the files (IdentitiesOnly, or a private_key of the inventory).
    """

    files: tuple[Identity, ...]
    certificates: tuple[asyncssh.SSHCertificate, ...]
    agent: str
    only: bool


class Offer:
    """The keys offered on one connection, and where they come from."""

    def __init__(self, identities: Identities, agent: Agent | None, listed: Sequence[AgentKey] | str) -> None:
        """Pair files, certificates and agent keys.

        Args:
            identities: what the host may be offered.
            agent: signs with its own keys.
            listed: the agent's keys, or why there are none.
        """
        self.keys: list[_OfferedKey] = []
        self.tried: list[str] = []
        self._identities = identities
        self._listed = listed
        self._agent = agent
        self._refused: dict[bytes, str] = {}
        held = [] if isinstance(listed, str) else self._of_agent(listed)
        self._of_files({key.public for key in held})

    def _of_agent(self, listed: Sequence[AgentKey]) -> list[AgentKey]:
        named = {identity.public for identity in self._identities.files}
        named |= {identity.certificate.public_data for identity in self._identities.files if identity.certificate}
        mine = [key for key in listed if key.public in named]
        if not self._identities.only:
            mine += [key for key in listed if key.public not in named]
        certificates = {certificate.key.public_data: certificate for certificate in self._certificates()}
        for key in mine:
            if key.public in certificates:
                pair = self._pair(key)
                pair.set_certificate(certificates[key.public])
                self.keys.append(pair)
            self.keys.append(self._pair(key))
            self.tried.append(f"{key.name} (agent)")
        return mine

    def _pair(self, key: AgentKey) -> asyncssh.SSHAgentKeyPair:
        # asyncssh wants nothing of the agent but its `sign`
        return asyncssh.SSHAgentKeyPair(cast("Any", self), key.algorithm, key.public, key.comment)

    async def sign(self, key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """A signature of the agent, for asyncssh, which goes on with the next key where there is none.

        Raises:
            ValueError: there is none.
        """
        assert self._agent is not None  # noqa: S101 - a listed key has an agent
        try:
            return await self._agent.sign(key_blob, data, flags)
        except AgentRefusedError as exc:
            self._refused[key_blob] = str(exc)
            raise

    def _of_files(self, held: set[bytes]) -> None:
        certificates = {certificate.key.public_data: certificate for certificate in self._certificates()}
        for identity in self._identities.files:
            if identity.key is None or identity.public in held:
                continue
            certificate = identity.certificate or certificates.get(identity.public or b"")
            self.keys.append((identity.key, certificate) if certificate else identity.key)
            self.tried.append(short(identity.path))

    def _certificates(self) -> list[asyncssh.SSHCertificate]:
        own = [identity.certificate for identity in self._identities.files if identity.certificate]
        return own + list(self._identities.certificates)

    def account(self) -> str:
        """What was tried and what was left out, for the hint of a refused login."""
        said = [f"tried: {', '.join(self.tried)}" if self.tried else "there was no key to try"]
        tried = {identity.public for identity in self._identities.files if identity.key}
        if not isinstance(self._listed, str):
            tried |= {key.public for key in self._listed}
        left = [f"{short(i.path)} {i.problem}" for i in self._identities.files if i.problem and i.public not in tried]
        said += [
            f"{key.name}: {self._refused[key.public]}"
            for key in self._listed
            if isinstance(key, AgentKey) and key.public in self._refused
        ]
        if left:
            said.append(f"left out: {', '.join(left)}")
        if isinstance(self._listed, str):
            said.append(self._listed)
        return "; ".join(said)


class Keyring:
    """Key files and agents, each read once."""

    def __init__(self) -> None:
        self._files: dict[Path, Identity] = {}
        self._agents: dict[str, Agent] = {}
        self._listings: dict[str, asyncio.Task[list[AgentKey] | str]] = {}

    def file(self, path: Path) -> Identity:
        """Read a key file; called from worker threads."""
        if path not in self._files:
            self._files[path] = _read_identity(path)
        return self._files[path]

    def has_read(self, path: Path) -> bool:
        """Whether a key file was read already."""
        return path in self._files

    async def offer(self, identities: Identities) -> Offer:
        """The keys for one connection."""
        path = identities.agent
        if not path:
            return Offer(identities, None, "no agent (SSH_AUTH_SOCK is not set)")
        if path not in self._agents:
            self._agents[path] = Agent(path)
            self._listings[path] = asyncio.create_task(self._agents[path].keys())
        await asyncio.wait([self._listings[path]])
        return Offer(identities, self._agents[path], self._listings[path].result())

    async def close(self) -> None:
        """End the look-ups that still run, and the connections to the agents."""
        for listing in self._listings.values():
            listing.cancel()
        if self._listings:
            await asyncio.wait(self._listings.values())
        for agent in self._agents.values():
            await agent.close()


def _read_identity(path: Path) -> Identity:
    try:
        data = path.read_bytes()
    except OSError as exc:
        return Identity(path, public=_public(path), problem=f"cannot be read ({exc.strerror})")
    certificate = _certificate(path.with_name(path.name + "-cert.pub"))
    try:
        key = asyncssh.import_private_key(data)
    except asyncssh.KeyImportError as exc:
        problem = "wants a passphrase (ssh-add it)" if "assphrase" in str(exc) else f"is no private key ({exc})"
        return Identity(path, public=_public(path), certificate=certificate, problem=problem)
    if key.get_algorithm().startswith("sk-"):
        return Identity(path, None, key.public_data, certificate, "is on a security key (ssh-add it)")
    return Identity(path, key, key.public_data, certificate)


def _public(path: Path) -> bytes | None:
    for candidate in (path.with_name(path.name + ".pub"), path):  # an IdentityFile may itself be a public key
        try:
            return asyncssh.read_public_key(candidate).public_data
        except (OSError, asyncssh.KeyImportError):
            continue
    return None


def _certificate(path: Path) -> asyncssh.SSHCertificate | None:
    try:
        return asyncssh.read_certificate(path)
    except (OSError, asyncssh.KeyImportError):
        return None


def read_certificates(paths: Sequence[Path]) -> tuple[asyncssh.SSHCertificate, ...]:
    """The certificates of ssh_config's CertificateFile lines; a file that cannot be read is left out, as ssh does."""
    found = (_certificate(path) for path in paths)
    return tuple(certificate for certificate in found if certificate is not None)
