"""Which properties rooms, tokens and the domain have, what each may hold, and what it is when nobody says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from transport_trio.sandbox.permissions import check_permissions
from transport_trio.sandbox.refusals import invalid, js_text

Check = Callable[[str, Any], None]

LANGUAGES = (
    *("da", "de", "en", "es", "fi", "fr", "it", "jp", "ka", "nl", "no", "pt", "pt-BR", "pl", "ru", "sv", "tr"),
    "user",  # as the participant's browser says
)
REGIONS = (
    "af-south-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "eu-central-1",
    "eu-west-2",
    "sa-east-1",
    "us-east-1",
    "us-west-2",
)
RTMP_REGIONS = ("us-west-2", "eu-central-1", "ap-south-1")
RECORDINGS = ("cloud", "cloud-audio-only", "local", "raw-tracks")
TRANSCODED = (
    "aac",
    *("wav", "wav-stereo", "wav-mono"),
    *("wav-48k", "wav-48k-stereo", "wav-48k-mono"),
    *("wav-44k1", "wav-44k1-stereo", "wav-44k1-mono"),
    "",
)
BUCKET_KEYS = ("bucket_name", "bucket_region", "assume_role_arn", "allow_api_access")
SIP_KEYS = ("display_name", "sip_mode", "video", "num_endpoints", "force_digit_only_username", "codecs", "provider")
STREAMING_KEYS = ("name", "type", "rtmp_config", "hls_config")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise invalid(f"{name} was '{js_text(value)}' but should be {wanted}")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        _refuse(name, value, "a boolean")


def epoch(name: str, value: Any) -> None:
    # Floats pass: Pipecat sends them, and lives.
    if not is_number(value):
        _refuse(name, value, "a number of seconds since the unix epoch")


def seconds(name: str, value: Any) -> None:
    if not is_number(value) or value < 0:
        _refuse(name, value, "a number of seconds")


def number(name: str, value: Any) -> None:
    if not is_number(value):
        _refuse(name, value, "a number")


def positive(name: str, value: Any) -> None:
    if not is_number(value) or value != int(value) or value < 1:
        _refuse(name, value, "a positive integer")


def text(max_length: int | None = None) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, str):
            _refuse(name, value, "a string")
        elif max_length is not None and len(value) > max_length:
            raise invalid(f"{name} should be at most {max_length} characters long")

    return check


def url(name: str, value: Any) -> None:
    if not isinstance(value, str) or len(value) > 255 or not value.startswith(("http://", "https://")):
        _refuse(name, value, "a URL of at most 255 characters")


def one_of(*allowed: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in allowed:
            _refuse(name, value, f"one of {', '.join(repr(item) for item in allowed)}")

    return check


def recording(name: str, value: Any) -> None:
    kinds = value if isinstance(value, list) else [value]
    if not kinds or not all(isinstance(kind, str) and kind in RECORDINGS for kind in kinds):
        _refuse(name, value, f"one or more of {', '.join(repr(kind) for kind in RECORDINGS)}")


def keyed(*known: str, needed: tuple[str, ...] = ()) -> Check:
    """An object; with `known` keys, only these."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, dict):
            return _refuse(name, value, "an object")
        for key in value:
            if known and key not in known:
                raise invalid(f"invalid property name '{name}.{key}'")
        for key in needed:
            if key not in value:
                raise invalid(f"{name}.{key} is required")
        return None

    return check


def sip(name: str, value: Any) -> None:
    keyed(*SIP_KEYS, needed=("display_name", "sip_mode"))(name, value)
    one_of("dial-in")(f"{name}.sip_mode", value["sip_mode"])


def endpoints(name: str, value: Any) -> None:
    if not isinstance(value, list):
        return _refuse(name, value, "an array")
    for place, item in enumerate(value):
        keyed(*STREAMING_KEYS, needed=("name", "type"))(f"{name}[{place}]", item)
        one_of("rtmp", "hls")(f"{name}[{place}].type", item["type"])
    return None


@attrs.frozen
class Property:
    """`default` None: there is no value unless somebody sets one (or the domain's holds)."""

    check: Check
    default: Any = None


def _flags(default: bool | None, *names: str) -> dict[str, Property]:
    return {name: Property(boolean, default) for name in names}


