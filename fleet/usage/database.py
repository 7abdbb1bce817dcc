"""The database file: made for the user alone, checked before anything is asked, written to in whole rounds.

SQLite's rollback journal is left on: a run that is killed at any moment leaves the round before it, whole, and the file
is one that can be copied.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fleet.errors import RunLockedError, UsageError
from fleet.usage.schema import APPLICATION_ID, TABLES, VERSION

_USER_ONLY = 0o600  # common names are personal data


class RecordingError(Exception):
    """What was to be written was not, and nothing of it: the disk is full, or somebody else holds the database."""


class Database:
    """An open usage database; leaving the block closes it. See `create_or_open` and `open_existing`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    @contextmanager
    def whole(self) -> Iterator[sqlite3.Connection]:
        """What is done in the block is written at its end, all of it or nothing.

        Raises:
            RecordingError: it was not written.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise RecordingError(f"{self.path} cannot be written to: {error}") from error
        finally:
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):  # SQLite rolls back by itself after some errors
                    self.connection.execute("ROLLBACK")

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """What is read in the block is of one moment, whoever writes meanwhile."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def rows(self, statement: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a question.

        Raises:
            UsageError: the file is damaged.
        """
        try:
            with closing(self.connection.execute(statement, parameters)) as cursor:
                yield from cursor
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error


def text(value: str | None) -> bytes | None:
    """A text as it is bound, for `CAST(? AS TEXT)`: a daemon's text may have bytes that are not UTF-8."""
    return None if value is None else value.encode("utf-8", "surrogateescape")


def create_or_open(path: Path, *, busy_timeout: float) -> Database:
    """Opens the database to record in it, and makes it where it is not there.

    Args:
        path: of the file; its folder has to be there.
        busy_timeout: seconds to wait for others who write to it.

    Raises:
        UsageError: it cannot be made or written to, or is something else.
        RunLockedError: another run held it for that long.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _USER_ONLY))
    except FileExistsError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be made: {reason}", hint="--db PATH names the database") from error
    database = _open(path, busy_timeout)
    try:
        _prepare(database.connection)
        _check(database)
        _try_writing(database.connection)
    except sqlite3.Error as error:
        database.connection.close()
        raise _unusable(path, error) from error
    except UsageError:
        database.connection.close()
        raise
    return database


def open_existing(path: Path, *, busy_timeout: float) -> Database:
    """Opens the database to read it.

    Raises:
        UsageError: there is none, it cannot be read, or is something else.
        RunLockedError: another run held it for that long.
    """
    if not path.exists():
        raise UsageError(f"there is no usage database {path}", hint="fleet collect makes one; --db PATH names another")
    database = _open(path, busy_timeout)
    try:
        _check(database)
        database.connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        database.connection.close()
        raise _unusable(path, error) from error
    except UsageError:
        database.connection.close()
        raise
    return database


def _open(path: Path, busy_timeout: float) -> Database:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a file", hint="--db PATH names the database")
        uri = f"{path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=busy_timeout, isolation_level=None)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="--db PATH names the database") from error
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    connection.execute("PRAGMA trusted_schema = OFF")  # a file that somebody else has made calls nothing of ours
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return Database(path, connection)


def _prepare(connection: sqlite3.Connection) -> None:
    """Makes the tables in an empty file."""
    connection.execute("PRAGMA foreign_keys = ON")
    if not _is_empty(connection):
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):  # still: another run may have been quicker
            for statement in TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return not _number(connection, "SELECT count(*) FROM sqlite_master") and not _number(
        connection, "PRAGMA application_id"
    )


def _number(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _check(database: Database) -> None:
    """Refuses what is no usage database of this version.

    Raises:
        UsageError: it is none.
    """
    if _is_empty(database.connection):
        raise UsageError(f"nothing is recorded in {database.path} yet", hint="fleet collect records")
    if _number(database.connection, "PRAGMA application_id") != APPLICATION_ID:
        raise UsageError(
            f"{database.path} is an SQLite database of something else", hint="--db PATH names the usage database"
        )
    version = _number(database.connection, "PRAGMA user_version")
    if version > VERSION:
        raise UsageError(
            f"{database.path} was made by a newer fleet: it has version {version}, and this one knows {VERSION}",
            hint="take a newer fleet, or another file with --db PATH",
        )


def _try_writing(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE housekeeping SET folded_until = folded_until")
    finally:
        connection.execute("ROLLBACK")


def _unusable(path: Path, error: sqlite3.Error) -> UsageError | RunLockedError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunLockedError(f"another run writes to {path} all the time", hint="give it longer with --lock-timeout")
    return UsageError(f"{path} cannot be used: {error}", hint="--db PATH names the usage database")
