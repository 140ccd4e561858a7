"""Providers of rooms behind one port, `TransportConnector`; `daily` alone knows an HTTP client."""

from transport_trio.connectors.daily import DAILY_LIMITS, NO_LIMITS, DailyConnector, DailyLimits, open_daily
from transport_trio.connectors.ratelimit import Limit
from transport_trio.connectors.registry import ConnectorRegistry

__all__ = ["DAILY_LIMITS", "NO_LIMITS", "ConnectorRegistry", "DailyConnector", "DailyLimits", "Limit", "open_daily"]
