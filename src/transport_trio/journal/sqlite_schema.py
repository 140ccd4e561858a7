"""What the journal's file looks like inside."""

from __future__ import annotations

FILE_NAME = "journal.sqlite3"
APPLICATION_ID = 0x7474726F  # "ttro"
FORMAT = 1  # PRAGMA user_version

# AUTOINCREMENT: a plain key would give out pruned ids again.
SCHEMA = """
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch TEXT NOT NULL,
    pruned_through INTEGER NOT NULL,
    probe BLOB
);
CREATE TABLE sessions (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL,
    status TEXT NOT NULL,
    version INTEGER NOT NULL,
    ended_at INTEGER,
    body BLOB NOT NULL
);
CREATE INDEX sessions_by_status ON sessions (status);
CREATE INDEX sessions_by_provider ON sessions (provider);
CREATE INDEX sessions_by_both ON sessions (provider, status);
CREATE INDEX sessions_live ON sessions (id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    type TEXT NOT NULL,
    time INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX events_by_session ON events (session_id);
CREATE TABLE intents (session_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE debts (session_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE idempotency (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);
CREATE TABLE bookmarks (reader TEXT PRIMARY KEY, event_id INTEGER NOT NULL);
"""
