"""The options that every command takes, before or after its name.

A command is a function with an `options: Options` parameter; `command` gives it the common options in that
parameter's place. What stands after the command's name wins over what stands before it, and that over the
environment.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli.charset import settle_charset
from fleet.cli.starting import loaded
from fleet.errors import InterruptedRunError, UsageError

if TYPE_CHECKING:
    from fleet.cli.settings import Settings


class OutputFormat(StrEnum):
    """What stdout carries."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    NDJSON = "ndjson"
    YAML = "yaml"
    CSV = "csv"
    NAME = "name"
    RAW = "raw"


class WhenUnreachable(StrEnum):
    """Whether a server that cannot be asked counts as failed in a rolling change."""

    FAIL = "fail"
    SKIP = "skip"


class When(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Options:
    """The common options of one run, with their defaults. Times are in seconds.

    Attributes:
        from_environment: the names of those that only a variable of the environment, or a file of settings, gave.
        origins: where those that are no defaults come from: a variable, `file:line`, or `command line`.
        workers: processes that ask the servers; 0 for as many as pay.
        only: the names that a selection is cut down to, where an earlier run is repeated in part; no option gives it.
        argv: the words of the command line; None where they must not be kept, as a secret may be among them.
        command_line: the same as it was typed, without what may be a secret.
    """

    inventory: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    every: bool = False
    exclude: tuple[str, ...] = ()
    list_hosts: bool = False
    allow_empty: bool = False
    force: bool = False
    readonly: bool = False
    output: OutputFormat = OutputFormat.TABLE
    columns: tuple[str, ...] = ()
    sort_by: str | None = None
    no_headers: bool = False
    table_format: str | None = None
    gather: bool = False
    diff: bool = False
    exact_bytes: bool = False
    utc: bool = False
    watch: float | None = None
    quiet: bool = False
    verbose: int = 0
    color: When = When.AUTO
    forks: int = 64
    workers: int = 0
    scheduler: str | None = None
    connect_timeout: float | None = None
    reply_timeout: float = 10.0
    host_timeout: float = 30.0
    timeout: float | None = None
    ssh_config: str | None = None
    jump: str | None = None
    private_key: str | None = None
    user: str | None = None
    config: str | None = None
    lock_timeout: float = 10.0
    wait_busy: float | None = None
    dry_run: bool = False
    yes: bool = False
    syslog: bool = False
    serial: str | None = None
    max_fail: str | None = None
    unreachable: WhenUnreachable = WhenUnreachable.FAIL
    batch_wait: float | None = None
    step: bool = False
    from_environment: frozenset[str] = frozenset()
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    only: frozenset[str] | None = None
    argv: tuple[str, ...] | None = None
    command_line: str = "fleet"

    @property
    def in_batches(self) -> bool:
        """The command line asks for a rolling change."""
        return self.step or any(given is not None for given in (self.serial, self.max_fail, self.batch_wait))


@dataclass(slots=True)
class Invocation:
    """What is known of a command line so far, for whoever has to tell how it failed.

    Attributes:
        options: as far as they were read.
        command: its name, `inventory show` where it has two words; empty while it is not known.
        args: the command's own arguments.
        argv: the words of the command line.
        complete: everything was read, and `options` says what the user wants.
        settings: what the files of settings say.
    """

    options: Options = field(default_factory=Options)
    command: str = ""
    args: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    complete: bool = False
    settings: Settings | None = None


def wait(text: str | None) -> float | None:
    """The callback of an option that takes a duration, or 0 for no wait at all: its seconds."""
    if text is None:
        return None
    from fleet.render.units import parse_duration  # noqa: PLC0415 - most command lines have no duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def duration(text: str | None) -> float | None:
    """The callback of an option that takes a duration: its seconds."""
    seconds = wait(text)
    if seconds == 0:
        raise typer.BadParameter("a duration is more than 0")
    return seconds


def variable_of(setting: str) -> str:
    """The variable of an option, from its long name without the dashes."""
    return "FLEET_" + setting.upper().replace("-", "_")


@dataclass(frozen=True, slots=True)
class _Common:
    """A common option: its type, names (the long one last) and what typer is told of it."""

    kind: Any
    names: tuple[str, ...]
    help: str
    settings: dict[str, Any] = field(default_factory=dict)

    def parameter(self, name: str, *, environment: bool) -> inspect.Parameter:
        """The option as a parameter of a function that typer reads."""
        variable = variable_of(self.names[-1].lstrip("-"))
        known = environment and name != "inventory"  # typer would split that one at its blanks
        option = typer.Option(*self.names, help=self.help, envvar=variable if known else None, **self.settings)
        annotation: Any = Annotated[self.kind | None, option]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _workers(text: str | None) -> int | None:
    """The callback of --workers: how many processes, 0 for auto."""
    if text is None or text == "auto":
        return None if text is None else 0
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and 0 < int(text) <= MOST_WORKERS:
        return int(text)
    raise typer.BadParameter(f"'{text}' is neither auto nor a number from 1 to {MOST_WORKERS}")


MOST_WORKERS = 512
"""Processes of one run; more would ask no faster, and could bring a machine down by a slip of the hand."""
_MOST_DIGITS = 9

_DURATION = {"metavar": "DURATION", "callback": duration}
_WAIT = {"metavar": "DURATION", "callback": wait}
_PATTERN = {"metavar": "PATTERN"}

_COMMON: dict[str, _Common] = {
    "inventory": _Common(
        list[str],
        ("-i", "--inventory"),
        "The inventory: a file, a folder or a program (repeatable).",
        {"metavar": "PATH"},
    ),
    "limit": _Common(list[str], ("-l", "--limit"), "Servers to ask (repeatable).", _PATTERN),
    "every": _Common(bool, ("--all",), "Ask every server of the inventory."),
    "exclude": _Common(list[str], ("-x", "--exclude"), "Servers to leave out (repeatable).", _PATTERN),
    "list_hosts": _Common(bool, ("--list-hosts",), "Print the servers that would be asked, and stop."),
    "allow_empty": _Common(bool, ("--allow-empty",), "Accept a selection that names no server."),
    "force": _Common(bool, ("--force",), "Ask exclusive daemons too; send by exec what would do harm."),
    "readonly": _Common(bool, ("--readonly",), "Refuse every command that changes something."),
    "output": _Common(OutputFormat, ("-o", "--output"), "What to print on stdout [table]."),
    "json": _Common(bool, ("--json",), "The same as -o json."),
    "columns": _Common(str, ("--columns",), "The columns to show, by their names.", {"metavar": "A,B"}),
    "sort_by": _Common(str, ("--sort-by",), "Sort by a column; -COLUMN the other way.", {"metavar": "COLUMN"}),
    "no_headers": _Common(bool, ("--no-headers",), "Leave the line of headings out."),
    "table_format": _Common(str, ("--table-format",), "How to draw tables, as tabulate has it.", {"metavar": "NAME"}),
    "gather": _Common(bool, ("-b", "--gather"), "Show equal answers once, under the names of their servers."),
    "diff": _Common(bool, ("--diff",), "Show what most answer, and how the others differ from it."),
    "exact_bytes": _Common(bool, ("--bytes",), "Show sizes in bytes."),
    "utc": _Common(bool, ("--utc",), "Show times in UTC, not how long ago they are."),
    "watch": _Common(str, ("--watch",), "Ask again and again, every 2s unless a time is given.", _DURATION),
    "quiet": _Common(bool, ("-q", "--quiet"), "Print nothing when all is well, else a line for each problem."),
    "verbose": _Common(int, ("-v", "--verbose"), "Say more on stderr; -vv adds tracebacks.", {"count": True}),
    "color": _Common(When, ("--color",), "When to colour [auto]."),
    "forks": _Common(int, ("-f", "--forks"), "Servers to ask at a time [64].", {"min": 1, "metavar": "N"}),
    "workers": _Common(
        str,
        ("--workers",),
        "Processes to ask with: a number, or auto, several from 1,000 servers on [auto].",
        {"metavar": "N|auto", "callback": _workers},
    ),
    "scheduler": _Common(
        str,
        ("--scheduler",),
        "Ask with the workers of the Dask cluster that has its scheduler there (tcp://HOST:PORT).",
        {"metavar": "ADDRESS"},
    ),
    "connect_timeout": _Common(str, ("--connect-timeout",), "For the SSH connection to a host [10s].", _DURATION),
    "reply_timeout": _Common(str, ("--reply-timeout",), "For a daemon's greeting and each reply [10s].", _DURATION),
    "host_timeout": _Common(str, ("--host-timeout",), "For everything on one server [30s].", _DURATION),
    "timeout": _Common(str, ("--timeout",), "For the whole run [none].", _DURATION),
    "ssh_config": _Common(
        str,
        ("-F", "--ssh-config"),
        "Read FILE in place of ~/.ssh/config and /etc/ssh/ssh_config; none reads neither.",
        {"metavar": "FILE"},
    ),
    "jump": _Common(str, ("-J", "--jump"), "Go through these hosts, as with ssh -J.", {"metavar": "HOST,..."}),
    "private_key": _Common(str, ("--private-key",), "Log in with the key of this file.", {"metavar": "FILE"}),
    "user": _Common(str, ("--user",), "Log in as this user.", {"metavar": "NAME"}),
    "config": _Common(str, ("--config",), "Take defaults of options from FILE.", {"metavar": "FILE"}),
    "lock_timeout": _Common(str, ("--lock-timeout",), "For other runs of fleet on this machine to end [10s].", _WAIT),
    "wait_busy": _Common(str, ("--wait-busy",), "For other management clients to leave [none].", _DURATION),
}

_CHANGING: dict[str, _Common] = {
    "dry_run": _Common(bool, ("-n", "--dry-run"), "Show what would be sent where, and stop."),
    "yes": _Common(bool, ("-y", "--yes"), "Do not ask before something is changed."),
    "serial": _Common(
        str, ("--serial",), "Change so many servers at a time: 5, 10%, or 1,25%,100%.", {"metavar": "LIST"}
    ),
    "max_fail": _Common(
        str, ("--max-fail",), "Stop when more servers than that have failed [0, with --serial].", {"metavar": "N|N%"}
    ),
    "unreachable": _Common(
        WhenUnreachable, ("--unreachable",), "Whether --max-fail counts who cannot be asked [fail]."
    ),
    "batch_wait": _Common(str, ("--batch-wait",), "Wait between two batches [none].", _DURATION),
    "step": _Common(bool, ("--step",), "Ask between two batches."),
    "syslog": _Common(bool, ("--syslog",), "Write the audit lines to syslog too."),
}
"""The options of commands that change something. Before the command's name every command takes them."""

_EVERY = _COMMON | _CHANGING

COMMON = frozenset(_EVERY)
"""The names of all options that are not one command's own."""

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to ask; all without any.")]
"""The parameter of a command that takes patterns as arguments too."""

CHANGE_OPTIONS = frozenset(_CHANGING)
"""The names in `Options` of those that only commands that change something take behind their names."""


def merge(outer: Options, given: Mapping[str, Any]) -> Options:
    """The options of one place (behind the command's name, before it, the environment) over those of a weaker one.

    Raises:
        UsageError: two options of this place contradict each other.
    """
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if changes.pop("json", False):
        wanted = changes.setdefault("output", OutputFormat.JSON)
        if wanted is not OutputFormat.JSON:
            raise UsageError(f"--json and -o {wanted.value} contradict each other", hint="give one of them")
    for name in {"inventory", "limit", "exclude"} & changes.keys():
        changes[name] = tuple(changes[name])
    if "columns" in changes:
        changes["columns"] = tuple(name.strip() for name in changes["columns"].split(","))
    return replace(outer, **changes, from_environment=outer.from_environment - changes.keys())


@cache
def _parameters(*, changes: bool, environment: bool) -> tuple[inspect.Parameter, ...]:
    """The common options as parameters of a function that typer reads."""
    options = _EVERY if changes else _COMMON
    return tuple(common.parameter(name, environment=environment) for name, common in options.items())


_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _show_version(wanted: bool | None) -> None:
    if wanted:
        from fleet.cli.version import version_text  # noqa: PLC0415 - only --version wants it

        typer.echo(version_text())
        raise typer.Exit


_VERSION = inspect.Parameter(
    "version",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        bool | None,
        typer.Option("--version", help="Show fleet's version.", is_eager=True, callback=_show_version),
    ],
)


