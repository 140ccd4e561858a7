"""The seams of the service: what sessions, hub and relay ask of a provider, a journal and a bus.

Nothing here promises more than a journal shared by several replicas could keep: ids rise strictly but need
not be dense, and somebody else may have committed a session meanwhile (`VersionConflict`).
"""

from transport_trio.ports.bus import Bus, BusMessage
from transport_trio.ports.journal import (
    Change,
    EventPage,
    EventQuery,
    Journal,
    OnCommit,
    SessionPage,
    SessionQuery,
    Snapshot,
)
from transport_trio.ports.ownership import Ownership
from transport_trio.ports.provider import Connectors, RoomPage, Seen, TransportConnector, WebhookDoor

__all__ = [
    "Bus",
    "BusMessage",
    "Change",
    "Connectors",
    "EventPage",
    "EventQuery",
    "Journal",
    "OnCommit",
    "Ownership",
    "RoomPage",
    "Seen",
    "SessionPage",
    "SessionQuery",
    "Snapshot",
    "TransportConnector",
    "WebhookDoor",
]
