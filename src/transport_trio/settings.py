"""Every setting, its default, meaning and check in one table. `from_environ` alone reads the environment."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

from transport_trio.errors import SettingsError

LOG_LEVELS = ("debug", "info", "warning", "error")
# What RUST_LOG calls them where it differs from LOG_LEVEL.
RUST_LOG_LEVELS = {"trace": "debug", "warn": "warning", "off": "error"}


NUMBER_MAX_CHARS = 32
SECRET_MIN_BYTES = 16


class _Fault(ValueError):
    """What is wrong with a value, as the end of the sentence "NAME=value ..."."""


def _number(low: float, high: float, *, integer: bool = False) -> Callable[[str], Any]:
    kind = f"{'a whole number' if integer else 'a number'} from {low:.10g} to {high:.10g}"
    # Python's own reading would also take 1_000 and digits of other scripts.
    form = re.compile(r"-?[0-9]+" if integer else r"-?[0-9]+(\.[0-9]+)?")

    def parse(text: str) -> float | int:
        if not form.fullmatch(text) or len(text) > NUMBER_MAX_CHARS:
            raise _Fault(f"is not {kind}; give one")
        value: float | int = int(text) if integer else float(text)
        if not low <= value <= high:
            raise _Fault(f"is out of range; give {kind}")
        return value

    return parse


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise _Fault(f"is not known; give one of {', '.join(allowed)}")
        return text.lower()

    return parse


def _switch(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise _Fault("is neither true nor false; give true or false")


def _log_level(text: str) -> str:
    return _choice(*LOG_LEVELS)(RUST_LOG_LEVELS.get(text.lower(), text))


def _has_address(parts: SplitResult) -> bool:
    """Whether there is a host, and a port that is one where there is a port."""
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not _has_address(parts):
        raise _Fault("is not an http(s) URL; give one like https://api.daily.co/v1")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise _Fault("has more than host, port and path; give one like https://api.daily.co/v1")
    return text.rstrip("/")


def _api_key(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise _Fault("holds characters that no HTTP header can carry; give the key as Daily's dashboard shows it")
    return text


def _webhook_url(text: str) -> str:
    return text if text == "self" else _http_url(text)


def _base64(text: str) -> bytes:
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _Fault("is not base64; give the webhook's hmac as Daily shows it") from None
    if len(secret) < SECRET_MIN_BYTES:
        raise _Fault(f"is shorter than {SECRET_MIN_BYTES} bytes; leave it out, and one is made")
    return secret


def _nats_url(text: str) -> str:
    if text == "embedded":
        return text
    for url in text.split(","):
        parts = urlsplit(url.strip())
        if parts.scheme not in {"nats", "tls"} or not _has_address(parts):
            raise _Fault("is no NATS URL; give nats://host:4222, a comma-separated list of such, or embedded")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and (not parts.scheme or not _has_address(parts) or parts.path or "*" in origin):
            raise _Fault("holds something that is no origin; give a list like https://app.example.com, or *")
    return origins


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise _Fault("is no file, or this user may not look; give the path of one")
    return path


def _api_keys(text: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in text.split(",") if part.strip())
    if not keys or any(len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        raise _Fault("must be a comma-separated list of keys of at least 8 printable ASCII characters, no blanks")
    return keys


def _room_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", text):
        raise _Fault("must be 1 to 80 of A-Z a-z 0-9 - _")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", text):
        raise _Fault("is no domain name of Daily's; give the part before .daily.co, like my-team")
    return text


def _setting(
    default: Any,
    help_: str,
    parse: Callable[[str], Any] = str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    metadata = {"help": help_, "parse": parse, "secret": secret, "aliases": aliases}
    return attrs.field(default=default, repr=not secret, metadata=metadata)


@attrs.frozen(kw_only=True)
class Settings:
    """The service's settings; a field's environment variable is its name in capitals."""

    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: int = _setting(8084, "Port to listen on; 0 picks a free one.", _number(0, 65535, integer=True))
    tls_certificate_file: Path | None = _setting(
        None, "Certificate and its chain (PEM); with it PORT speaks TLS, and nothing else.", _file
    )
    tls_key_file: Path | None = _setting(
        None, "The certificate's private key (PEM); unset: it is in the certificate's file.", _file
    )
    data_dir: Path = _setting(Path("data"), "Folder of the journal; one service at a time.", Path)

    daily_api_key: str | None = _setting(None, "API key of the Daily domain.", _api_key, secret=True)
    daily_domain: str | None = _setting(None, "Daily domain: the part before .daily.co.", _name)
    daily_api_url: str = _setting("https://api.daily.co/v1", "Daily's REST API.", _http_url)
    daily_rate_limits: bool = _setting(
        True, "Keep under Daily's rate limits ourselves; false where Daily has lifted them for you.", _switch
    )
    daily_shared_presence_rooms: int = _setting(
        100,
        "From how many live rooms on one question to Daily tells of all of them, instead of one for each. Fewer where"
        " half of Daily's rate limit would not do for them; answers are up to PRESENCE_POLL_S older then. 0: never.",
        _number(0, 1000000, integer=True),
    )
    daily_sign_tokens: bool = _setting(
        False, "Sign meeting tokens ourselves, once Daily has accepted one: no request for each.", _switch
    )
    daily_webhook_url: str | None = _setting(
        None,
        "Where Daily reaches POST /webhooks/daily of this service; with it we register the webhook ourselves, watch"
        " it and remove it at the end. `self`: our own address, for a sandbox beside us.",
        _webhook_url,
    )
    daily_webhook_hmac: bytes | None = _setting(
        None, "The webhook's hmac (base64), where it was registered by hand.", _base64, secret=True
    )
    provider_timeout_s: float = _setting(10.0, "Longest wait for one answer of the provider.", _number(0.1, 300))
    room_prefix: str = _setting("tt", "Start of the names that we choose for rooms.", _room_prefix)

    nats_url: str | None = _setting(
        None, "NATS server(s), or `embedded` for the bundled one; unset: no bus.", _nats_url, secret=True
    )
    nats_port: int = _setting(4222, "Port of the embedded server; 0 picks a free one.", _number(0, 65535, integer=True))
    nats_duplicate_window_s: int = _setting(
        600,
        "The duplicate window that the stream must have; it is made with it.",
        # Whole seconds survive the way through nanoseconds and back. No window is longer than the stream's 7 days.
        _number(1, 604800, integer=True),
    )

    api_keys: tuple[str, ...] = _setting(
        (),
        "Comma-separated keys that callers must bring, 8 characters or more each; unset: open to all.",
        _api_keys,
        secret=True,
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), "Origins of web pages that may open /ws, comma-separated; * for any.", _origins
    )

    log_level: str = _setting(
        "info", "debug, info, warning or error; RUST_LOG is understood too.", _log_level, aliases=("RUST_LOG",)
    )
    log_format: str | None = _setting(None, "text or json; unset: text on a terminal.", _choice("text", "json"))
    access_log: bool = _setting(False, "Log each HTTP request.", _switch)

    session_ttl_s: int = _setting(
        14400, "A session's length when the caller names none.", _number(1, 2592000, integer=True)
    )
    token_ttl_s: int = _setting(
        3600, "A meeting token's length when the caller names none.", _number(1, 2592000, integer=True)
    )
    token_warning_s: float = _setting(60.0, "How long before its end token_expiring is told.", _number(0, 86400))
    presence_poll_s: float = _setting(
        15.0, "Time between two looks into a room (Daily asks for 15).", _number(0.1, 3600)
    )
    presence_confirm_s: float = _setting(
        15.0, "How long somebody must be missing, over two looks, to have left.", _number(0.1, 3600)
    )
    sessions_max: int = _setting(
        10000, "Live sessions at once; more are refused (429).", _number(1, 1000000, integer=True)
    )
    create_queue_max: int = _setting(
        100, "Creations under way at once; more are refused (429).", _number(1, 100000, integer=True)
    )

    heartbeat_s: float = _setting(
        30.0, "Time between pings to a listener; silent for three: closed.", _number(0.1, 3600)
    )
    listeners_max: int = _setting(
        20000, "Listeners at once; more are refused (503).", _number(1, 1000000, integer=True)
    )
    listener_backlog_bytes: int = _setting(
        1048576,
        "Live events a slow listener may lag behind before it is closed (4008).",
        _number(65536, 1073741824, integer=True),
    )
    listener_messages_max: int = _setting(
        100, "Messages a listener may send in ten seconds (4429).", _number(1, 1000000, integer=True)
    )
    listener_faults_max: int = _setting(
        10, "Bad messages a listener may send (4400).", _number(1, 1000000, integer=True)
    )

    events_keep_s: int = _setting(604800, "How long events can be replayed.", _number(60, 31536000, integer=True))
    sessions_keep_s: int = _setting(604800, "How long ended sessions can be read.", _number(60, 31536000, integer=True))
    journal_max_mib: int = _setting(
        1024,
        "Size of the journal past which /ready fails and nothing is created.",
        _number(16, 1048576, integer=True),
    )

    connections_max: int = _setting(
        25000,
        "Connections at once; beyond, idle ones make room, and where none is idle newcomers are refused (503).",
        _number(10, 1000000, integer=True),
    )
    # Longer than the 60 s after which load balancers commonly drop idle connections: they, not we, should be first.
    keep_alive_s: float = _setting(75.0, "How long a connection may wait for its next request.", _number(0.1, 3600))
    head_timeout_s: float = _setting(
        10.0, "Longest wait for the end of a request's head, from its first byte (408).", _number(0.1, 300)
    )
    body_timeout_s: float = _setting(10.0, "Longest wait for a request's body (408).", _number(0.1, 300))
    drain_s: float = _setting(
        10.0, "How long a stop may take for requests under way, then again for NATS.", _number(0, 300)
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable counts as unset.

        Raises:
            SettingsError: one line with the variable, the fault and what would be right. A secret's value is not in it.
        """
        values: dict[str, Any] = {}
        for field in attrs.fields(cls):
            for variable in (field.name.upper(), *field.metadata["aliases"]):
                text = environ.get(variable, "").strip()
                if not text:
                    continue
                try:
                    values[field.name] = field.metadata["parse"](text)
                except _Fault as fault:
                    shown = "(hidden)" if field.metadata["secret"] else repr(text)
                    raise SettingsError(f"{variable}: {shown} {fault}") from None
                break
        if "tls_key_file" in values and "tls_certificate_file" not in values:
            raise SettingsError("TLS_KEY_FILE: there is no certificate for this key; give TLS_CERTIFICATE_FILE, too")
        return cls(**values)


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for `--help` and the documentation."""
    rows = []
    for field in attrs.fields(Settings):
        default = field.default
        shown = "" if default in (None, ()) else str(default).lower() if isinstance(default, bool) else str(default)
        if isinstance(default, float):
            shown = f"{default:g}"
        rows.append((field.name.upper(), shown, field.metadata["help"]))
    return rows
