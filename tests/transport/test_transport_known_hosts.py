from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import asyncssh
import pytest

from fleet.transport.known_hosts import KnownHosts, short
from support.sshd import public_line

KEY, OTHER, THIRD = (asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(3))


def known(tmp_path: Path, text: str) -> KnownHosts:
    file = tmp_path / "known_hosts"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return KnownHosts([file, tmp_path / "missing"])


def hashed(name: str, salt: bytes = b"x" * 20) -> str:
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@pytest.mark.parametrize(
    ("names", "host", "port", "found"),
    [
        ("edge", "edge", 22, True),
        ("EDGE", "Edge", 22, True),
        ("edge", "edge", 2222, True),  # the entry without a port, where there is none with it
        ("[edge]:2222", "edge", 2222, True),
        ("[edge]:2222", "edge", 22, False),
        ("edge,192.0.2.1", "192.0.2.1", 22, True),
        ("edge-*,!edge-9", "edge-1", 22, True),
        ("edge-*,!edge-9", "edge-9", 22, False),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, True),
        (hashed("edge"), "edge", 22, True),
        (hashed("[edge]:2222"), "edge", 2222, True),
        (hashed("edge"), "other", 22, False),
        (hashed("edge").replace("|1|", "|2|"), "edge", 22, False),
    ],
)
def test_lookup(tmp_path: Path, names: str, host: str, port: int, *, found: bool) -> None:
    keys = known(tmp_path, f"{names} {public_line(KEY)} comment\n").lookup(host, port)
    assert keys.host == ((KEY,) if found else ())


def test_an_entry_with_the_port_hides_the_one_without(tmp_path: Path) -> None:
    text = f"edge {public_line(KEY)}\n{hashed('[edge]:2222')} {public_line(OTHER)}\n"
    assert known(tmp_path, text).lookup("edge", 2222).host == (OTHER,)


def test_markers(tmp_path: Path) -> None:
    text = (
        f"@cert-authority *.example.net {public_line(KEY)}\n"
        f"@revoked * {public_line(OTHER)}\n"
        f"@revoked {hashed('[a.example.net]:22')} {public_line(OTHER)}\n"
        f"a.example.net {public_line(THIRD)}\n"
        f"@unknown a.example.net {public_line(OTHER)}\n"
    )
    keys = known(tmp_path, text).lookup("a.example.net", 2222)
    assert (keys.host, keys.authorities, set(keys.revoked)) == ((THIRD,), (KEY,), {OTHER})


@pytest.mark.parametrize(
    "line",
    [
        "edge",
        "@revoked edge",
        "edge ssh-ed25519",
        "edge ssh-ed25519 !!!",
        "|1|x edge",
        f"|1|%|% {public_line(KEY)}",
        f"|1|abc {public_line(KEY)}",
        "\udcff\udcfe ssh-ed25519 AAAA",
        "# edge ssh-ed25519 AAAA",
        "",
        "edge 1024 35 1234567890",
        f"@unknown {hashed('edge')} {public_line(OTHER)}",
    ],
    ids=lambda line: line.partition("ssh-ed25519")[0],  # keys are new in each run; a test's name is not
)
def test_a_line_that_cannot_be_read_knows_nothing_and_spoils_nothing(tmp_path: Path, line: str) -> None:
    files = known(tmp_path, f"{line}\nedge {public_line(KEY)}\n")
    assert files.lookup("edge", 22).host == (KEY,)
    assert files.places("edge", 22, [KEY]) == [f"{tmp_path}/known_hosts:2"]


def test_places_name_every_line(tmp_path: Path) -> None:
    text = f"edge {public_line(KEY)}\nother {public_line(KEY)}\n{hashed('edge')} {public_line(KEY)}\n"
    files = known(tmp_path, text)
    assert [place.rpartition(":")[2] for place in files.places("edge", 22, [KEY])] == ["1", "3"]
    assert files.places("edge", 22, [OTHER]) == []


def test_places_read_no_other_key_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error message is made in the loop: with ten thousand lines it held up all servers for seconds."""
    others = "".join(f"{name} {public_line(OTHER)}\n" for n in range(50) for name in (f"e{n}", hashed(f"h{n}")))
    files = known(tmp_path, f"{others}edge {public_line(KEY)} me@here\n{hashed('edge')} {public_line(KEY)}\n")
    real, read = asyncssh.import_known_hosts, []

    def counted(text: str) -> asyncssh.SSHKnownHosts:
        read.append(text)
        return real(text)

    monkeypatch.setattr(asyncssh, "import_known_hosts", counted)
    assert [place.rpartition(":")[2] for place in files.places("edge", 22, [KEY])] == ["101", "102"]
    assert len(read) == 2


def test_short(home: object, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - sets HOME
    assert short(Path.home() / ".ssh" / "known_hosts") == "~/.ssh/known_hosts"
    assert short(Path("/etc/ssh/ssh_known_hosts")) == "/etc/ssh/ssh_known_hosts"
