"""Trio helpers: clocks, beats, supervision. Nothing here knows what a session is."""

from transport_trio.concurrency.beat import every
from transport_trio.concurrency.clock import Clock, SystemClock
from transport_trio.concurrency.garbage import short_pauses
from transport_trio.concurrency.seldom import Seldom
from transport_trio.concurrency.supervise import RestartPolicy, supervise
from transport_trio.concurrency.waits import doubling_s

__all__ = ["Clock", "RestartPolicy", "Seldom", "SystemClock", "doubling_s", "every", "short_pauses", "supervise"]
