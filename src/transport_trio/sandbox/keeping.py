"""Where recordings and transcripts are kept: the bucket and the key, as the room or its domain says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from transport_trio.sandbox.rooms import Room

if TYPE_CHECKING:
    from transport_trio.sandbox.core import Sandbox

TEMPLATE = "{domain_name}/{room_name}/{epoch_time}"
# Of what is kept: the room's properties for bucket and key, and what Daily's own look like.
KEPT_AS = {
    "recordings": ("recordings_bucket", "recordings_template", "daily-recordings", TEMPLATE),
    "transcripts": ("transcription_bucket", "transcription_template", "daily-transcripts", f"{TEMPLATE}.vtt"),
}
REGION = "us-west-2"


def setting(sandbox: Sandbox, room: Room, name: str) -> Any:
    """The room's, else the domain's, else what holds when nobody says."""
    return room.config.get(name, sandbox.domain_config.get(name, room.setting(name)))


def place_for(sandbox: Sandbox, room: Room, what: Literal["recordings", "transcripts"], now: float) -> dict[str, Any]:
    bucket_property, template_property, own_bucket, own_template = KEPT_AS[what]
    bucket = setting(sandbox, room, bucket_property) or {}
    template = str(setting(sandbox, room, template_property) or own_template)
    key = template.replace("{domain_name}", sandbox.config.domain).replace("{room_name}", room.name)
    return {
        "bucket_name": bucket.get("bucket_name", own_bucket),
        "bucket_region": bucket.get("bucket_region", REGION),
        "key": key.replace("{epoch_time}", str(int(now * 1000))),
    }
