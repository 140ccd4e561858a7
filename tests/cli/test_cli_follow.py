"""Following over real WebSockets: connections end in every way, the events go on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from socket_service import Line, SocketService, breaks, closes, ended, numbers, open_socket_service, says, welcome

from transport_trio.cli.follow import Follower, Patience
from transport_trio.cli.position import Position
from transport_trio.cli.problems import ServiceFailure
from transport_trio.cli.target import Target

SNAPSHOT = {"type": "snapshot", "last_event_id": 50, "sessions": [], "more": False}
DONE = ended(999)
QUICK = Patience(first_delay_s=0.01, last_delay_s=0.02)


@attrs.define(eq=False)
class Reader:
    """What a follower told, until an event that a test waits for."""

    told: list[Mapping[str, Any]] = attrs.field(factory=list)
    notices: list[str] = attrs.field(factory=list)
    done: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, message: Mapping[str, Any]) -> None:
        self.told.append(message)
        if message.get("id") == DONE["id"]:
            self.done.set()

    def follower(self, service_url: str, **options: Any) -> Follower:
        options = {"position": Position(), "patience": QUICK, **options}
        target = Target(url=service_url, api_key=options.pop("api_key", None))
        return Follower(target=target, tell=self.tell, notice=self.notices.append, **options)


async def follow_until_done(*scripts: Any, **options: Any) -> tuple[Reader, SocketService]:
    reader = Reader()
    with trio.fail_after(30):
        async with open_socket_service(*scripts) as service, trio.open_nursery() as nursery:
            nursery.start_soon(reader.follower(service.url, **options).run)
            await reader.done.wait()
            nursery.cancel_scope.cancel()
    return reader, service


async def failure_of(*scripts: Any, **options: Any) -> str:
    reader = Reader()
    with trio.fail_after(30):
        async with open_socket_service(*scripts) as service:
            with pytest.raises(ServiceFailure) as caught:
                await reader.follower(service.url, **options).run()
    return caught.value.message


def test_waits_grow_to_a_limit_and_never_overflow() -> None:
    patience = Patience(first_delay_s=0.5, last_delay_s=15)
    assert [patience.delay_s(losses) for losses in (1, 2, 3, 6, 7, 100_000)] == [0.5, 1, 2, 15, 15, 15]


async def test_live_events_are_told_as_they_come_and_the_key_travels_in_a_header() -> None:
    reader, service = await follow_until_done(
        says(welcome(), ended(1), DONE), filter_query=[("session_id", "a&b"), ("types", "x,y")], api_key="the-key"
    )
    assert numbers(reader.told) == [1, 999]
    assert service.queries == [[("session_id", "a&b"), ("types", "x,y")]]
    assert service.headers[0]["authorization"] == "Bearer the-key"


async def test_a_lost_connection_is_taken_up_after_the_last_event() -> None:
    reader, service = await follow_until_done(
        breaks(welcome(40), ended(41), ended(42)),
        closes(1001, welcome(50), ended(43)),
        (503, {"code": "stopping", "detail": "later"}),
        closes(4008, welcome(51), ended(44)),
        says(welcome(60), DONE),
        filter_query=[("session_id", "s-1")],
    )
    assert numbers(reader.told) == [41, 42, 43, 44, 999]
    assert [dict(query).get("after") for query in service.queries] == [None, "42", "43", "43", "44"]
    assert [dict(query).get("epoch") for query in service.queries] == [None, "e", "e", "e", "e"]
    assert {dict(query)["session_id"] for query in service.queries} == {"s-1"}
    assert [notice.partition(";")[0] for notice in reader.notices] == [
        f"following {service.url}",
        "the connection broke (close code 1006)",
        f"following {service.url}",
        "the service is stopping (close code 1001)",
        "503 stopping: later",
        f"following {service.url}",
        "this terminal was too slow (close code 4008)",
        f"following {service.url}",
    ]


async def test_a_gap_and_its_snapshot_are_told_and_gone_on_from() -> None:
    gap = {"type": "gap", "after": 7, "oldest": 1, "reason": "epoch", "epoch": "new"}
    reader, service = await follow_until_done(
        breaks(welcome(50, epoch="new"), gap, SNAPSHOT, ended(51)),
        says(welcome(51, epoch="new"), DONE),
        position=Position(after=7, epoch="old"),
    )
    assert [message["type"] for message in reader.told[:4]] == ["welcome", "gap", "snapshot", "session_ended"]
    assert service.queries == [[("after", "7"), ("epoch", "old")], [("after", "51"), ("epoch", "new")]]


async def test_a_service_that_is_away_for_a_while_is_waited_for() -> None:
    """Nobody listens between two lives of the service: that is no reason to give up."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        position = Position()
        position.note(welcome(3))
        reader = Reader()
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.follower(url, position=position).run)
                while len(reader.notices) < 3:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                nursery.cancel_scope.cancel()
    assert all(notice.startswith(f"nothing answers at {url}") for notice in reader.notices)
    assert all("\n" not in notice for notice in reader.notices)


