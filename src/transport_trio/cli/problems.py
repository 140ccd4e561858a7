"""A service's refusals, and the lack of an answer, in words for a person."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from typing import Any

import click

from transport_trio.cli.failures import leaves
from transport_trio.cli.lines import plain

HINTS = {
    401: "give one of the service's API_KEYS with --api-key or in TRANSPORT_TRIO_API_KEY",
    403: "the service does not let this caller in; see its ALLOWED_ORIGINS and API_KEYS",
    426: "the request arrived without its WebSocket upgrade; a proxy in between may have dropped it",
}


SPEAKS_TLS = b"this port speaks TLS"  # what the service answers to those who do not


class ServiceFailure(click.ClickException):
    """The service refused, or did not answer; one readable message, exit code 1."""

    exit_code = 1


def problem_of(body: bytes | None) -> Mapping[str, Any] | None:
    """The body as a problem document; None when it is none, so that somebody else has answered."""
    try:
        document = json.loads(body or b"")
    except ValueError:
        return None
    return document if isinstance(document, dict) and "code" in document else None


def refused(status: int, body: bytes | None, *, retry_after: str | None = None) -> str:
    """What a refusal means, with the paths of all faults and a hint where there is one."""
    problem = problem_of(body)
    if problem is None and body is not None and SPEAKS_TLS in body:
        text = f"the answer was {status}: this port speaks TLS; give an address that begins with https://"
    elif problem is None:
        text = f"the answer was {status}, and not in the service's own words: something else may listen there"
    else:
        text = f"{status} {plain(problem['code'])}: {_told(problem)}"
    if retry_after is not None:
        text += f"\n  try again in {plain(retry_after)} s"
    if status in HINTS:
        text += f"\n  {HINTS[status]}"
    return text


def _told(problem: Mapping[str, Any]) -> str:
    """The detail, and the faults; each of them once, since the detail may be made of them."""
    detail = plain(problem.get("detail") or problem.get("title") or "")
    given = [fault for fault in problem.get("errors") or [] if isinstance(fault, Mapping)]
    faults = [f"{plain(fault.get('path'))}: {plain(fault.get('message'))}" for fault in given]
    if len(faults) == 1 and detail in (faults[0], plain(given[0].get("message"))):
        return faults[0]
    heading = f"{len(faults)} faults" if faults and detail == "; ".join(faults) else detail
    return "\n  ".join([heading, *faults])


def unreachable(url: str, exc: BaseException) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in reason_of(exc):
        return (
            f"{url} shows a certificate that is not trusted here ({plain(reason_of(exc))})\n"
            "  SSL_CERT_FILE names a file with the authorities to trust; a certificate made by yourself is its own"
        )
    return (
        f"nothing answers at {url} ({plain(reason_of(exc))})\n"
        "  is the service running? `transport-trio serve --sandbox` starts one, --url names another address"
    )


def reason_of(exc: BaseException) -> str:
    """Why a connection failed: the words at the root of the error, each of them once."""
    while inner := exc.__cause__ or exc.__context__:
        exc = inner
    # Every address of a name is tried, and what came of it is grouped.
    return ", ".join(dict.fromkeys(_words(leaf) for leaf in leaves(exc)))


def _words(exc: BaseException) -> str:
    number = exc.errno if isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError) else None
    # Name resolution has negative numbers, and words of its own.
    return os.strerror(number) if number is not None and number > 0 else getattr(exc, "strerror", None) or str(exc)
