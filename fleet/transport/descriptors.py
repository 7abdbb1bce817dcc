"""File descriptors: how many this process may have open, and for how many servers at a time they do.

The soft limit of a process is often 1,024 and the hard one far above it. It is raised as far as a run needs, and no
further: programs that a run starts inherit it, and some close every descriptor that there might be, one by one.
"""

from __future__ import annotations

import resource

FOR_A_SERVER = 4
"""While a server is asked: its lock and its socket, and one more each for a ProxyCommand and what that complains of."""

BESIDE = 128
"""Whatever a run has open beside that: its own files, an agent's connections, connections that wait for another daemon
of their host."""


def wanted(servers: int) -> int:
    """Descriptors that so many servers at a time take."""
    return BESIDE + FOR_A_SERVER * servers


def allow(count: int) -> int:
    """See to it that this process may have so many descriptors open, as far as the hard limit lets it.

    Returns:
        How many it may have.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return count if soft == resource.RLIM_INFINITY else soft
    higher = count if hard == resource.RLIM_INFINITY else min(count, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (higher, hard))
    except (OSError, ValueError):  # a system that lets no process have so many, whatever its limits say
        return soft
    return higher


def fitting(forks: int, servers: int) -> tuple[int, str]:
    """How many servers can be asked at a time.

    Args:
        forks: as many as are wished for.
        servers: as there are.

    Returns:
        At most `forks`, and where it is fewer than `forks` and `servers` why, or "".
    """
    together = min(forks, servers)
    allowed = allow(wanted(together))
    room = max((allowed - BESIDE) // FOR_A_SERVER, 1)
    if room >= together:
        return forks, ""
    few = "one server" if room == 1 else f"{room:,} servers"
    return room, (
        f"asking {few} at a time and not {together:,}: that takes {wanted(together):,} open files, and this process "
        f"may have {allowed:,} (raise ulimit -Hn)"
    )
