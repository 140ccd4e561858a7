"""What ended a server: a line for its operator where we know it, nothing where it is a bug."""

from __future__ import annotations

import errno

import pytest

from transport_trio.cli.failures import readable
from transport_trio.errors import BusBinaryMissing, JournalUnusable

BROKEN = JournalUnusable("the journal is damaged")
MISSING = BusBinaryMissing("nats-server is not installed")


def test_known_causes_become_one_line_each_and_only_once() -> None:
    failure = readable(ExceptionGroup("a", [BROKEN, ExceptionGroup("b", [MISSING, BROKEN])]))
    assert failure is not None
    assert failure.exit_code == 1
    assert failure.message.splitlines() == ["the journal is damaged", "nats-server is not installed"]


@pytest.mark.parametrize("bug", [TypeError("a bug"), OSError(errno.ENOSPC, "full"), KeyError("x")])
def test_a_bug_among_them_keeps_its_traceback(bug: Exception) -> None:
    assert readable(bug) is None
    assert readable(ExceptionGroup("a", [BROKEN, bug]), address="127.0.0.1:1") is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "something else listens there already"),
        (errno.EACCES, "choose a port above 1023"),
        (errno.EADDRNOTAVAIL, "this machine has no such address"),
    ],
)
def test_an_address_that_cannot_be_had_is_known_where_one_is_listened_on(number: int, words: str) -> None:
    exc = ExceptionGroup("nursery", [OSError(number, "no")])
    failure = readable(exc, address="10.0.0.1:80")
    assert failure is not None
    assert failure.message.startswith("cannot listen on 10.0.0.1:80: ")
    assert words in failure.message
    assert readable(exc) is None
