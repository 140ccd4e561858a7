"""Connectors by provider."""

from __future__ import annotations

import pytest

from fakes_connector import FakeConnector
from transport_trio.connectors import ConnectorRegistry
from transport_trio.errors import UnknownProvider
from transport_trio.metrics import Metrics


def registered(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("registered_connectors")


def test_a_registered_connector_is_found_by_its_name_and_counted(metrics: Metrics) -> None:
    registry = ConnectorRegistry(metrics)
    assert registered(metrics) == 0
    daily, other = FakeConnector("daily"), FakeConnector("other")
    registry.register(daily)
    registry.register(other)
    assert registry.get("other") is other
    assert registry.get("daily") is daily
    assert registry.names == ("daily", "other")
    assert registered(metrics) == 2


def test_an_unknown_provider_is_told_with_those_that_are_known(metrics: Metrics) -> None:
    registry = ConnectorRegistry(metrics)
    with pytest.raises(UnknownProvider, match="known: none"):
        registry.get("daily")
    registry.register(FakeConnector("daily"))
    with pytest.raises(UnknownProvider, match="'livekit'; known: daily") as caught:
        registry.get("livekit")
    assert caught.value.provider == "livekit"


def test_a_name_is_given_once(metrics: Metrics) -> None:
    registry = ConnectorRegistry(metrics)
    first = FakeConnector("daily")
    registry.register(first)
    with pytest.raises(ValueError, match="registered already"):
        registry.register(FakeConnector("daily"))
    assert registry.get("daily") is first
    assert registered(metrics) == 1
