"""What a request's target names (RFC 9112, 3.2)."""

from __future__ import annotations

from urllib.parse import unquote


def path_of(target: bytes) -> str:
    """The decoded path of a target in any form: `/path`, `http://host/path`, `*`, `host:port`."""
    return origin_form(unquote(target.partition(b"?")[0].decode("ascii")))


def origin_form(path: str) -> str:
    """The path as the usual form has it: it begins with a slash."""
    if path.startswith("/"):
        return path
    _, separator, rest = path.partition("://")
    return "/" + (rest.partition("/")[2] if separator else path)
