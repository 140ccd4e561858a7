"""What the service remembers: sessions and their numbered events, in one SQLite file."""

from transport_trio.journal.instance import Instance, open_instance
from transport_trio.journal.journal import SqliteJournal, open_journal

__all__ = ["Instance", "SqliteJournal", "open_instance", "open_journal"]
