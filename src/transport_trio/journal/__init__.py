"""What the service remembers: sessions and their numbered events, in one SQLite file."""

from transport_trio.journal.journal import SqliteJournal, open_journal

__all__ = ["SqliteJournal", "open_journal"]