def before_command() -> Callable[..., None]:
    """The callback of the application: takes the common options that stand before the command's name."""

    def callback(context: typer.Context, **given: Any) -> None:
        given.pop("version")  # shown already, if it was asked for
        invocation = _invocation(context)
        options = invocation.options
        of_files, variables = _taken(context, given, "DEFAULT_MAP"), _taken(context, given, "ENVIRONMENT")
        if not given.get("inventory") and (paths := os.environ.get("FLEET_INVENTORY")):
            variables["inventory"] = [path for path in paths.split(os.pathsep) if path]
        options = merge(merge(options, of_files), variables)
        options = replace(options, from_environment=frozenset({*of_files, *variables}))
        invocation.options = _told(merge(options, given), invocation, of_files, variables, given)

    return _with_signature(callback, [_CONTEXT, _VERSION, *_parameters(changes=True, environment=True)])


def between_names() -> Callable[..., None]:
    """The callback of a family of commands: takes the common options behind the family's name."""

    def callback(context: typer.Context, **given: Any) -> None:
        invocation = _invocation(context)
        invocation.options = _told(merge(invocation.options, given), invocation, (), (), given)

    return _with_signature(callback, [_CONTEXT, *_parameters(changes=False, environment=False)])


def with_options(
    function: Callable[..., int],
    shown: Callable[[Sequence[str]], Sequence[str]] = tuple,
    *,
    changes: bool = False,
) -> Callable[..., None]:
    """A command of the application: gives the function its own parameters, and `options`.

    The function returns the exit status. Its parameter `patterns`, if it has one, is the same as --limit.

    Args:
        function: the command.
        shown: what of its arguments the JSON of a refused run may show: a secret among them is left out.
        changes: it may change something, and takes the options of such commands too.
    """
    taken = _EVERY if changes else _COMMON
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
        if name != "options"
    ]

    def command(context: typer.Context, **given: Any) -> None:
        common = {name: given.pop(name) for name in taken}
        invocation = _invocation(context)
        invocation.command = context.command_path.partition(" ")[2]
        arguments = [*_arguments(context, given)]
        invocation.args = tuple(shown(arguments))
        if given.get("patterns"):
            common["limit"] = [*(common["limit"] or ()), *given["patterns"]]
        options = _told(merge(invocation.options, common), invocation, (), (), common)
        invocation.options = _typed(invocation, options, arguments)
        invocation.complete = True
        settle_charset(invocation.options.output)
        loaded()
        try:
            status = function(**given, options=invocation.options)
        except KeyboardInterrupt:
            # A run that has begun tells by itself how it ended: this one had not.
            raise InterruptedRunError("interrupted before anything was sent") from None
        raise typer.Exit(status)

    command.__doc__ = function.__doc__
    return _with_signature(command, [*own, _CONTEXT, *_parameters(changes=changes, environment=False)])


