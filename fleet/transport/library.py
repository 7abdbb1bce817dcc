"""The import of asyncssh: everything in this room that needs it calls `load_asyncssh` first.

asyncssh looks for two C libraries while it is imported: nettle, for UMAC, and liboqs, for sntrup761. It asks
`ctypes.util.find_library`, which on Linux runs ldconfig, and where that knows nothing gcc, cc and ld, whichever stand
first in PATH. An operator's PATH is not fleet's to trust, and eight programs cost more than what they find. While
asyncssh is imported the question is answered without a program: from the cache of the dynamic linker, and by the
dynamic linker itself. So the algorithms are the same, wherever a library is installed as libraries are.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CACHE = Path("/etc/ld.so.cache")
"""Of glibc: all libraries of the system's folders, by their names (ld.so(8))."""

_MOST_OF_CACHE = 16 * 1024 * 1024
"""Bytes of the cache that are read; a big installation has some hundred thousand."""

_VERSIONS = 16
"""Numbers of versions that are tried where no cache says which there are (musl, LD_LIBRARY_PATH); both are below 10."""


def load_asyncssh() -> None:
    """Imports asyncssh, if it is not, without running a program and without looking for garbage among its modules."""
    if "asyncssh" in sys.modules:
        return
    with _no_programs(), _no_collection():
        import asyncssh  # noqa: F401, PLC0415 - 0.3 s, for what goes over SSH only


def find_library(name: str) -> str | None:
    """The file name of a shared library that can be loaded, as `ctypes.util.find_library` gives it, or None.

    Args:
        name: without `lib` and what follows the name.
    """
    return next(filter(_loads, _names(name)), None)


def _names(name: str) -> Iterator[str]:
    """What the library may be called, the likelier ones first: the highest version, as ldconfig sorts them."""
    try:
        with _CACHE.open("rb") as cache:
            content = cache.read(_MOST_OF_CACHE)
    except OSError:
        content = b""
    versions = set(re.findall(rb"[\0/]lib%b\.so\.(\d{1,6})\0" % re.escape(name.encode()), content))
    yield from (f"lib{name}.so.{version}" for version in sorted(map(int, versions), reverse=True))
    yield f"lib{name}.so"
    if not content or os.environ.get("LD_LIBRARY_PATH"):
        yield from (f"lib{name}.so.{version}" for version in reversed(range(_VERSIONS)))


def _loads(file: str) -> bool:
    """Whether the dynamic linker finds it, for this machine's kind of processor."""
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


@contextmanager
def _no_programs() -> Iterator[None]:
    """Lets `ctypes.util.find_library` run none, where it would: elsewhere than on Linux it is left as it is."""
    stock = ctypes.util.find_library
    if sys.platform == "linux":
        ctypes.util.find_library = find_library
    try:
        yield
    finally:
        ctypes.util.find_library = stock


@contextmanager
def _no_collection() -> Iterator[None]:
    """Modules are no garbage: Python looks through all of them a hundred times while they come, unless it is told."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count():  # this is fleet's own process, whose modules stay
            gc.freeze()
        if collects:
            gc.enable()
