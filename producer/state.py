"""The producer's durable memory by name: what was read at take-over, written through on every change.

Keys and values are declared in `contract.producer_state`. A value that cannot be read is passed over on the safe
side: a watermark as if there were none (the backfill is fetched again), a ledger as if its day were spent, a video as
if it were new.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from contract import producer_state as wire
from contract.producer_state import FollowedQuery, PurgeRequest
from contract.times import format_millis, parse_rfc3339_ms
from ops.logging import get_logger
from producer.coverage import Coverage, Stretch
from producer.known import KnownChannel, KnownVideo
from producer.windows import Window

_T = TypeVar("_T")
_S = TypeVar("_S")

Entry = tuple[bytes, bytes | None]
"""A key of the state and its new value; None takes it away."""

KEPT_LEDGER_DAYS: Final = 31

_log = get_logger(__name__)


class StateLog(Protocol):
    """A compacted log: the last value of each key counts."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Return once all entries are durable."""


class ProducerState:
    """What the producer remembers; every change is durable when its call returns."""

    def __init__(self, log: StateLog, values: Mapping[bytes, bytes]) -> None:
        self._log: Final = log
        self._ledger: dict[bytes, bytes] = _under(values, wire.LEDGER_PREFIX)
        self.queries: Final = dict(_named(values, wire.QUERY_PREFIX, FollowedQuery, _itself))
        self.coverage: Final = dict(_named(values, wire.WATERMARK_PREFIX, wire.Watermark, _to_coverage))
        self.channels: Final = dict(_named(values, wire.CHANNEL_PREFIX, wire.FollowedChannel, _to_channel))
        self.videos: Final = dict(_named(values, wire.VIDEO_PREFIX, wire.FollowedVideo, _to_video))
        self.purges: Final = dict(_named(values, wire.PURGE_PREFIX, PurgeRequest, _itself))

    def used(self, bucket: str, pacific_date: str) -> int:
        """What has been debited from a bucket on a day."""
        value = self._ledger.get(wire.ledger_key(bucket, pacific_date))
        return 0 if value is None else wire.read_ledger(value).used

    async def set_used(self, bucket: str, pacific_date: str, used: int) -> None:
        """Remember what has been debited from a bucket on a day."""
        key, value = wire.ledger_key(bucket, pacific_date), msgspec.json.encode(wire.Ledger(used))
        await self._log.append([(key, value)])
        self._ledger[key] = value

    async def drop_old_ledgers(self) -> None:
        """Forget all but the accounts of the last days that have any: whatever the clock says, today's is kept."""
        dates = sorted({key.rpartition(b"/")[2] for key in self._ledger})
        old = [key for key in self._ledger if key.rpartition(b"/")[2] in dates[:-KEPT_LEDGER_DAYS]]
        if old:
            await self._log.append([(key, None) for key in old])
            for key in old:
                del self._ledger[key]

    async def set_query(self, query: str, followed: FollowedQuery) -> None:
        """Remember whether a query is followed."""
        await self._log.append([(wire.query_key(query), msgspec.json.encode(followed))])
        self.queries[query] = followed

    async def set_coverage(self, query: str, coverage: Coverage) -> None:
        """Move a query's watermark."""
        await self._log.append([(wire.watermark_key(query), msgspec.json.encode(_to_watermark(coverage)))])
        self.coverage[query] = coverage

    async def set_known(
        self, videos: Mapping[str, KnownVideo | None], channels: Mapping[str, KnownChannel] | None = None
    ) -> None:
        """Remember videos (None: forget) and channels, all at once."""
        followed = channels or {}
        await self._log.append(
            [
                *((wire.video_key(name), None if it is None else _encode_video(it)) for name, it in videos.items()),
                *((wire.channel_key(name), _encode_channel(it)) for name, it in followed.items()),
            ]
        )
        self.channels.update(followed)
        for name, video in videos.items():
            if video is None:
                self.videos.pop(name, None)
            else:
                self.videos[name] = video

    async def drop_purge(self, request_id: str) -> None:
        """A purge is done."""
        await self._log.append([(wire.purge_key(request_id), None)])
        self.purges.pop(request_id, None)

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take in what an operator wrote: a query, or a request to purge; nothing else is an operator's to write."""
        values = {} if value is None else {key: value}
        if key.startswith(wire.QUERY_PREFIX):
            name = key.removeprefix(wire.QUERY_PREFIX).decode("utf-8", "replace")
            self.queries.pop(name, None)
            self.queries.update(_named(values, wire.QUERY_PREFIX, FollowedQuery, _itself))
        elif key.startswith(wire.PURGE_PREFIX):
            self.purges.update(_named(values, wire.PURGE_PREFIX, PurgeRequest, _itself))
        else:
            _log.error("an operator's record with a key that is the producer's own", key=key.decode("utf-8", "replace"))


