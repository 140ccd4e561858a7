"""A speech service's end of the pipeline: learn from JetStream who has to be listened to, and miss nobody.

It starts a (here: pretended) recogniser for everyone who joins a room and stops it when they leave. Plain nats-py on
asyncio, nothing of transport_trio: this is what a service of your own looks like.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

EVENTS = ("participant_joined", "participant_left", "session_ended")
FETCH_S = 2.0  # one long poll; what happens to consumer or connection is noticed by then
RETRY_S = 1.0
GOODBYE_S = 5.0

TABLES = """
CREATE TABLE IF NOT EXISTS handled (source TEXT, id TEXT, at TEXT, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recognisers (
    session_id TEXT, participant_id TEXT, name TEXT, stopped_at TEXT, PRIMARY KEY (session_id, participant_id));
"""


def say(text: str) -> None:
    print(text, flush=True)


class Recognisers:
    """Who is listened to. The effect of an event and the fact that it was handled are one transaction.

    That is what makes redelivery harmless: after a crash an event has had its whole effect, or none.
    """

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path)
        self._db.executescript(TABLES)
        with self._db:  # the stream keeps events for 7 days: older ones cannot come again
            self._db.execute("DELETE FROM handled WHERE at < strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '-8 days')")

    def knows(self, source: str, event_id: str) -> bool:
        query = "SELECT 1 FROM handled WHERE source = ? AND id = ?"
        return self._db.execute(query, (source, event_id)).fetchone() is not None

    def apply(self, source: str, event_id: str, event: dict[str, Any]) -> list[str]:
        """Start or stop recognisers; tells what was done, one line each."""
        with self._db:
            self._db.execute("INSERT INTO handled VALUES (?, ?, ?)", (source, event_id, event["time"]))
            if event["type"] == "participant_joined":
                return self._start(event["session_id"], event["participant"])
            only = event["participant"]["id"] if event["type"] == "participant_left" else None
            return self._stop(event["session_id"], only, event["time"])

    def _start(self, session_id: str, who: dict[str, Any]) -> list[str]:
        # REPLACE: somebody whose leave proved wrong (`again`) is listened to again.
        row = (session_id, who["id"], who["name"] or who["user_id"] or "somebody")
        self._db.execute("REPLACE INTO recognisers VALUES (?, ?, ?, NULL)", row)
        return [f"listening to {row[2]} in {session_id}"]

    def _stop(self, session_id: str, participant_id: str | None, time: str) -> list[str]:
        stopped = self._db.execute(
            "UPDATE recognisers SET stopped_at = ?3 WHERE session_id = ?1 AND stopped_at IS NULL"
            " AND participant_id = ifnull(?2, participant_id) RETURNING name",
            (session_id, participant_id, time),
        )
        return [f"stopped listening to {name} in {session_id}" for (name,) in stopped]


async def handle(message: Msg, recognisers: Recognisers, options: argparse.Namespace) -> None:
    """Give one message its effect, once, and acknowledge it."""
    headers = message.headers or {}
    source, event_id = headers.get("ce-source"), headers.get("ce-id")
    try:
        event = json.loads(message.data)
    except ValueError:
        event = None
    if not source or not event_id or not isinstance(event, dict):
        say(f"not an event of the service, put aside: {message.subject}")
        await message.term()  # it would be as wrong the next time
        return
    if recognisers.knows(source, event_id):
        say(f"event {event_id} had its effect before")
    else:
        say(f"event {event_id}: {event.get('type')}")
        async with kept_ours(message, options.ack_wait_s):
            await asyncio.sleep(options.work_s)  # a real service loads a model or opens an audio track here
        # SQLite answers in milliseconds; a database over the network would be awaited.
        for line in recognisers.apply(source, event_id, event):
            say(line)
    await message.ack()


@asynccontextmanager
async def kept_ours(message: Msg, ack_wait_s: float) -> AsyncIterator[None]:
    """Tell the server that we are still at it, so that long work is not taken for a crash."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(ack_wait_s / 3)
            await message.in_progress()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()


async def consume(connection: Client, recognisers: Recognisers, options: argparse.Namespace) -> None:
    """Handle events until cancelled, or until the server wants us no more; a missing stream is waited for."""
    while not connection.is_closed:
        try:
            await attend(connection.jetstream(), recognisers, options)
        except NatsError as exc:
            say(f"{options.stream} is not to be had ({exc}); trying again in {RETRY_S:g} s")
            await asyncio.sleep(RETRY_S)


async def attend(stream: JetStreamContext, recognisers: Recognisers, options: argparse.Namespace) -> None:
    """Handle events until cancelled or until the server refuses."""
    config = ConsumerConfig(
        durable_name=options.durable,
        description="speech service",
        filter_subjects=[f"transport.events.*.{event}" for event in EVENTS],
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=options.ack_wait_s,
        # One at a time keeps the order even over a crash: otherwise a leave may overtake its join, which waits to be
        # redelivered. It is also what makes a second instance of this program a hot standby.
        max_ack_pending=1,
    )
    await stream.add_consumer(options.stream, config)  # goes on where it stood if it is there already
    subscription = await stream.pull_subscribe_bind(options.durable, stream=options.stream)
    try:
        say(f"waiting for events as {options.durable}")
        while True:
            with suppress(TimeoutError):  # nothing new
                for message in await subscription.fetch(1, timeout=FETCH_S):
                    await handle(message, recognisers, options)
    finally:
        with suppress(NatsError):
            await subscription.unsubscribe()


async def run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    told = ""

    async def complain(exc: Exception) -> None:
        nonlocal told
        text = str(exc) or type(exc).__name__
        if text != told:  # not once a second while the server is away
            say(f"NATS: {text}")
        told = text

    async def reconnected() -> None:
        nonlocal told
        told = ""
        say("NATS: connected again")

    # Waits for a server that is not there yet, and for one that went away: for ever.
    connecting = asyncio.create_task(
        nats.connect(
            options.nats_url.split(","),
            name=options.durable,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=complain,
            reconnected_cb=reconnected,
        )
    )
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        connecting.cancel()
        return 0
    connection = connecting.result()
    consuming = asyncio.create_task(consume(connection, Recognisers(options.state), options))
    await asyncio.wait({consuming, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if consuming.done():
        consuming.result()  # a bug shows itself here
        say("NATS has closed the connection for good")
        return 1
    # What is in hand now has had no effect yet, or its effect and perhaps no ack: both are redelivered or known.
    consuming.cancel()
    await asyncio.wait({consuming})
    with suppress(NatsError, TimeoutError):
        # Acks are on their way. A drain would wait for a pull that nobody answers any more.
        await connection.flush(timeout=GOODBYE_S)
        await asyncio.wait_for(connection.close(), GOODBYE_S)
    say("stopped")
    return 0


def nats_url(text: str) -> str:
    if "://" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; give one like nats://127.0.0.1:4222")
    return text


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Start and stop a speech recogniser for everyone who joins and leaves a room.",
        epilog="Example: python examples/speech_consumer.py --nats-url nats://127.0.0.1:4222 --durable speech-de",
    )
    environ = os.environ.get
    default_url = environ("NATS_URL") or "nats://127.0.0.1:4222"
    parser.add_argument("--nats-url", type=nats_url, default=default_url, help="NATS_URL (%(default)s)")
    parser.add_argument("--stream", default=environ("SPEECH_STREAM") or "TRANSPORT_EVENTS", help="SPEECH_STREAM")
    parser.add_argument("--durable", default=environ("SPEECH_DURABLE") or "speech", help="SPEECH_DURABLE (%(default)s)")
    parser.add_argument("--state", default=environ("SPEECH_STATE") or "speech.sqlite3", help="SPEECH_STATE: a file")
    parser.add_argument("--ack-wait-s", type=float, default=float(environ("SPEECH_ACK_WAIT_S") or 30))
    parser.add_argument("--work-s", type=float, default=0.0, help="pretend that an event takes so long to handle")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(asyncio.run(run(parse(sys.argv[1:]))))
