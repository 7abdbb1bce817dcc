"""What a run does where the system lets it open fewer files than it would."""

from __future__ import annotations

import resource

from cli.harness import TIMEOUT, Fleet, Result, daemon
from fleet.demo.farm import Farm

SERVERS, FILES = 60, 192
"""More servers than can be asked at a time with so many open files."""


def ask(fleet: Fleet, hard: int, *arguments: str) -> Result:
    """Asks all servers in a process that may have few files open."""
    farm = Farm()
    for number in range(SERVERS):
        farm.add(f"edge-{number}", daemon())
    fleet.start(farm)
    with fleet.spawn("pid", *arguments) as child:
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (FILES, hard))  # long before it has come to any server
        out, err = child.communicate(timeout=TIMEOUT)
    return Result(child.returncode, out, err)


def test_few_files_are_few_servers_at_a_time(fleet: Fleet) -> None:
    ran = ask(fleet, FILES, "-o", "json")
    assert (ran.status, ran.document["summary"]["ok"]) == (0, SERVERS), ran.err
    assert ran.err == (
        "asking 16 servers at a time and not 60: that takes 368 open files, and this process may have 192 "
        "(raise ulimit -Hn)\n"
    )


def test_nothing_is_said_where_nothing_is_to_be_said(fleet: Fleet) -> None:
    ran = ask(fleet, FILES, "--quiet")
    assert (ran.status, ran.err) == (0, "")


def test_a_soft_limit_alone_is_raised(fleet: Fleet) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ran = ask(fleet, hard, "-o", "json")
    assert (ran.status, ran.document["summary"]["ok"], ran.err) == (0, SERVERS, "")


def test_each_of_several_processes_has_its_own_files(fleet: Fleet) -> None:
    ran = ask(fleet, FILES, "-o", "json", "--workers", "2")
    assert (ran.status, ran.document["summary"]["ok"]) == (0, SERVERS), ran.err
    assert "asking 16 servers at a time and not 30: that takes 248 open files" in ran.err
