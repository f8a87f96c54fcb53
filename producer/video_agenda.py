"""Which ids the next call of `videos.list` asks for, and what its answer means.

A call costs one unit for up to 50 ids, so every call is filled up: with what is due, with what is due soon, and with
the videos that were not refreshed for longest.

An id that an answer lacks may be gone, or the answer may be faulty. An answer that lacks more than half of its ids
counts as a failure and proves nothing. So ids that may well be gone ("suspects") go out in a minority, together with
healthy videos as witnesses. Suspects are the missing (lacked once), the gone (before their removal is repeated), the
private (listed in a playlist without a publish time) and the doubtful: those that a failed answer lacked. Thus the
videos of a terminated channel, which make the answers about them fail at first, are settled 20 at a time.

How to use it: take a batch; `note_asked`; make the call; `judge` the answer; publish what was `seen`, `note` every
video that changed; after a failed answer `note_failed` with what was `lacking`. Times are ms since 1970.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from contract.topics import DAY_MS
from producer.known import KnownVideo

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

BATCH_IDS: Final = 50
"""The most ids that one call takes."""

MOST_SUSPECTS: Final = 20
"""So many of a batch at most may be suspects: even if all of them are gone, a few witnesses may be gone as well before
the answer counts as a failure."""

LIVE_REFRESH_MS: Final = 25 * MINUTE_MS
"""A live or upcoming video is refreshed within 30 minutes; the rest is for ticks, retries and other batches."""

LIVE_SOON_MS: Final = 10 * MINUTE_MS
"""A live or upcoming video fetched so long ago joins a batch that has room."""

CONFIRM_MS: Final = HOUR_MS
"""A video is gone when a second answer lacks it so long after the first."""

REPEAT_MS: Final = DAY_MS
"""A removal is repeated after so long, unless the video has come back."""

COMPLETE_WAIT_MS: Final = 2 * MINUTE_MS
"""A new video waits so long at most for others, before it is asked for in full."""

REFRESH_MS: Final = 20 * DAY_MS
"""From this age on a video is refreshed as soon as a whole batch has come together, ..."""

REFRESH_WAIT_MS: Final = 22 * DAY_MS
"""... or one has waited until this age, both only when nothing else is to be done; ..."""

REFRESH_URGENT_MS: Final = 24 * DAY_MS
"""... and from this age on before other work: every video is refreshed within 25 days."""

FILL_MS: Final = DAY_MS
"""Room in a batch goes to videos fetched so long ago, if they are not needed as witnesses: to refresh a few videos
every two minutes would only fill the topic."""

RETRY_PAUSE_MS: Final = 10 * MINUTE_MS
"""An id that a failed answer lacked is left alone for so long. With no witness left it is the pause of all suspects."""

FAILURE_PAUSE_MS: Final = MINUTE_MS
"""After a failed answer nothing is asked for so long: YouTube may be failing, and each failure costs a unit."""

PRIVATE_REST_MS: Final = DAY_MS
"""A playlist item without a publish time is asked for once in so long."""

MOST_PRIVATE: Final = 10_000
"""So many such items are remembered; beyond that the longest known is forgotten, and may be asked for again."""

Purpose = Literal["live", "confirm", "repeat", "complete", "private", "refresh"]

_Fate = Literal["unknown", "newly missing", "gone", "repeated", "too early"]

_WHY: Final[Mapping[Purpose, str]] = {
    "live": "Live and upcoming videos are refreshed within 30 minutes",
    "confirm": "Videos that an answer lacked are asked for again",
    "repeat": "Removals are repeated after a day, unless the video has come back",
    "complete": "New videos are fetched with full description and duration",
    "private": "Playlist items without a publish time may have become public",
    "refresh": "Every video is refreshed within 25 days",
}


class VideosBatch(msgspec.Struct, frozen=True):
    """The ids of one call, and why it is made: `purpose` is that of the ids it is made for, others fill it up."""

    ids: tuple[str, ...]
    purpose: Purpose
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """What an answer means.

    `seen`: it contained them, so they are alive, whatever was thought of them. `lacking`: all that it did not contain.
    If it `failed` that is all. If not, of those lacking: `newly_missing` for the first time, `gone` for the second
    time, `repeated` a day after their removal was sent, `unknown_absent` are not in the topic. Of the rest it is too
    early to say anything.
    """

    failed: bool
    seen: tuple[str, ...]
    lacking: tuple[str, ...]
    newly_missing: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    unknown_absent: tuple[str, ...] = ()


def judge(asked: Sequence[str], present: Collection[str], known: Mapping[str, KnownVideo], now_ms: int) -> Verdict:
    """What it means that an answer to `asked` contained the ids `present`."""
    seen = tuple(video_id for video_id in asked if video_id in present)
    lacking = tuple(video_id for video_id in asked if video_id not in present)
    if 2 * len(lacking) > len(asked):
        return Verdict(failed=True, seen=seen, lacking=lacking)
    fates = {video_id: _judge_absent(known.get(video_id), now_ms) for video_id in lacking}

    def with_fate(fate: _Fate) -> tuple[str, ...]:
        return tuple(video_id for video_id in lacking if fates[video_id] == fate)

    return Verdict(
        failed=False,
        seen=seen,
        lacking=lacking,
        newly_missing=with_fate("newly missing"),
        gone=with_fate("gone"),
        repeated=with_fate("repeated"),
        unknown_absent=with_fate("unknown"),
    )


def _judge_absent(video: KnownVideo | None, now_ms: int) -> _Fate:
    if video is None:
        return "unknown"
    if video.gone_ms is not None:
        return "repeated" if now_ms - video.gone_ms >= REPEAT_MS else "too early"
    if video.missing_ms is None:
        return "newly missing"
    return "gone" if now_ms - video.missing_ms >= CONFIRM_MS else "too early"


class _TimeQueue:
    """Ids by time, earliest first. A changed time leaves its old entry in the heap, where it no longer counts."""

    def __init__(self) -> None:
        self._times: Final[dict[str, int]] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._times

    def __iter__(self) -> Iterator[str]:
        return iter(self._times)

    def put(self, video_id: str, time_ms: int | None) -> None:
        """Set an id's time; None takes it out."""
        if time_ms is None:
            self._times.pop(video_id, None)
        elif self._times.get(video_id) != time_ms:
            self._times[video_id] = time_ms
            heapq.heappush(self._heap, (time_ms, video_id))
            self._sweep()

    def reaches(self, until_ms: float) -> bool:
        """Whether an id's time is at or before `until_ms`."""
        earliest_ms = self.earliest_ms()
        return earliest_ms is not None and earliest_ms <= until_ms

    def earliest_ms(self) -> int | None:
        """The earliest time of all; None when there are no ids."""
        while self._heap and not self._counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def first(self, count: int, until_ms: float) -> list[str]:
        """Up to `count` ids with times at or before `until_ms`, earliest first."""
        found: dict[str, tuple[int, str]] = {}
        while len(found) < count and self.reaches(until_ms):
            entry = heapq.heappop(self._heap)
            found[entry[1]] = entry
        for entry in found.values():
            heapq.heappush(self._heap, entry)
        return list(found)

    def _counts(self, entry: tuple[int, str]) -> bool:
        return self._times.get(entry[1]) == entry[0]

    def _sweep(self) -> None:
        """Keep what no longer counts from outgrowing what does."""
        if len(self._heap) > 2 * len(self._times) + 2 * BATCH_IDS:
            self._heap = [(time_ms, video_id) for video_id, time_ms in self._times.items()]
            heapq.heapify(self._heap)


