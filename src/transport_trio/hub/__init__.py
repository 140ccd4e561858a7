"""Who listens, to what, from where: fed by the journal, bounded, and free of sockets."""

from transport_trio.hub.conversation import Conversation
from transport_trio.hub.filter import Filter, Subscription
from transport_trio.hub.hub import Hub, HubStatistics, open_hub
from transport_trio.hub.line import Line
from transport_trio.hub.listener import Listener

__all__ = ["Conversation", "Filter", "Hub", "HubStatistics", "Line", "Listener", "Subscription", "open_hub"]
