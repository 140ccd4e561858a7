"""The bus: the relay takes what the journal holds to NATS JetStream, each event once."""

from transport_trio.bus.embedded import open_embedded_nats
from transport_trio.bus.jetstream import NatsBus, NatsSettings, open_nats
from transport_trio.bus.nats import LinkSettings
from transport_trio.bus.relay import READER, Relay, RelaySettings
from transport_trio.bus.stream import StreamPlan

__all__ = [
    "READER",
    "LinkSettings",
    "NatsBus",
    "NatsSettings",
    "Relay",
    "RelaySettings",
    "StreamPlan",
    "open_embedded_nats",
    "open_nats",
]
