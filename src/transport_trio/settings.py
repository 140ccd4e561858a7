"""Every setting, its default, meaning and check in one table. `from_environ` alone reads the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from transport_trio import setting_forms as forms
from transport_trio.errors import SettingsError
from transport_trio.setting_connectors import DAILY, UNIQUE, clashes, connector_names, unknown_variables, variable

# What begins like this is a setting of each connector to Daily, but for the list of them.
EACH = "daily_"


def _setting(
    default: Any,
    help_: str,
    parse: Callable[[str], Any] = str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    own: bool = False,
) -> Any:
    """`own`: of one domain of Daily's; the other settings for Daily hold for further connectors, too."""
    metadata = {"help": help_, "parse": parse, "secret": secret, "aliases": aliases, "own": own}
    return attrs.field(default=default, repr=not secret, metadata=metadata)


@attrs.frozen(kw_only=True)
class Settings:
    """The service's settings; a field's environment variable is its name in capitals."""

    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: int = _setting(8084, "Port to listen on; 0 picks a free one.", forms.number(0, 65535, integer=True))
    tls_certificate_file: Path | None = _setting(
        None, "Certificate and its chain (PEM); with it PORT speaks TLS, and nothing else.", forms.existing_file
    )
    tls_key_file: Path | None = _setting(
        None, "The certificate's private key (PEM); unset: it is in the certificate's file.", forms.existing_file
    )
    data_dir: Path = _setting(Path("data"), "Folder of the journal; one service at a time.", Path)

    daily_connectors: tuple[str, ...] = _setting(
        (DAILY,),
        "Connectors to Daily, comma-separated, one for each domain: `daily`, and names like `daily-eu`, whose settings"
        " are DAILY_EU_API_KEY, DAILY_EU_DOMAIN and so on. Callers choose one as `provider`.",
        connector_names,
    )
    daily_api_key: str | None = _setting(None, "API key of the Daily domain.", forms.api_key, secret=True, own=True)
    daily_domain: str | None = _setting(None, "Daily domain: the part before .daily.co.", forms.domain_name, own=True)
    daily_api_url: str = _setting("https://api.daily.co/v1", "Daily's REST API.", forms.http_url)
    daily_rate_limits: bool = _setting(
        True,
        "Keep under Daily's rate limits ourselves; false where Daily has lifted them for you.",
        forms.switch,
        own=True,
    )
    daily_shared_presence_rooms: int = _setting(
        100,
        "From how many live rooms on one question to Daily tells of all of them, instead of one for each. Fewer where"
        " half of Daily's rate limit would not do for them; answers are up to PRESENCE_POLL_S older then. 0: never.",
        forms.number(0, 1000000, integer=True),
    )
    daily_sign_tokens: bool = _setting(
        False, "Sign meeting tokens ourselves, once Daily has accepted one: no request for each.", forms.switch
    )
    daily_webhook_url: str | None = _setting(
        None,
        "Where Daily reaches POST /webhooks/daily of this service; with it we register the webhook ourselves, watch"
        " it and remove it at the end. `self`: our own address, for a sandbox beside us.",
        forms.webhook_url,
        own=True,
    )
    daily_webhook_hmac: bytes | None = _setting(
        None,
        "The webhook's hmac (base64), where it was registered by hand.",
        forms.base64_secret,
        secret=True,
        own=True,
    )
    provider_timeout_s: float = _setting(10.0, "Longest wait for one answer of the provider.", forms.number(0.1, 300))
    room_prefix: str = _setting("tt", "Start of the names that we choose for rooms.", forms.room_prefix)

    orphan_sweep: str = _setting(
        "report",
        "What is done about rooms of ours that have no session: report, delete (those that are empty) or off.",
        forms.choice("report", "delete", "off"),
    )
    orphan_sweep_s: float = _setting(3600.0, "Time between two sweeps for such rooms.", forms.number(1, 2592000))
    orphan_grace_s: float = _setting(
        900.0, "How old such a room must be before it may be deleted.", forms.number(1, 2592000)
    )

    nats_url: str | None = _setting(
        None, "NATS server(s), or `embedded` for the bundled one; unset: no bus.", forms.nats_url, secret=True
    )
    nats_port: int = _setting(
        4222, "Port of the embedded server; 0 picks a free one.", forms.number(0, 65535, integer=True)
    )
    nats_duplicate_window_s: int = _setting(
        600,
        "The duplicate window that the stream must have; it is made with it.",
        # Whole seconds survive the way through nanoseconds and back. No window is longer than the stream's 7 days.
        forms.number(1, 604800, integer=True),
    )

    api_keys: tuple[str, ...] = _setting(
        (),
        "Comma-separated keys that callers must bring, 8 characters or more each; unset: open to all.",
        forms.api_keys,
        secret=True,
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), "Origins of web pages that may open /ws, comma-separated; * for any.", forms.origins
    )

    log_level: str = _setting(
        "info", "debug, info, warning or error; RUST_LOG is understood too.", forms.log_level, aliases=("RUST_LOG",)
    )
    log_format: str | None = _setting(None, "text or json; unset: text on a terminal.", forms.choice("text", "json"))
    access_log: bool = _setting(False, "Log each HTTP request.", forms.switch)

    session_ttl_s: int = _setting(
        14400, "A session's length when the caller names none.", forms.number(1, 2592000, integer=True)
    )
    token_ttl_s: int = _setting(
        3600, "A meeting token's length when the caller names none.", forms.number(1, 2592000, integer=True)
    )
    session_max_s: int = _setting(
        2592000,
        "Longest time a session may have from its creation, extensions included.",
        forms.number(1, 2592000, integer=True),
    )
    token_warning_s: float = _setting(60.0, "How long before its end token_expiring is told.", forms.number(0, 86400))
    presence_poll_s: float = _setting(
        15.0, "Time between two looks into a room (Daily asks for 15).", forms.number(0.1, 3600)
    )
    presence_confirm_s: float = _setting(
        15.0, "How long somebody must be missing, over two looks, to have left.", forms.number(0.1, 3600)
    )
    sessions_max: int = _setting(
        10000, "Live sessions at once; more are refused (429).", forms.number(1, 1000000, integer=True)
    )
    create_queue_max: int = _setting(
        100,
        "Creations under way at once, at each connector; more are refused (429).",
        forms.number(1, 100000, integer=True),
    )

    heartbeat_s: float = _setting(
        30.0, "Time between pings to a listener; silent for three: closed.", forms.number(0.1, 3600)
    )
    listeners_max: int = _setting(
        20000, "Listeners at once; more are refused (503).", forms.number(1, 1000000, integer=True)
    )
    listener_backlog_bytes: int = _setting(
        1048576,
        "Live events a slow listener may lag behind before it is closed (4008).",
        forms.number(65536, 1073741824, integer=True),
    )
    listener_messages_max: int = _setting(
        100, "Messages a listener may send in ten seconds (4429).", forms.number(1, 1000000, integer=True)
    )
    listener_faults_max: int = _setting(
        10, "Bad messages a listener may send (4400).", forms.number(1, 1000000, integer=True)
    )

    events_keep_s: int = _setting(604800, "How long events can be replayed.", forms.number(60, 31536000, integer=True))
    sessions_keep_s: int = _setting(
        604800, "How long ended sessions can be read.", forms.number(60, 31536000, integer=True)
    )
    journal_max_mib: int = _setting(
        1024,
        "Size of the journal past which /ready fails and nothing is created.",
        forms.number(16, 1048576, integer=True),
    )

    connections_max: int = _setting(
        25000,
        "Connections at once; beyond, idle ones make room, and where none is idle newcomers are refused (503).",
        forms.number(10, 1000000, integer=True),
    )
    # Longer than the 60 s after which load balancers commonly drop idle connections: they, not we, should be first.
    keep_alive_s: float = _setting(
        75.0, "How long a connection may wait for its next request.", forms.number(0.1, 3600)
    )
    head_timeout_s: float = _setting(
        10.0, "Longest wait for the end of a request's head, from its first byte (408).", forms.number(0.1, 300)
    )
    body_timeout_s: float = _setting(10.0, "Longest wait for a request's body (408).", forms.number(0.1, 300))
    drain_s: float = _setting(
        10.0, "How long a stop may take for requests under way, then again for NATS.", forms.number(0, 300)
    )

    # What further connectors to Daily have of their own, by the names of the fields above; and variables that look
    # as if they were a connector's but are nobody's, with what is wrong with them.
    further: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False)
    unclaimed: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable counts as unset.

        Raises:
            SettingsError: one line with the variable, the fault and what would be right. A secret's value is not in it.
        """
        given = {name: text.strip() for name, text in environ.items() if text.strip()}
        values: dict[str, Any] = {}
        for field in TABLE:
            for name in (field.name.upper(), *field.metadata["aliases"]):
                if name in given:
                    values[field.name] = _read(field, name, given[name])
                    break
        if "tls_key_file" in values and "tls_certificate_file" not in values:
            raise SettingsError("TLS_KEY_FILE: there is no certificate for this key; give TLS_CERTIFICATE_FILE, too")
        connectors = values.get("daily_connectors", (DAILY,))
        further = {name: _own(name, given) for name in connectors if name != DAILY}
        settings = cls(**values, further=further, unclaimed=_unclaimed(given, connectors))
        settings._check_connectors()
        return settings

    def of(self, connector: str) -> Settings:
        """These settings as they are for one connector to Daily: its own values stand in the fields `daily_...`."""
        if connector == DAILY:
            return self
        own: dict[str, Any] = {field.name: field.default for field in EACH_CONNECTORS if field.metadata["own"]}
        own.update(self.further.get(connector, {}))
        return attrs.evolve(self, **own)

    def having(self, connector: str, **own: Any) -> Settings:
        """These settings with other values in the fields `daily_...` of one connector."""
        if connector == DAILY:
            return attrs.evolve(self, **own)
        return attrs.evolve(self, further={**self.further, connector: {**self.further.get(connector, {}), **own}})

    def missing_variables(self) -> list[str]:
        """What no connector to Daily can do without, and is not there."""
        return [
            variable(name, wanted)
            for name in self.daily_connectors
            for wanted in ("api_key", "domain")
            if getattr(self.of(name), f"{EACH}{wanted}") is None
        ]

    def _check_connectors(self) -> None:
        each = {
            name: {wanted: getattr(self.of(name), f"{EACH}{wanted}") for wanted in UNIQUE}
            for name in self.daily_connectors
        }
        told = self.unclaimed if self.daily_connectors != (DAILY,) else ()
        for fault in (*told, *clashes(each)):
            raise SettingsError(fault)


TABLE = tuple(field for field in attrs.fields(Settings) if "parse" in field.metadata)
EACH_CONNECTORS = tuple(field for field in TABLE if field.name.startswith(EACH) and field.name != "daily_connectors")


def _read(field: attrs.Attribute[Any], name: str, text: str) -> Any:
    try:
        return field.metadata["parse"](text)
    except forms.Fault as fault:
        shown = "(hidden)" if field.metadata["secret"] else repr(text)
        raise SettingsError(f"{name}: {shown} {fault}") from None


def _own(connector: str, given: Mapping[str, str]) -> dict[str, Any]:
    """What the connector's own variables say."""
    names = {field: variable(connector, field.name.removeprefix(EACH)) for field in EACH_CONNECTORS}
    return {field.name: _read(field, name, given[name]) for field, name in names.items() if name in given}


def _unclaimed(given: Mapping[str, str], connectors: tuple[str, ...]) -> tuple[str, ...]:
    settings = [field.name.removeprefix(EACH) for field in EACH_CONNECTORS]
    defaults = {field.name.upper() for field in EACH_CONNECTORS if not field.metadata["own"]}
    named = given.keys() - defaults - {"DAILY_CONNECTORS"}
    return tuple(f"{name}: {fault}" for name, fault in unknown_variables(named, connectors, settings))


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for `--help` and the documentation."""
    rows = []
    for field in TABLE:
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shown = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        if isinstance(default, float):
            shown = f"{default:g}"
        rows.append((field.name.upper(), shown, field.metadata["help"]))
    return rows
