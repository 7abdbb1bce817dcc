"""`fleet inventory`: what was resolved, and from where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from fleet.cli.choosing import Target, choose, load_inventory, read_inventory
from fleet.cli.options import Options, OutputFormat, Patterns, between_names, with_options
from fleet.cli.output import say, show_table, write
from fleet.cli.sshing import ssh_options
from fleet.cli.watch import refuse_watch_of_none
from fleet.errors import ServerError, UsageError
from fleet.inventory.listing import listing
from fleet.inventory.model import Inventory, PasswordFile, PasswordSource, Server, SSHSettings
from fleet.inventory.resolve import Resolver
from fleet.operations.columns import SERVER, Column, Kind
from fleet.operations.operation import Row
from fleet.render.fold import fold_names
from fleet.render.jsonout import SCHEMA, dumps, to_jsonable
from fleet.render.text import escape
from fleet.transport import Setting, explain

_COLUMNS = (
    SERVER,
    Column("address"),
    Column("management"),
    Column("jump"),
    Column("groups"),
    Column("exclusive", wide=True),
    Column("max_clients", Kind.COUNT, wide=True),
)
_GROUPS = (Column("group", names=True), Column("children"), Column("servers", Kind.COUNT))
_SHOWN = (Column("name", names=True, keep=True), Column("value", keep=True), Column("origin", header="FROM", keep=True))
_TYPED = "command line"
_OPTIONS = {
    "--ssh-config": "ssh_config",
    "--user": "user",
    "--private-key": "private_key",
    "--connect-timeout": "connect_timeout",
    "-J": "jump",
    "-J none": "jump",
}
"""What the way calls an option, and its name."""
_OF_THE_WAY = frozenset({"ssh_host", "ssh_port", "ssh_user", "private_key", "host_keys", "jump"})


def register(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    family = typer.Typer(no_args_is_help=True)
    family.callback(help="Show what the inventory says, and from where.")(between_names())
    family.command("list")(with_options(_list))
    family.command("graph")(with_options(_graph))
    family.command("show")(with_options(_show))
    app.add_typer(family, name="inventory")


def _list(
    *,
    patterns: Patterns = None,
    host: Annotated[str | None, typer.Option("--host", hidden=True, metavar="HOST")] = None,
    as_program: Annotated[bool, typer.Option("--list", hidden=True)] = False,
    options: Options,
) -> int:
    """List the servers, as targets or all of them.

    With -o json it is what Ansible's programs of inventories print, for Ansible and for fleet to read: the servers, the
    hosts to jump through, and their variables. Secrets are left out of it.
    """
    refuse_watch_of_none(options)
    if as_program or host is not None:
        options = replace(options, output=OutputFormat.JSON)
    resolver = read_inventory(options)
    inventory = resolver.inventory()
    servers = choose(inventory, options, Target(args=tuple(patterns or ())))
    if host is not None:
        hosts = listing(resolver, servers)["_meta"]["hostvars"]
        write(dumps(hosts.get(host, {}), indent=2) + "\n")
        return 0
    show_table(
        _COLUMNS,
        lambda: map(_row, servers),
        options,
        lambda: _document(resolver, servers, options),
        items="servers" if options.output is OutputFormat.NDJSON else None,
    )
    _tell_closed(inventory, options)
    return 0


def _document(resolver: Resolver, servers: Sequence[Server], options: Options) -> Mapping[str, object]:
    """Ansible's form of an inventory; a line of NDJSON is a server as `show` describes it."""
    if options.output is OutputFormat.NDJSON:
        return {"fleet_schema": SCHEMA, "servers": [_described(server) for server in servers]}
    return listing(resolver, servers)


