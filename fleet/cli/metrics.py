"""`fleet metrics`: Prometheus text, printed, written for node_exporter, or served."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fleet.cli.asking import Interrupts, ask
from fleet.cli.choosing import Target, admit
from fleet.cli.options import Options, OutputFormat, duration, with_options
from fleet.cli.output import error_style, say, write
from fleet.engine import EXIT_FAILED, EXIT_OK, Report
from fleet.errors import UsageError
from fleet.operations.operation import Answer
from fleet.operations.probe import Probe, probe
from fleet.render import outcomes as words
from fleet.render.prometheus import EXTRA, Scrape, available, metrics_text

COMMAND: Final = "metrics"
INTERVAL: Final = 15.0
"""Seconds between two rounds where nothing is said; Prometheus' own examples scrape as often."""
_READABLE: Final = 0o644  # by node_exporter, which is another user

Patterns = Annotated[list[str] | None, typer.Argument(metavar="PATTERN", help="Servers to ask; all without any.")]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(COMMAND)(with_options(_metrics))


def _metrics(
    *,
    patterns: Patterns = None,
    per_client: Annotated[
        bool, typer.Option("--per-client", help="Give the traffic of each client too: a series for every session.")
    ] = False,
    textfile: Annotated[
        str | None,
        typer.Option("--textfile", metavar="PATH", help="Replace this file, for node_exporter's textfile collector."),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="[ADDRESS:]PORT", help="Serve /metrics there, at 127.0.0.1 if not said."),
    ] = None,
    interval: Annotated[
        Any,
        typer.Option(
            "--interval",
            metavar="DURATION",
            callback=duration,
            help=f"Ask the servers so often, with --listen [{INTERVAL:g}s].",
        ),
    ] = None,
    options: Options,
) -> int:
    """Show the servers as metrics for Prometheus.

    Prints them once; with --textfile a file gets them at one stroke, and with --listen they are served until Ctrl-C or
    SIGTERM, over connections that stay open: a scrape is answered from the last complete round. Servers that could not
    be asked have openvpn_up 0. Wants the extra `metrics`: pip install 'openvpn-fleet[metrics]'.
    """
    _refuse(options, textfile=textfile, listen=listen, interval=interval)
    operation = probe(COMMAND, listed=per_client)
    args = tuple(patterns or ())
    if listen is not None:
        # The HTTP server and the rounds: only this form needs them.
        from fleet.cli.exporter import Exporter, listener  # noqa: PLC0415 - asyncio's servers, for this form only

        with listener(listen) as listening:  # before anything is asked, as its port may be in use
            servers = admit(operation, options, Target(args=args))
            if servers is None:
                return EXIT_OK
            exporter = Exporter(operation, servers, options, interval or INTERVAL, per_client=per_client)
            return exporter.serve(listening)
    path = None if textfile is None else _writable(textfile)
    servers = admit(operation, options, Target(args=args), shards=True)
    if servers is None:
        return EXIT_OK
    started, begun = datetime.now(UTC), time.monotonic()
    with Interrupts() as interrupts:
        asked = ask(operation, servers, options, interrupts)
    report: Report[Answer[Probe]] = Report.of(
        servers,
        asked.outcomes,
        command=COMMAND,
        args=args,
        started=started,
        elapsed=time.monotonic() - begun,
        interrupted=asked.interrupted,
    )
    return _shown(report, path, options, per_client=per_client)


def _shown(report: Report[Answer[Probe]], path: Path | None, options: Options, *, per_client: bool) -> int:
    """Writes the metrics, says what is to be said beside them, and gives the exit status.

    An interrupted run writes nothing: a server that was not asked would look as if it were down.
    """
    status = report.exit_status
    if report.interrupted:
        say(words.stopped_text(report))
        return status
    body = metrics_text(Scrape(report.outcomes, datetime.now(UTC), report.elapsed, per_client=per_client))
    if path is None:
        write(body.decode("utf-8"))
    else:
        try:
            replace_file(path, body)
        except OSError as error:
            say(f"{path} cannot be written: {error.strerror}; it is as it was")
            status = status or EXIT_FAILED
    if options.quiet:
        say("\n".join(words.error_lines(report.outcomes)))
    else:
        say(words.warnings_text(report.outcomes, style=error_style(options)))
        say(words.errors_text(report.outcomes, style=error_style(options)))
    return status


def _refuse(options: Options, *, textfile: str | None, listen: str | None, interval: float | None) -> None:
    """Refuses what has no meaning, and what cannot be done without the library.

    Raises:
        UsageError: with what to do.
    """
    if not available():
        raise UsageError("fleet metrics needs the Python library prometheus_client", hint=f"pip install '{EXTRA}'")
    if textfile is not None and listen is not None:
        raise UsageError("metrics are written to a file or served, not both", hint="give one of --textfile, --listen")
    if interval is not None and listen is None:
        raise UsageError("--interval is for --listen", hint="let cron or a systemd timer run --textfile again")
    if options.watch is not None:
        raise UsageError("metrics are not watched", hint="leave --watch out, or take --listen")
    if options.output is not OutputFormat.TABLE and "output" not in options.from_environment:
        raise UsageError(
            f"-o {options.output.value} is not for metrics, which are Prometheus text", hint="leave it out"
        )


# The file


def _writable(text: str) -> Path:
    """The path of a file that can be replaced.

    Raises:
        UsageError: it cannot.
    """
    path = Path(text)
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--textfile: {folder} is no folder that can be written to", hint="make it, or name another")
    if path.is_dir():
        raise UsageError(f"--textfile: {path} is a folder", hint="give a file in it, such as openvpn.prom")
    return path


def replace_file(path: Path, body: bytes) -> None:
    """Replaces a file at one stroke: whoever reads it, reads the old one or the new one whole, also after a crash.

    Raises:
        OSError: it was not replaced, and is as it was.
    """
    # Its ending keeps node_exporter from reading it: that takes `*.prom`.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), _READABLE)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
