"""Which connector serves which `provider`."""

from __future__ import annotations

from transport_trio.errors import UnknownProvider
from transport_trio.metrics import Metrics
from transport_trio.metrics_at_zero import begin_at_zero
from transport_trio.ports import TransportConnector


class ConnectorRegistry:
    """Implements `ports.Connectors`; filled once, before the first request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._connectors: dict[str, TransportConnector] = {}
        metrics.registered_connectors.set(0)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._connectors)

    def register(self, connector: TransportConnector) -> None:
        """Serve `provider: connector.name` by it.

        Raises:
            ValueError: the name is taken; two connectors would share one metric label.
        """
        if connector.name in self._connectors:
            raise ValueError(f"a connector for {connector.name!r} is registered already")
        self._connectors[connector.name] = connector
        self._metrics.registered_connectors.set(len(self._connectors))
        begin_at_zero(self._metrics, connector.name)

    def get(self, provider: str) -> TransportConnector:
        """The provider's connector.

        Raises:
            UnknownProvider: none is registered under this name.
        """
        try:
            return self._connectors[provider]
        except KeyError:
            raise UnknownProvider(provider, self.names) from None
