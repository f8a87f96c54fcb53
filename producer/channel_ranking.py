"""Which channel's uploads to look at next, so that a new upload waits as little as the calls allow.

An upload waits on average half the time between two looks at its channel. With a given number of looks the mean over
all uploads is least when each channel is looked at in proportion to the square root of its rate. Always taking the
channel with the highest `rate x age²` (the age of its last look) does exactly that, and needs to know neither how many
looks there will be nor the other channels: a budget that shrinks or grows in the middle of a day changes nothing.

Rates are learned from what the looks show. The mean delay is linear in the rates, so it is the mean of what a rate may
be that counts, and a prior is all that is needed to be right about channels of which little is known.

Rates are matching uploads a day; times are ms since 1970.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Final

import msgspec

from contract.topics import DAY_MS
from producer.known import KnownChannel

HALF_LIFE_MS: Final = 30 * DAY_MS
"""What was observed so long ago counts half: channels change their habits."""

FIRST_LOOK_MS: Final = 60 * DAY_MS
"""How far back a first look learns from the uploads that the page lists."""

SETTLE_MS: Final = 6 * 3_600_000
"""An upload is counted so long after its publish time, because it may be listed late. If the time since the last look
were counted up to now, an upload that is listed after the next look would never be counted: a channel looked at every
few minutes would seem to be silent."""

PRIOR_UPLOADS: Final = 0.5
PRIOR_DAYS: Final = 15.0
"""What is taken to have been observed of every channel beforehand: that many uploads in that many days. Half an upload
lets rates differ a lot; the days keep one lucky upload from making a busy channel."""

NEW_RATE: Final = 1.0
HEAD_START_MS: Final = DAY_MS
"""A channel that was never looked at counts as one with an upload a day and a last look a day before it was found, so
that its turn comes soon: it was found because it has just published something that matches."""

MISSING_RATE: Final = PRIOR_UPLOADS / (PRIOR_DAYS + FIRST_LOOK_MS / DAY_MS)
MISSING_REST_MS: Final = 30 * DAY_MS
"""A channel that YouTube does not know is left alone for so long, and then counts as a silent one."""

NEW: Final = "new"
MISSING: Final = "missing"
"""Names of the two classes that are not a rate's."""

STEPS_PER_OCTAVE: Final = 4
"""Rates are rounded to steps of 2^(1/4), which shifts an interval by 4 % at most and costs 0.1 % of the mean delay."""


class ChannelPick(msgspec.Struct, frozen=True):
    """A channel worth a look.

    `score` is rate x age² in upload-days: twice the waiting that its unseen uploads are expected to have done.
    """

    channel_id: str
    rate_per_day: float
    age_seconds: float
    score: float
    reason: str


def rate_per_day(channel: KnownChannel) -> float:
    """Matching uploads a day to expect; never zero."""
    if channel.missing:
        return MISSING_RATE
    if channel.looked_ms is None:
        return NEW_RATE
    return (channel.uploads + PRIOR_UPLOADS) / (channel.days + PRIOR_DAYS)


