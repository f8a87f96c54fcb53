"""The simulated YouTube: what is published and when, what each key may still ask, and which faults are on.

Time comes from the clock that it is given, so a test can move it. Whoever runs a simulation calls `advance` again
and again; everything else answers from memory.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from contract.settings import Settings
from contract.video import Live
from ops.clock import now_ms
from simulator.answered import Answered
from simulator.catalogue import CatalogueVideo, read_catalogue
from simulator.endpoints import Endpoints
from simulator.faults import Endpoint, Faults, parse_faults
from simulator.generated import backlog, generated_videos
from simulator.indexing_delay import IndexingDelay
from simulator.publication_log import (
    Broadcast,
    Change,
    Entry,
    Publication,
    PublicationLog,
    Removal,
    Visibility,
)
from simulator.quota import Quota
from simulator.video_index import PublishedVideo, VideoIndex

Clock = Callable[[], int]
"""Milliseconds since 1970."""

Source = Callable[[Container[str]], Iterator[CatalogueVideo]]
"""Gives the videos to publish, in order, less those whose ids are already known."""

_LONGEST_STRIDE_MS: Final = 1000
"""After a longer silence (a pause, a sleeping laptop) what would have been published in it is not made up for."""

_LOG_FILE: Final = Path("simulator", "published.jsonl")


class Calls(msgspec.Struct):
    """What callers did: requests on the wire, and answers by endpoint and outcome."""

    wire_requests: int = 0
    outcomes: dict[str, Counter[str]] = msgspec.field(default_factory=dict)

    def count(self, endpoint: Endpoint, outcome: str) -> None:
        """One more answer."""
        self.outcomes.setdefault(endpoint, Counter())[outcome] += 1


class Simulation:
    """Everything that a server of the API needs to know."""

    def __init__(
        self,
        *,
        log: PublicationLog,
        source: Source,
        clock: Clock,
        rate: float,
        seed: int,
        indexing_delay: IndexingDelay,
        quota: Quota,
        faults: Faults,
        keys: frozenset[str] | None = None,
    ) -> None:
        """Take up what the log holds; `rate` is in videos a second, `keys` are those accepted, None for any.

        Raises:
            SettingsError: the log is damaged.
        """
        self.clock: Final = clock
        self.index: Final = VideoIndex()
        self.quota: Final = quota
        self.faults: Final = faults
        self.endpoints: Final = Endpoints(self.index, faults, seed)
        self.calls: Final = Calls()
        self.answered: Final = Answered()
        self.rate: Final = rate
        self.finished = False
        self._log = log
        self._keys = keys
        self._indexing_delay = indexing_delay
        self._owed = 0.0
        for entry in log.entries():
            self._take_in(entry)
        self._unpublished = source(self.index)
        self._advanced_ms = clock()

    def accepts(self, key: str) -> bool:
        """Whether the key is one that may call."""
        return key != "invalid" if self._keys is None else key in self._keys

    def advance(self) -> int:
        """Publish what has come due since the last time; returns how many.

        Raises:
            OSError: the log cannot be written.
        """
        now_ms = self.clock()
        elapsed_ms = min(max(0, now_ms - self._advanced_ms), _LONGEST_STRIDE_MS)
        self._advanced_ms = now_ms
        self._owed += elapsed_ms * self.rate / 1000
        due = int(self._owed)
        self._owed -= due
        return self.publish(self._next(due))

    def publish(self, videos: Iterable[CatalogueVideo]) -> int:
        """Publish these now, each with this moment as its publish time; known ids are passed over.

        Raises:
            OSError: the log cannot be written; nothing has been published.
        """
        at_ms = max(self.clock(), self.index.newest_ms)  # publish times never go back, whatever the clock does
        fresh: dict[str, CatalogueVideo] = {}
        for video in videos:
            if video.video_id not in self.index:
                fresh.setdefault(video.video_id, video)
        entries = [Publication(at_ms, video) for video in fresh.values()]
        if entries:
            self._log.append(entries)
        for entry in entries:
            self._take_in(entry)
        return len(entries)

    def remove(self, video_id: str) -> bool:
        """Take a video out of every answer for good; False if it is not there.

        Raises:
            OSError: the log cannot be written.
        """
        return self._change(Removal(video_id))

    def hide(self, video_id: str, *, hidden: bool = True) -> bool:
        """Make a video private, or with `hidden=False` public again; False if it is not there.

        Raises:
            OSError: the log cannot be written.
        """
        return self._change(Visibility(video_id, hidden))

    def set_live(self, video_id: str, live: Live) -> bool:
        """Have a video's broadcast begin, end or be announced; False if the video is not there.

        Raises:
            OSError: the log cannot be written.
        """
        return self._change(Broadcast(video_id, live))

    def close(self) -> None:
        """Give the log back."""
        self._log.close()

    def _next(self, count: int) -> list[CatalogueVideo]:
        videos: list[CatalogueVideo] = []
        while len(videos) < count and not self.finished:
            video = next(self._unpublished, None)
            if video is None:
                self.finished = True
            else:
                videos.append(video)
        return videos

    def _change(self, change: Change) -> bool:
        if self.index.get(change.video_id) is None:
            return False
        self._log.append([change])
        self._take_in(change)
        return True

    def _take_in(self, entry: Entry) -> None:
        if not isinstance(entry, Publication):
            published = self.index.get(entry.video_id)
            if published is not None:
                _apply(entry, published)
            return
        delay_ms = self._indexing_delay.delay_ms(entry.video.video_id)
        self.index.add(
            PublishedVideo(
                video=entry.video,
                published_ms=entry.published_ms,
                searchable_ms=entry.published_ms + delay_ms,
            )
        )


def _apply(change: Change, published: PublishedVideo) -> None:
    match change:
        case Removal():
            published.removed = True
        case Visibility():
            published.hidden = change.hidden
        case Broadcast():
            published.video = msgspec.structs.replace(published.video, live=change.live)


def open_simulation(settings: Settings, clock: Clock = now_ms) -> Simulation:
    """The simulation that the settings describe, going on from its log if there is one.

    Raises:
        SettingsError: the catalogue, the faults or the log are wrong, or another simulator has the log.
    """
    seed = settings.simulator_seed
    faults = Faults(seed, parse_faults(settings.simulator_faults))
    source, first_entries = _material(settings, clock)
    log = PublicationLog.open(settings.home / _LOG_FILE, first_entries)
    try:
        return Simulation(
            log=log,
            source=source,
            clock=clock,
            rate=settings.simulator_rate,
            seed=seed,
            indexing_delay=IndexingDelay(
                seed,
                settings.simulator_indexing_delay_seconds,
                settings.simulator_max_indexing_delay_seconds,
            ),
            quota=Quota(
                search_calls_per_day=settings.simulator_search_calls_per_day,
                units_per_day=settings.simulator_units_per_day,
            ),
            faults=faults,
        )
    except BaseException:
        log.close()
        raise


def _material(settings: Settings, clock: Clock) -> tuple[Source, Callable[[], Iterable[Entry]]]:
    """What is published one by one, and what an empty log begins with."""
    seed = settings.simulator_seed
    if settings.simulator_catalogue is not None:
        videos = read_catalogue(settings.simulator_catalogue)
        return lambda known: (video for video in videos if video.video_id not in known), tuple
    return partial(generated_videos, seed), lambda: backlog(seed, settings.simulator_backlog, clock())
