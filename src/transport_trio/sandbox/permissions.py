"""`permissions` of rooms and tokens: the check, and their short form inside a token's `p` claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transport_trio.sandbox.refusals import invalid, js_text

SEND = {"video": "v", "audio": "a", "screenVideo": "sv", "screenAudio": "sa"}
ADMIN = {"participants": "p", "streaming": "s", "transcription": "t"}
RECEIVE = {**SEND, "customVideo": "cv", "customAudio": "ca"}
KEYS = {"hasPresence": "hp", "canSend": "cs", "canReceive": "cr", "canAdmin": "ca"}
RECEIVE_KEYS = {"base": "b", "byUserId": "u", "byParticipantId": "p"}


def check_permissions(name: str, value: Any) -> None:
    """Raises:
    ApiError: a key or value that permissions do not have.
    """
    for key, item in _members(name, value, KEYS):
        path = f"{name}.{key}"
        match key:
            case "hasPresence":
                if not isinstance(item, bool):
                    raise invalid(f"{path} was '{js_text(item)}' but should be a boolean")
            case "canSend":
                _check_list(path, item, SEND)
            case "canAdmin":
                _check_list(path, item, ADMIN)
            case _:
                _check_receive(path, item)


def _members(name: str, value: Any, known: Mapping[str, str]) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise invalid(f"{name} was '{js_text(value)}' but should be an object")
    for key in value:
        if key not in known:
            raise invalid(f"invalid property name '{name}.{key}'")
    return list(value.items())


def _check_list(path: str, value: Any, known: Mapping[str, str]) -> None:
    if isinstance(value, bool):
        return
    if not isinstance(value, list) or not all(isinstance(item, str) and item in known for item in value):
        raise invalid(f"{path} was '{js_text(value)}' but should be a boolean or an array of {', '.join(known)}")


def _check_receive(path: str, value: Any) -> None:
    for key, item in _members(path, value, RECEIVE_KEYS):
        if key == "base":
            _check_media(f"{path}.base", item)
        elif isinstance(item, dict):
            for who, media in item.items():
                _check_media(f"{path}.{key}.{who}", media)
        else:
            raise invalid(f"{path}.{key} was '{js_text(item)}' but should be an object")


def _check_media(path: str, value: Any) -> None:
    if isinstance(value, bool):
        return
    for key, item in _members(path, value, RECEIVE):
        custom = key.startswith("custom") and isinstance(item, dict) and all(isinstance(v, bool) for v in item.values())
        if not isinstance(item, bool) and not custom:
            raise invalid(f"{path}.{key} was '{js_text(item)}' but should be a boolean")


def shorten(permissions: Mapping[str, Any]) -> dict[str, Any]:
    """Checked permissions as the `p` claim holds them."""
    short: dict[str, Any] = {}
    for key, value in permissions.items():
        if key in {"canSend", "canAdmin"} and isinstance(value, list):
            names = SEND if key == "canSend" else ADMIN
            short[KEYS[key]] = ",".join(names[item] for item in value)
        elif key == "canReceive":
            short[KEYS[key]] = {RECEIVE_KEYS[part]: _rename(media, RECEIVE, part) for part, media in value.items()}
        else:
            short[KEYS[key]] = value
    return short


def lengthen(claim: Mapping[str, Any]) -> dict[str, Any]:
    """The `p` claim as permissions again; what is not known in it is left out."""
    long: dict[str, Any] = {}
    for key, short in KEYS.items():
        if short not in claim:
            continue
        value = claim[short]
        if key in {"canSend", "canAdmin"} and isinstance(value, str):
            names = _turned(SEND if key == "canSend" else ADMIN)
            value = [names[item] for item in value.split(",") if item in names]
        elif key == "canReceive" and isinstance(value, dict):
            parts = _turned(RECEIVE_KEYS)
            value = {
                parts[part]: _rename(media, _turned(RECEIVE), parts[part])
                for part, media in value.items()
                if part in parts
            }
        long[key] = value
    return long


def _rename(value: Any, names: Mapping[str, str], part: str) -> Any:
    if not isinstance(value, dict):
        return value
    if part == "base":
        return {names.get(key, key): item for key, item in value.items()}
    return {who: _rename(media, names, "base") for who, media in value.items()}


def _turned(names: Mapping[str, str]) -> dict[str, str]:
    return {short: long for long, short in names.items()}
