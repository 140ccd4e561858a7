"""Chance that can be repeated."""

from __future__ import annotations

import random
import uuid


def chance(seed: int | None, what: str) -> random.Random:
    """A source of its own for each use, so that asking one more often does not change the others."""
    return random.Random(None if seed is None else f"{seed} {what}")  # noqa: S311 - a game, no secret


def random_uuid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
