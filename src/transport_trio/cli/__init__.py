"""The commands: `serve`, `sandbox`, `watch`, `sessions`."""

from __future__ import annotations

from transport_trio.cli.entry import main

__all__ = ["main"]