async def test_pings_are_answered_and_move_the_place() -> None:
    heard = []

    async def script(line: Line) -> None:
        await line.say(welcome(3), {"type": "ping", "last_event_id": 8})
        heard.append(await line.hear())

    _, service = await follow_until_done(script, says(welcome(9), DONE))
    assert heard == [{"type": "pong"}]
    assert dict(service.queries[1])["after"] == "8"


async def test_a_service_that_falls_silent_is_left_for_a_new_connection() -> None:
    reader, _ = await follow_until_done(says(welcome(3, heartbeat_s=0.1)), says(welcome(3), DONE))
    assert reader.notices[1].startswith("the service has fallen silent")


async def test_what_the_reader_did_not_take_is_not_behind_us() -> None:
    """A broken pipe in the middle: the event was not told, and the place is before it."""
    position = Position()

    def break_at_two(message: Mapping[str, Any]) -> None:
        if message.get("id") == 2:
            raise BrokenPipeError

    with trio.fail_after(30):
        async with open_socket_service(says(welcome(), ended(1), ended(2))) as service:
            follower = Follower(
                target=Target(url=service.url), position=position, tell=break_at_two, notice=lambda _: None
            )
            with pytest.raises(BrokenPipeError):
                await follower.run()
    assert position.after == 1


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((401, {"code": "unauthorized", "detail": "no key"}), "401 unauthorized: no key\n  give one of"),
        ((403, {"code": "forbidden_origin", "detail": "no"}), "403 forbidden_origin: no\n  the service does not let"),
        ((426, {"code": "upgrade_required", "detail": "x"}), "its WebSocket upgrade; a proxy"),
        ((400, {"code": "invalid_request", "errors": [{"path": "$.after", "message": "no"}]}), "  $.after: no"),
        ((503, {"code": "listeners_full", "detail": "full"}), "503 listeners_full: full"),
        ((404, b"<html>"), "the answer was 404, and not in the service's own words"),
    ],
)
async def test_a_refused_first_connection_is_told_in_words(refusal: tuple[int, Any], words: str) -> None:
    assert words in await failure_of(refusal)


async def test_a_refusal_for_good_ends_it_later_too() -> None:
    assert "401" in await failure_of(breaks(welcome()), (401, {"code": "unauthorized"}))
    assert "withdrawn" in await failure_of(closes(4401, welcome()))
    assert "(close code 4400: because)" in await failure_of(closes(4400, welcome()))


async def test_another_servers_websocket_is_recognised() -> None:
    async def chatter(line: Line) -> None:
        await line.socket.send_message("hello")
        await line.stay()

    assert "not this service's" in await failure_of(chatter)
    assert "not this service's" in await failure_of(says({"kind": "welcome"}))


async def test_nobody_there_is_told_with_what_to_do() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(ServiceFailure) as caught, trio.fail_after(30):
            await Reader().follower(url).run()
    assert caught.value.message.startswith(f"nothing answers at {url} (")
    assert "serve --sandbox" in caught.value.message


async def test_a_server_that_never_answers_the_upgrade_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, trio.fail_after(30):
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ServiceFailure, match="gave no WebSocket answer within"):
            await Reader().follower(url, patience=Patience(connect_s=0.2)).run()


async def test_a_server_that_never_says_welcome_is_given_up() -> None:
    assert "fallen silent" in await failure_of(says(), patience=Patience(welcome_s=0.1))