PREBUILT = _flags(
    None,
    "enable_prejoin_ui",
    "enable_people_ui",
    "enable_pip_ui",
    "enable_emoji_reactions",
    "enable_hand_raising",
    "enable_network_ui",
    "enable_noise_cancellation_ui",
    "enable_live_captions_ui",
    "enable_cpu_warning_notifications",
    "enable_breakout_rooms",
)

# What a domain and its rooms both have.
SHARED = {
    **PREBUILT,
    **_flags(False, "start_video_off", "start_audio_off", "enable_chat", "enable_advanced_chat"),
    **_flags(False, "enable_knocking", "enable_hidden_participants", "enable_multiparty_adaptive_simulcast"),
    **_flags(False, "enable_terse_logging", "enable_transcription_storage", "disable_rtmp_geo_fallback"),
    **_flags(False, "enable_dialout", "enforce_unique_user_ids"),
    **_flags(True, "enable_screenshare", "enable_shared_chat_history", "enable_video_processing_ui"),
    **_flags(True, "enable_adaptive_simulcast"),
    **_flags(None, "enable_mesh_sfu", "experimental_optimize_large_calls"),
    "max_participants": Property(positive, 200),
    "enable_recording": Property(recording),
    "enable_raw_tracks_transcoded_audio": Property(one_of(*TRANSCODED)),
    "recordings_bucket": Property(keyed(*BUCKET_KEYS, "allow_streaming_from_bucket")),
    "recordings_template": Property(text()),
    "transcription_bucket": Property(keyed(*BUCKET_KEYS)),
    "transcription_template": Property(text()),
    "permissions": Property(check_permissions),
    "sfu_switchover": Property(number, 0.5),
    "lang": Property(one_of(*LANGUAGES), "en"),
    "geo": Property(one_of(*REGIONS)),
    "rtmp_geo": Property(one_of(*RTMP_REGIONS)),
    "meeting_join_hook": Property(url),
    "streaming_endpoints": Property(endpoints),
}

ROOM = {
    **SHARED,
    "nbf": Property(epoch),
    "exp": Property(epoch),
    "eject_at_room_exp": Property(boolean, False),
    "eject_after_elapsed": Property(seconds),
    "auto_transcription_settings": Property(keyed()),
    "dialout_config": Property(keyed("allow_room_start", "dialout_geo", "max_idle_timeout_sec")),
    "sip": Property(sip),
}

DOMAIN = {**SHARED, "hide_daily_branding": Property(boolean, False), "redirect_on_meeting_exit": Property(url)}

MAX_USER_ID = 36

TOKEN = {
    "room_name": Property(text()),
    "nbf": Property(epoch),
    "exp": Property(epoch),
    **_flags(None, "is_owner", "knocking", "close_tab_on_exit", "enable_screenshare"),
    **_flags(None, "start_video_off", "start_audio_off", "eject_at_token_exp", "start_cloud_recording"),
    **_flags(None, "auto_start_transcription", "enable_terse_logging"),
    **_flags(None, "enable_prejoin_ui", "enable_live_captions_ui", "enable_recording_ui"),
    "eject_after_elapsed": Property(seconds),
    "user_name": Property(text()),
    "user_id": Property(text(MAX_USER_ID)),
    "enable_recording": Property(recording),
    "start_cloud_recording_opts": Property(keyed()),
    "redirect_on_meeting_exit": Property(url),
    "lang": Property(one_of(*LANGUAGES)),
    "permissions": Property(check_permissions),
}


def checked(given: Any, table: Mapping[str, Property], now: float) -> dict[str, Any]:
    """The properties as given, `null` included, once each of them has passed.

    Raises:
        ApiError: the first that is unknown, of a wrong type, or an `exp` that has passed.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise invalid(f"properties was '{js_text(given)}' but should be an object")
    for name, value in given.items():
        if name not in table:
            raise invalid(f"invalid property name '{name}'")
        if value is None:
            continue
        table[name].check(name, value)
        if name == "exp" and value <= now:
            raise invalid(f"exp was '{js_text(value)}', which is in the past rather than in the future")
    return dict(given)


def merged(config: Mapping[str, Any], changes: Mapping[str, Any], table: Mapping[str, Property]) -> dict[str, Any]:
    """`config` with the changes in it; `null` and a property's default take it out."""
    result = {**config, **changes}
    return {name: value for name, value in result.items() if value is not None and value != table[name].default}
