"""Meeting tokens signed here instead of by Daily, after Daily has accepted one of ours (ADR 0075)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
from prometheus_client import Gauge

from transport_trio.connectors.daily.answers import Answer
from transport_trio.connectors.daily.client import DailyClient
from transport_trio.connectors.daily.mapping import token_body, token_claims
from transport_trio.connectors.daily.operations import CHECK, READ_TOKEN
from transport_trio.connectors.daily.reading import BrokenAnswer
from transport_trio.errors import ConnectorError, ProviderRejected
from transport_trio.models import Check, CheckStatus, ParticipantConfig, RoomConfig, TokenPlan

log = logging.getLogger(__name__)

HEADER = {"alg": "HS256", "typ": "JWT"}
PROBE_S = 60
PROBE_ROOM = "transport-trio-probe"  # no room: the token opens nothing


def signed(claims: dict[str, Any], api_key: str) -> str:
    """The claims as a JWT, in the order they have."""
    text = ".".join(_part(json.dumps(part, separators=(",", ":")).encode()) for part in (HEADER, claims))
    return f"{text}.{_part(hmac.digest(api_key.encode(), text.encode(), hashlib.sha256))}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@attrs.define(eq=False)
class Signing:
    """Mints tokens as Daily does, once Daily has read one of them; until then, and for what only it can check, None."""

    _client: DailyClient
    _api_key: str = attrs.field(repr=False)
    _now: Callable[[], datetime]
    _domain_id: str | None = None
    _fault: str = "not tried yet"

    def mint(self, plan: TokenPlan) -> str | None:
        """A token for the plan; None: ask Daily."""
        # What callers add goes in unseen, and Daily would tell of a fault in it only at the join.
        if self._domain_id is None or plan.options.provider_options:
            return None
        return self._sign(plan, self._domain_id)

    async def prove(self) -> None:
        """Have Daily read a token of ours, unless it has; from then on we sign. A failure is only told."""
        if self._domain_id is not None:
            return
        try:
            domain_id = await self._client.call(CHECK, _domain_id)
            plan = self._probe()
            read = await self._client.call(READ_TOKEN, lambda answer: answer.json, item=self._sign(plan, domain_id))
            self._compare(plan, read)
        except ConnectorError as exc:
            if str(exc) != self._fault:
                # Told once for each fault: it is tried again with every look at Daily.
                log.error("meeting tokens are not signed here: Daily mints them", extra=self._told(exc))  # noqa: TRY400
            self._fault = str(exc)
            self._active.set(0)
            return
        self._domain_id, self._fault = domain_id, ""
        self._active.set(1)
        log.info("meeting tokens are signed here", extra={"provider": self._client.provider})

    def _told(self, exc: ConnectorError) -> dict[str, str]:
        return {"provider": self._client.provider, "error": str(exc)}

    @property
    def _active(self) -> Gauge:
        return self._client.metrics.signing_active.labels(provider=self._client.provider)

    def health(self) -> Check:
        status = CheckStatus.DEGRADED if self._fault else CheckStatus.OK
        message = f"tokens are minted by Daily: {self._fault}" if self._fault else ""
        return Check(f"signing:{self._client.provider}", status, message)

    def _sign(self, plan: TokenPlan, domain_id: str) -> str:
        claims = token_claims(token_body(plan)) | {"d": domain_id, "iat": int(self._now().timestamp())}
        return signed(claims, self._api_key)

    def _probe(self) -> TokenPlan:
        return TokenPlan(
            room_name=PROBE_ROOM,
            room_config=RoomConfig(),
            participant=ParticipantConfig(name="probe", user_id="probe", is_owner=True),
            expires_at=self._now() + timedelta(seconds=PROBE_S),
        )

    def _compare(self, plan: TokenPlan, read: Any) -> None:
        """Refuse to go on where Daily understands our claims as something else."""
        expected = token_body(plan)["properties"]
        for name in ("room_name", "user_name", "user_id", "is_owner"):
            if not isinstance(read, dict) or read.get(name) != expected[name]:
                raise ProviderRejected(self._client.provider, 200, f"it reads another {name} in a token of ours")


def _domain_id(answer: Answer) -> str:
    domain_id = answer.json.get("domain_id") if isinstance(answer.json, dict) else None
    if not isinstance(domain_id, str) or not domain_id:
        raise BrokenAnswer("it names no domain_id")
    return domain_id
