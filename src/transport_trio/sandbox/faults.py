"""Faults on order: what goes wrong, for which operation, how often, with what chance; drawn with a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import attrs
from attrs.validators import in_, instance_of, optional

from transport_trio.sandbox.chance import chance

FaultKind = Literal[
    "delay",
    "error",
    "throttle",
    "hang_up",
    "lost_response",
    "cut_body",
    "garbage",
    "wrong_types",
    "empty_presence",
    "half_presence",
    "not_found",
    "drop",
    "duplicate",
]
KINDS: tuple[str, ...] = get_args(FaultKind)
# The request takes effect before these show, unless the fault says otherwise.
AFTERWARDS = frozenset({"lost_response", "cut_body", "garbage", "wrong_types", "empty_presence", "half_presence"})
# These alone leave the choice: a gateway may fail before or after the request was carried out.
EITHER = frozenset({"delay", "error", "hang_up"})
PRESENCE_ONLY = frozenset({"empty_presence", "half_presence"})
PRESENCE_OPERATIONS = frozenset({"all_presence", "room_presence"})
# On their way to a webhook events can also be late; what strikes answers does not concern them.
DELIVERY = "webhook_delivery"
DELIVERY_ONLY = frozenset({"drop", "duplicate"})
OPERATIONS = PRESENCE_OPERATIONS | {
    *("get_domain", "update_domain"),
    *("list_rooms", "create_room", "get_room", "update_room", "delete_room"),
    *("batch_create_rooms", "batch_delete_rooms"),
    *("create_meeting_token", "get_meeting_token"),
    *("list_webhooks", "create_webhook", "get_webhook", "update_webhook", "delete_webhook", DELIVERY),
    *("start_recording", "update_recording", "stop_recording"),
    *("list_recordings", "get_recording", "delete_recording", "get_recording_link"),
    *("start_transcription", "update_transcription", "stop_transcription"),
    *("list_transcripts", "get_transcript", "delete_transcript", "get_transcript_link"),
    *("start_live_stream", "update_live_stream", "stop_live_stream"),
    *("eject", "send_app_message", "update_permissions", "not_simulated"),
    *("list_meetings", "get_meeting", "list_meeting_participants"),
}
MAX_FAULTS = 100
MAX_COUNT = 1_000_000
MAX_SECONDS = 86400


def _number(low: float, high: float, *, integer: bool = False) -> Callable[[Any, Any, Any], None]:
    def validate(_fault: Any, attribute: Any, value: Any) -> None:
        right = isinstance(value, int if integer else (int, float)) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            kind = "a whole number" if integer else "a number"
            raise ValueError(f"{attribute.name} must be {kind} from {low:g} to {high:g}")

    return validate


def _known_operation(_fault: Any, _attribute: Any, value: Any) -> None:
    if value not in OPERATIONS:
        raise ValueError(f"there is no operation {value!r}; there are {', '.join(sorted(OPERATIONS))}")


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong. Without `operation` for every one, without `count` until it is taken back."""

    kind: FaultKind = attrs.field(validator=in_(KINDS))
    operation: str | None = attrs.field(default=None, validator=optional(_known_operation))
    count: int | None = attrs.field(default=None, validator=optional(_number(1, MAX_COUNT, integer=True)))
    chance: float = attrs.field(default=1.0, validator=_number(0, 1))
    for_s: float | None = attrs.field(default=None, validator=optional(_number(0, MAX_SECONDS)))
    delay_s: float = attrs.field(default=1.0, validator=_number(0, MAX_SECONDS))
    status: int = attrs.field(default=500, validator=_number(400, 599, integer=True))
    info: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    retry_after_s: float | None = attrs.field(default=None, validator=optional(_number(0, MAX_SECONDS)))
    takes_effect: bool = attrs.field(validator=instance_of(bool))

    @takes_effect.default
    def _takes_effect(self) -> bool:
        return self.kind in AFTERWARDS

    def __attrs_post_init__(self) -> None:
        if self.takes_effect is not (self.kind in AFTERWARDS) and self.kind not in EITHER:
            raise ValueError(f"takes_effect cannot be {self.takes_effect} for {self.kind}")
        if self.operation == DELIVERY and self.kind not in DELIVERY_ONLY | {"delay"}:
            raise ValueError(f"{self.kind} is nothing that happens to a delivery")

    def concerns(self, operation: str) -> bool:
        if self.kind in DELIVERY_ONLY:
            return operation == DELIVERY
        if self.operation is not None or operation == DELIVERY:
            return self.operation == operation
        return self.kind not in PRESENCE_ONLY or operation in PRESENCE_OPERATIONS


@attrs.define(eq=False)
class Armed:
    """A fault in force: how often it may still fire, and until when."""

    fault: Fault
    left: int | None
    until: float | None
    fired: int = 0


class Faults:
    """The faults in force; one draw decides what happens to a request."""

    def __init__(self, seed: int | None) -> None:
        self._random = chance(seed, "faults")
        self._armed: list[Armed] = []

    def arm(self, faults: Iterable[Fault], now: float) -> None:
        """Put these into force, beside those that are.

        Raises:
            ValueError: there would be more than `MAX_FAULTS`.
        """
        fresh = [Armed(fault, fault.count, None if fault.for_s is None else now + fault.for_s) for fault in faults]
        self._forget_spent(now)
        if len(self._armed) + len(fresh) > MAX_FAULTS:
            raise ValueError(f"more than {MAX_FAULTS} faults at once")
        self._armed += fresh

    def take_all(self) -> list[Armed]:
        taken, self._armed = self._armed, []
        return taken

    def put_back(self, taken: list[Armed]) -> None:
        self._armed = taken

    def draw(self, operation: str, now: float) -> list[Fault]:
        """What goes wrong with this request: any delays, and at most one fault that spoils the answer."""
        self._forget_spent(now)
        drawn: list[Fault] = []
        for armed in self._armed:
            fault = armed.fault
            spoilt = fault.kind != "delay" and any(other.kind != "delay" for other in drawn)
            if spoilt or not fault.concerns(operation) or self._random.random() >= fault.chance:
                continue
            drawn.append(fault)
            armed.fired += 1
            if armed.left is not None:
                armed.left -= 1
        return drawn

    def describe(self, now: float) -> list[dict[str, Any]]:
        self._forget_spent(now)
        return [{**attrs.asdict(armed.fault), "left": armed.left, "fired": armed.fired} for armed in self._armed]

    def _forget_spent(self, now: float) -> None:
        self._armed = [armed for armed in self._armed if armed.left != 0 and (armed.until is None or now < armed.until)]


def fault_from(given: Mapping[str, Any]) -> Fault:
    """A fault as the control API is told it.

    Raises:
        ValueError: says which part is wrong.
    """
    known = {field.name for field in attrs.fields(Fault)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"a fault has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    try:
        return Fault(**given)
    except (TypeError, ValueError) as exc:
        # attrs puts the attribute and the value behind its message; the first part is for people.
        raise ValueError(str(exc.args[0])) from exc
