"""What ended a server: a line for its operator where we know it, nothing where it is a bug."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from transport_trio.cli.failures import readable
from transport_trio.cli.problems import reason_of
from transport_trio.errors import BusBinaryMissing, JournalUnusable, SettingsError

BROKEN = JournalUnusable("the journal is damaged")
MISSING = BusBinaryMissing("nats-server is not installed")


def test_known_causes_become_one_line_each_and_only_once() -> None:
    failure = readable(ExceptionGroup("a", [BROKEN, ExceptionGroup("b", [MISSING, BROKEN])]))
    assert failure is not None
    assert failure.exit_code == 1
    assert failure.message.splitlines() == ["the journal is damaged", "nats-server is not installed"]


def test_a_setting_that_is_found_wrong_late_has_the_exit_code_of_one_found_early() -> None:
    wrong = SettingsError("TLS_CERTIFICATE_FILE: x holds no certificate")
    failure = readable(ExceptionGroup("a", [wrong]))
    assert failure is not None
    assert (failure.exit_code, failure.message) == (2, str(wrong))
    both = readable(ExceptionGroup("a", [wrong, BROKEN]))
    assert both is not None
    assert both.exit_code == 1  # a repeat may help


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


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (OSError("no connection within 5 s"), "no connection within 5 s"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Error connecting to ('::1', 1)"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "certificate verify failed"), "certificate verify failed"),
        (
            ExceptionGroup("all attempts failed", [ConnectionRefusedError(111, "a"), ConnectionRefusedError(111, "b")]),
            "Connection refused",
        ),
        (
            ExceptionGroup("all attempts failed", [ConnectionRefusedError(111, "a"), OSError(113, "b")]),
            "Connection refused, No route to host",
        ),
    ],
)
def test_a_failed_connection_is_told_by_its_root(exc: Exception, words: str) -> None:
    outer = OSError("all attempts to connect failed")
    outer.__cause__ = exc
    assert reason_of(outer) == words
