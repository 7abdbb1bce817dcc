"""`fleet inventory`: what was resolved, and from where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated

import typer

from fleet.cli.choosing import Target, choose, load_inventory
from fleet.cli.options import Options, OutputFormat, between_names, with_options
from fleet.cli.output import wants_json, write
from fleet.cli.queries import Patterns
from fleet.errors import UsageError
from fleet.inventory.model import Inventory, PasswordFile, PasswordSource, Server, SSHSettings
from fleet.operations.columns import Column
from fleet.render.fold import fold_names
from fleet.render.jsonout import dumps, to_jsonable
from fleet.render.table import render_table

_COLUMNS = (
    Column("server"),
    Column("address"),
    Column("management"),
    Column("jump"),
    Column("groups"),
    Column("exclusive", wide=True),
    Column("max_clients", wide=True),
)

# `ansible_become_password`, `vault_token`, `api_key`; not `..._file`, which says only where a secret is.
_SECRET = re.compile(r"(?:pass|password|passwd|passphrase|secret|token|credential|api_?key)s?$", re.IGNORECASE)
_NOT_SHOWN = "(not shown)"


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    family = typer.Typer(no_args_is_help=True)
    family.callback(help="Show what the inventory says, and from where.")(between_names())
    family.command("list")(with_options(_list))
    family.command("graph")(with_options(_graph))
    family.command("show")(with_options(_show))
    app.add_typer(family, name="inventory")


def _list(*, patterns: Patterns = None, options: Options) -> int:
    """List the servers, as targets or all of them."""
    as_json = wants_json(options)
    servers = choose(load_inventory(options), options, Target(args=tuple(patterns or ())))
    if as_json:
        write(dumps({"fleet_schema": 1, "servers": [_described(server) for server in servers]}, indent=2) + "\n")
        return 0
    rows = [_row(server) for server in servers]
    write(render_table(_COLUMNS, rows, wide=options.output is OutputFormat.WIDE) + "\n")
    return 0


def _graph(*, options: Options) -> int:
    """Draw the groups with their servers, as a tree."""
    as_json = wants_json(options)
    inventory = load_inventory(options)
    if as_json:
        groups = [to_jsonable(group) for group in inventory.groups.values()]
        write(dumps({"fleet_schema": 1, "groups": groups}, indent=2) + "\n")
        return 0
    write("".join(f"{line}\n" for line in _tree(inventory, "all", 0)))
    return 0


def _show(*, server: Annotated[str, typer.Argument(metavar="SERVER", help="Its name.")], options: Options) -> int:
    """Show everything that is known of one server, each value with its place in the inventory; secrets never."""
    as_json = wants_json(options)
    only = replace(options, limit=(server,), exclude=(), allow_empty=False)
    found = _one(choose(load_inventory(options), only, Target(args=(server,))), server)
    if as_json:
        write(dumps({"fleet_schema": 1, **_described(found)}, indent=2) + "\n")
        return 0
    rows = [(name, _plain(value), found.origins.get(name)) for name, value in _facts(found)]
    variables = _without_secrets(found.variables)
    rows.extend((name, _plain(value), found.origins.get(name)) for name, value in variables.items())
    write(render_table((Column("name"), Column("value"), Column("origin", header="FROM")), rows) + "\n")
    return 0


def _one(servers: tuple[Server, ...], name: str) -> Server:
    if len(servers) != 1:
        names = fold_names(server.name for server in servers)
        raise UsageError(f"'{name}' names {len(servers)} servers: {names}", hint="show takes one of them")
    return servers[0]


def _tree(inventory: Inventory, name: str, depth: int) -> Iterator[str]:
    """The group's lines, in the look of `ansible-inventory --graph`."""
    indent = "  |" * depth
    yield f"{indent}{'--' if depth else ''}@{name}:"
    group = inventory.groups[name]
    for child in group.children:
        yield from _tree(inventory, child, depth + 1)
    inside = {server for child in group.children for server in inventory.groups[child].servers}
    for server in inventory.servers:
        if server.name in group.servers and (server.host in group.hosts or server.name not in inside):
            yield f"{indent}  |--{server.name}"


def _row(server: Server) -> tuple[object, ...]:
    return (
        server.name,
        _address(server.ssh),
        str(server.management),
        _address(server.ssh.jump) if server.ssh and server.ssh.jump else None,
        ",".join(group for group in server.groups if group != "all") or None,
        server.exclusive,
        server.max_clients,
    )


def _address(ssh: SSHSettings | None) -> str:
    if ssh is None:
        return "(this machine)"
    user = f"{ssh.user}@" if ssh.user else ""
    port = f":{ssh.port}" if ssh.port else ""
    return f"{user}{ssh.host}{port}"


def _facts(server: Server) -> Iterator[tuple[str, object]]:
    """The values that fleet goes by, under the names of their variables."""
    yield "name", server.name
    yield "groups", server.groups
    yield "connection", "ssh" if server.ssh else "local"
    if server.ssh is not None:
        yield "ssh_host", server.ssh.host
        yield "ssh_port", server.ssh.port
        yield "ssh_user", server.ssh.user
        yield "private_key", server.ssh.private_key
        yield "host_keys", server.ssh.host_keys
        yield "jump", _chain(server.ssh)
    yield "management", str(server.management)
    yield _password_name(server.password), _password_place(server.password)
    yield "exclusive", server.exclusive
    yield "max_clients", server.max_clients


def _chain(ssh: SSHSettings) -> str | None:
    """The jump hosts in the order in which they are passed, as for `ssh -J`."""
    chain = []
    jump = ssh.jump
    while jump is not None:
        chain.append(_address(jump))
        jump = jump.jump
    return ",".join(reversed(chain)) or None


def _password_name(source: PasswordSource | None) -> str:
    return (
        "management_password_file"
        if source is None or isinstance(source, PasswordFile)
        else "management_password_command"
    )


def _password_place(source: PasswordSource | None) -> str | None:
    if source is None:
        return None
    # What a command is given may be secret; which command it is, is not.
    return str(source.path) if isinstance(source, PasswordFile) else source.argv[0]


def _described(server: Server) -> dict[str, object]:
    facts = {name: to_jsonable(value) for name, value in _facts(server)}
    return {**facts, "host": server.host, "variables": to_jsonable(_without_secrets(server.variables))}


def _without_secrets(variables: Mapping[str, object]) -> dict[str, object]:
    """Variables of other tools stand in the same inventory, and some of them are passwords."""
    return {
        name: _NOT_SHOWN if _SECRET.search(name) and value is not None else _hide_inside(value)
        for name, value in variables.items()
    }


def _hide_inside(value: object) -> object:
    if isinstance(value, Mapping):
        return _without_secrets(value)
    return [_hide_inside(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in value) or None
    return value
