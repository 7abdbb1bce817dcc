"""Keys and certificates of the lab: one CA, elliptic curves, made new for each run."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=2)

SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
"""What `remote-cert-tls server` of OpenVPN's clients wants to see in a server's certificate."""


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])  # a UTF8String, whatever it holds


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files of one VPN peer."""

    certificate: Path
    key: Path


class Authority:
    """The CA that signs every VPN server and client of the lab."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        self._subject = _name("Lab CA")
        self.certificate = folder / "ca.crt"
        certificate = (
            self._builder("Lab CA", self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, SHA256())
        )
        self.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))

    def _builder(self, common_name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - LIFETIME)
            .not_valid_after(now + LIFETIME)
        )

    def issue(
        self, common_name: str, *, server: bool = False, both: bool = False, passphrase: str | None = None
    ) -> Credentials:
        """Sign a new key of a client, a server, or of who is `both`; encrypted with a passphrase or not at all.

        Files are numbered, as a common name may hold what no file name can.
        """
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] if server or both else []
        usages += [] if server else [ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(common_name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(SIGNS, critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, SHA256())
        )
        credentials = Credentials(self._folder / f"{self._count}.crt", self._folder / f"{self._count}.key")
        credentials.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
        write_private(credentials.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return credentials


def new_ssh_key(path: Path) -> str:
    """Write a new private key to `path`; its public half is returned as `ssh-ed25519 BASE64`."""
    key = ed25519.Ed25519PrivateKey.generate()
    write_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
