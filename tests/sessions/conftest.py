"""The fixtures of these tests; what they are made of is in `session_world`, which tests can import by its own name."""

from session_world import settings, world

__all__ = ["settings", "world"]
