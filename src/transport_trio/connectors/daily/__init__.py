"""Daily.co: its HTTP API, its limits, its JSON. Nothing outside this package knows any of the three."""

from transport_trio.connectors.daily.connector import DailyConnector, open_daily
from transport_trio.connectors.daily.operations import DAILY_LIMITS, NO_LIMITS, DailyLimits

__all__ = ["DAILY_LIMITS", "NO_LIMITS", "DailyConnector", "DailyLimits", "open_daily"]
