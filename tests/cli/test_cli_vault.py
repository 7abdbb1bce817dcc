"""What is said of files of variables that Ansible Vault encrypts."""

from __future__ import annotations

import pytest

from cli.harness import Fleet

VAULT = "$ANSIBLE_VAULT;1.1;AES256\n3132\n"
SAID = "not read, since Ansible Vault encrypts them: {}\n"


@pytest.fixture
def closed(fleet: Fleet) -> str:
    """A folder of variables beside the inventory, with an encrypted file in it; its path."""
    fleet.inventory("[all]\na1 management=127.0.0.1:7505\n", "hosts")
    path = fleet.folder / "group_vars" / "all" / "vault.yml"
    path.parent.mkdir(parents=True)
    path.write_text(VAULT, "utf-8")
    return str(path)


@pytest.mark.parametrize("command", [("list",), ("list", "--json"), ("graph",), ("graph", "--json"), ("show", "a1")])
def test_files_that_were_left_closed_are_named(fleet: Fleet, closed: str, command: tuple[str, ...]) -> None:
    assert fleet("inventory", *command).err == SAID.format(closed)
    assert fleet("inventory", *command, "-q").err == ""


def test_a_missing_management_may_be_in_them(fleet: Fleet, closed: str) -> None:
    fleet.inventory("[all]\na1\n", "hosts")
    refused = fleet("status")
    assert refused.status == 2
    assert f"It is not looked for in {closed}, which Ansible Vault encrypts" in refused.err
