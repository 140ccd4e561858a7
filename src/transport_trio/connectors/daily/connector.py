"""The Daily connector: the port's calls in Daily's terms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import attrs
import trio

from transport_trio.connectors.daily import capturing, incall, meetings, sweeping
from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import SLOTS, DailyClient
from transport_trio.connectors.daily.door import DailyDoor
from transport_trio.connectors.daily.exchange import open_exchange
from transport_trio.connectors.daily.keeper import WebhookKeeper
from transport_trio.connectors.daily.looking import Looking
from transport_trio.connectors.daily.mapping import (
    MANAGED_OPTIONS,
    MANAGED_TOKEN_OPTIONS,
    room_body,
    token_body,
    token_claims,
)
from transport_trio.connectors.daily.operations import (
    CHECK,
    CREATE_ROOM,
    CREATE_TOKEN,
    DAILY_LIMITS,
    DELETE_ROOM,
    EXTEND_ROOM,
    FIND_ROOM,
    OPERATIONS,
    DailyLimits,
)
from transport_trio.connectors.daily.reading import (
    parse_deleted,
    parse_domain_name,
    parse_room,
    parse_token,
)
from transport_trio.connectors.daily.signing import Signing
from transport_trio.connectors.health import Health
from transport_trio.errors import ProviderRejected, RoomExists, RoomNotFound, SettingsError
from transport_trio.metrics import Metrics
from transport_trio.models import (
    CaptureKind,
    CaptureLink,
    CaptureNews,
    CaptureOptions,
    Check,
    PermissionsChange,
    Room,
    RoomConfig,
    RoomPlan,
    TokenPlan,
    Visit,
)
from transport_trio.ports import RoomPage, Seen
from transport_trio.setting_connectors import DAILY, variable


@attrs.define(eq=False)
class DailyConnector:
    """Implements `ports.TransportConnector`. Each request is bounded by 2.5 timeouts.

    `create_room` looks the name up when it is refused, what concerns the people of a call when Daily finds none, and
    `presence` asks twice when Daily has shortened its answer.
    """

    _client: DailyClient
    _domain: str
    _looking: Looking
    door: DailyDoor
    keeper: WebhookKeeper | None = None
    signing: Signing | None = None

    @property
    def name(self) -> str:
        return self._client.provider

    @property
    def managed_options(self) -> frozenset[str]:
        return MANAGED_OPTIONS

    @property
    def managed_token_options(self) -> frozenset[str]:
        return MANAGED_TOKEN_OPTIONS

    @property
    def managed_capture_options(self) -> frozenset[str]:
        return capturing.MANAGED_CAPTURE_OPTIONS

    def dry_run(self, room: RoomPlan, token: TokenPlan) -> dict[str, Any]:
        body = token_body(token)
        return {"room": room_body(room), "token": {"body": body, "claims": token_claims(body)}}

    async def create_room(self, plan: RoomPlan) -> Room:
        try:
            return await self._client.call(CREATE_ROOM, partial(self._read_room, plan.name), body=room_body(plan))
        except ProviderRejected as exc:
            # Daily has one error for a taken name and for a bad property; only its free text tells them apart.
            if exc.status == HTTPStatus.BAD_REQUEST and await incall.room_exists(self._client, plan.name):
                raise RoomExists(plan.name) from exc
            raise

    def _read_room(self, name: str, answer: Answer) -> Room:
        return parse_room(answer.json, name, self._domain)

    async def find_room(self, name: str) -> Room | None:
        def read(answer: Answer) -> Room | None:
            room = parse_room(answer.json, name, self._domain)
            expired = room.expires_at is not None and room.expires_at <= answer.at
            return None if expired else room

        try:
            return await self._client.call(FIND_ROOM, read, room=name)
        except RoomNotFound:
            return None

    async def extend_room(self, name: str, expires_at: datetime) -> Room:
        # Nothing but `exp`: whatever else is named would be set, too.
        body = {"properties": {"exp": int(expires_at.timestamp())}}
        read = partial(self._read_room, name)
        return await self._client.call(EXTEND_ROOM, read, room=name, body=body)

    async def delete_room(self, name: str) -> bool:
        try:
            await self._client.call(DELETE_ROOM, lambda answer: parse_deleted(answer.json), room=name)
        except RoomNotFound:
            return False
        return True

    async def list_rooms(self, after: str | None) -> RoomPage:
        return await sweeping.list_rooms(self._client, self._domain, after)

    async def delete_rooms(self, names: Sequence[str]) -> None:
        await sweeping.delete_rooms(self._client, names)

    async def count_people(self, room_name: str) -> int:
        return await sweeping.count_people(self._client, room_name)

    async def create_token(self, plan: TokenPlan) -> str:
        if self.signing is not None and (token := self.signing.mint(plan)) is not None:
            self._client.metrics.tokens.labels(self.name, "service").inc()
            return token
        token = await self._client.call(CREATE_TOKEN, lambda answer: parse_token(answer.json), body=token_body(plan))
        self._client.metrics.tokens.labels(self.name, "provider").inc()
        return token

    async def presence(self, room_name: str, *, fresh: bool = False) -> Seen:
        return await self._looking.look(room_name, fresh=fresh)

    async def visit_rooms(self) -> None:
        """Find rooms that are gone where one question is asked for all of them. Until cancelled."""
        await self._looking.visit()

    async def eject(
        self, room_name: str, *, participant_ids: Sequence[str], user_ids: Sequence[str], ban: bool
    ) -> tuple[str, ...]:
        return await incall.eject(self._client, room_name, participant_ids, user_ids, ban=ban)

    async def update_permissions(
        self, room_name: str, participant_id: str, change: PermissionsChange, config: RoomConfig
    ) -> None:
        await incall.update_permissions(self._client, room_name, participant_id, change, config)

    async def send_message(self, room_name: str, recipient: str, data: dict[str, Any]) -> None:
        await incall.send_message(self._client, room_name, recipient, data)

    async def start_capture(self, room_name: str, kind: CaptureKind, instance_id: str, options: CaptureOptions) -> None:
        await capturing.start(self._client, room_name, kind, instance_id, options)

    async def update_capture(
        self, room_name: str, kind: CaptureKind, instance_id: str | None, options: CaptureOptions
    ) -> None:
        await capturing.update(self._client, room_name, kind, instance_id, options)

    async def stop_capture(self, room_name: str, kind: CaptureKind, instance_id: str | None) -> None:
        await capturing.stop(self._client, room_name, kind, instance_id)

    async def captures(self, room: Room, kind: CaptureKind) -> tuple[CaptureNews, ...]:
        return await capturing.listed(self._client, room, kind)

    async def find_capture(self, kind: CaptureKind, provider_id: str) -> CaptureNews | None:
        return await capturing.find(self._client, kind, provider_id)

    async def capture_link(self, kind: CaptureKind, provider_id: str, valid_for_s: int | None) -> CaptureLink | None:
        return await capturing.link(self._client, kind, provider_id, valid_for_s)

    async def delete_capture(self, kind: CaptureKind, provider_id: str) -> bool:
        return await capturing.delete(self._client, kind, provider_id)

    async def visits(self, room_name: str, start: datetime, end: datetime) -> tuple[Visit, ...] | None:
        return await meetings.visits(self._client, room_name, start, end)

    async def check(self) -> datetime | None:
        theirs, date = await self._client.call(CHECK, lambda answer: (parse_domain_name(answer.json), answer.date))
        if theirs is not None and theirs.lower() != self._domain.lower():
            fault = f"the API key is the domain {theirs!r}'s, but {variable(self.name, 'domain')} says {self._domain!r}"
            self._client.health.configured(fault)
            raise ProviderRejected(self.name, HTTPStatus.OK, fault)
        self._client.health.configured()
        return date

    async def prove_signing(self) -> None:
        """Sign tokens ourselves from now on, if that is wanted and Daily accepts one; bounded, and raises nothing."""
        if self.signing is not None:
            await self.signing.prove()

    async def keep_webhook(self, own_url: str, stop: trio.Event) -> None:
        """Have Daily push to us until `stop`, if that is wanted; `own_url` is where this process would have it itself.

        Leaves the webhook removed, unless Daily did not answer within 3 s.
        """
        if self.keeper is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keeper.run, own_url)
            await stop.wait()
            nursery.cancel_scope.cancel(reason="the service is stopping")

    def checks(self) -> list[Check]:
        """The lines of `/ready` that tell of Daily."""
        return [self.health(), *(part.health() for part in (self.keeper, self.signing) if part is not None)]

    def health(self) -> Check:
        return self._client.health.check()


@asynccontextmanager
async def open_daily(
    *,
    name: str = DAILY,
    api_key: str,
    domain: str,
    api_url: str,
    timeout_s: float,
    metrics: Metrics,
    rate_limits: DailyLimits = DAILY_LIMITS,
    webhook_url: str | None = None,
    webhook_secret: bytes | None = None,
    poll_s: float = 15.0,
    shared_presence_rooms: int = 100,
    sign_tokens: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[DailyConnector]:
    """A connector for one Daily domain; its connections close with the block. No request is made by opening it.

    Args:
        name: what callers write as `provider`; errors, log lines and metrics say it, too.
        timeout_s: the longest wait for one answer; a call takes at most 2.5 times as long, retries and waits included.
        webhook_url: where Daily reaches us, or `self`; None: `keep_webhook` has nothing to do.
        poll_s: between two looks of whoever watches a room.
        shared_presence_rooms: from how many rooms on one question is asked for all of them; 0: never.
        webhook_secret: what Daily signs with; None: one is made where we register the webhook.
        sign_tokens: sign meeting tokens here, once `prove_signing` has found Daily to accept them.
        now: the time that such tokens were made at.

    Raises:
        SettingsError: no HTTP header can carry the key.
    """
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise SettingsError(f"{variable(name, 'api_key')}: (hidden) must be printable ASCII characters without blanks")
    async with open_exchange(
        provider=name, api_key=api_key, api_url=api_url, timeout_s=timeout_s, operations=OPERATIONS, slots=SLOTS
    ) as exchange:
        client = DailyClient(
            provider=name, exchange=exchange, health=Health(name), metrics=metrics, limits=rate_limits, secret=api_key
        )
        door = DailyDoor(provider=name, secrets=() if webhook_secret is None else (webhook_secret,))
        keeper = None
        if webhook_url is not None:
            keeper = WebhookKeeper(client=client, door=door, metrics=metrics, url=webhook_url, secret=webhook_secret)
        looking = Looking(client=client, metrics=metrics, interval_s=poll_s, many=shared_presence_rooms)
        signing = Signing(client, api_key, now) if sign_tokens else None
        yield DailyConnector(client, domain, looking, door, keeper, signing)
