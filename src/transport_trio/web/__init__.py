"""The web: REST, the WebSocket, health and metrics, on Quart-Trio under Hypercorn."""

from transport_trio.web.app import create_app
from transport_trio.web.auth import KeyRing
from transport_trio.web.deps import WebDeps
from transport_trio.web.files import fit_open_files
from transport_trio.web.server import serve

__all__ = ["KeyRing", "WebDeps", "create_app", "fit_open_files", "serve"]
