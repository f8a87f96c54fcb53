"""Every metric of YouSync: names, types, labels and what they mean, declared in this one place.

A service makes its own `CollectorRegistry`-bound set, so that a test (or several services in one process) never
share numbers.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_DETECTION_SECONDS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 259_200)
_ANSWER_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


def process_registry() -> CollectorRegistry:
    """A registry with the process's own figures (memory, CPU, file descriptors) in it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def registry_of_all_processes() -> CollectorRegistry:
    """The figures of all processes that share the folder `PROMETHEUS_MULTIPROC_DIR`, added up.

    The processes' own figures are not among them, and no metric may be registered here: each process writes its own
    into the folder, whatever registry they have.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
    return registry


class ProducerMetrics:
    """YouTube -> raw topic."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter("yousync_youtube_calls", "Calls made to YouTube.", ["call", "outcome"], registry=registry)
        self.quota_left = Gauge(
            "yousync_quota_left",
            "What is left today, in calls (search) or units.",
            ["bucket"],
            registry=registry,
        )
        self.quota_used = Gauge(
            "yousync_quota_used",
            "What has been debited today, in calls (search) or units.",
            ["bucket"],
            registry=registry,
        )
        self.items_fetched = Counter(
            "yousync_items_fetched",
            "Videos in answers, by call and by what they were: new, duplicate, unmatched (an upload that no followed "
            "query matches) or private.",
            ["call", "what"],
            registry=registry,
        )
        self.items_outside = Counter(
            "yousync_items_outside_window",
            "Videos in searches that were published outside the window that was asked for.",
            registry=registry,
        )
        self.items_published = Counter(
            "yousync_items_published", "Raw records that Kafka acknowledged.", registry=registry
        )
        self.items_ignored = Counter(
            "yousync_items_ignored",
            "Items of an answer that were not published.",
            ["reason"],
            registry=registry,
        )
        self.removals = Counter(
            "yousync_removals_published",
            "Removals sent to the raw topic: gone, repeated or purged.",
            ["why"],
            registry=registry,
        )
        self.failed_refreshes = Counter(
            "yousync_failed_refreshes",
            "Answers of videos.list that lacked more than half of what was asked for, and so count as failures.",
            registry=registry,
        )
        self.detection_delay = Histogram(
            "yousync_detection_delay_seconds",
            "From a video's publication to its first sighting, for new videos.",
            registry=registry,
            buckets=_DETECTION_SECONDS,
        )
        self.passes = Counter("yousync_search_passes", "Search passes by outcome.", ["outcome"], registry=registry)
        self.last_success = Gauge(
            "yousync_last_pass_timestamp_seconds",
            "When a query's last complete pass over the newest videos ended.",
            ["query"],
            registry=registry,
        )
        self.missed_seconds = Gauge(
            "yousync_missed_seconds",
            "How much of a query's past is known to be unread, in seconds of publish time.",
            ["query"],
            registry=registry,
        )
        self.lost_seconds = Counter(
            "yousync_lost_seconds",
            "How much of a query's past was given up unread, in seconds of publish time.",
            ["query"],
            registry=registry,
        )
        self.search_load = Gauge(
            "yousync_search_load",
            "Videos that the followed queries find a day, over what the search quota can carry; above 1 it cannot.",
            registry=registry,
        )
        self.leader = Gauge("yousync_leader", "1 while this producer polls, 0 while it stands by.", registry=registry)
        self.epoch = Gauge("yousync_leader_epoch", "Epoch of this producer's last term.", registry=registry)
        self.known = Gauge("yousync_known", "Videos and channels that are followed.", ["what"], registry=registry)
        self.oldest_unrefreshed_days = Gauge(
            "yousync_oldest_unrefreshed_days",
            "Age of the known video that was refreshed longest ago; YouTube's policy allows 30 days.",
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
            "Time that a batch's records of one partition take, from their decoding to the last of their effects.",
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
        self.lag = Gauge(
            "yousync_consumer_lag",
            "Raw records not yet acknowledged, for each partition of this worker.",
            ["partition"],
            registry=registry,
        )
        self.standing_seconds = Gauge(
            "yousync_commit_standing_seconds",
            "For how long records have waited without one being acknowledged, for whatever reason; 0 when none waits.",
            ["partition"],
            registry=registry,
        )
        self.stalled = Gauge(
            "yousync_stalled",
            "1 while the watchdog says that this worker stands still for good; /livez says why.",
            registry=registry,
        )
        self.table_entries = Gauge(
            "yousync_table_entries",
            "Videos in the deduplication table, by RocksDB's estimate.",
            ["partition"],
            registry=registry,
        )
        self.table_bytes = Gauge(
            "yousync_table_bytes",
            "Size of the deduplication table: its files and what is not yet in them.",
            ["partition"],
            registry=registry,
        )
        self.recovery_remaining = Gauge(
            "yousync_recovery_remaining",
            "Changelog records that the table's recovery has still to read before this worker can go on.",
            ["partition"],
            registry=registry,
        )

    def show_partitions(
        self,
        *,
        lag: Mapping[int, float],
        standing_seconds: Mapping[int, float],
        table_entries: Mapping[int, float],
        table_bytes: Mapping[int, float],
        recovery_remaining: Mapping[int, float],
    ) -> None:
        """Of each partition the figures of this moment."""
        for gauge, figures in (
            (self.lag, lag),
            (self.standing_seconds, standing_seconds),
            (self.table_entries, table_entries),
            (self.table_bytes, table_bytes),
            (self.recovery_remaining, recovery_remaining),
        ):
            for partition, figure in figures.items():
                gauge.labels(str(partition)).set(figure)

    def forget_partitions(self) -> None:
        """Partitions were assigned anew: those that are left to this worker are shown again at once."""
        for gauge in (
            self.lag,
            self.standing_seconds,
            self.table_entries,
            self.table_bytes,
            self.recovery_remaining,
        ):
            gauge.clear()


class ApiMetrics:
    """Read model -> HTTP. `multiprocess_mode` says what a figure is when several processes share a port."""

    __slots__ = ("__dict__", "_tally")  # every attribute is a metric, but the tally

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tally = _Tally(self.settle)
        # Before the metrics that it brings up to date: a registry looks at them in this order.
        registry.register(self._tally)
        self.requests = Counter(
            "yousync_http_requests",
            "Answers by route template, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "yousync_http_request_seconds",
            "Time to answer; live streams are not in it.",
            ["route"],
            registry=registry,
            buckets=_ANSWER_SECONDS,
        )
        self.connections = Gauge(
            "yousync_http_connections",
            "Connections of clients that are open.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.connections_refused = Counter(
            "yousync_http_connections_refused",
            "Connections that were closed on their client: too many were open (full), a request that did not arrive "
            "(slow_request), or an answer that was not taken (slow_reader).",
            ["reason"],
            registry=registry,
        )
        self.live_clients = Gauge(
            "yousync_live_clients",
            "Clients that listen to the live feed.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.live_events_sent = Counter(
            "yousync_live_events_sent", "Events sent to clients of the live feed.", registry=registry
        )
        self.live_dropped = Counter(
            "yousync_live_dropped", "Clients of the live feed that were dropped.", ["reason"], registry=registry
        )
        self.hot_window_age_seconds = Gauge(
            "yousync_hot_window_age_seconds",
            "How long ago the hot window was last known to be up to date, of the process where it is longest.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.hot_window_videos = Gauge(
            "yousync_hot_window_videos",
            "Videos that the hot window holds, of the process that holds the most.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.hot_window_reloads = Counter(
            "yousync_hot_window_reloads", "Times the hot window was filled anew.", ["why"], registry=registry
        )
        self.search_incomplete = Counter(
            "yousync_search_incomplete", "Searches that ended with their time, before their end.", registry=registry
        )

    def answered(self, route: str, method: str, status: int, seconds: float | None) -> None:
        """Count an answer, and the time it took; None for a stream, whose time is its client's."""
        cells = self._tally.cells
        cell = cells.get((route, method, status))
        if cell is None:
            cell = cells[route, method, status] = _Cell()
        cell.answers += 1
        if seconds is not None:
            cell.seconds += seconds
            cell.buckets[bisect_left(_ANSWER_SECONDS, seconds)] += 1

    def settle(self) -> None:
        """Bring `requests` and `request_seconds` up to date; a registry that is looked at does so by itself."""
        for (route, method, status), cell in self._tally.taken().items():
            self.requests.labels(route, method, str(status)).inc(cell.answers)
            if not any(cell.buckets):
                continue
            histogram = self.request_seconds.labels(route)
            # The library cannot observe many values at once: these are the parts of its `observe` (docs/adr/0015).
            histogram._sum.inc(cell.seconds)  # noqa: SLF001
            for bucket, count in zip(histogram._buckets, cell.buckets, strict=True):  # noqa: SLF001
                bucket.inc(count)


class _Tally(Collector):
    """Answers in plain numbers: a counter and a histogram cost over a microsecond each, a tenth of a hot page."""

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle
        self.cells: dict[tuple[str, str, int], _Cell] = {}

    def taken(self) -> dict[tuple[str, str, int], "_Cell"]:
        """What was counted since the last time."""
        cells, self.cells = self.cells, {}
        return cells

    def collect(self) -> Iterable[Metric]:
        self._settle()
        return ()


class _Cell:
    __slots__ = ("answers", "buckets", "seconds")

    def __init__(self) -> None:
        self.answers = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(_ANSWER_SECONDS) + 1)
