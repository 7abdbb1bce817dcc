"""Every command line in README.md and docs is typed, as it stands there, on a fleet that is there for it.

A page is typed from its first `sh` block to its last, in order. A command that is not named here ends with 0; one that
cannot be typed here is in ELSEWHERE with the test that does, or the reason why none can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from docs.markdown import ROOT, Page, pages
from docs.operator import FARMS, Operator, Typed, commands, fleet_of_the_pages

TYPED = ("sh", "bash", "shell")
"""The languages of blocks that are typed; what a page only shows is `text`, or `console` with what comes of it."""

GO_ON = (("[y/N]", "y"),)
UNTIL_CTRL_C = Typed((130,), interrupt=True)

RUNBOOK = "tests/lab/test_runbook.py"
PACKAGING = "tests/packaging/test_packaging.py"
THIS_RUN = "is how these tests are run"

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "README.md": {
        "python3 -m venv .venv && .venv/bin/pip install -c .ci/constraints.txt . && .venv/bin/fleet demo": PACKAGING,
        "tests/run": THIS_RUN,
    },
    "docs/adding-a-command.md": {
        ".venv/bin/python -m fleet.cli.generate docs": "tests/docs/test_docs_adding_a_command.py",
    },
    "docs/contributing.md": {
        ".venv/bin/python -m fleet.cli.generate docs": "tests/docs/test_docs_adding_a_command.py",
        "python3 -m venv /tmp/renew && /tmp/renew/bin/pip install '.[test]' hatchling": "downloads from a registry",
        "/tmp/renew/bin/pip freeze --exclude openvpn-fleet": "downloads from a registry",  # noqa: S108 - as the page has it
    },
    "docs/testing.md": dict.fromkeys(
        (
            "tests/run",
            "tests/run tests/management",
            "tests/run tests/lab -k kill",
            'tests/run -m "not lab"',
            ".venv/bin/python -m pytest tests/engine",
        ),
        THIS_RUN,
    ),
    "docs/tutorial.md": {"fleet demo --keep": "tests/demo/test_demo_demo.py"},
}
"""By page, what is not typed here: the test that runs it, or why nobody does."""

CLOSED_EARLY = Typed((0, 130))
"""Whoever reads the pipe has enough of it: what fleet still had to ask is left."""

SHOWN: Mapping[str, Mapping[str, str]] = {
    "README.md": {
        "fleet status --all": "tests/demo/test_demo_demo.py",
        "fleet kill Test-Client": "tests/demo/test_demo_demo.py",
        "fleet verb 4 -l eu --yes": "tests/demo/test_demo_demo.py",
        "fleet exec 'verb' 'mute' -l eu": "tests/docs/test_docs_commands.py",
        "fleet console edge-1": "tests/cli/test_cli_console.py",
    },
    "docs/adding-a-command.md": {"fleet nclients eu": "tests/docs/test_docs_adding_a_command.py"},
    "docs/howto/ansible.md": {
        "fleet -i ./inventory.sh inventory list": "tests/cli/test_cli_inventory.py",
        "fleet -i /srv/ansible/inventory -i /srv/fleet inventory list": "tests/cli/test_cli_inventory.py",
    },
    "docs/howto/bastions.md": dict.fromkeys(
        (
            "fleet -J ops@bastion.example.net status",
            "fleet -J ops@outer:2222,inner status",
            "fleet -J none status",
        ),
        "tests/cli/test_cli_ssh.py",
    ),
    "docs/howto/many-servers.md": {
        "fleet status --all --scheduler tls://10.0.0.1:8786": "tests/lab/test_shards.py",
    },
    "docs/howto/ssh.md": {"fleet -F work.conf -J ops@bastion --user ops status": "tests/cli/test_cli_ssh.py"},
    "docs/howto/top.md": {
        "fleet top": "tests/lab/test_top.py",
        "fleet top eu -d 5s": "tests/lab/test_top.py",
        "fleet status --watch": "tests/cli/test_cli_watch.py",
        "fleet clients --watch 5s eu": "tests/cli/test_cli_watch.py",
        "fleet find Test-Client --watch": "tests/cli/test_cli_watch.py",
    },
}
"""By page, the commands in blocks that are not typed, and the test that runs such."""

_ROLLING = "fleet signal SIGUSR1 -l eu --serial 1,50% --wait connected,clients=80%"

HOW: Mapping[str, Mapping[str, Typed]] = {
    "README.md": {
        "fleet verb 4 -l eu": Typed(answers=GO_ON),
        _ROLLING: Typed(answers=GO_ON, says=("batch 3",)),
        "fleet drain edge-1.eu.example.net": Typed(terminal=True, says=("nobody was connected",)),
        "fleet events --type CLIENT,STATE": UNTIL_CTRL_C,
        "fleet bytecount --follow 5": UNTIL_CTRL_C,
        "fleet console edge-1.eu.example.net": Typed(answers=(("edge-1.eu.example.net>", "exit"),)),
        "fleet top": Typed((0, 130), until="gw-2"),
        "fleet status --watch": Typed((0, 130), until="gw-2"),
    },
    "docs/management.md": {
        "fleet exec --reply block 'some-new-command' -l edge-1.eu.example.net": Typed((1,)),
        r"""fleet exec $'client-auth 3 1\npush "route 10.77.0.0 255.255.0.0"\nEND' -l edge-1.eu.example.net""": Typed(
            (1,)
        ),
        "fleet console edge-1.eu.example.net": Typed(answers=(("edge-1.eu.example.net>", "exit"),)),
        "fleet console eu --idle 5m": Typed(answers=((">", "exit"),)),
        "fleet log --follow -l eu --verb 5 --release-every 30s": Typed((130,), answers=GO_ON, until="+ edge-3"),
        "fleet events --type CLIENT,STATE": UNTIL_CTRL_C,
        "fleet state --follow": UNTIL_CTRL_C,
        "fleet bytecount --follow 5 edge-1.eu.example.net": UNTIL_CTRL_C,
    },
    "docs/howto/output.md": {"fleet status -o name | head -1": CLOSED_EARLY},
    "docs/tutorial.md": {
        "fleet clients eu -o csv | head -3": CLOSED_EARLY,
        "fleet status": Typed((4,)),
        "fleet ping us": Typed((4,), says=("management-busy",)),
        "fleet find Test-Client": Typed((4,)),
        "fleet kill Test-Client --dry-run": Typed((4,)),
        "fleet kill Test-Client": Typed((4,), says=("killed 2 sessions",)),
    },
}
"""By page, the commands that end in another way than with 0, or are more than a line to type."""

FILES: Mapping[str, str] = {
    "/var/log/openvpn/status.log": "OpenVPN CLIENT LIST\nUpdated,2026-11-22 09:00:00\n"
    "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since\n"
    "ROUTING TABLE\nVirtual Address,Common Name,Real Address,Last Ref\n"
    "GLOBAL STATS\nMax bcast/mcast queue length,0\nEND\n",
    "~/.config/fleet/key.pass": "example\n",
}
"""What is there before a page is begun."""


def typed_on(page: Page) -> Iterator[tuple[str, int]]:
    for block in page.blocks:
        if block.language in TYPED:
            yield from commands(block)


RUNBOOK_LINES = {command for command, _ in typed_on(pages()["docs/operations.md"])}
"""That test knows each of them, and fails where one of the page is new."""
PAGES = [page for page in pages().values() if page.name != "docs/operations.md" and list(typed_on(page))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_do_what_it_says(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    farm = FARMS.get(page.name, fleet_of_the_pages)()
    elsewhere, how = ELSEWHERE.get(page.name, {}), HOW.get(page.name, {})
    wrong = []
    if page.name == "docs/tutorial.md":
        monkeypatch.setenv("FLEET_REPLY_TIMEOUT", "1s")  # as `fleet demo --keep` says
    with Operator(tmp_path, farm, capsys, monkeypatch) as operator:
        for name, text in FILES.items():
            operator.has(name, text)
        for command, line in typed_on(page):
            if command in elsewhere or command in RUNBOOK_LINES or command == "echo $?":
                continue
            expected = how.get(command, Typed())
            try:
                ended = operator.types(command, expected)
            except AssertionError as error:  # all that is wrong with a page is told at once
                wrong.append(f"{page.name}:{line}: {command}\n{error}")
                continue
            missed = [text for text in expected.says if text not in ended.text]
            if ended.status not in expected.status or missed:
                wrong.append(f"{page.name}:{line}: {command}\nexit status {ended.status}, no {missed}\n{ended.text}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_known_of_a_page_stands_there(page: Page) -> None:
    there = {command for command, _ in typed_on(page)}
    assert {*ELSEWHERE.get(page.name, {}), *HOW.get(page.name, {})} - there == set()


def test_pages_that_are_known_are_there() -> None:
    assert {*ELSEWHERE, *HOW, *FARMS} - {page.name for page in PAGES} == set()


def shown_on(page: Page) -> set[str]:
    """The commands of fleet in blocks that are not typed."""
    blocks = (block for block in page.blocks if block.language in ("text", "console"))
    lines = (command for block in blocks for command, _ in commands(block))
    return {line.removeprefix("$ ") for line in lines if line.startswith(("fleet ", "$ fleet "))}


def test_what_is_only_shown_has_a_test_of_its_own() -> None:
    # The examples of docs/json.md are all run by tests/docs/test_docs_json.py, without being named there.
    found = {name: shown_on(page) for name, page in pages().items() if name != "docs/json.md" and shown_on(page)}
    assert found == {name: {*known} for name, known in SHOWN.items()}


def test_a_test_that_runs_what_is_not_typed_here_is_there() -> None:
    reasons = {reason for known in (ELSEWHERE, SHOWN) for page in known.values() for reason in page.values()}
    assert [reason for reason in reasons if reason.startswith("tests/") and not (ROOT / reason).is_file()] == []
    assert (ROOT / RUNBOOK).is_file()
