"""Looking things up in the stream that it has no index for. Walks, bounded, and seldom needed."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import trio
from nats.js.api import RawStreamMsg

from transport_trio.bus.delivery import IN_FLIGHT_MAX
from transport_trio.bus.message import identity_of
from transport_trio.bus.nats import Link, NoMessage
from transport_trio.errors import BusUnavailable

log = logging.getLogger(__name__)

LOOK_BACK = 5_000  # messages; a second of walking, and more than others write while a service restarts
CLOCKS_DIFFER = timedelta(minutes=10)


async def newest_before(link: Link, stream: str, subjects: str, end: int) -> tuple[str, int] | None:
    """(epoch, event id) of our newest message before the one at `end`: for when a stranger wrote the last one."""
    newest, seq = None, 1
    while (found := await link.next_message(stream, subjects, seq)).seq != end:
        assert found.seq is not None
        newest = identity_of(found.headers) or newest
        seq = found.seq + 1
    return newest


async def newest_of_epoch(link: Link, stream: str, epoch: str, since: datetime | None) -> int | None:
    """The highest event id of `epoch` in the stream, looking from the end back to what was stored before `since`."""
    state = (await link.stream_info(stream)).state
    bottom = max(state.first_seq, state.last_seq - LOOK_BACK + 1, 1)
    ids: list[int] = []
    top = state.last_seq
    while top >= bottom and len(ids) < IN_FLIGHT_MAX:
        start = max(bottom, top - IN_FLIGHT_MAX + 1)
        found = await _messages(link, stream, range(start, top + 1))
        identities = [identity_of(message.headers) for message in found]
        ids += [identity[1] for identity in identities if identity and identity[0] == epoch]
        if since is not None and any(m.time is not None and m.time < since - CLOCKS_DIFFER for m in found):
            break
        top = start - 1
    return max(ids, default=None)


async def _messages(link: Link, stream: str, sequences: range) -> list[RawStreamMsg]:
    found: list[RawStreamMsg] = []

    async def fetch(seq: int) -> None:
        try:
            found.append(await link.message_at(stream, seq))
        except NoMessage:
            return

    try:
        async with trio.open_nursery() as nursery:
            for seq in sequences:
                nursery.start_soon(fetch, seq)
    except* BusUnavailable as group:
        failure = group.exceptions[0]
    else:
        return found
    raise BusUnavailable(str(failure)) from failure
