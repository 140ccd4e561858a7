"""How much there is of everything that could grow, at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from drills.frame.world import Service, open_files, rss_bytes

MIB = 1024 * 1024


@attrs.frozen(kw_only=True)
class Amounts:
    done: int  # sessions so far
    rss_mib: float
    files: int
    threads: int
    tasks: int
    series: int  # of metrics
    journal_mib: float
    log_mib: float  # SQLite's write-ahead log
    live: int
    owed: int
    pending: int

    def line(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in attrs.asdict(self).items())

    def above(self, base: Amounts) -> list[str]:
        """What there is more of than at `base`, of what is to go when everything has ended."""
        pairs = {name: (getattr(self, name), getattr(base, name) + more) for name, more in LEFT_OVER.items()}
        return [f"{name}: {now}, and {most} at most" for name, (now, most) in pairs.items() if now > most]


# What may be left when all is over, beyond what was there before. Connections to the provider that nobody needs any
# more are closed by the next request that could have used them.
LEFT_OVER = {"files": 48, "threads": 4, "tasks": 5}
# How much more there may be in the last quarter of the sessions than in the third, and as a share of that. What lives
# at the same time varies by chance; memory also by how the allocator splits it.
ALLOWED: dict[str, tuple[float, float]] = {
    "rss_mib": (4.0, 0.0),  # 800 bytes for each of 5,000 sessions
    "files": (20, 0.0),
    "threads": (8, 0.0),
    "tasks": (150, 0.25),
    "series": (4, 0.0),
    "journal_mib": (2.0, 0.25),  # it holds a minute's events, and that is more or fewer
    "log_mib": (4.0, 0.0),
}


async def look(service: Service, done: int) -> Amounts:
    shown = await service.metrics()
    files = [service.data_dir / name for name in ("journal.sqlite3", "journal.sqlite3-wal")]
    journal, log = (round(file.stat().st_size / MIB, 2) for file in files)
    return Amounts(
        done=done,
        rss_mib=round(rss_bytes(service.pid) / MIB, 1),
        files=open_files(service.pid),
        threads=len(list(Path(f"/proc/{service.pid}/task").iterdir())),
        tasks=int(shown["transport_tasks"]),
        series=len(shown),
        journal_mib=journal,
        log_mib=log,
        live=int(shown["active_sessions"]),
        owed=int(shown["transport_rooms_owed"]),
        pending=int(shown["pending_messages"]),
    )


def shown_as_table(looks: Sequence[Amounts], sessions: int, parts: int) -> Iterator[tuple[str, str]]:
    """(what, values) for a report: the median of each amount in each of so many parts of all sessions."""
    for field in attrs.fields(Amounts):
        if field.name == "done":
            continue
        cells = []
        for part in range(parts):
            low, high = sessions * part / parts, sessions * (part + 1) / parts
            values = sorted(getattr(one, field.name) for one in looks if low <= one.done < high)
            cells.append(f"{values[len(values) // 2]:g}" if values else "-")
        yield f"{field.name}, by tenth of the sessions", " ".join(cells)