def _graph(*, options: Options) -> int:
    """Draw the groups with their servers, as a tree; with -l or -x those of the servers that are meant."""
    refuse_watch_of_none(options)
    inventory = load_inventory(options)
    if options.limit or options.exclude:
        inventory = _part(inventory, choose(inventory, options, Target()))
    if options.output in (OutputFormat.TABLE, OutputFormat.WIDE):
        write("".join(f"{line}\n" for line in _tree(inventory, "all", 0)))
        _tell_closed(inventory, options)
        return 0
    show_table(
        _GROUPS,
        lambda: ((name, " ".join(group.children), len(group.servers)) for name, group in inventory.groups.items()),
        options,
        lambda: {"fleet_schema": SCHEMA, "groups": list(inventory.groups.values())},
        items="groups",
    )
    _tell_closed(inventory, options)
    return 0


def _show(*, server: Annotated[str, typer.Argument(metavar="SERVER", help="Its name.")], options: Options) -> int:
    """Show everything that is known of one server, each value with the place it comes from; secrets never.

    The way to it is shown as it is gone: what the options, the inventory and ssh_config say of it, put together.
    """
    only = replace(options, limit=(server,), exclude=(), allow_empty=False)
    inventory = load_inventory(options)
    found = _one(choose(inventory, only, Target(args=(server,))), server)
    way = _way(found, options) if found.ssh is not None else ()
    show_table(
        _SHOWN,
        lambda: _shown(found, way),
        options,
        lambda: {"fleet_schema": SCHEMA, **_described(found), "way": [*way]},
    )
    _tell_closed(inventory, options)
    return 0


def _tell_closed(inventory: Inventory, options: Options) -> None:
    """Says which files were left out: what stands in them may be missed."""
    if inventory.closed and not options.quiet:
        say(f"not read, since Ansible Vault encrypts them: {', '.join(map(escape, inventory.closed))}")


def _way(server: Server, options: Options) -> tuple[Setting, ...]:
    """How the server is reached, with all that options and ssh_config add to the inventory.

    Raises:
        UsageError: they cannot be used for it.
    """
    try:
        way = explain(server, ssh_options(options))
    except ServerError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return tuple(replace(setting, origin=_option_origin(setting.origin, options)) for setting in way)


def _option_origin(origin: str, options: Options) -> str:
    """Where a setting comes from; what an option of the command line would say, a variable or a file may have said."""
    given = options.origins.get(_OPTIONS.get(origin, ""), _TYPED)
    return origin if given == _TYPED else given


def _shown(server: Server, way: Sequence[Setting]) -> Iterator[Row]:
    """The rows of `show`: for people the way as it is gone stands in place of what the inventory says of it."""
    for name, value in _facts(server):
        if name == "ssh_host":
            yield from ((setting.name, _plain(setting.value), setting.origin) for setting in way)
        if name not in _OF_THE_WAY:
            yield name, _plain(value), _place(server, name)
    for name, value in server.variables.items():
        yield name, _plain(value), _place(server, name)


def _place(server: Server, name: str) -> str | None:
    origin = server.origins.get(name)
    return None if origin is None else str(origin)


def _one(servers: tuple[Server, ...], name: str) -> Server:
    if len(servers) != 1:
        names = fold_names(server.name for server in servers)
        raise UsageError(f"'{name}' names {len(servers)} servers: {names}", hint="show takes one of them")
    return servers[0]


def _part(inventory: Inventory, servers: tuple[Server, ...]) -> Inventory:
    """An inventory of these servers, with the groups that have some of them."""
    names, hosts = {server.name for server in servers}, {server.host for server in servers}
    kept = {name for name, group in inventory.groups.items() if name == "all" or names.intersection(group.servers)}
    groups = {
        name: replace(
            group,
            children=tuple(child for child in group.children if child in kept),
            hosts=tuple(host for host in group.hosts if host in hosts),
            servers=tuple(server for server in group.servers if server in names),
        )
        for name, group in inventory.groups.items()
        if name in kept
    }
    return replace(inventory, servers=servers, groups=groups)


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
    return {**facts, "host": server.host, "variables": to_jsonable(server.variables)}


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in value) or None
    return value