def learn(
    channel: KnownChannel, now_ms: int, matching_ms: Sequence[int], oldest_ms: int | None, *, page_is_full: bool
) -> KnownChannel:
    """The channel after a look at the first page of its uploads.

    `matching_ms` are the publish times of all uploads on the page that match a followed query, those known from before
    included; `oldest_ms` is the oldest publish time on the page, matching or not. A full page may hide older uploads,
    so nothing is learned of the time before its oldest one; any other page is the whole list.

    Each upload is counted once: at the first look `SETTLE_MS` or longer after its publish time. The first look, and
    the first one after the channel was missing, counts all that the page shows.
    """
    hidden_until_ms = oldest_ms if page_is_full and oldest_ms is not None else now_ms - FIRST_LOOK_MS
    # Of a channel that fills a page within hours, half a page is all the time that there is.
    settle_ms = min(SETTLE_MS, max(0, now_ms - hidden_until_ms) // 2)
    until_ms = now_ms - settle_ms
    if channel.looked_ms is None or channel.missing:
        since_ms, uploads, days = now_ms - FIRST_LOOK_MS, 0.0, 0.0
    else:
        since_ms = channel.looked_ms - settle_ms
        faded = _weight(now_ms - channel.looked_ms)
        uploads, days = channel.uploads * faded, channel.days * faded
    since_ms = max(since_ms, hidden_until_ms)
    return msgspec.structs.replace(
        channel,
        looked_ms=now_ms,
        uploads=uploads + sum(_weight(until_ms - moment) for moment in matching_ms if since_ms < moment <= until_ms),
        days=days + _weighted_days(until_ms - since_ms),
        missing=False,
    )


def mark_missing(channel: KnownChannel, now_ms: int) -> KnownChannel:
    """The channel after YouTube said that it has no such list of uploads."""
    return msgspec.structs.replace(channel, looked_ms=now_ms, missing=True)


def _weight(age_ms: float) -> float:
    """What an observation of that age counts for, from 1 down."""
    return math.exp2(-max(0.0, age_ms) / HALF_LIFE_MS)


def _weighted_days(length_ms: float) -> float:
    """Days of observation over a time that ends now, each moment by its weight."""
    return HALF_LIFE_MS / DAY_MS / math.log(2) * (1.0 - _weight(length_ms))


class _RateClass:
    """Channels of about one rate in the order of their last looks, so that the first has the highest score of them."""

    def __init__(self, name: str, rate_per_day: float, rest_ms: int) -> None:
        self._name: Final = name
        self._rate_per_day: Final = rate_per_day
        self._rest_ms: Final = rest_ms
        self._looked_ms: OrderedDict[str, int] = OrderedDict()

    def put(self, channel_id: str, looked_ms: int) -> None:
        """Add a channel that is not there: at the end, as long as the clock does not jump back."""
        last = next(reversed(self._looked_ms.values()), looked_ms)
        self._looked_ms[channel_id] = looked_ms
        if last > looked_ms:
            self._looked_ms = OrderedDict(sorted(self._looked_ms.items(), key=lambda item: item[1]))

    def discard(self, channel_id: str) -> None:
        del self._looked_ms[channel_id]

    def first(self, now_ms: int, count: int) -> Iterator[tuple[float, int, str]]:
        """Score, age in ms and id of the best channels, best first; none that must rest or was looked at just now."""
        self._pull_back(now_ms)
        for channel_id, looked_ms in islice(self._looked_ms.items(), count):
            age_ms = now_ms - looked_ms
            if age_ms <= self._rest_ms:
                return
            yield self._rate_per_day * (age_ms / DAY_MS) ** 2, age_ms, channel_id

    def explain(self, score: float, age_ms: int, channel_id: str) -> ChannelPick:
        """What `first` found, as a pick."""
        reason = _explain(self._name, channel_id, self._rate_per_day, age_ms)
        return ChannelPick(channel_id, self._rate_per_day, age_ms / 1000, score, reason)

    def _pull_back(self, now_ms: int) -> None:
        """Take looks ahead of the clock as made now: they were noted by a clock that was wrong, perhaps by years."""
        for channel_id, looked_ms in reversed(self._looked_ms.items()):
            if looked_ms <= now_ms:
                return
            self._looked_ms[channel_id] = now_ms


class ChannelRanking:
    """Ranks channels by rate x age² without comparing them all.

    Within a class of about equal rates the longest unseen channel scores highest, so only the first of each class (a
    few dozen, however many channels there are) are compared.
    """

    def __init__(self, channels: Mapping[str, KnownChannel]) -> None:
        self._classes: Final[dict[str, _RateClass]] = {}
        self._class_of: Final[dict[str, _RateClass]] = {}
        for channel_id, channel in sorted(channels.items(), key=lambda item: _last_look_ms(item[1])):
            self.note(channel_id, channel)

    def __len__(self) -> int:
        """How many channels there are, resting ones included."""
        return len(self._class_of)

    def note(self, channel_id: str, channel: KnownChannel | None) -> None:
        """What is known of a channel now; None: it is not followed any more."""
        before = self._class_of.pop(channel_id, None)
        if before is not None:
            before.discard(channel_id)
        if channel is not None:
            now_in = self._class_of[channel_id] = self._class_for(channel)
            now_in.put(channel_id, _last_look_ms(channel))

    def best(self, now_ms: int) -> ChannelPick | None:
        """The channel to look at now; None when there is none, or all were looked at this moment or must rest."""
        return next(iter(self.top(now_ms, 1)), None)

    def top(self, now_ms: int, count: int) -> list[ChannelPick]:
        """The channels with the highest scores, best first, as if none of them were looked at meanwhile."""
        first = (found for rate_class in self._classes.values() for found in rate_class.first(now_ms, count))
        best = heapq.nlargest(count, first, key=itemgetter(0))
        return [self._class_of[channel_id].explain(score, age_ms, channel_id) for score, age_ms, channel_id in best]

    def _class_for(self, channel: KnownChannel) -> _RateClass:
        name, rate, rest_ms = _classify(channel)
        if name not in self._classes:
            self._classes[name] = _RateClass(name, rate, rest_ms)
        return self._classes[name]


def _classify(channel: KnownChannel) -> tuple[str, float, int]:
    """Name, rate and rest of a channel's class.

    New and missing channels have classes of their own: the head start and the rest would upset the order of others.
    """
    if channel.missing:
        return MISSING, rate_per_day(channel), MISSING_REST_MS
    if channel.looked_ms is None:
        return NEW, rate_per_day(channel), 0
    step = round(math.log2(rate_per_day(channel)) * STEPS_PER_OCTAVE)
    return str(step), math.exp2(step / STEPS_PER_OCTAVE), 0


def _last_look_ms(channel: KnownChannel) -> int:
    return channel.found_ms - HEAD_START_MS if channel.looked_ms is None else channel.looked_ms


def _explain(class_name: str, channel_id: str, rate: float, age_ms: int) -> str:
    if class_name == NEW:
        return f"Channel {channel_id} was found by a search and has not been looked at yet."
    age = _describe_age(age_ms)
    if class_name == MISSING:
        return f"YouTube did not know the uploads of channel {channel_id} {age} ago; it is asked once more."
    return (
        f"Channel {channel_id} publishes about {rate:.2g} matching videos a day and was looked at {age} ago, "
        f"so {rate * age_ms / DAY_MS:.2g} new ones are expected."
    )


def _describe_age(age_ms: int) -> str:
    seconds = age_ms / 1000
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
