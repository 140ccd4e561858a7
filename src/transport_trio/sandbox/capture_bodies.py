"""What may be said of a recording, a live stream or a transcription: each key, and what it may hold.

Where sources differ on unknown keys (refused, or passed over), they are refused: who sends only what is documented
lives with either.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from transport_trio.sandbox.properties import Check, boolean, is_number, keyed, one_of, positive, text
from transport_trio.sandbox.refusals import invalid, js_text

COLOUR = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
# Each preset of a layout, with the keys that go with it.
LAYOUTS = {
    "default": ("max_cam_streams",),
    "single-participant": ("session_id",),
    "active-participant": (),
    "portrait": ("variant", "max_cam_streams"),
    "custom": ("composition_id", "composition_params", "session_assets"),
}
RECORDING_TYPES = ("cloud", "cloud-audio-only", "raw-tracks")
OUTPUTS = ("event-json", "transcript-webvtt", "chat-webvtt")


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise invalid(f"{name} was '{js_text(value)}' but should be {wanted}")


def uuid_text(name: str, value: Any) -> None:
    try:
        given = str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        given = None
    if given is None or given != value.lower():
        _refuse(name, value, "a UUID")


def even(name: str, value: Any) -> None:
    positive(name, value)
    if value % 2:
        _refuse(name, value, "an even number")


def between(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> None:
        if not is_number(value) or not low <= value <= high:
            _refuse(name, value, f"a number from {low} to {high}")

    return check


def colour(name: str, value: Any) -> None:
    if not isinstance(value, str) or not COLOUR.fullmatch(value):
        _refuse(name, value, "a colour like #rrggbb or #aarrggbb")


def texts(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _refuse(name, value, "an array of strings")


def outputs(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(item in OUTPUTS for item in value):
        _refuse(name, value, f"an array of {', '.join(repr(item) for item in OUTPUTS)}")


def layout(name: str, value: Any) -> None:
    keyed()(name, value)
    preset = value.get("preset")
    one_of(*LAYOUTS)(f"{name}.preset", preset)
    needed = {"single-participant": ("session_id",), "custom": ("composition_id",)}.get(preset, ())
    keyed("preset", *LAYOUTS[preset], needed=needed)(name, value)
    if "variant" in value:
        one_of("vertical", "inset")(f"{name}.variant", value["variant"])
    if "max_cam_streams" in value:
        positive(f"{name}.max_cam_streams", value["max_cam_streams"])


def addresses(name: str, value: Any) -> None:
    given = value if isinstance(value, list) else [value]
    if not given or not all(isinstance(item, str) and item.startswith(("rtmp://", "rtmps://")) for item in given):
        _refuse(name, value, "an RTMP address or an array of them")


def named_endpoints(name: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        return _refuse(name, value, "an array of endpoints")
    for place, item in enumerate(value):
        keyed("endpoint", needed=("endpoint",))(f"{name}[{place}]", item)
        text()(f"{name}[{place}].endpoint", item["endpoint"])
    return None


def redaction(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        texts(name, value)


def endpointing(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        positive(name, value)


_PICTURE: dict[str, Check] = {
    "width": even,
    "height": even,
    "fps": positive,
    "videoBitrate": between(10, 10_000),
    "audioBitrate": between(10, 320),
    "minIdleTimeOut": positive,
    "maxDuration": positive,
    "backgroundColor": colour,
    "instanceId": uuid_text,
    "layout": layout,
}
RECORDING = {**_PICTURE, "type": one_of(*RECORDING_TYPES), "dataOutputs": outputs}
STREAMING = {**_PICTURE, "rtmpUrl": addresses, "endpoints": named_endpoints}
TRANSCRIPTION: dict[str, Check] = {
    "language": text(),
    "model": text(),
    "tier": text(),
    "profanity_filter": boolean,
    "punctuate": boolean,
    "endpointing": endpointing,
    "redact": redaction,
    "extra": keyed(),
    "includeRawResponse": boolean,
    "instanceId": uuid_text,
    "participants": texts,
    "transcription_geo": one_of("global", "eu"),
}
TRANSCRIPTION_CHANGE = {name: TRANSCRIPTION[name] for name in ("instanceId", "participants")}
ONE_INSTANCE: dict[str, Check] = {"instanceId": uuid_text}
RECORDING_STOP = {**ONE_INSTANCE, "type": RECORDING["type"]}


def checked_body(body: Mapping[str, Any], table: Mapping[str, Check]) -> dict[str, Any]:
    """The body, once each of its keys has passed.

    Raises:
        ApiError: the first that is unknown or holds what it may not.
    """
    for name, value in body.items():
        if name not in table:
            raise invalid(f"invalid property name '{name}'")
        table[name](name, value)
    return dict(body)
