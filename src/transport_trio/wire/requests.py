"""What comes in: the body of `POST /sessions`, read strictly and turned into the models.

Unknown fields are refused with their path; `3.0` is no integer, `null` no object, `NaN` no JSON. Of a duplicate key
the last wins, also where the first alone would have been refused.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from transport_trio.errors import InvalidRequest
from transport_trio.models import (
    Emptiness,
    ParticipantConfig,
    Permissions,
    Privacy,
    RoomConfig,
    SessionRequest,
    provider_kind,
)
from transport_trio.settings import Settings

DEPTH_MAX = 32
TTL_MAX_S = 2_592_000  # 30 days, as for SESSION_TTL_S and TOKEN_TTL_S
PARTICIPANTS_MAX = 100_000  # Daily's largest calls; what a plan allows is the provider's to say
PROVIDER_MAX_CHARS = 64
NAME_MAX_CHARS = 128
USER_ID_MAX_CHARS = 36  # Daily's limit
SHOWN_MAX_CHARS = 80  # how much of a caller's own words an error repeats

Ttl = Annotated[int, Meta(ge=1, le=TTL_MAX_S)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX_CHARS)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


B = TypeVar("B", bound=Body)


class RoomBody(Body, frozen=True):
    name: Name | None = None
    privacy: str = Privacy.PRIVATE
    max_participants: Annotated[int, Meta(ge=1, le=PARTICIPANTS_MAX)] | None = None
    enable_recording: bool = False
    enable_transcription: bool = False
    enable_chat: bool = True
    enable_screen_sharing: bool = True
    auto_start_recording: bool = False
    auto_start_transcription: bool = False


class PermissionsBody(Body, frozen=True):
    can_admin: bool = False
    can_send_video: bool = True
    can_send_audio: bool = True
    can_send_screen_video: bool = True
    can_send_screen_audio: bool = True


class ParticipantBody(Body, frozen=True):
    name: Name | None = None
    user_id: Annotated[str, Meta(max_length=USER_ID_MAX_CHARS)] | None = None
    is_owner: bool = False
    permissions: PermissionsBody = PermissionsBody()


class OptionsBody(Body, frozen=True):
    session_ttl_s: Ttl | UnsetType = UNSET
    token_ttl_s: Ttl | UnsetType = UNSET
    empty_timeout_s: Ttl | None = None
    bot_user_id_prefix: Annotated[str, Meta(min_length=1, max_length=USER_ID_MAX_CHARS)] | None = None
    events_after_end: bool = False
    max_duration_s: Ttl | None = None
    daily: dict[str, Any] = {}  # msgspec copies an empty one for each instance


class CreateBody(Body, frozen=True):
    provider: Annotated[str, Meta(max_length=PROVIDER_MAX_CHARS)]
    room_config: RoomBody = RoomBody()
    participant_config: ParticipantBody = ParticipantBody()
    options: OptionsBody = OptionsBody()


def body_of(data: bytes, shape: type[B]) -> B:
    """A request's body, of the right shape.

    Raises:
        InvalidRequest: with the path of the first fault.
    """
    try:
        data.decode()  # says which byte is wrong; msgspec counts from the string that holds it
        value = msgspec.json.decode(data)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(("$", f"is not UTF-8 from byte {exc.start} on")) from exc
    except msgspec.DecodeError as exc:
        raise InvalidRequest(("$", f"cannot be read as JSON: {str(exc).partition(' - at ')[0]}")) from exc
    except RecursionError as exc:
        raise InvalidRequest(("$", f"is nested deeper than {DEPTH_MAX}")) from exc
    if _deeper_than(value, DEPTH_MAX):
        raise InvalidRequest(("$", f"is nested deeper than {DEPTH_MAX}"))
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(_fault(str(exc))) from exc


def create_body(data: bytes) -> CreateBody:
    """The body of `POST /sessions`; `session_request` checks its values.

    Raises:
        InvalidRequest: with the path of the first fault.
    """
    return body_of(data, CreateBody)


def session_request(
    body: CreateBody, settings: Settings, managed_options: Callable[[str], frozenset[str]]
) -> SessionRequest:
    """The request that the body stands for, defaults filled in.

    `managed_options` tells the keys of a provider's options that we set ourselves; it raises for unknown providers.

    Raises:
        InvalidRequest: with the paths of all faults.
        UnknownProvider: from `managed_options`.
    """
    managed = managed_options(body.provider)
    faults = (
        *_name_faults(body),
        *_ttl_faults(body, settings),
        *option_faults(body.options.daily, body.provider, managed),
    )
    if faults:
        raise InvalidRequest(*faults)
    session_ttl_s = _or_default(body.options.session_ttl_s, min(settings.session_ttl_s, _longest_s(body, settings)))
    return SessionRequest(
        provider=body.provider,
        room_config=RoomConfig(**msgspec.structs.asdict(body.room_config) | {"privacy": _privacy(body)}),
        participant_config=participant_config(body.participant_config),
        session_ttl_s=session_ttl_s,
        token_ttl_s=min(_or_default(body.options.token_ttl_s, settings.token_ttl_s), session_ttl_s),
        provider_options=body.options.daily,
        emptiness=Emptiness(timeout_s=body.options.empty_timeout_s, bot_user_id_prefix=body.options.bot_user_id_prefix),
        events_after_end=body.options.events_after_end,
        max_duration_s=body.options.max_duration_s,
    )


def participant_config(body: ParticipantBody) -> ParticipantConfig:
    return ParticipantConfig(
        name=body.name,
        user_id=body.user_id or None,
        is_owner=body.is_owner,
        permissions=Permissions(**msgspec.structs.asdict(body.permissions)),
    )


def participant_faults(body: ParticipantBody) -> Iterator[tuple[str, str]]:
    for field in ("name", "user_id"):
        yield from control_faults(f"$.participant_config.{field}", getattr(body, field) or "")


def control_faults(path: str, *texts: str) -> Iterator[tuple[str, str]]:
    """A fault where one of these texts would break a line or a terminal."""
    if any(unicodedata.category(char) == "Cc" for text in texts for char in text):
        yield path, "must not hold control characters"


def fingerprint(request: SessionRequest) -> str:
    """Equal for requests that mean the same, however they were written.

    What came later than the first version counts where it is used: a repeat over an update must not be a mismatch.
    """
    meant = attrs.asdict(request)
    if request.emptiness == Emptiness():
        del meant["emptiness"]
    if not request.events_after_end:
        del meant["events_after_end"]
    if request.max_duration_s is None:
        del meant["max_duration_s"]
    return digest_of(meant)


def digest_of(meant: object) -> str:
    """Equal for equal values, whatever the order of their keys."""
    canonical = json.dumps(meant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _name_faults(body: CreateBody) -> Iterator[tuple[str, str]]:
    room_name = body.room_config.name
    if room_name is not None and not re.fullmatch("[A-Za-z0-9_-]+", room_name):
        yield "$.room_config.name", "may hold A-Z a-z 0-9 - _ only"
    if _privacy(body) is None:
        yield "$.room_config.privacy", f"must be one of {', '.join(Privacy)}"
    yield from participant_faults(body.participant_config)


def _longest_s(body: CreateBody, settings: Settings) -> int:
    return min(body.options.max_duration_s or settings.session_max_s, settings.session_max_s)


def _ttl_faults(body: CreateBody, settings: Settings) -> Iterator[tuple[str, str]]:
    options, longest_s = body.options, _longest_s(body, settings)
    session_ttl_s = _or_default(options.session_ttl_s, min(settings.session_ttl_s, longest_s))
    if session_ttl_s > longest_s:
        yield "$.options.session_ttl_s", f"must not be longer than the session may last at most, {longest_s} s"
    if options.max_duration_s is not None and options.max_duration_s > settings.session_max_s:
        yield "$.options.max_duration_s", f"must not be longer than SESSION_MAX_S, {settings.session_max_s} s"
    if options.token_ttl_s is not UNSET and options.token_ttl_s > session_ttl_s:
        yield "$.options.token_ttl_s", f"must not be longer than the session, {session_ttl_s} s"
    if options.bot_user_id_prefix is not None and options.empty_timeout_s is None:
        yield "$.options.bot_user_id_prefix", "is for empty_timeout_s, which is not there"


def option_faults(options: dict[str, Any], provider: str, managed: frozenset[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the `options.daily` of a session or a meeting token."""
    if options and provider_kind(provider) != "daily":
        yield "$.options.daily", f"is not for provider {provider!r}"
    for key in sorted(managed & options.keys()):
        yield f"$.options.daily.{key}", "is set by the service; it cannot be set here"


def _privacy(body: CreateBody) -> Privacy | None:
    return next((known for known in Privacy if known.lower() == body.room_config.privacy.lower()), None)


def _or_default(ttl_s: int | UnsetType, default_s: int) -> int:
    return default_s if ttl_s is UNSET else ttl_s


def _deeper_than(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested in more than `levels` levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if levels == 0:
        return isinstance(value, dict | list)
    return any(_deeper_than(each, levels - 1) for each in inner)


_FIELD_FAULT = re.compile(
    r"Object (?P<what>contains unknown|missing required) field `(?P<field>.*?)`(?: - at `(?P<path>\$[^`]*)`)?",
    re.DOTALL,
)
_VALUE_FAULT = re.compile(r"(?P<message>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)


def _fault(text: str) -> tuple[str, str]:
    """Path and message of what msgspec says; its path for a field is the parent's, so the field is put behind it."""
    if found := _FIELD_FAULT.fullmatch(text):
        path = f"{found['path'] or '$'}.{found['field'][:SHOWN_MAX_CHARS]}"
        return path, "is required" if found["what"] == "missing required" else "is not known here"
    found = _VALUE_FAULT.fullmatch(text)
    assert found is not None  # the pattern takes any text
    return found["path"] or "$", found["message"]
