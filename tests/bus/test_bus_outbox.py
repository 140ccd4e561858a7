"""The outbox on a client that sends nothing by itself: what is sent, and what is made of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
import trio.testing
import trio_asyncio
from bus_rig import LIMIT_S, until
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError, NoStreamResponseError

from transport_trio.bus.outbox import Outbox, Outgoing

ACK = b'{"stream":"S","seq":7}'


class FakeClient:
    """Keeps what it is to publish; `answer` plays the server."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self._hear: Callable[[Msg], Awaitable[None]] | None = None

    def new_inbox(self) -> str:
        return "_INBOX.ours"

    async def subscribe(self, subject: str, *, cb: Callable[[Msg], Awaitable[None]]) -> None:
        assert subject == "_INBOX.ours.*"
        self._hear = cb

    async def publish(self, subject: str, _body: bytes, *, reply: str, headers: dict[str, str]) -> None:
        assert headers == {"Nats-Msg-Id": "1"}
        self.published.append((subject, reply))
        if self.fault is not None:
            raise self.fault

    async def answer(self, reply: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        assert self._hear is not None
        message = Msg(cast("Client", self), subject=reply, data=data, headers=headers)
        await trio_asyncio.aio_as_trio(self._hear)(message)


class Rig:
    def __init__(self) -> None:
        self.client = FakeClient()
        self.outbox = Outbox(cast("Client", self.client))
        self.outcomes: dict[str, Any] = {}

    async def publish(self, subject: str) -> None:
        try:
            self.outcomes[subject] = (await self.outbox.publish(Outgoing(subject, b"{}", {"Nats-Msg-Id": "1"}))).seq
        except Exception as exc:
            self.outcomes[subject] = exc

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio_asyncio.aio_as_trio(self.outbox.run))
            yield nursery
            nursery.cancel_scope.cancel(reason="the test is over")

    async def until_published(self, count: int) -> None:
        await until(lambda: len(self.client.published) >= count)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with trio_asyncio.open_loop():
        with trio.fail_after(LIMIT_S):
            yield Rig()


async def test_an_ack_reaches_the_message_that_it_is_for(rig: Rig) -> None:
    async with rig.sending() as nursery:
        for number, subject in enumerate("ab", start=1):
            nursery.start_soon(rig.publish, subject)
            await rig.until_published(number)
        replies = dict(rig.client.published)
        await rig.client.answer(replies["b"], b'{"stream":"S","seq":8}')
        await rig.client.answer(replies["a"], ACK)
        await trio.testing.wait_all_tasks_blocked()
    assert rig.outcomes == {"a": 7, "b": 8}


@pytest.mark.parametrize(
    ("data", "headers", "error"),
    [
        (b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}', None, BadRequestError),
        (b"", {"Status": "503"}, NoStreamResponseError),
        (b"no JSON", None, ValueError),
        (b"7", None, TypeError),
    ],
)
async def test_an_answer_that_is_no_ack_is_told_as_what_it_is(
    data: bytes, headers: dict[str, str] | None, error: type[Exception], rig: Rig
) -> None:
    async with rig.sending() as nursery:
        nursery.start_soon(rig.publish, "a")
        await rig.until_published(1)
        await rig.client.answer(rig.client.published[0][1], data, headers)
        await trio.testing.wait_all_tasks_blocked()
    assert isinstance(rig.outcomes["a"], error)


async def test_a_message_that_the_client_cannot_send_ends_alone(rig: Rig) -> None:
    rig.client.fault = OSError("closed")
    async with rig.sending() as nursery:
        nursery.start_soon(rig.publish, "a")
        await rig.until_published(1)
        rig.client.fault = None
        nursery.start_soon(rig.publish, "b")
        await rig.until_published(2)
        await rig.client.answer(rig.client.published[1][1], ACK)
        await trio.testing.wait_all_tasks_blocked()
    assert (rig.outcomes["a"].args, rig.outcomes["b"]) == (("closed",), 7)


async def test_a_message_given_up_before_it_was_sent_never_is(rig: Rig) -> None:
    with trio.move_on_after(0):
        await rig.publish("a")
    async with rig.sending() as nursery:
        nursery.start_soon(rig.publish, "b")
        await rig.until_published(1)
    assert [subject for subject, _ in rig.client.published] == ["b"]


async def test_an_answer_to_a_message_given_up_is_thrown_away(rig: Rig) -> None:
    async with rig.sending():
        async with trio.open_nursery() as giving_up:
            giving_up.start_soon(rig.publish, "a")
            await rig.until_published(1)
            giving_up.cancel_scope.cancel(reason="it takes too long")
        await rig.client.answer(rig.client.published[0][1], ACK)
    assert rig.outcomes == {}
