"""Times as Daily writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: float) -> str:
    """ISO 8601 with milliseconds, of which Daily only ever shows whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
