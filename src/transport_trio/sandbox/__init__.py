"""A faithful stand-in for api.daily.co over real HTTP, with people, expiry, rate limits and faults on command.

The names below are loaded when first used: pytest imports the plugin in this package at every start, in every
project that has us installed, and must not pay for a web server that it may not want.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transport_trio.sandbox.config import SandboxConfig
    from transport_trio.sandbox.faults import Fault
    from transport_trio.sandbox.handle import JoinRefused, SandboxError, SandboxHandle
    from transport_trio.sandbox.server import serve_sandbox
    from transport_trio.sandbox.thread import sandbox_in_thread

__all__ = [
    "Fault",
    "JoinRefused",
    "SandboxConfig",
    "SandboxError",
    "SandboxHandle",
    "sandbox_in_thread",
    "serve_sandbox",
]

_HOMES = {
    "Fault": "faults",
    "JoinRefused": "handle",
    "SandboxConfig": "config",
    "SandboxError": "handle",
    "SandboxHandle": "handle",
    "sandbox_in_thread": "thread",
    "serve_sandbox": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