class VideoAgenda:
    """What is to be asked of `videos.list`, in order of urgency; every operation is O(log n) in the videos known.

    A known video is either healthy, and then in the queues of what is to be done with it, or a suspect in one queue.
    """

    def __init__(self, videos: Mapping[str, KnownVideo]) -> None:
        self._videos: Final[dict[str, KnownVideo]] = {}
        self._retry_ms: Final[dict[str, int]] = {}
        self._rechecked_ms: Final[dict[str, int]] = {}
        self._failed_ms: int | None = None
        self._live: Final = _TimeQueue()
        self._complete: Final = _TimeQueue()
        self._refresh: Final = _TimeQueue()
        self._confirm: Final = _TimeQueue()
        self._repeat: Final = _TimeQueue()
        self._private: Final = _TimeQueue()
        for video_id, video in videos.items():
            self.note(video_id, video)

    def __len__(self) -> int:
        """How many videos are known, those gone included until their removal was repeated."""
        return len(self._videos)

    def oldest_fetched_ms(self) -> int | None:
        """When the video that was not refreshed for longest was fetched; None without a video that is not gone."""
        times = [self._videos[video_id].fetched_ms for video_id in self._confirm]
        healthy_ms = self._refresh.earliest_ms()
        return min(times if healthy_ms is None else [healthy_ms, *times], default=None)

    def note(self, video_id: str, video: KnownVideo | None) -> None:
        """What is known of a video now; None: it is no longer in the topic."""
        before = self._videos.pop(video_id, None)
        if video is None or before is None or _is_news(before, video):
            self._retry_ms.pop(video_id, None)
            self._rechecked_ms.pop(video_id, None)
        if video is not None:
            self._videos[video_id] = video
            self._private.put(video_id, None)
        self._place(video_id, video)

    def queue_private(self, video_id: str, now_ms: int) -> None:
        """A playlist lists this id without a publish time: ask for it, but once a day at most.

        One that is known has turned private: it is asked for as a suspect, unless it was seen within the hour.
        """
        known = self._videos.get(video_id)
        if known is not None:
            if known.missing_ms is None and known.gone_ms is None and now_ms - known.fetched_ms >= CONFIRM_MS:
                self._retry_ms.setdefault(video_id, now_ms)
                self._place(video_id, known)
            return
        if video_id in self._private:
            return
        if len(self._private) >= MOST_PRIVATE:
            self._private.put(next(iter(self._private)), None)
        self._private.put(video_id, now_ms)

    def recheck(self, video_id: str, now_ms: int) -> None:
        """A search or a playlist lists a video that is gone: ask for it soon, for it may be back."""
        video = self._videos.get(video_id)
        if video is not None and video.gone_ms is not None and self._rechecked_ms.get(video_id, 0) <= now_ms:
            self._repeat.put(video_id, now_ms)

    def note_asked(self, ids: Iterable[str], now_ms: int) -> None:
        """A call with these ids is being made."""
        for video_id in ids:
            video = self._videos.get(video_id)
            if video is not None and video.gone_ms is not None:
                self._rechecked_ms[video_id] = now_ms + CONFIRM_MS
                self._place(video_id, video)
            if video_id in self._private:
                self._private.put(video_id, now_ms + PRIVATE_REST_MS)

    def note_failed(self, lacking: Iterable[str], now_ms: int) -> None:
        """An answer failed because it lacked these ids: they are suspects until an answer settles them."""
        self._failed_ms = now_ms
        for video_id in lacking:
            if video_id in self._videos:
                self._retry_ms[video_id] = now_ms + RETRY_PAUSE_MS
                self._place(video_id, self._videos[video_id])

    def next_batch(self, now_ms: int) -> VideosBatch | None:
        """What is due now; None when nothing is."""
        if self._failed_within(FAILURE_PAUSE_MS, now_ms):
            return None
        suspects = self._may_ask_suspects(now_ms)
        due: tuple[tuple[Purpose, bool], ...] = (
            ("live", self._live.reaches(now_ms - LIVE_REFRESH_MS)),
            ("confirm", suspects and self._confirm.reaches(now_ms)),
            ("repeat", suspects and self._repeat.reaches(now_ms)),
            ("complete", len(self._complete) >= BATCH_IDS or self._complete.reaches(now_ms - COMPLETE_WAIT_MS)),
            ("private", suspects and self._private.reaches(now_ms)),
            ("refresh", self._refresh.reaches(now_ms - REFRESH_URGENT_MS)),
        )
        return next((self._batch(purpose, now_ms) for purpose, is_due in due if is_due), None)

    def refresh_batch(self, now_ms: int) -> VideosBatch | None:
        """What may be refreshed if there is nothing better to do; None when nothing is old enough."""
        if self._failed_within(FAILURE_PAUSE_MS, now_ms):
            return None
        whole = len(self._refresh.first(BATCH_IDS, now_ms - REFRESH_MS)) == BATCH_IDS
        if whole or self._refresh.reaches(now_ms - REFRESH_WAIT_MS):
            return self._batch("refresh", now_ms)
        return None

    def _place(self, video_id: str, video: KnownVideo | None) -> None:
        """Put a video into the queues that it belongs to, and take it out of the others."""
        retry_ms = self._retry_ms.get(video_id)
        gone_ms = missing_ms = healthy = None
        if video is None:
            pass
        elif video.gone_ms is not None:
            gone_ms = max(video.gone_ms + REPEAT_MS, retry_ms or 0, self._rechecked_ms.get(video_id, 0))
        elif video.missing_ms is not None:
            missing_ms = max(video.missing_ms + CONFIRM_MS, retry_ms or 0)
        elif retry_ms is not None:
            missing_ms = retry_ms
        else:
            healthy = video
        self._repeat.put(video_id, gone_ms)
        self._confirm.put(video_id, missing_ms)
        self._live.put(video_id, healthy.fetched_ms if healthy and healthy.live != "none" else None)
        self._complete.put(video_id, healthy.first_seen_ms if healthy and not healthy.completed else None)
        self._refresh.put(video_id, healthy.fetched_ms if healthy else None)

    def _failed_within(self, pause_ms: int, now_ms: int) -> bool:
        return self._failed_ms is not None and 0 <= now_ms - self._failed_ms < pause_ms

    def _may_ask_suspects(self, now_ms: int) -> bool:
        """Without a witness all suspects pause together: no answer can settle them, it can only show them alive."""
        return len(self._refresh) > 0 or not self._failed_within(RETRY_PAUSE_MS, now_ms)

    def _batch(self, purpose: Purpose, now_ms: int) -> VideosBatch:
        suspects = self._due_suspects(now_ms)
        healthy = self._healthy(purpose, len(suspects), now_ms)
        suspects = suspects[: _most_suspects(len(healthy))]
        ids = (*suspects, *healthy[: BATCH_IDS - len(suspects)])
        return VideosBatch(ids, purpose, f"{_WHY[purpose]} (ids: {len(ids)}, suspects among them: {len(suspects)}).")

    def _due_suspects(self, now_ms: int) -> list[str]:
        """Suspects whose time has come, up to the most that a batch takes."""
        found: list[str] = []
        for queue in (self._confirm, self._repeat, self._private):
            found += queue.first(MOST_SUSPECTS - len(found), now_ms)
        return found

    def _healthy(self, purpose: Purpose, suspects: int, now_ms: int) -> list[str]:
        """Healthy videos for a batch: what it is made for, what is due or soon due, the stalest, and witnesses."""
        sources: list[tuple[_TimeQueue, float, int]] = [
            (self._live, now_ms - LIVE_REFRESH_MS, BATCH_IDS),
            (self._complete, now_ms, BATCH_IDS),
            (self._live, now_ms - LIVE_SOON_MS, BATCH_IDS),
            (self._refresh, now_ms - FILL_MS, BATCH_IDS),
            (self._refresh, math.inf, BATCH_IDS - suspects if suspects else 0),
        ]
        if purpose == "refresh":
            sources.insert(0, (self._refresh, now_ms - REFRESH_MS, BATCH_IDS))
        found: dict[str, None] = {}
        for queue, until_ms, most in sources:
            if len(found) < most:
                # Twice as many: all that were found before may be among them.
                more = [video_id for video_id in queue.first(2 * BATCH_IDS, until_ms) if video_id not in found]
                found |= dict.fromkeys(more[: most - len(found)])
        return list(found)


def _is_news(before: KnownVideo, video: KnownVideo) -> bool:
    """Whether an answer has settled something about a video, rather than a search found it once more."""
    return (before.fetched_ms, before.missing_ms, before.gone_ms) != (
        video.fetched_ms,
        video.missing_ms,
        video.gone_ms,
    )


def _most_suspects(witnesses: int) -> int:
    """How many suspects go with so many witnesses: two to three, so that the answer does not fail because of them.

    Without any witness suspects are asked for all the same: if they are alive the answer says so.
    """
    return min(MOST_SUSPECTS, max(1, 2 * witnesses // 3)) if witnesses else MOST_SUSPECTS
