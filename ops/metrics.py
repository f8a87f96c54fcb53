"""Every metric of YouSync: names, types, labels and what they mean, declared in this one place.

A service makes its own `CollectorRegistry`-bound set, so that a test (or several services in one process) never
share numbers.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def process_registry() -> CollectorRegistry:
    """A registry with the process's own figures (memory, CPU, file descriptors) in it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class ProducerMetrics:
    """YouTube -> raw topic."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "yousync_youtube_calls", "Calls made to YouTube.", ["bucket", "outcome"], registry=registry
        )
        self.quota_left = Gauge(
            "yousync_quota_left",
            "What is left today, in calls (search) or units.",
            ["bucket"],
            registry=registry,
        )
        self.items_published = Counter(
            "yousync_items_published", "Raw items that Kafka acknowledged.", registry=registry
        )
        self.items_ignored = Counter(
            "yousync_items_ignored",
            "Items of an answer that were not published.",
            ["reason"],
            registry=registry,
        )
        self.passes = Counter("yousync_search_passes", "Search passes by outcome.", ["outcome"], registry=registry)
        self.last_success = Gauge(
            "yousync_last_pass_timestamp_seconds",
            "When a query's last complete pass ended.",
            ["query"],
            registry=registry,
        )


class ProcessorMetrics:
    """Raw topic -> read model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter("yousync_records", "Raw records by what became of them.", ["outcome"], registry=registry)
        self.dead_letters = Counter(
            "yousync_dead_letters", "Records sent to the dead-letter topic.", ["reason"], registry=registry
        )
        self.events = Counter("yousync_video_events", "Events sent to youtube.videos.", ["type"], registry=registry)
        self.batch_seconds = Histogram(
            "yousync_batch_seconds",
            "Time from taking a batch to acknowledging it.",
            registry=registry,
            buckets=_LATENCY_SECONDS,
        )
        self.fetch_to_store_seconds = Histogram(
            "yousync_fetch_to_store_seconds",
            "Time from the fetch of an item to its document.",
            registry=registry,
            buckets=_LATENCY_SECONDS,
        )
        self.waiting = Gauge(
            "yousync_waiting",
            "1 while a batch waits for this part to come back.",
            ["part"],
            registry=registry,
        )
        self.lag = Gauge("yousync_consumer_lag", "Raw records not yet acknowledged.", ["partition"], registry=registry)


class ApiMetrics:
    """Read model -> HTTP."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "yousync_http_requests",
            "Answers by route template, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "yousync_http_request_seconds",
            "Time to answer.",
            ["route"],
            registry=registry,
            buckets=_LATENCY_SECONDS,
        )
