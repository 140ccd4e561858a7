"""`GET /events`: the journal's events, a page at a time."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio

from transport_trio.ports import EventPage, EventQuery
from transport_trio.web.answers import answer_bytes
from transport_trio.web.deps import WebDeps
from transport_trio.web.query import event_id, event_types, limit, one, parse_query, short_text
from transport_trio.wire.out import encode

LIMIT_DEFAULT = 100
# Events of 64 KiB are allowed but rare; a page of 500 such would be 32 MiB held for one slow reader.
PAGE_MAX_BYTES = 4 * 1024 * 1024


def register_events(app: QuartTrio, deps: WebDeps) -> None:
    @app.get("/events")
    async def read_events() -> Response:
        known = ("after", "epoch", "limit", "session_id", "types")
        query = parse_query(request.query_string, known, repeatable=("session_id",))
        session_ids = query.get("session_id")
        wanted = EventQuery(
            after=one(query, "after", event_id),
            epoch=one(query, "epoch", short_text),
            limit=one(query, "limit", limit) or LIMIT_DEFAULT,
            session_ids=None if session_ids is None else frozenset(session_ids),
            types=one(query, "types", event_types),
        )
        page = await deps.journal.events(wanted)
        return answer_bytes(page_body(page, deps.journal.epoch))


def page_body(page: EventPage, epoch: str) -> bytes:
    """The page as JSON; one that is too large is cut, and `last_event_id` then says where."""
    bodies: list[bytes] = []
    size, last = 0, page.last_event_id
    for event in page.events:
        size += len(event.body)
        if bodies and size > PAGE_MAX_BYTES:
            break
        bodies.append(event.body)
    if len(bodies) < len(page.events):
        last = page.events[len(bodies) - 1].id
    return b'{"events":[%b],"epoch":%b,"last_event_id":%d}' % (b",".join(bodies), encode(epoch), last)
