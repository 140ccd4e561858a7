"""How a sandbox behaves, at its start and (for part of it) while it runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs.validators import ge, gt, instance_of, le, min_len, optional

from transport_trio.sandbox.faults import Fault

REALISTIC_LAG_S = 15.0  # what Daily's documentation allows itself
REALISTIC_GHOST_S = 20.0  # an old entry was seen beside the new one for about this long

# What the control API may change in a running sandbox.
CHANGEABLE = frozenset(
    {
        *("rate_limits", "retry_after_s", "presence_lag_s", "ghost_s", "people", "refuse_unknown_rooms"),
        *("collect_after_s", "webhook_ms", "call_lag_s", "capture_start_s", "recording_ready_s", "transcript_ready_s"),
        *("idle_stop_s", "meeting_id_missing", "capture_workers", "free_plan", "join_stops_transcription"),
    }
)


def _seconds(default: float, help_: str) -> Any:
    return attrs.field(default=default, validator=ge(0), metadata={"help": help_})


def _switch(default: bool, help_: str) -> Any:
    return attrs.field(default=default, validator=instance_of(bool), metadata={"help": help_})


def _has_places(_config: Any, _attribute: Any, value: str) -> None:
    try:
        value.format(domain="", name="")
    except (KeyError, IndexError, ValueError) as exc:
        raise ValueError("room_url has other places to fill in than {domain} and {name}") from exc


@attrs.frozen(kw_only=True)
class SandboxConfig:
    """Everything that can be chosen; the defaults are Daily's figures without its presence lag."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 picks a free one
    api_key: str = attrs.field(default="sandbox", repr=False, validator=min_len(1))
    domain: str = attrs.field(default="sandbox", validator=min_len(1))
    room_url: str = attrs.field(default="https://{domain}.daily.co/{name}", validator=_has_places)

    rate_limits: bool = _switch(True, "Refuse with 429 past Daily's limits.")
    retry_after_s: float | None = attrs.field(default=None, validator=optional(ge(0)))
    presence_lag_s: float = _seconds(0.0, "How late joins and leaves show in presence.")
    ghost_s: float = _seconds(0.0, "How long the old entry of somebody who rejoined stays in presence.")
    call_lag_s: float = _seconds(0.0, "How long after the first join in-call operations still find no call.")
    collect_after_s: float = _seconds(600.0, "How long after its `exp` a room and the meeting in it live on.")
    capture_start_s: float = _seconds(1.0, "How long recordings, transcriptions and live streams take to begin.")
    recording_ready_s: float = _seconds(5.0, "How long after its end a recording is ready.")
    transcript_ready_s: float = _seconds(5.0, "How long after its end a transcript is ready.")
    idle_stop_s: float = _seconds(60.0, "How long after `minIdleTimeOut` a recording or live stream ends.")
    capture_workers: int = attrs.field(default=1000, validator=[instance_of(int), ge(0)])
    meeting_id_missing: float = attrs.field(default=0.0, validator=[ge(0), le(1)])  # the chance of a recording's
    refuse_unknown_rooms: bool = _switch(False, "Refuse meeting tokens for rooms that do not exist.")
    free_plan: bool = _switch(False, "Refuse what Daily wants to be paid for.")
    join_stops_transcription: bool = _switch(False, "Whoever enters a room ends its transcription.")
    webhook_ms: bool = _switch(True, "Webhooks are signed with a time in milliseconds; false: in seconds.")
    people: bool = _switch(False, "People come and go by themselves in every room.")
    seed: int | None = None  # makes ids, names, people and faults repeatable
    faults: tuple[Fault, ...] = ()

    further_domains: Mapping[str, str] = attrs.field(factory=dict, repr=False)  # their keys, by name
    webhooks_max: int = attrs.field(default=1, validator=gt(0))  # what a paid domain was seen to allow
    max_rooms: int = attrs.field(default=10_000, validator=gt(0))
    requests_max: int = attrs.field(default=10_000, validator=gt(0))  # of the log of requests; older ones are dropped

    @classmethod
    def realistic(cls, **changes: Any) -> SandboxConfig:
        """Daily as measured: presence 15 s late, ghosts after a rejoin."""
        return cls(**{"presence_lag_s": REALISTIC_LAG_S, "ghost_s": REALISTIC_GHOST_S, **changes})

    def __attrs_post_init__(self) -> None:
        names, keys = [self.domain, *self.further_domains], [self.api_key, *self.further_domains.values()]
        if len(set(names)) < len(names) or len(set(keys)) < len(keys):
            raise ValueError("each domain needs a name and a key of its own")
        if not all(names) or not all(keys):
            raise ValueError("no domain has an empty name or key")

    def each_domain(self) -> Iterator[SandboxConfig]:
        """A configuration for each domain, this one's first; they differ in name, in key and in what a seed makes."""
        yield attrs.evolve(self, further_domains={})
        for number, (domain, key) in enumerate(self.further_domains.items(), 1):
            seed = None if self.seed is None else self.seed + number
            yield attrs.evolve(self, further_domains={}, domain=domain, api_key=key, seed=seed)

    @property
    def domain_id(self) -> str:
        """Follows from the domain's name, so that tokens outlive a restart as they do at Daily."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.domain}.daily.co"))

    def changed(self, changes: Mapping[str, Any]) -> SandboxConfig:
        """This configuration with some changeable settings replaced.

        Raises:
            ValueError: a setting is unknown, cannot change at run time, or its value makes no sense.
        """
        for name, value in changes.items():
            if name not in CHANGEABLE:
                raise ValueError(f"{name} is no setting that can change; these can: {', '.join(sorted(CHANGEABLE))}")
            if isinstance(value, bool) is not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} cannot be {value!r}")
        try:
            return attrs.evolve(self, **changes)
        except TypeError as exc:
            raise ValueError(f"a setting has a value of the wrong type: {dict(changes)!r}") from exc

    def changeable(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(CHANGEABLE)}