def _typed(invocation: Invocation, options: Options, arguments: Sequence[str]) -> Options:
    """The options with the command line in them, as far as others may see it."""
    from fleet.journal.lines import command_text  # noqa: PLC0415 - --version and --help need no journal

    if tuple(arguments) == invocation.args:
        return replace(options, argv=invocation.argv, command_line=command_text(invocation.argv))
    return replace(
        options, argv=None, command_line=shlex.join(["fleet", *invocation.command.split(), *invocation.args])
    )


def _invocation(context: typer.Context) -> Invocation:
    return context.ensure_object(Invocation)


def _taken(context: typer.Context, given: dict[str, Any], source: str) -> dict[str, Any]:
    """What of the options came from this source; it is taken out of the others."""
    names = [name for name in given if getattr(context.get_parameter_source(name), "name", "") == source]
    taken = {name: given.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value is not None}


def _told(
    options: Options,
    invocation: Invocation,
    of_files: Iterable[str],
    variables: Iterable[str],
    given: Mapping[str, Any],
) -> Options:
    """The options, with where they come from."""
    told = dict(options.origins)
    files = invocation.settings.given if invocation.settings is not None else {}
    told |= {name: files[setting_of(name)].origin for name in of_files}
    told |= {name: variable_of(setting_of(name)) for name in variables}
    told |= {name: "command line" for name, value in given.items() if value is not None}
    return replace(options, origins=told)


def setting_of(name: str) -> str:
    """The long name of a common option, without the dashes, from its name in `Options`."""
    return _EVERY[name].names[-1].lstrip("-")


def _arguments(context: typer.Context, given: Mapping[str, Any]) -> Iterator[str]:
    """The command's own arguments in their order, those that were given."""
    for parameter in context.command.params:
        value = given.get(parameter.name or "") if parameter.param_type_name == "argument" else None
        if isinstance(value, str):
            yield value
        else:
            yield from value or ()


def _with_signature(function: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """Typer reads a function's parameters from its signature; one signature a command cannot be written by hand."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # PEP 362, unknown to mypy
    function.__annotations__ = {}
    return function
