"""Connectors to further domains of Daily's: which variables are whose, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from transport_trio.errors import SettingsError
from transport_trio.setting_connectors import variable
from transport_trio.settings import EACH_CONNECTORS, Settings

ONE = {"DAILY_API_KEY": "key-1", "DAILY_DOMAIN": "my-team"}
TWO = {**ONE, "DAILY_CONNECTORS": "daily,daily-eu", "DAILY_EU_API_KEY": "key-2", "DAILY_EU_DOMAIN": "my-team-eu"}


def refusal(environ: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_connector_is_what_nobody_has_to_ask_for() -> None:
    settings = Settings.from_environ(ONE)
    assert settings.daily_connectors == ("daily",)
    assert settings.of("daily") is settings
    assert settings.missing_variables() == []


def test_each_connector_has_its_own_key_domain_and_webhook() -> None:
    webhook = "https://voice.example.com/webhooks/daily"
    settings = Settings.from_environ({**TWO, "DAILY_WEBHOOK_URL": webhook, "DAILY_EU_RATE_LIMITS": "false"})
    daily, eu = settings.of("daily"), settings.of("daily-eu")
    assert (daily.daily_api_key, eu.daily_api_key) == ("key-1", "key-2")
    assert (daily.daily_domain, eu.daily_domain) == ("my-team", "my-team-eu")
    assert (daily.daily_webhook_url, eu.daily_webhook_url) == (webhook, None)
    assert (daily.daily_rate_limits, eu.daily_rate_limits) == (True, False)


@pytest.mark.parametrize(
    ("variable", "value", "field", "is_shared"),
    [
        ("DAILY_API_URL", "http://127.0.0.1:8085/v1", "daily_api_url", True),
        ("DAILY_SIGN_TOKENS", "true", "daily_sign_tokens", True),
        ("DAILY_SHARED_PRESENCE_ROOMS", "7", "daily_shared_presence_rooms", True),
        ("DAILY_RATE_LIMITS", "false", "daily_rate_limits", False),
        ("DAILY_WEBHOOK_URL", "self", "daily_webhook_url", False),
        ("DAILY_WEBHOOK_HMAC", "c2l4dGVlbi1ieXRlcy1vci1tb3Jl", "daily_webhook_hmac", False),
    ],
)
def test_a_further_connector_falls_back_to_what_is_no_domains_own(
    variable: str, value: str, field: str, is_shared: bool
) -> None:
    settings = Settings.from_environ({**TWO, variable: value})
    assert getattr(settings, field) != getattr(Settings(), field)
    expected = settings if is_shared else Settings()
    assert getattr(settings.of("daily-eu"), field) == getattr(expected, field)


def test_daily_need_not_be_among_them() -> None:
    settings = Settings.from_environ(
        {"DAILY_CONNECTORS": "daily-eu", "DAILY_EU_API_KEY": "k", "DAILY_API_URL": "http://127.0.0.1:1/v1"}
    )
    assert settings.of("daily-eu").daily_api_url == "http://127.0.0.1:1/v1"
    assert settings.missing_variables() == ["DAILY_EU_DOMAIN"]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DAILY_CONNECTORS": "daily,eu"}, "DAILY_CONNECTORS: 'daily,eu' holds something that is no connector's name"),
        ({"DAILY_CONNECTORS": "daily,Daily-EU"}, "no connector's name"),
        ({"DAILY_CONNECTORS": "daily,daily-"}, "no connector's name"),
        ({"DAILY_CONNECTORS": "daily," + "daily-" + "x" * 27}, "no connector's name"),
        ({"DAILY_CONNECTORS": "daily-eu,daily-eu"}, "names a connector twice"),
        ({"DAILY_CONNECTORS": ",".join(f"daily-{n}" for n in range(17))}, "more than 16"),
        ({"DAILY_EU_API_KEY": "key-1"}, "DAILY_EU_API_KEY: is the same as DAILY_API_KEY; give each connector"),
        ({"DAILY_EU_DOMAIN": "My-Team"}, "DAILY_EU_DOMAIN: is the same as DAILY_DOMAIN; give each connector"),
        (
            {"DAILY_WEBHOOK_URL": "https://a/webhooks/daily", "DAILY_EU_WEBHOOK_URL": "https://a/webhooks/daily"},
            "DAILY_EU_WEBHOOK_URL: is the same as DAILY_WEBHOOK_URL; Daily pushes to /webhooks/",
        ),
        (
            {"DAILY_EU_WEBHOOK_URL": "https://a/base/webhooks/daily"},
            "DAILY_EU_WEBHOOK_URL: ends in /webhooks/daily, where daily is pushed to; give one that ends in /webh",
        ),
        ({"DAILY_UE_API_KEY": "key-3"}, "DAILY_UE_API_KEY: belongs to no connector; DAILY_CONNECTORS names daily, dai"),
        ({"DAILY_UE_RATE_LIMITS": "false"}, "DAILY_UE_RATE_LIMITS: belongs to no connector"),
        ({"DAILY_EU_APIKEY": "key-3"}, "DAILY_EU_APIKEY: is no setting of daily-eu; it has DAILY_EU_API_KEY, "),
        ({"DAILY_EU_API_KEY": "two words"}, "DAILY_EU_API_KEY: (hidden) holds characters that no HTTP header"),
        ({"DAILY_CONNECTORS": "daily-eu"}, "DAILY_API_KEY: belongs to no connector; DAILY_CONNECTORS names daily-eu"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(environ: dict[str, str], says: str) -> None:
    message = refusal({**TWO, **environ})
    assert says in message
    assert "key-1" not in message
    assert "key-3" not in message


def test_a_single_domain_is_not_stopped_by_a_variable_that_may_be_another_programs() -> None:
    settings = Settings.from_environ({**ONE, "DAILY_EU_API_KEY": "key-2", "DAILY_SAMPLE": "x"})
    assert settings.unclaimed == ("DAILY_EU_API_KEY: belongs to no connector; DAILY_CONNECTORS names daily",)


def test_both_may_mean_this_services_own_address_by_self() -> None:
    settings = Settings.from_environ({**TWO, "DAILY_WEBHOOK_URL": "self", "DAILY_EU_WEBHOOK_URL": "self"})
    assert settings.of("daily-eu").daily_webhook_url == "self"


def test_the_name_of_one_connector_may_begin_with_that_of_another() -> None:
    more = {
        "DAILY_EU_2_API_KEY": "key-3",
        "DAILY_EU_2_DOMAIN": "third",
        "DAILY_CONNECTORS": "daily,daily-eu,daily-eu-2",
    }
    settings = Settings.from_environ({**TWO, **more})
    assert settings.of("daily-eu-2").daily_domain == "third"


def test_no_variable_belongs_to_two_connectors() -> None:
    """`daily` and `daily-a` would share one if a setting of `daily` ended like another one."""
    settings = [field.name.removeprefix("daily_") for field in EACH_CONNECTORS]
    assert len(settings) >= 8
    assert not [(a, b) for a in settings for b in settings if a.endswith(f"_{b}")]
    assert variable("daily-eu", "api_key") == "DAILY_EU_API_KEY"


def test_keys_of_further_connectors_are_not_printed() -> None:
    assert "key-" not in repr(Settings.from_environ(TWO))
    assert "key-" not in repr(Settings.from_environ(TWO).of("daily-eu"))
