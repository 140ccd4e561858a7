"""Settings: one line that names the variable, the fault and what would be right; secrets never print."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport_trio.errors import SettingsError
from transport_trio.settings import TABLE, Settings, describe


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_environ({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8084)
    assert settings.daily_api_url == "https://api.daily.co/v1"
    assert (settings.session_ttl_s, settings.token_ttl_s) == (14400, 3600)
    assert settings.nats_url is None
    assert settings.api_keys == ()


def test_every_setting_can_be_set() -> None:
    values = {
        "HOST": "0.0.0.0",
        "PORT": "0",
        "DATA_DIR": "/var/lib/tt",
        "DAILY_API_URL": "http://127.0.0.1:8085/v1/",
        "NATS_URL": "nats://a:4222,nats://b:4222",
        "API_KEYS": "first-key-1, second-key-2",
        "ALLOWED_ORIGINS": "https://App.example.com/,http://localhost:3000",
        "LOG_FORMAT": "JSON",
        "ACCESS_LOG": "yes",
        "HEARTBEAT_S": "2.5",
    }
    settings = Settings.from_environ(values)
    assert settings.data_dir == Path("/var/lib/tt")
    assert settings.daily_api_url == "http://127.0.0.1:8085/v1"
    assert settings.api_keys == ("first-key-1", "second-key-2")
    assert settings.allowed_origins == ("https://app.example.com", "http://localhost:3000")
    assert settings.log_format == "json"
    assert settings.access_log is True
    assert settings.heartbeat_s == 2.5


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environ({"PORT": "  ", "NATS_URL": ""}) == Settings()


@pytest.mark.parametrize(("variable", "level"), [("RUST_LOG", "trace"), ("RUST_LOG", "debug"), ("LOG_LEVEL", "DEBUG")])
def test_log_level_has_an_alias(variable: str, level: str) -> None:
    assert Settings.from_environ({variable: level}).log_level == "debug"


def test_the_proper_name_wins_over_the_alias() -> None:
    assert Settings.from_environ({"LOG_LEVEL": "error", "RUST_LOG": "debug"}).log_level == "error"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PORT", "http", "not a whole number from 0 to 65535; give one"),
        ("PORT", "٣", "not a whole number"),
        ("DRAIN_S", "1_0", "not a number from 0 to 300"),
        ("SESSION_TTL_S", "1000000000", "from 1 to 2592000"),
        ("DAILY_API_URL", "http://x:99999/v1", "not an http(s) URL"),
        ("DAILY_API_URL", "http://u:pw@x/v1", "more than host, port and path"),
        ("DAILY_API_URL", "http://x/v1?k=1", "more than host, port and path"),
        ("DAILY_API_KEY", "a b", "no HTTP header can carry"),
        ("DAILY_API_KEY", "clé", "no HTTP header can carry"),
        ("NATS_URL", "nats://h:abc", "is no NATS URL"),
        ("ALLOWED_ORIGINS", "https://*.example.com", "no origin"),
        ("PORT", "70000", "out of range"),
        ("PORT", "80.5", "not a whole number"),
        ("HEARTBEAT_S", "nan", "not a number"),
        ("HEARTBEAT_S", "soon", "not a number"),
        ("LOG_LEVEL", "loud", "give one of debug, info, warning, error"),
        ("ACCESS_LOG", "maybe", "give true or false"),
        ("DAILY_API_URL", "api.daily.co", "not an http(s) URL"),
        ("DAILY_DOMAIN", "my_team.daily.co", "the part before .daily.co"),
        ("NATS_URL", "http://x", "is no NATS URL"),
        ("NATS_DUPLICATE_WINDOW_S", "0", "a whole number from 1 to 604800"),
        ("NATS_DUPLICATE_WINDOW_S", "0.5", "not a whole number"),
        ("ALLOWED_ORIGINS", "example.com/path", "no origin"),
        ("API_KEYS", "short", "at least 8"),
        ("ROOM_PREFIX", "a b", "A-Z a-z 0-9"),
    ],
)
def test_a_value_that_makes_no_sense_is_told_in_one_line(variable: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert says in message
    assert "\n" not in message


@given(st.text(min_size=1))
def test_no_secret_is_printed(text: str) -> None:
    settings = Settings(daily_api_key="sesame-open-1", api_keys=("sesame-open-2",), nats_url="nats://u:sesame@h")
    assert "sesame" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"API_KEYS": f"sesame {text},x"})
    assert "sesame" not in str(caught.value)


def test_every_setting_is_described_with_its_default() -> None:
    rows = {variable: (default, help_) for variable, default, help_ in describe()}
    assert len(rows) == len(TABLE)
    assert rows["PORT"][0] == "8084"
    assert rows["ACCESS_LOG"][0] == "false"
    assert rows["HEARTBEAT_S"][0] == "30"
    assert rows["API_KEYS"][0] == ""
    assert all(help_.endswith((".", ").")) for _, help_ in rows.values())
