"""The tables of the usage database, as docs/usage-database.md tells people who ask it by themselves."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x0F1EE7DB
"""What marks an SQLite file as fleet's (`PRAGMA application_id`)."""

VERSION: Final = 1
"""The version of the tables (`PRAGMA user_version`)."""

LARGEST: Final = 2**53
"""Security limit: a number from a daemon, and a sum of one hour, is not more. Sums stay exact, and none overflows."""

TABLES: Final = """
CREATE TABLE server (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    samples INTEGER NOT NULL DEFAULT 0,
    first_sample INTEGER,
    last_sample INTEGER,
    daemon_time INTEGER,
    pid INTEGER,
    epoch INTEGER,
    bytes_in INTEGER,
    bytes_out INTEGER
);

CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    server_id INTEGER NOT NULL REFERENCES server (id),
    pid INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    client_id INTEGER,
    real_address TEXT,
    connected_since INTEGER NOT NULL,
    common_name TEXT,
    username TEXT,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL
);

CREATE UNIQUE INDEX session_identity
    ON session (server_id, pid, epoch, connected_since, coalesce(client_id, real_address));

CREATE INDEX session_last_seen ON session (last_seen);

CREATE TABLE session_traffic (
    hour INTEGER NOT NULL,
    session_id INTEGER NOT NULL REFERENCES session (id),
    bytes_received INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    PRIMARY KEY (hour, session_id)
) WITHOUT ROWID;

CREATE TABLE server_traffic (
    hour INTEGER NOT NULL,
    server_id INTEGER NOT NULL REFERENCES server (id),
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    PRIMARY KEY (hour, server_id)
) WITHOUT ROWID;

CREATE TABLE housekeeping (
    folded_until INTEGER NOT NULL,
    cleaned INTEGER NOT NULL
);

CREATE VIEW traffic AS
    SELECT
        datetime(session_traffic.hour, 'unixepoch') AS hour,
        server.name AS server,
        coalesce(session.common_name, session.username) AS client,
        session_traffic.bytes_received,
        session_traffic.bytes_sent
    FROM session_traffic
    JOIN session ON session.id = session_traffic.session_id
    JOIN server ON server.id = session.server_id;

INSERT INTO housekeeping (folded_until, cleaned) VALUES (0, 0);
"""
