"""Several domains behind one port: each request goes to the domain that its key, or its path, names."""

from __future__ import annotations

from collections.abc import Mapping

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from transport_trio.sandbox.edge import Edge, authorization_of

CONTROL = "/sandbox"
DOMAINS = f"{CONTROL}/domains/"


class Front:
    """An ASGI application of `first` and further domains by name and by key; what names none of them is the first's."""

    def __init__(self, first: Edge, by_name: Mapping[str, Edge], by_key: Mapping[str, Edge]) -> None:
        self._first, self._by_name, self._by_key = first, by_name, by_key

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        edge = self._first
        if scope["type"] == "http":
            path = scope["path"]
            name, slash, rest = path.removeprefix(DOMAINS).partition("/")
            if path.startswith(DOMAINS) and name in self._by_name:
                edge = self._by_name[name]
                scope = {**scope, "path": f"{CONTROL}{slash}{rest}"}
            else:
                key = authorization_of(scope).removeprefix("Bearer ").strip()
                edge = self._by_key.get(key, self._first)
        await edge(scope, receive, send)
