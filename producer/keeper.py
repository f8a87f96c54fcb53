"""What an answer held goes to Kafka first, and is remembered as known only when Kafka has it."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from contract import events
from ops.logging import get_logger
from ops.metrics import ProducerMetrics
from producer.calls import CallName, Lease
from producer.kafka_record import KafkaRecord
from producer.known import KnownChannel, KnownVideo
from producer.planner import Known
from producer.publisher import Publisher
from producer.raw_item import Sightings, fetched_record, gone_record
from producer.sightings import Kept, Sorted
from producer.state import ProducerState

_log = get_logger(__name__)


class Keeper:
    """Publishes and remembers, in this order, and keeps the planner's view in step."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        state: ProducerState,
        known: Known,
        lease: Lease,
        metrics: ProducerMetrics,
        now_ms: Callable[[], int],
    ) -> None:
        self._publisher: Final = publisher
        self._state: Final = state
        self._known: Final = known
        self._lease: Final = lease
        self._metrics: Final = metrics
        self._now_ms: Final = now_ms

    async def keep(
        self, call: CallName, source: str, result: Sorted, channels: Mapping[str, KnownChannel] | None = None
    ) -> None:
        """Publish, and when Kafka has it, remember."""
        now_ms = self._now_ms()
        published = await self._publisher.publish([_fetched(kept, source, now_ms) for kept in result.kept])
        self._count(call, result, now_ms)
        videos: dict[str, KnownVideo | None] = {
            kept.seen.video_id: kept.video
            for kept in result.kept
            if kept.seen.video_id in published and self._state.videos.get(kept.seen.video_id) != kept.video
        }
        if videos or channels:
            await self.remember(videos, channels)
        for video_id in result.recheck:
            self._known.agenda.recheck(video_id, now_ms)

    async def remember(
        self, videos: Mapping[str, KnownVideo | None], channels: Mapping[str, KnownChannel] | None = None
    ) -> None:
        """Have the state, the agenda and the ranking know these (None: forget the video)."""
        await self._state.set_known(videos, channels)
        for video_id, video in videos.items():
            self._known.agenda.note(video_id, video)
        for channel_id, channel in (channels or {}).items():
            self._known.ranking.note(channel_id, channel)

    def _count(self, call: CallName, result: Sorted, now_ms: int) -> None:
        new = [kept for kept in result.kept if kept.is_new]
        fetched = self._metrics.items_fetched
        fetched.labels(call, "new").inc(len(new))
        fetched.labels(call, "duplicate").inc(len(result.kept) - len(new) + len(result.recheck))
        fetched.labels(call, "unmatched").inc(result.unmatched)
        for kept in new:
            if kept.seen.published_ms is not None:
                self._metrics.detection_delay.observe(max(0, now_ms - kept.seen.published_ms) / 1000)

    def count_ignored(self, found: Sightings) -> None:
        """Count what an answer held that is no video."""
        for reason, count in found.ignored.items():
            self._metrics.items_ignored.labels(reason).inc(count)

    async def remove(self, video_ids: Sequence[str], why: str, *, forget: bool = False) -> None:
        """Send removals; a deposed producer must not, so this asks for the lease."""
        if not video_ids:
            return
        await self._lease.hold()
        now_ms = self._now_ms()
        known = {video_id: self._state.videos[video_id] for video_id in video_ids}
        await self._publisher.publish([_gone(video_id, video, now_ms) for video_id, video in known.items()])
        self._metrics.removals.labels(why).inc(len(known))
        _log.info("removals sent", why=why, videos=len(known))
        after: dict[str, KnownVideo | None] = {
            video_id: None if forget else msgspec.structs.replace(video, gone_ms=now_ms, missing_ms=None)
            for video_id, video in known.items()
        }
        await self.remember(after)


def _fetched(kept: Kept, source: str, now_ms: int) -> KafkaRecord:
    return fetched_record(
        kept.seen,
        source=source,
        queries=kept.video.queries,
        first_seen_ms=kept.video.first_seen_ms,
        fetched_at_ms=now_ms,
        event_id=uuid.uuid4().hex,
    )


def _gone(video_id: str, video: KnownVideo, now_ms: int) -> KafkaRecord:
    return gone_record(
        video_id,
        source=events.VIDEOS,
        queries=video.queries,
        first_seen_ms=video.first_seen_ms,
        at_ms=now_ms,
        event_id=uuid.uuid4().hex,
    )
