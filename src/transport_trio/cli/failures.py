"""What ended a server, as a line for its operator where we know it, and as a traceback where it is a bug."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import click

from transport_trio.errors import SettingsError, TransportError

LISTEN_ERRORS = {
    errno.EADDRINUSE: "something else listens there already; choose another port",
    errno.EACCES: "this user may not; choose a port above 1023",
    errno.EPERM: "this user may not; choose a port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another host",
}


class StartFailure(click.ClickException):
    """A server cannot start, or go on, for a reason outside of it; exit code 1."""

    exit_code = 1


class SettingsFailure(click.ClickException):
    """A setting makes no sense or is missing; exit code 2."""

    exit_code = 2


def readable(exc: BaseException, *, address: str | None = None) -> StartFailure | SettingsFailure | None:
    """The failure in one line for each cause; None when a bug is among them, which deserves its traceback.

    With `address`, what the system says of listening there counts as a cause that is known.
    """
    lines = []
    for leaf in leaves(exc):
        if isinstance(leaf, TransportError):
            lines.append(str(leaf))
        elif address is not None and isinstance(leaf, OSError) and leaf.errno in LISTEN_ERRORS:
            lines.append(f"cannot listen on {address}: {LISTEN_ERRORS[leaf.errno]}")
        else:
            return None
    kind = SettingsFailure if all(isinstance(leaf, SettingsError) for leaf in leaves(exc)) else StartFailure
    return kind("\n".join(dict.fromkeys(lines)))


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """The errors inside nested groups."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from leaves(inner)
    else:
        yield exc
