"""What `fleet --version` prints: fleet's version, and those of whatever matters for a bug report."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from fleet import __version__

PACKAGES: Final = ("asyncssh", "cryptography", "typer", "PyYAML", "tabulate", "wcwidth", "prompt_toolkit")
"""What fleet builds on: each does something for it that a release may do otherwise."""

EXTRAS: Final = ("textual", "prometheus_client")
"""What it builds on where the extras `top` and `metrics` were installed."""

_METADATA: Final = re.compile(r"(?P<name>[A-Za-z0-9._]+)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info")


def version_text() -> str:
    """All of it, without the last newline; the first line is fleet's own version alone."""
    installed = _installed(tuple(sys.path))
    lines = [f"fleet {__version__}", f"Python {sys.version.split(' ')[0]} ({sys.executable})"]
    lines += [f"{name} {installed.get(_same(name), 'is missing')}" for name in PACKAGES]
    lines += [f"{name} {installed[_same(name)]}" for name in EXTRAS if _same(name) in installed]
    return "\n".join((*lines, _openssl(), _system()))


@cache
def _installed(path: Sequence[str]) -> Mapping[str, str]:
    """The versions of the installed packages, by name, of which the first in the path is the one that is imported.

    importlib.metadata says the same, and takes longer for it than all else that `--version` does.
    """
    found: dict[str, str] = {}
    for name, version in _listed(path):
        found.setdefault(_same(name), version)
    return found


def _listed(path: Sequence[str]) -> Iterator[tuple[str, str]]:
    for folder in path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - nothing but names is wanted, of some hundred entries
        except OSError:
            continue  # a zip file, or nothing at all
        for name in names:
            if match := _METADATA.fullmatch(name):
                yield match["name"], match["version"]


def _same(name: str) -> str:
    """A package's name as every spelling of it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _openssl() -> str:
    """The library that cryptography, and so SSH, goes by; Python's own may be another one."""
    try:
        from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 - nobody else needs it
    except ImportError as error:
        return f"OpenSSL cannot be used: {error}"
    return backend.openssl_version_text()


def _system() -> str:
    """The kernel and the distribution."""
    kernel = os.uname()
    return f"{kernel.sysname} {kernel.release} {kernel.machine}, {_distribution()}"


def _distribution() -> str:
    """As /etc/os-release calls it (os-release(5)); its kernel's name where there is no such file."""
    for place in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = Path(place).read_text("utf-8")
        except OSError:
            continue
        if match := re.search(r"""^PRETTY_NAME=(["']?)(.*)\1$""", text, re.MULTILINE):
            return match[2]
    return sys.platform
