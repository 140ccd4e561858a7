"""Our plans as Daily's request bodies. Pure; ADR 0020 has the reasons for what is sent and what is not."""

from __future__ import annotations

from typing import Any

from transport_trio.models import (
    Permissions,
    PermissionsChange,
    Privacy,
    RoomConfig,
    RoomPlan,
    TokenOptions,
    TokenPlan,
    is_transcribed,
)

# What callers may not put into `options.daily`: we set these ourselves, or they are no room properties at all.
MANAGED_OPTIONS = frozenset(
    {
        "name",
        "privacy",
        "exp",
        "eject_at_room_exp",
        "enable_chat",
        "enable_recording",
        "enable_screenshare",
        "enable_transcription_storage",
        "max_participants",
    }
)

# Likewise for a meeting token's `options.daily`.
MANAGED_TOKEN_OPTIONS = frozenset(
    {
        *("room_name", "exp", "nbf", "eject_at_token_exp", "eject_after_elapsed"),
        *("is_owner", "user_id", "user_name", "permissions"),
    }
)

# Daily's words for what somebody may send, and the letters that stand for them inside a token.
SENDABLE = {"video": "v", "audio": "a", "screenVideo": "sv", "screenAudio": "sa"}
TRANSCRIPTION = "transcription"

# The short names of claims; `permissions` is translated apart.
CLAIMS = {
    "room_name": "r",
    "exp": "exp",
    "nbf": "nbf",
    "eject_at_token_exp": "ejt",
    "eject_after_elapsed": "eje",
    "user_id": "ud",
    "user_name": "u",
    "is_owner": "o",
    "start_cloud_recording": "sr",
    "auto_start_transcription": "ast",
}


def room_body(plan: RoomPlan) -> dict[str, Any]:
    """The body of `POST /rooms`."""
    config = plan.config
    properties: dict[str, Any] = dict(plan.provider_options)
    properties["exp"] = int(plan.expires_at.timestamp())
    properties["eject_at_room_exp"] = True
    # Both are promised by our own defaults, which are neither Daily's nor those of everybody's domain.
    properties["enable_chat"] = config.enable_chat
    properties["enable_screenshare"] = config.enable_screen_sharing
    if config.max_participants is not None:
        properties["max_participants"] = config.max_participants
    if config.enable_recording or config.auto_start_recording:
        properties["enable_recording"] = "cloud"
    if config.enable_transcription or config.auto_start_transcription:
        properties["enable_transcription_storage"] = True
    return {
        "name": plan.name,
        "privacy": "private" if config.privacy is Privacy.PRIVATE else "public",
        "properties": properties,
    }


def token_body(plan: TokenPlan) -> dict[str, Any]:
    """The body of `POST /meeting-tokens`. A switch that is off is left out, as Daily's own tokens do."""
    person, config = plan.participant, plan.room_config
    properties: dict[str, Any] = dict(plan.options.provider_options)
    properties |= {"room_name": plan.room_name, "exp": int(plan.expires_at.timestamp())}
    if person.user_id is not None:
        properties["user_id"] = person.user_id
    if person.name is not None:
        properties["user_name"] = person.name
    if person.is_owner:
        properties["is_owner"] = True
    if config.auto_start_recording:
        properties.setdefault("start_cloud_recording", True)
    if config.auto_start_transcription:
        properties.setdefault("auto_start_transcription", True)
    properties |= _admission(plan.options)
    permissions: dict[str, Any] = {"canSend": _can_send(person.permissions)}
    if person.permissions.can_admin:
        permissions["canAdmin"] = True
    elif is_transcribed(config) and not person.is_owner:
        # Only owners and admins can start it, and a session often has no owner: see the ADR.
        permissions["canAdmin"] = [TRANSCRIPTION]
    properties["permissions"] = permissions
    return {"properties": properties}


def token_claims(body: dict[str, Any]) -> dict[str, Any]:
    """What a token made from `body` says, in the claim names of Daily's tokens; `iat` and `d` are Daily's to fill."""
    properties = body["properties"]
    claims = {CLAIMS[name]: value for name, value in properties.items() if name in CLAIMS}
    permissions = properties["permissions"]
    send, admin = permissions["canSend"], permissions.get("canAdmin")
    claims["p"] = {"cs": send if isinstance(send, bool) else ",".join(SENDABLE[name] for name in send)}
    if admin is not None:
        claims["p"]["ca"] = admin if isinstance(admin, bool) else "t"
    return claims


def permissions_body(change: PermissionsChange, config: RoomConfig) -> dict[str, Any]:
    """What `update-permissions` takes for one person. Daily replaces each that is named, `canSend` as a whole."""
    body: dict[str, Any] = {}
    if change.sending is not None:
        body["canSend"] = _can_send(change.sending)
    if change.can_admin is not None:
        # Who is no admin keeps what the room's tokens give to everybody.
        body["canAdmin"] = change.can_admin or ([TRANSCRIPTION] if is_transcribed(config) else False)
    return body


def _admission(options: TokenOptions) -> dict[str, Any]:
    """When the token lets in, and when it puts out again."""
    admission: dict[str, Any] = {}
    if options.not_before is not None:
        admission["nbf"] = int(options.not_before.timestamp())
    if options.eject_at_expiry:
        admission["eject_at_token_exp"] = True
    if options.eject_after_s is not None:
        admission["eject_after_elapsed"] = options.eject_after_s
    return admission


def _can_send(permissions: Permissions) -> bool | list[str]:
    allowed = {
        "video": permissions.can_send_video,
        "audio": permissions.can_send_audio,
        "screenVideo": permissions.can_send_screen_video,
        "screenAudio": permissions.can_send_screen_audio,
    }
    if all(allowed.values()):
        return True
    return [name for name, may in allowed.items() if may] or False
