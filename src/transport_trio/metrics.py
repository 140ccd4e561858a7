"""The service's metrics. Labels come from closed sets: a provider, a reason, a route template; never an id."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from transport_trio import __version__
from transport_trio.metrics_at_zero import begin_at_zero

HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
READY_BUCKETS_S = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400)
BROADCAST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


@attrs.frozen(kw_only=True)
class Metrics:
    """All metrics, on a registry of their own, so that each test has fresh ones."""

    registry: CollectorRegistry
    process: ProcessCollector
    # These four names are fixed by the contract, section 4.
    active_sessions: Gauge
    registered_connectors: Gauge
    pending_messages: Gauge
    delivered_messages: Counter

    http_requests: Counter
    http_seconds: Histogram
    http_refused: Counter
    connections: Gauge
    provider_requests: Counter
    provider_seconds: Histogram
    provider_throttle_seconds: Counter
    provider_sessions: Gauge
    provider_rooms_owed: Gauge
    presence_polls: Counter
    presence_age: Gauge
    presence_shared: Gauge
    webhooks: Counter
    webhook_delay: Histogram
    webhook_active: Gauge
    webhook_repairs: Counter
    signing_active: Gauge
    tokens: Counter
    people_actions: Counter
    extensions: Counter
    capture_actions: Counter
    capture_errors: Counter
    capture_ready_seconds: Histogram
    capture_looks: Counter
    captures_awaited: Gauge
    summaries: Counter
    creations: Gauge
    creations_interrupted: Counter
    rooms_owed: Gauge
    room_deletions: Counter
    orphan_rooms: Gauge
    orphan_rooms_deleted: Counter
    orphan_sweep_time: Gauge
    orphan_sweep_failures: Counter
    connections_max: Gauge
    certificate_end: Gauge
    listeners: Gauge
    listeners_max: Gauge
    listeners_joined: Counter
    listeners_lagging: Gauge
    frames_sent: Counter
    broadcast_seconds: Histogram
    listeners_dropped: Counter
    commit_seconds: Histogram
    commit_group: Histogram
    commit_failures: Counter
    journal_writable: Gauge
    journal_bytes: Gauge
    events_pruned: Counter
    journal_rollbacks: Counter
    listener_gaps: Counter
    session_crashes: Counter
    task_restarts: Counter
    bus_publish_failures: Counter
    bus_messages_refused: Counter
    bus_away: Gauge
    clock_jumps: Counter
    clock_correction: Gauge
    garbage_pause: Gauge
    tasks: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Metrics:
        # Creation times would double the number of series, and nobody reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(name, help_, labels, registry=registry)

        def gauge(name: str, help_: str, *labels: str) -> Gauge:
            return Gauge(name, help_, labels, registry=registry)

        def histogram(name: str, help_: str, *labels: str, buckets: tuple[float, ...] = HTTP_BUCKETS_S) -> Histogram:
            return Histogram(name, help_, labels, registry=registry, buckets=buckets)

        Info("transport_build", "Version of the service.", registry=registry).info({"version": __version__})
        made = cls(
            registry=registry,
            process=ProcessCollector(namespace="transport", registry=registry),
            active_sessions=gauge("active_sessions", "Sessions that have not ended."),
            registered_connectors=gauge("registered_connectors", "Providers that sessions can be created at."),
            pending_messages=gauge("pending_messages", "Events not yet acknowledged by NATS; 0 without a bus."),
            delivered_messages=counter("delivered_messages", "Events acknowledged by NATS."),
            http_requests=counter("transport_http_requests", "HTTP requests answered.", "method", "route", "status"),
            http_seconds=histogram("transport_http_seconds", "Time to answer a request.", "method", "route"),
            http_refused=counter(
                "transport_http_refused", "Connections that ended because of what their client did.", "reason"
            ),
            connections=gauge("transport_connections", "Connections open now, listeners included."),
            connections_max=gauge("transport_connections_max", "How many connections there may be."),
            certificate_end=gauge(
                "transport_certificate_end_timestamp_seconds",
                "When the certificate of the port ends, in seconds since 1970; 0 without TLS.",
            ),
            provider_requests=counter(
                "transport_provider_requests",
                "Requests sent to a provider.",
                "provider",
                "operation",
                "outcome",
            ),
            provider_seconds=histogram(
                "transport_provider_seconds", "Time until a provider answered.", "provider", "operation"
            ),
            provider_throttle_seconds=counter(
                "transport_provider_throttle_seconds",
                "Time that requests waited for our own rate limit of the provider.",
                "provider",
                "tier",
            ),
            provider_sessions=gauge(
                "transport_provider_sessions", "Sessions at a provider that have not ended.", "provider"
            ),
            provider_rooms_owed=gauge(
                "transport_provider_rooms_owed", "Rooms whose deletion is still owed to this provider.", "provider"
            ),
            presence_polls=counter("transport_presence_polls", "Looks into rooms.", "provider", "outcome"),
            presence_age=gauge("transport_presence_age_seconds", "Age of the oldest knowledge of a live room."),
            presence_shared=gauge(
                "transport_presence_shared",
                "Whether one question to the provider tells of all rooms (1) or each is asked for by itself (0).",
                "provider",
            ),
            webhooks=counter("transport_webhooks", "What providers pushed.", "provider", "type", "outcome"),
            webhook_delay=histogram(
                "transport_webhook_delay_seconds", "Time from a provider's sending of a push until it came.", "provider"
            ),
            webhook_active=gauge(
                "transport_webhook_active",
                "Whether our webhook at the provider is in force (1) or not (0).",
                "provider",
            ),
            webhook_repairs=counter(
                "transport_webhook_repairs", "How often our webhook had to be reactivated or made anew.", "provider"
            ),
            signing_active=gauge(
                "transport_signing_active",
                "Whether meeting tokens are signed here (1) or minted by the provider against our wish (0).",
                "provider",
            ),
            tokens=counter("transport_tokens", "Meeting tokens made, and by whom.", "provider", "by"),
            people_actions=counter(
                "transport_people_actions",
                "What callers wanted of people in a room, by how it ended.",
                "action",
                "outcome",
            ),
            extensions=counter(
                "transport_extensions", "Wishes for a later end of a session, by how they ended.", "outcome"
            ),
            capture_actions=counter(
                "transport_capture_actions",
                "What callers wanted of recordings and the like, by how it ended.",
                "action",
                "outcome",
            ),
            capture_errors=counter(
                "transport_capture_errors", "Recordings and such of which nothing (more) came.", "kind"
            ),
            capture_ready_seconds=histogram(
                "transport_capture_ready_seconds",
                "Time from the end of a recording until it was known to be ready.",
                "kind",
                buckets=READY_BUCKETS_S,
            ),
            capture_looks=counter("transport_capture_looks", "Looks into a provider's list of recordings.", "outcome"),
            captures_awaited=gauge(
                "transport_captures_awaited", "Sessions of which more may come to be known of their recordings."
            ),
            summaries=counter(
                "transport_summaries",
                "Questions to a provider about who was in a room that has closed.",
                "provider",
                "outcome",
            ),
            creations=gauge("transport_creations", "Creations of sessions under way."),
            creations_interrupted=counter(
                "transport_creations_interrupted",
                "Creations broken off by a crash, a stop, a bug or a failed journal; their rooms are deleted.",
            ),
            rooms_owed=gauge("transport_rooms_owed", "Rooms whose deletion is still owed to a provider."),
            room_deletions=counter("transport_room_deletions", "Attempts to delete a room.", "provider", "outcome"),
            orphan_rooms=gauge(
                "transport_orphan_rooms", "Rooms of ours without a session, at the latest sweep.", "provider", "kind"
            ),
            orphan_rooms_deleted=counter("transport_orphan_rooms_deleted", "Such rooms deleted by sweeps.", "provider"),
            orphan_sweep_time=gauge(
                "transport_orphan_sweep_timestamp_seconds",
                "When the latest complete sweep ended, in seconds since 1970.",
                "provider",
            ),
            orphan_sweep_failures=counter("transport_orphan_sweep_failures", "Sweeps that broke off.", "provider"),
            listeners=gauge("transport_listeners", "WebSocket listeners connected now."),
            listeners_max=gauge("transport_listeners_max", "How many listeners there may be."),
            listeners_joined=counter("transport_listeners_joined", "Listeners let in."),
            listeners_lagging=gauge(
                "transport_listeners_lagging", "Listeners for whom something waits: they read slowly, or read the past."
            ),
            frames_sent=counter("transport_frames_sent", "WebSocket messages sent to listeners."),
            broadcast_seconds=histogram(
                "transport_broadcast_seconds",
                "Time from a commit until its events were given to the last listener.",
                buckets=BROADCAST_BUCKETS_S,
            ),
            listeners_dropped=counter("transport_listeners_dropped", "Listeners closed by the service.", "reason"),
            commit_seconds=histogram(
                "transport_journal_commit_seconds",
                "Time of one commit of the journal.",
                buckets=COMMIT_BUCKETS_S,
            ),
            commit_group=histogram(
                "transport_journal_commit_changes",
                "Changes that went into one commit.",
                buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            ),
            commit_failures=counter("transport_journal_commit_failures", "Commits that failed.", "reason"),
            journal_writable=gauge(
                "transport_journal_writable", "1 while the journal takes everything; 0 while no session can begin."
            ),
            journal_bytes=gauge("transport_journal_bytes", "Size of the journal on disk."),
            events_pruned=counter("transport_journal_events_pruned", "Events removed because of their age."),
            journal_rollbacks=counter(
                "transport_journal_rollbacks",
                "Times that the journal turned out to be an older copy, and began a new epoch.",
                "noticed_by",
            ),
            listener_gaps=counter(
                "transport_listener_gaps", "Listeners told that the history they asked for is gone.", "reason"
            ),
            session_crashes=counter("transport_session_crashes", "Sessions ended because their tasks kept failing."),
            task_restarts=counter("transport_task_restarts", "Restarts of supervised tasks.", "task"),
            bus_publish_failures=counter(
                "transport_bus_publish_failures", "Publishes that were not acknowledged.", "reason"
            ),
            bus_messages_refused=counter(
                "transport_bus_messages_refused", "Events that NATS will never take, passed over."
            ),
            bus_away=gauge(
                "transport_bus_away",
                "1 while NATS or its stream cannot be used, or takes no events; 0 otherwise and without a bus.",
            ),
            clock_jumps=counter("transport_clock_jumps", "Jumps of the system clock."),
            clock_correction=gauge(
                "transport_clock_correction_seconds",
                "How far our time is ahead of the system clock, where that is in doubt or wrong.",
            ),
            garbage_pause=gauge(
                "transport_garbage_pause_seconds", "How long the latest full collection of garbage halted the process."
            ),
            tasks=gauge("transport_tasks", "Trio tasks alive: some for each live session, listener and request."),
        )
        begin_at_zero(made)
        return made

    def watch(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """Have a gauge read its value when it is scraped."""
        gauge.set_function(read)
