"""What callers were answered, and whether it was right and stays so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise

import attrs
from machine_rig import Call, World
from machine_story import Story
from machine_tokens import note_token

from fakes_connector import at, trio_time
from transport_trio.errors import (
    Busy,
    ConnectorError,
    IdempotencyMismatch,
    RequestInProgress,
    RoomExists,
    Stopping,
    StorageUnavailable,
)
from transport_trio.models import Session
from transport_trio.sessions import Created

A_DAY = timedelta(hours=24)


@attrs.frozen
class Promise:
    """What a caller was told with a 201."""

    session: Session
    call: Call


class Answers:
    def __init__(self, world: World) -> None:
        self.promises: dict[str, Promise] = {}
        self._keys: dict[str, Promise] = {}
        self._fresh: set[str] = set()  # sessions of keys that were answered as new
        self._world = world

    def note(self, names: set[str], sessions: dict[str, Session], stories: dict[str, Story]) -> None:
        """Look at each new answer; `names` of rooms were taken."""
        for call in self._world.calls:
            if call.answer is None or call.noted:
                continue
            call.noted = True
            if call.kind == "create":
                self._note_created(call, names)
            elif call.kind in {"token", "renew"}:
                story = stories[call.about["id"]]
                calm = call.calm and self._world.calm
                note_token(call, story.tokens, calm=calm, has_ended=story.ended_at is not None)
            else:
                self._note_ended(call, sessions)
        self._check_numbers(sessions.values())

    def _note_created(self, call: Call, names: set[str]) -> None:
        calm = call.calm and self._world.calm
        answer, key = call.answer, call.about["key"]
        known = self._keys.get(key) if key else None
        if known is not None and trio_time() - known.session.created_at > A_DAY - timedelta(seconds=60):
            known = None  # the key may have been forgotten
        match answer:
            case Created():
                if known is not None:
                    assert answer.session.id == known.session.id, "a key made two sessions"
                    assert call.about["name"] == known.call.about["name"], "a key answered for another body"
                assert answer.replayed or answer.session.id not in self._fresh, "not told that it is a repeat"
                if not answer.replayed:
                    self._fresh.add(answer.session.id)
                if known is not None:
                    return
                self._note_promise(call, answer.session)
            case RoomExists():
                assert call.about["room"] in names, "room_exists, but it does not"
            case IdempotencyMismatch():
                others = {c.about["name"] for c in self._world.calls if c.kind == "create" and c.about["key"] == key}
                assert key is not None
                assert len(others) > 1, "idempotency_mismatch for the same body"
            case StorageUnavailable():
                assert not calm, "storage_unavailable on a good disk"
            case ConnectorError() | RequestInProgress() | Stopping():
                assert not calm, f"a creation failed for no reason: {answer!r}"
            case _:
                raise AssertionError(f"an answer that nobody may get: {answer!r}")

    def _note_promise(self, call: Call, session: Session) -> None:
        self.promises[session.id] = promise = Promise(session, call)
        if call.about["key"]:
            self._keys[call.about["key"]] = promise
        assert session.participant_config.name == call.about["name"]
        # A repeat may be the first to be answered: the one that made the session was cut off by a crash.
        same = [c for c in self._world.calls if c.kind == "create" and c.about["name"] == call.about["name"]]
        assert any(self._has_ends_of(one, session) for one in same)

    def _has_ends_of(self, call: Call, session: Session) -> bool:
        end, token_end = (at(call.began + call.about[ttl]) for ttl in ("ttl", "token_ttl"))
        waited = timedelta(seconds=self._world.now - call.began + 1)
        return end <= session.expires_at <= end + waited and token_end <= session.token.expires_at <= token_end + waited

    def _note_ended(self, call: Call, sessions: dict[str, Session]) -> None:
        answer = call.answer
        match answer:
            case Session():
                known = sessions[call.about["id"]]
                assert answer.has_ended
                assert (answer.id, answer.end_reason, answer.ended_at) == (known.id, known.end_reason, known.ended_at)
            case StorageUnavailable():
                assert not (call.calm and self._world.calm), "storage_unavailable on a good disk"
            case Busy():
                assert self._world.service is None or self._world.service.began > call.began
            case _:
                raise AssertionError(f"an answer that nobody may get: {answer!r}")

    def _check_numbers(self, sessions: Iterable[Session]) -> None:
        """A request makes one session when it was answered with one, none when it was refused, else one at most."""
        made: dict[str, list[Session]] = {}
        for session in sessions:
            name = session.participant_config.name
            assert name is not None
            made.setdefault(name, []).append(session)
        for name, those in made.items():
            calls = [call for call in self._world.calls if call.kind == "create" and call.about["name"] == name]
            times = sorted(session.created_at for session in those)
            for earlier, later in pairwise(times):
                assert later - earlier > A_DAY - timedelta(minutes=1), f"two sessions for {name}"
            unsure = [c for c in calls if c.answer is None or isinstance(c.answer, Created | Stopping)]
            assert unsure, f"a creation was refused and made: {name}"
