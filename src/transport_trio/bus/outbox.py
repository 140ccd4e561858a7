"""Publishing many messages at once: posted from Trio, sent by one asyncio task, their acks heard by one subscription.

`JetStreamContext.publish` takes an asyncio task and a timer for each message; crossing to them and back cost as much as
everything else that becomes of a message. `publish_async` of nats-py 2.16 does without, and never hears of a refusal.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from itertools import count

import attrs
import trio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header, PubAck, StatusCode
from nats.js.errors import APIError, NoStreamResponseError


@attrs.define(eq=False)
class Outgoing:
    """A message, and what is heard of it."""

    subject: str
    body: bytes
    headers: dict[str, str]
    _ack: PubAck | None = None
    _fault: Exception | None = None
    _heard: trio.Event = attrs.field(factory=trio.Event)

    async def acked(self) -> PubAck:
        await self._heard.wait()
        if self._ack is None:
            assert self._fault is not None
            raise self._fault
        return self._ack

    def hear(self, answer: Msg) -> None:
        try:
            self._ack = _read(answer)
        except Exception as exc:
            self._fault = exc
        self._heard.set()

    def fail(self, fault: Exception) -> None:
        self._fault = fault
        self._heard.set()


def _read(answer: Msg) -> PubAck:
    if answer.headers and answer.headers.get(Header.STATUS) == StatusCode.SERVICE_UNAVAILABLE:
        raise NoStreamResponseError
    told = json.loads(answer.data)
    if "error" in told:
        raise APIError.from_error(told["error"])
    return PubAck.from_response(told)


class Outbox:
    """Messages of one connection on their way. The caller bounds their number."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._under_way: dict[str, Outgoing] = {}  # by the last part of the subject that the ack comes to
        self._numbers = count()
        self._posted: deque[str] = deque()
        self._some = asyncio.Event()

    async def publish(self, message: Outgoing) -> PubAck:
        """The ack. Raises what nats-py has to say where there is none. Cancelled before it was sent, it never is."""
        number = str(next(self._numbers))
        self._under_way[number] = message
        self._posted.append(number)
        self._some.set()
        try:
            return await message.acked()
        finally:
            del self._under_way[number]

    # From here on asyncio flavour.

    async def run(self) -> None:
        """Send until cancelled."""
        inbox = self._client.new_inbox()
        await self._client.subscribe(f"{inbox}.*", cb=self._hear)
        while True:
            await self._some.wait()
            self._some.clear()
            while self._posted:
                number = self._posted.popleft()
                message = self._under_way.get(number)
                if message is not None:
                    await self._send(message, f"{inbox}.{number}")

    async def _send(self, message: Outgoing, reply: str) -> None:
        try:
            await self._client.publish(message.subject, message.body, reply=reply, headers=message.headers)
        except Exception as exc:
            message.fail(exc)

    async def _hear(self, answer: Msg) -> None:
        message = self._under_way.get(answer.subject.rpartition(".")[2])
        if message is not None:
            message.hear(answer)
