"""How the values of settings are read: a form takes a variable's text and gives its value, or a `Fault`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

LOG_LEVELS = ("debug", "info", "warning", "error")
# What RUST_LOG calls them where it differs from LOG_LEVEL.
RUST_LOG_LEVELS = {"trace": "debug", "warn": "warning", "off": "error"}

NUMBER_MAX_CHARS = 32
SECRET_MIN_BYTES = 16


class Fault(ValueError):
    """What is wrong with a value, as the end of the sentence "NAME=value ..."."""


def number(low: float, high: float, *, integer: bool = False) -> Callable[[str], Any]:
    kind = f"{'a whole number' if integer else 'a number'} from {low:.10g} to {high:.10g}"
    # Python's own reading would also take 1_000 and digits of other scripts.
    form = re.compile(r"-?[0-9]+" if integer else r"-?[0-9]+(\.[0-9]+)?")

    def parse(text: str) -> float | int:
        if not form.fullmatch(text) or len(text) > NUMBER_MAX_CHARS:
            raise Fault(f"is not {kind}; give one")
        value: float | int = int(text) if integer else float(text)
        if not low <= value <= high:
            raise Fault(f"is out of range; give {kind}")
        return value

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise Fault(f"is not known; give one of {', '.join(allowed)}")
        return text.lower()

    return parse


def switch(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise Fault("is neither true nor false; give true or false")


def log_level(text: str) -> str:
    return choice(*LOG_LEVELS)(RUST_LOG_LEVELS.get(text.lower(), text))


def _has_address(parts: SplitResult) -> bool:
    """Whether there is a host, and a port that is one where there is a port."""
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def http_url(text: str, *, like: str = "https://api.daily.co/v1") -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not _has_address(parts):
        raise Fault(f"is not an http(s) URL; give one like {like}")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Fault(f"has more than host, port and path; give one like {like}")
    return text.rstrip("/")


def api_key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Fault("holds characters that no HTTP header can carry; give the key as Daily's dashboard shows it")
    return text


def webhook_url(text: str) -> str:
    return text if text == "self" else http_url(text, like="https://voice.example.com/webhooks/daily")


def base64_secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Fault("is not base64; give the webhook's hmac as Daily shows it") from None
    if len(secret) < SECRET_MIN_BYTES:
        raise Fault(f"is shorter than {SECRET_MIN_BYTES} bytes; leave it out, and one is made")
    return secret


def nats_url(text: str) -> str:
    if text == "embedded":
        return text
    for url in text.split(","):
        parts = urlsplit(url.strip())
        if parts.scheme not in {"nats", "tls"} or not _has_address(parts):
            raise Fault("is no NATS URL; give nats://host:4222, a comma-separated list of such, or embedded")
    return text


def origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (not parts.scheme or not _has_address(parts) or parts.path or "*" in origin):
            raise Fault("holds something that is no origin; give a list like https://app.example.com, or *")
    return origins


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise Fault("is no file, or this user may not look; give the path of one")
    return path


def api_keys(text: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in text.split(",") if part.strip())
    if not keys or any(len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise Fault("must be a comma-separated list of keys of at least 8 printable ASCII characters, no blanks")
    return keys


def room_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", text):
        raise Fault("must be 1 to 80 of A-Z a-z 0-9 - _")
    return text


def domain_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", text):
        raise Fault("is no domain name of Daily's; give the part before .daily.co, like my-team")
    return text
