"""The planner's next decisions are told apart, and leave no trace in what is known."""

import copy

from contract.producer_state import SEARCH_BUCKET, UNITS_BUCKET
from producer.channel_ranking import ChannelRanking
from producer.coverage import Coverage, Stretch
from producer.explain import Explanation, explain
from producer.following import Following, QueryMatcher
from producer.known import KnownChannel, KnownVideo
from producer.planner import Known, QueryPlan
from producer.video_agenda import VideoAgenda
from producer.windows import Window

NOW_MS = 1_780_000_000_000
HOUR_MS = 3_600_000
FOLLOWING = Following((), 10.0, 21_600, 172_800, 604_800, 100)


def known_of(
    coverage: dict[str, Coverage | None], videos: dict[str, KnownVideo], channels: dict[str, KnownChannel]
) -> Known:
    return Known(
        queries={query: QueryPlan(query, each) for query, each in coverage.items()},
        agenda=VideoAgenda(videos),
        ranking=ChannelRanking(channels),
        matcher=QueryMatcher(tuple(coverage)),
    )


def told(known: Known, videos: dict[str, KnownVideo], searches: int = 50, units: int = 500) -> Explanation:
    return explain(NOW_MS, known, videos, FOLLOWING, {SEARCH_BUCKET: searches, UNITS_BUCKET: units})


def test_with_nothing_known_nothing_is_next() -> None:
    told_of_nothing = told(known_of({}, {}, {}), {})

    assert told_of_nothing.search.call is told_of_nothing.catch_up.call is told_of_nothing.units.call is None
    assert told_of_nothing.search.reason == "every query was searched within this tick"
    assert told_of_nothing.catch_up.reason.startswith("nothing that was missed")
    assert told_of_nothing.units.reason == "no channel or video needs a call"


def test_each_kind_of_call_has_its_own_reason_when_the_day_is_spent() -> None:
    videos = {"video": KnownVideo(NOW_MS - HOUR_MS, NOW_MS - HOUR_MS)}
    known = known_of({"tea": None}, videos, {})

    assert told(known, videos, searches=0).search.reason == "no search calls are left today"
    assert told(known, videos, searches=0).catch_up.reason == "no search calls are left today"
    assert told(known, videos, searches=0).units.call == "videos"
    assert told(known, videos, units=0).units.reason == "no units are left today"
    assert told(known, videos, units=0).search.call == "search"


def test_explaining_changes_nothing() -> None:
    missed = Coverage(NOW_MS - HOUR_MS, stretches=(Stretch(Window(0, HOUR_MS)),))
    known = known_of({"tea": missed}, {}, {"UCone": KnownChannel(NOW_MS - HOUR_MS)})
    before = copy.deepcopy(known.queries)

    first = told(known, {})

    assert told(known, {}) == first
    assert known.queries == before
    assert (first.search.call, first.catch_up.call, first.units.call) == ("search", "search", "playlistItems")
    assert (first.queries[0].missed_stretches, first.queries[0].missed_seconds) == (1, 3600.001)


def test_videos_are_counted_by_what_is_to_be_done_with_them() -> None:
    hour_ago = NOW_MS - HOUR_MS
    videos = {
        "new": KnownVideo(hour_ago, hour_ago),
        "live": KnownVideo(hour_ago, hour_ago, completed=True, live="upcoming"),
        "done": KnownVideo(hour_ago, 0, completed=True),
        "missing": KnownVideo(hour_ago, hour_ago, missing_ms=hour_ago),
        "gone": KnownVideo(hour_ago, 0, live="live", gone_ms=hour_ago),
    }

    agenda = told(known_of({}, videos, {}), videos).agenda

    assert (agenda.known, agenda.to_complete, agenda.live, agenda.missing, agenda.gone) == (5, 1, 1, 1, 1)
    assert agenda.oldest_refreshed_at == "1970-01-01T00:00:00.000Z"