def _under(values: Mapping[bytes, bytes], prefix: bytes) -> dict[bytes, bytes]:
    return {key: value for key, value in values.items() if key.startswith(prefix)}


def _named(
    values: Mapping[bytes, bytes], prefix: bytes, kind: type[_S], convert: Callable[[_S], _T]
) -> Iterator[tuple[str, _T]]:
    decoder = msgspec.json.Decoder(kind)
    for key, value in values.items():
        if not key.startswith(prefix):
            continue
        try:
            yield key[len(prefix) :].decode(), convert(decoder.decode(value))
        except (msgspec.DecodeError, ValueError) as error:
            name = key.decode("utf-8", "replace")
            _log.error("a value of the producer's state is not readable, passed over", key=name, error=str(error))


def _itself(value: _T) -> _T:
    return value


def _ms(text: str | None) -> int | None:
    return None if text is None else parse_rfc3339_ms(text)


def _text(ms: int | None) -> str | None:
    return None if ms is None else format_millis(ms)


def _to_coverage(stored: wire.Watermark) -> Coverage:
    return Coverage(
        covered_until_ms=parse_rfc3339_ms(stored.covered_until),
        completed_ms=_ms(stored.completed_at),
        swept_ms=_ms(stored.swept_at),
        stretches=tuple(
            Stretch(Window(parse_rfc3339_ms(part.after), parse_rfc3339_ms(part.before)), part.kind)
            for part in stored.stretches
        ),
        videos_per_day=stored.videos_per_day,
    )


def _to_watermark(coverage: Coverage) -> wire.Watermark:
    return wire.Watermark(
        covered_until=format_millis(coverage.covered_until_ms),
        completed_at=_text(coverage.completed_ms),
        swept_at=_text(coverage.swept_ms),
        stretches=tuple(
            wire.Stretch(format_millis(part.window.after_ms), format_millis(part.window.before_ms), part.kind)
            for part in coverage.stretches
        ),
        videos_per_day=coverage.videos_per_day,
    )


def _to_channel(stored: wire.FollowedChannel) -> KnownChannel:
    return KnownChannel(
        parse_rfc3339_ms(stored.found_at), _ms(stored.looked_at), stored.uploads, stored.days, stored.missing
    )


def _encode_channel(channel: KnownChannel) -> bytes:
    return msgspec.json.encode(
        wire.FollowedChannel(
            format_millis(channel.found_ms),
            _text(channel.looked_ms),
            round(channel.uploads, 4),
            round(channel.days, 4),
            channel.missing,
        )
    )


def _to_video(stored: wire.FollowedVideo) -> KnownVideo:
    return KnownVideo(
        first_seen_ms=parse_rfc3339_ms(stored.first_seen_at),
        fetched_ms=parse_rfc3339_ms(stored.fetched_at),
        queries=stored.queries,
        completed=stored.completed,
        live=stored.live,
        missing_ms=_ms(stored.missing_since),
        gone_ms=_ms(stored.gone_at),
    )


def _encode_video(video: KnownVideo) -> bytes:
    return msgspec.json.encode(
        wire.FollowedVideo(
            first_seen_at=format_millis(video.first_seen_ms),
            fetched_at=format_millis(video.fetched_ms),
            queries=video.queries,
            completed=video.completed,
            live=video.live,
            missing_since=_text(video.missing_ms),
            gone_at=_text(video.gone_ms),
        )
    )
