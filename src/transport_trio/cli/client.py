"""One request to a running service, with the patience and the words of a command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import attrs
import httpx
import trio

from transport_trio.cli.problems import ServiceFailure, problem_of, refused, unreachable
from transport_trio.cli.target import Target

T = TypeVar("T")

CONNECT_S = 5.0
ANSWER_S = 60.0  # a creation waits for the provider, whose own limit is PROVIDER_TIMEOUT_S and a few retries
PATIENCE_S = 2.0  # shorter waits need no explanation
TICK_S = 0.2
SPINNER = "|/-\\"


@attrs.frozen(kw_only=True)
class Call:
    method: str
    path: str
    params: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: Any = None


@attrs.frozen
class Answer:
    body: Any
    headers: Mapping[str, str]


class Refused(ServiceFailure):
    """The service answered with a problem; `document` is what it sent, None when that was not ours."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(
            refused(response.status_code, response.content, retry_after=response.headers.get("retry-after"))
        )
        self.document = problem_of(response.content)


def ask(target: Target, call: Call, *, answer_s: float = ANSWER_S) -> Answer:
    """Send one request and give the answer; shows on a terminal that it waits when that takes over two seconds.

    Raises:
        Refused: the service answered, and not with success.
        ServiceFailure: no answer came, or none of this service. Whether the request took effect is unknown then.
    """
    return wait_for(lambda: send(target, call, answer_s=answer_s), f"waiting for {target.url}")


def wait_for(work: Callable[[], Awaitable[T]], text: str) -> T:
    """What the work gives; shows on a terminal what is waited for, and for how long already.

    Raises:
        ServiceFailure: from the work.
    """
    return trio.run(_with_spinner, work, text)


async def send(target: Target, call: Call, *, answer_s: float = ANSWER_S) -> Answer:
    """`ask`, for who waits by themselves."""
    # As it is, wrong or not: the service's refusal names the path of what is wrong in it.
    content = None if call.body is None else json.dumps(call.body).encode()
    content_type = {} if call.body is None else {"Content-Type": "application/json"}
    timeout = httpx.Timeout(answer_s, connect=CONNECT_S)
    # Spoken to directly, as `watch` does: a proxy of the environment knows nothing of this machine's own addresses.
    async with httpx.AsyncClient(verify=target.tls(), timeout=timeout, trust_env=False) as client:
        try:
            response = await client.request(
                call.method,
                target.url + call.path,
                params=call.params,
                headers={**target.headers, **call.headers, **content_type},
                content=content,
            )
        except httpx.ConnectError as exc:
            raise ServiceFailure(unreachable(target.url, exc)) from exc
        except httpx.TimeoutException as exc:
            raise ServiceFailure(f"{target.url} did not answer within {answer_s:g} s") from exc
        except httpx.HTTPError as exc:
            raise ServiceFailure(f"the connection to {target.url} broke before the answer: {exc}") from exc
    if not response.is_success:
        raise Refused(response)
    try:
        return Answer(response.json(), response.headers)
    except ValueError as exc:
        raise ServiceFailure(f"what {target.url} answers is no JSON; something else may listen there") from exc


async def _with_spinner(work: Callable[[], Awaitable[T]], text: str) -> T:
    if not sys.stderr.isatty():
        return await work()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_spin, text)
        try:
            result = await work()
        except ServiceFailure as exc:
            failure = exc
        nursery.cancel_scope.cancel(reason="the work is done")
    if failure is not None:
        raise failure
    return result


async def _spin(text: str) -> None:
    await trio.sleep(PATIENCE_S)
    started = trio.current_time() - PATIENCE_S
    beat = 0
    try:
        while True:
            waited_s = trio.current_time() - started
            sys.stderr.write(f"\r{SPINNER[beat % len(SPINNER)]} {text}: {waited_s:.0f} s ")
            sys.stderr.flush()
            beat += 1
            await trio.sleep(TICK_S)
    finally:
        sys.stderr.write("\r\x1b[K")  # what follows starts on a clean line
        sys.stderr.flush()
