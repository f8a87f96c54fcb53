"""The ranking of channels: what a look teaches, who comes next, and clocks that jump."""

import math

import pytest

from contract.topics import DAY_MS
from producer.channel_ranking import (
    HEAD_START_MS,
    MISSING_REST_MS,
    NEW_RATE,
    SETTLE_MS,
    ChannelRanking,
    learn,
    mark_missing,
    rate_per_day,
)
from producer.known import KnownChannel

NOW = 20_000 * DAY_MS
HOUR_MS = 3_600_000
NEW = KnownChannel(found_ms=NOW)


def looked(age_days: float, *, uploads: float = 0.0, days: float = 30.0) -> KnownChannel:
    return KnownChannel(found_ms=0, looked_ms=NOW - int(age_days * DAY_MS), uploads=uploads, days=days)


def every(interval_ms: int, until_ms: int, since_ms: int) -> list[int]:
    return list(range(until_ms, since_ms, -interval_ms))


class TestLearning:
    @pytest.mark.parametrize("per_day", [1, 4])
    def test_the_first_look_learns_from_the_whole_page(self, per_day: int) -> None:
        page = every(DAY_MS // per_day, NOW - SETTLE_MS, NOW - 60 * DAY_MS)[:49]
        full = [*page, page[-1] - DAY_MS // per_day]
        channel = learn(NEW, NOW, full, full[-1], page_is_full=True)
        assert channel.looked_ms == NOW
        assert channel.uploads / channel.days == pytest.approx(per_day, rel=0.05)

    def test_a_page_that_is_not_full_speaks_of_sixty_days(self) -> None:
        one = learn(NEW, NOW, [NOW - DAY_MS], NOW - DAY_MS, page_is_full=False)
        none = learn(NEW, NOW, [NOW - 61 * DAY_MS], NOW - 61 * DAY_MS, page_is_full=False)
        assert one.days == none.days == pytest.approx(30 / math.log(2) * 0.75, rel=0.01)
        assert one.uploads == pytest.approx(1, abs=0.03)
        assert none.uploads == 0

    def test_nothing_is_learned_of_the_time_that_a_full_page_hides(self) -> None:
        channel = learn(NEW, NOW, [NOW - 2 * DAY_MS], NOW - 4 * DAY_MS, page_is_full=True)
        assert channel.days == pytest.approx(4 - SETTLE_MS / DAY_MS, rel=0.1)

    def test_an_empty_list_of_uploads_is_a_silent_channel(self) -> None:
        channel = learn(NEW, NOW, [], None, page_is_full=False)
        assert 0 < rate_per_day(channel) < 0.02

    @pytest.mark.parametrize("listed_after_ms", [0, 20 * 60_000, SETTLE_MS - 1])
    def test_an_upload_is_counted_once_however_often_and_late_it_is_listed(self, listed_after_ms: int) -> None:
        published = NOW + DAY_MS + 1
        channel = learn(NEW, NOW, [], None, page_is_full=False)
        before = channel.uploads
        for now in range(NOW, NOW + 3 * DAY_MS, 5 * 60_000):
            page = [published] if now >= published + listed_after_ms else []
            channel = learn(channel, now, page, min(page, default=None), page_is_full=False)
        assert channel.uploads - before == pytest.approx(1, abs=0.05)

    def test_time_without_uploads_lowers_the_rate_and_old_observations_fade(self) -> None:
        channel = looked(30, uploads=8, days=16)
        later = learn(channel, NOW, [], None, page_is_full=False)
        assert later.uploads == pytest.approx(4)
        assert later.days == pytest.approx(8 + 30 / math.log(2) / 2)

    def test_a_page_that_fills_within_hours_still_teaches_the_rate(self) -> None:
        interval = 4 * 60_000
        channel = NEW
        for now in range(NOW, NOW + 20 * DAY_MS, HOUR_MS):
            newest = now // interval * interval
            page = [newest - number * interval for number in range(50)]
            channel = learn(channel, now, page, page[-1], page_is_full=True)
        assert channel.uploads / channel.days == pytest.approx(360, rel=0.05)

    def test_publish_times_to_come_are_not_counted_yet(self) -> None:
        channel = learn(NEW, NOW, [NOW + DAY_MS], NOW + DAY_MS, page_is_full=False)
        assert channel.uploads == 0
        assert learn(NEW, NOW, [NOW + DAY_MS], NOW + DAY_MS, page_is_full=True).days == 0

    def test_a_clock_that_jumped_back_teaches_nothing(self) -> None:
        channel = looked(-3, uploads=2, days=20)
        later = learn(channel, NOW, [NOW - DAY_MS], NOW - DAY_MS, page_is_full=False)
        assert (later.looked_ms, later.uploads, later.days) == (NOW, 2, 20)

    def test_a_missing_channel_that_is_back_is_learned_anew(self) -> None:
        missing = mark_missing(looked(1, uploads=900, days=40), NOW)
        assert missing.missing
        assert missing.looked_ms == NOW
        back = learn(missing, NOW, [NOW - DAY_MS], NOW - DAY_MS, page_is_full=False)
        assert not back.missing
        assert back.uploads < 1


class TestRanking:
    def test_without_channels_there_is_none_to_look_at(self) -> None:
        ranking = ChannelRanking({})
        assert ranking.best(NOW) is None
        assert ranking.top(NOW, 5) == []
        assert len(ranking) == 0

    def test_rate_times_age_squared_decides(self) -> None:
        ranking = ChannelRanking(
            {"busy": looked(1, uploads=44.5), "quiet": looked(8, uploads=0.5), "middle": looked(3, uploads=5)}
        )
        picks = ranking.top(NOW, 3)
        assert [pick.channel_id for pick in picks] == ["quiet", "middle", "busy"]
        assert picks[0] == ranking.best(NOW)
        assert [pick.score for pick in picks] == pytest.approx([1.42, 1.1, 1.0], rel=0.1)
        assert picks[2].rate_per_day == pytest.approx(1)
        assert picks[2].age_seconds == 86_400

    def test_a_channel_that_was_just_looked_at_moves_behind_its_equals(self) -> None:
        ranking = ChannelRanking({"first": looked(2), "second": looked(1)})
        order = []
        for minute in range(4):
            pick = ranking.best(NOW + minute * 60_000)
            assert pick is not None
            order.append(pick.channel_id)
            ranking.note(pick.channel_id, looked(-minute / 1440))
        assert order == ["first", "second", "first", "second"]

    def test_none_is_looked_at_twice_in_one_moment(self) -> None:
        assert ChannelRanking({"only": looked(0)}).best(NOW) is None

    def test_a_new_channel_has_a_head_start(self) -> None:
        ranking = ChannelRanking({"new": NEW, "known": looked(0.9, uploads=44.5)})
        pick = ranking.best(NOW)
        assert pick is not None
        assert (pick.channel_id, pick.rate_per_day, pick.age_seconds) == ("new", NEW_RATE, HEAD_START_MS / 1000)
        assert "found by a search" in pick.reason

    def test_a_missing_channel_rests_for_a_month(self) -> None:
        ranking = ChannelRanking({"missing": mark_missing(NEW, NOW)})
        assert ranking.best(NOW + MISSING_REST_MS) is None
        pick = ranking.best(NOW + MISSING_REST_MS + 1)
        assert pick is not None
        assert "did not know the uploads of channel missing 30 days ago" in pick.reason

    def test_a_channel_can_be_dropped(self) -> None:
        ranking = ChannelRanking({"kept": looked(1), "dropped": looked(2)})
        ranking.note("dropped", None)
        ranking.note("never known", None)
        assert len(ranking) == 1
        assert [pick.channel_id for pick in ranking.top(NOW, 9)] == ["kept"]

    def test_a_channel_changes_its_class_with_its_rate(self) -> None:
        ranking = ChannelRanking({"a": looked(1)})
        ranking.note("a", looked(1, uploads=400))
        assert len(ranking) == 1
        assert len(ranking.top(NOW, 9)) == 1

    def test_the_reason_is_a_sentence_with_rate_and_age(self) -> None:
        pick = ChannelRanking({"UC1": looked(0.25, uploads=44.5)}).best(NOW)
        assert pick is not None
        assert pick.reason == (
            "Channel UC1 publishes about 1 matching videos a day and was looked at 6 hours ago, so 0.25 new ones are "
            "expected."
        )

    def test_a_look_of_a_clock_years_ahead_counts_as_made_now(self) -> None:
        ranking = ChannelRanking({"wrong": looked(-3650), "right": looked(1)})
        first = ranking.best(NOW)
        assert first is not None
        assert first.channel_id == "right"
        ranking.note("right", looked(0))
        pick = ranking.best(NOW + 60_000)
        assert pick is not None
        assert pick.age_seconds == 60
        assert {pick.channel_id for pick in ranking.top(NOW + 60_000, 9)} == {"wrong", "right"}

    def test_a_clock_that_jumps_back_keeps_the_order_of_looks(self) -> None:
        ranking = ChannelRanking({"late": looked(1), "later": looked(0.5)})
        ranking.note("early", looked(2))
        assert [pick.channel_id for pick in ranking.top(NOW, 9)] == ["early", "late", "later"]
