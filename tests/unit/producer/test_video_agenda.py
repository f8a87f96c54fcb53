"""What is asked of `videos.list`, in which company, and what the answers mean."""

import msgspec
import pytest

from contract.topics import DAY_MS
from contract.video import Live
from producer.known import KnownVideo
from producer.video_agenda import (
    BATCH_IDS,
    COMPLETE_WAIT_MS,
    CONFIRM_MS,
    FAILURE_PAUSE_MS,
    FILL_MS,
    HOUR_MS,
    LIVE_REFRESH_MS,
    LIVE_SOON_MS,
    MINUTE_MS,
    MOST_PRIVATE,
    MOST_SUSPECTS,
    PRIVATE_REST_MS,
    REFRESH_MS,
    REFRESH_URGENT_MS,
    REFRESH_WAIT_MS,
    REPEAT_MS,
    RETRY_PAUSE_MS,
    VideoAgenda,
    VideosBatch,
    judge,
)

NOW = 20_000 * DAY_MS


def known(
    age_ms: int = HOUR_MS,
    *,
    completed: bool = True,
    live: Live = "none",
    missing_for_ms: int | None = None,
    gone_for_ms: int | None = None,
) -> KnownVideo:
    """A video fetched, and first seen, so long ago."""
    return KnownVideo(
        first_seen_ms=NOW - age_ms,
        fetched_ms=NOW - age_ms,
        completed=completed,
        live=live,
        missing_ms=None if missing_for_ms is None else NOW - missing_for_ms,
        gone_ms=None if gone_for_ms is None else NOW - gone_for_ms,
    )


def many(count: int, video: KnownVideo, prefix: str = "v") -> dict[str, KnownVideo]:
    return {f"{prefix}{number}": video for number in range(count)}


HEALTHY = many(100, known(), "healthy")


def take(agenda: VideoAgenda, now_ms: int = NOW) -> VideosBatch:
    batch = agenda.next_batch(now_ms)
    assert batch is not None
    assert 0 < len(batch.ids) <= BATCH_IDS
    assert len(set(batch.ids)) == len(batch.ids)
    return batch


class TestWhatIsDue:
    def test_nothing_of_nothing(self) -> None:
        agenda = VideoAgenda({})
        assert agenda.next_batch(NOW) is None
        assert agenda.refresh_batch(NOW) is None
        assert agenda.oldest_fetched_ms() is None
        assert len(agenda) == 0

    def test_nothing_of_healthy_videos(self) -> None:
        agenda = VideoAgenda(HEALTHY)
        assert agenda.next_batch(NOW) is None
        assert agenda.refresh_batch(NOW) is None

    @pytest.mark.parametrize(
        ("purpose", "video", "not_yet"),
        [
            ("live", known(LIVE_REFRESH_MS, live="live"), known(LIVE_REFRESH_MS - 1, live="live")),
            ("live", known(LIVE_REFRESH_MS, live="upcoming"), known(DAY_MS)),
            ("confirm", known(missing_for_ms=CONFIRM_MS), known(missing_for_ms=CONFIRM_MS - 1)),
            ("repeat", known(gone_for_ms=REPEAT_MS), known(gone_for_ms=REPEAT_MS - 1)),
            ("complete", known(COMPLETE_WAIT_MS, completed=False), known(COMPLETE_WAIT_MS - 1, completed=False)),
            ("refresh", known(REFRESH_URGENT_MS), known(REFRESH_URGENT_MS - 1)),
        ],
    )
    def test_each_from_its_time_on(self, purpose: str, video: KnownVideo, not_yet: KnownVideo) -> None:
        assert VideoAgenda({"a": not_yet}).next_batch(NOW) is None
        batch = take(VideoAgenda({"a": video}))
        assert (batch.purpose, batch.ids) == (purpose, ("a",))
        assert batch.reason.endswith(".")

    def test_a_batch_of_new_videos_does_not_wait(self) -> None:
        new = known(0, completed=False)
        assert VideoAgenda(many(BATCH_IDS - 1, new)).next_batch(NOW) is None
        assert take(VideoAgenda(many(BATCH_IDS, new))).purpose == "complete"

    def test_the_order_of_purposes(self) -> None:
        due = {
            "live": known(LIVE_REFRESH_MS, live="live"),
            "confirm": known(missing_for_ms=CONFIRM_MS),
            "repeat": known(gone_for_ms=REPEAT_MS),
            "complete": known(COMPLETE_WAIT_MS, completed=False),
            "refresh": known(REFRESH_URGENT_MS),
        }
        agenda = VideoAgenda(due)
        agenda.queue_private("private", NOW)
        order = []
        for _ in range(6):
            order.append(take(agenda).purpose)
            agenda.note(order[-1], None)
            agenda.note_asked([order[-1]], NOW)
        assert order == ["live", "confirm", "repeat", "complete", "private", "refresh"]
        assert agenda.next_batch(NOW) is None

    @pytest.mark.parametrize("left", [{"missing_ms": NOW}, {"gone_ms": NOW}])
    def test_the_missing_and_the_gone_are_neither_completed_nor_refreshed(self, left: dict[str, int]) -> None:
        video = msgspec.structs.replace(known(30 * DAY_MS, completed=False, live="live"), **left)
        agenda = VideoAgenda({"a": video})
        assert agenda.next_batch(NOW) is None
        assert agenda.refresh_batch(NOW) is None

    def test_a_video_that_came_back_is_healthy_again(self) -> None:
        agenda = VideoAgenda({"a": known(gone_for_ms=REPEAT_MS)})
        assert take(agenda).purpose == "repeat"
        agenda.note("a", known(0))
        assert agenda.next_batch(NOW + REPEAT_MS) is None
        assert take(agenda, NOW + REFRESH_URGENT_MS).purpose == "refresh"

    def test_a_video_noted_as_out_of_the_topic_is_forgotten(self) -> None:
        agenda = VideoAgenda({"a": known(gone_for_ms=REPEAT_MS)})
        agenda.note("a", None)
        agenda.note("never known", None)
        assert agenda.next_batch(NOW) is None
        assert len(agenda) == 0


class TestRefresh:
    def test_a_whole_batch_of_old_videos_is_refreshed(self) -> None:
        old = known(REFRESH_MS)
        assert VideoAgenda(many(BATCH_IDS - 1, old)).refresh_batch(NOW) is None
        batch = VideoAgenda(many(BATCH_IDS, old)).refresh_batch(NOW)
        assert batch is not None
        assert batch.purpose == "refresh"
        assert len(batch.ids) == BATCH_IDS

    def test_a_few_old_videos_wait_for_two_days_more(self) -> None:
        assert VideoAgenda({"a": known(REFRESH_WAIT_MS - 1)}).refresh_batch(NOW) is None
        batch = VideoAgenda({"a": known(REFRESH_WAIT_MS)}).refresh_batch(NOW)
        assert batch is not None
        assert batch.ids == ("a",)

    def test_the_stalest_come_first_even_when_new_ones_wait(self) -> None:
        videos = {f"v{day}": known(day * DAY_MS) for day in range(100)}
        batch = VideoAgenda({**many(49, known(0, completed=False), "new"), **videos}).refresh_batch(NOW)
        assert batch is not None
        assert batch.ids == tuple(f"v{day}" for day in range(99, 49, -1))

    def test_the_metric_speaks_of_all_that_are_not_gone(self) -> None:
        agenda = VideoAgenda({"a": known(DAY_MS), "b": known(9 * DAY_MS, gone_for_ms=0)})
        assert agenda.oldest_fetched_ms() == NOW - DAY_MS
        agenda.note("c", known(5 * DAY_MS, missing_for_ms=0))
        assert agenda.oldest_fetched_ms() == NOW - 5 * DAY_MS
        agenda.note("a", None)
        assert agenda.oldest_fetched_ms() == NOW - 5 * DAY_MS


class TestCompany:
    """Room in a batch is not wasted, and suspects have witnesses."""

    def test_the_stalest_fill_a_batch(self) -> None:
        stale = {f"stale{hours}": known(FILL_MS + hours * HOUR_MS) for hours in range(60)}
        batch = take(VideoAgenda({**stale, **HEALTHY, "new": known(COMPLETE_WAIT_MS, completed=False)}))
        assert set(batch.ids) == {"new", *(f"stale{hours}" for hours in range(11, 60))}

    def test_what_was_fetched_today_does_not_fill(self) -> None:
        batch = take(VideoAgenda({**HEALTHY, "new": known(COMPLETE_WAIT_MS, completed=False)}))
        assert batch.ids == ("new",)

    def test_live_videos_are_fetched_together(self) -> None:
        videos = {
            "due": known(LIVE_REFRESH_MS, live="live"),
            "soon": known(LIVE_SOON_MS, live="upcoming"),
            "fresh": known(LIVE_SOON_MS - 1, live="live"),
            "new": known(0, completed=False),
        }
        assert set(take(VideoAgenda(videos)).ids) == {"due", "soon", "new"}

    def test_suspects_go_with_a_majority_of_witnesses(self) -> None:
        suspects = many(100, known(missing_for_ms=CONFIRM_MS), "missing")
        batch = take(VideoAgenda({**suspects, **HEALTHY}))
        asked = [video_id for video_id in batch.ids if video_id in suspects]
        assert len(asked) == MOST_SUSPECTS
        assert len(batch.ids) == BATCH_IDS

    @pytest.mark.parametrize(("witnesses", "suspects"), [(0, 20), (1, 1), (2, 1), (3, 2), (6, 4), (29, 19), (30, 20)])
    def test_few_witnesses_go_with_fewer_suspects(self, witnesses: int, suspects: int) -> None:
        missing = many(100, known(missing_for_ms=CONFIRM_MS), "missing")
        batch = take(VideoAgenda({**missing, **many(witnesses, known())}))
        assert len(batch.ids) == witnesses + suspects
        assert sum(video_id in missing for video_id in batch.ids) == suspects

    def test_suspects_of_every_kind_share_a_batch(self) -> None:
        agenda = VideoAgenda(
            {**HEALTHY, "missing": known(missing_for_ms=CONFIRM_MS), "gone": known(gone_for_ms=REPEAT_MS)}
        )
        agenda.queue_private("private", NOW)
        assert {"missing", "gone", "private"} <= set(take(agenda).ids)

    def test_the_gone_are_no_witnesses(self) -> None:
        agenda = VideoAgenda({"missing": known(missing_for_ms=CONFIRM_MS), **many(9, known(gone_for_ms=0))})
        assert take(agenda).ids == ("missing",)


class TestFailures:
    def test_after_a_failed_answer_nothing_is_asked_for_a_minute(self) -> None:
        agenda = VideoAgenda({**HEALTHY, "due": known(LIVE_REFRESH_MS, live="live"), "old": known(REFRESH_WAIT_MS)})
        agenda.note_failed([], NOW)
        assert agenda.next_batch(NOW + FAILURE_PAUSE_MS - 1) is None
        assert agenda.refresh_batch(NOW + FAILURE_PAUSE_MS - 1) is None
        assert take(agenda, NOW + FAILURE_PAUSE_MS).purpose == "live"
        assert agenda.refresh_batch(NOW + FAILURE_PAUSE_MS) is not None

    def test_what_a_failed_answer_lacked_is_a_suspect_after_its_pause(self) -> None:
        doubtful = many(40, known(REFRESH_URGENT_MS))
        agenda = VideoAgenda({**HEALTHY, **doubtful})
        agenda.note_failed(doubtful, NOW)
        assert agenda.next_batch(NOW + RETRY_PAUSE_MS - 1) is None
        batch = take(agenda, NOW + RETRY_PAUSE_MS)
        assert batch.purpose == "confirm"
        assert sum(video_id in doubtful for video_id in batch.ids) == MOST_SUSPECTS

    @pytest.mark.parametrize(
        "video", [known(missing_for_ms=CONFIRM_MS), known(gone_for_ms=REPEAT_MS), known(live="live")]
    )
    def test_each_kind_pauses(self, video: KnownVideo) -> None:
        agenda = VideoAgenda({**HEALTHY, "a": video})
        assert "a" in take(agenda).ids
        agenda.note_failed(["a"], NOW)
        assert agenda.next_batch(NOW + RETRY_PAUSE_MS - 1) is None
        assert "a" in take(agenda, NOW + RETRY_PAUSE_MS).ids

    def test_an_answer_clears_a_doubtful_video_but_another_find_does_not(self) -> None:
        video = known()
        agenda = VideoAgenda({**HEALTHY, "a": video})
        agenda.note_failed(["a"], NOW)
        agenda.note("a", msgspec.structs.replace(video, queries=("tea",)))
        assert "a" in take(agenda, NOW + RETRY_PAUSE_MS).ids
        agenda.note("a", msgspec.structs.replace(video, fetched_ms=NOW + RETRY_PAUSE_MS))
        assert agenda.next_batch(NOW + RETRY_PAUSE_MS) is None

    def test_without_a_witness_suspects_pause_together(self) -> None:
        agenda = VideoAgenda(many(100, known(missing_for_ms=CONFIRM_MS)))
        calls = 0
        for now in range(NOW, NOW + HOUR_MS, 10_000):
            batch = agenda.next_batch(now)
            if batch is not None:
                calls += 1
                agenda.note_failed(batch.ids, now)
        assert calls == 6

    def test_a_clock_that_jumps_back_ends_the_pause(self) -> None:
        agenda = VideoAgenda({"a": known(LIVE_REFRESH_MS, live="live")})
        agenda.note_failed([], NOW + DAY_MS)
        assert take(agenda).purpose == "live"

    def test_a_thousand_videos_of_a_terminated_channel_are_drained(self) -> None:
        dead = many(1000, known(REFRESH_URGENT_MS), "dead")
        videos = {**dead, **many(200, known(), "alive")}
        agenda, now, calls, gone, repeated = VideoAgenda(videos), NOW, 0, set[str](), set[str]()
        while now < NOW + 3 * DAY_MS:
            now += 10_000
            batch = agenda.next_batch(now) or agenda.refresh_batch(now)
            if batch is None:
                continue
            calls += 1
            agenda.note_asked(batch.ids, now)
            verdict = judge(batch.ids, videos.keys() - dead.keys(), videos, now)
            if verdict.failed:
                agenda.note_failed(verdict.lacking, now)
            gone.update(verdict.gone)
            repeated.update(verdict.repeated)
            for video_id in verdict.seen:
                videos[video_id] = msgspec.structs.replace(videos[video_id], fetched_ms=now)
            for video_id in verdict.newly_missing:
                videos[video_id] = msgspec.structs.replace(videos[video_id], missing_ms=now)
            for video_id in verdict.gone:
                videos[video_id] = msgspec.structs.replace(videos[video_id], gone_ms=now)
            for video_id in (*verdict.seen, *verdict.newly_missing, *verdict.gone):
                agenda.note(video_id, videos[video_id])
            for video_id in verdict.repeated:
                agenda.note(video_id, None)
        assert gone == repeated == dead.keys()
        assert len(agenda) == 200
        assert calls < 300


class TestRecheck:
    """A gone video that is listed somewhere may be back."""

    def test_it_is_asked_for_at_once_and_then_rests(self) -> None:
        agenda = VideoAgenda({**HEALTHY, "gone": known(gone_for_ms=0)})
        agenda.recheck("gone", NOW)
        assert "gone" in take(agenda).ids
        agenda.note_asked(["gone"], NOW)
        agenda.recheck("gone", NOW + CONFIRM_MS - 1)
        assert agenda.next_batch(NOW + CONFIRM_MS - 1) is None
        agenda.recheck("gone", NOW + CONFIRM_MS)
        assert "gone" in take(agenda, NOW + CONFIRM_MS).ids

    def test_one_that_is_still_gone_has_its_removal_repeated_in_time(self) -> None:
        agenda = VideoAgenda({**HEALTHY, "gone": known(gone_for_ms=0)})
        agenda.recheck("gone", NOW)
        agenda.note_asked(["gone"], NOW)
        assert agenda.next_batch(NOW + REPEAT_MS - 1) is None
        assert "gone" in take(agenda, NOW + REPEAT_MS).ids

    @pytest.mark.parametrize("video", [known(), known(missing_for_ms=0)])
    def test_of_others_it_changes_nothing(self, video: KnownVideo) -> None:
        agenda = VideoAgenda({"a": video})
        agenda.recheck("a", NOW)
        agenda.recheck("unknown", NOW)
        assert agenda.next_batch(NOW) is None


class TestPrivate:
    def test_each_is_asked_for_once_a_day(self) -> None:
        agenda = VideoAgenda({})
        agenda.queue_private("a", NOW)
        batch = take(agenda)
        assert (batch.purpose, batch.ids) == ("private", ("a",))
        assert take(agenda) == batch, "a batch that was not asked for is offered again"
        agenda.note_asked(batch.ids, NOW)
        agenda.queue_private("a", NOW + HOUR_MS)
        assert agenda.next_batch(NOW + PRIVATE_REST_MS - 1) is None
        assert take(agenda, NOW + PRIVATE_REST_MS).ids == ("a",)

    def test_one_that_becomes_known_is_none(self) -> None:
        agenda = VideoAgenda({})
        agenda.queue_private("b", NOW)
        agenda.note("b", known())
        assert agenda.next_batch(NOW) is None

    def test_a_known_video_is_a_suspect_unless_it_was_seen_within_the_hour(self) -> None:
        fetched_ms = known().fetched_ms
        agenda = VideoAgenda({"a": known(), "b": known()})
        agenda.queue_private("a", fetched_ms + CONFIRM_MS - 1)
        assert agenda.next_batch(fetched_ms + CONFIRM_MS - 1) is None
        agenda.queue_private("a", fetched_ms + CONFIRM_MS)
        batch = take(agenda, fetched_ms + CONFIRM_MS)
        assert (batch.purpose, set(batch.ids)) == ("confirm", {"a", "b"})

    def test_the_longest_known_is_forgotten_when_there_are_too_many(self) -> None:
        agenda = VideoAgenda({})
        for number in range(MOST_PRIVATE + 1):
            agenda.queue_private(f"private{number}", NOW + number)
        assert len(agenda._private) == MOST_PRIVATE
        assert take(agenda, NOW + DAY_MS).ids[0] == "private1"


def test_stale_entries_of_the_heaps_do_not_pile_up() -> None:
    agenda = VideoAgenda(HEALTHY)
    for number in range(5_000):
        agenda.note("healthy0", known(number, completed=False, live="live"))
        agenda.note("healthy1", known(missing_for_ms=number))
        agenda.note("healthy2", known(gone_for_ms=number))
    queues = (agenda._live, agenda._complete, agenda._refresh, agenda._confirm, agenda._repeat)
    assert all(len(queue._heap) <= 500 for queue in queues)


KNOWN = {
    **many(10, known(), "alive"),
    "fresh": known(),
    "missing too short": known(missing_for_ms=CONFIRM_MS - 1),
    "missing": known(missing_for_ms=CONFIRM_MS),
    "gone too short": known(gone_for_ms=REPEAT_MS - 1, missing_for_ms=2 * REPEAT_MS),
    "gone": known(gone_for_ms=REPEAT_MS, missing_for_ms=2 * REPEAT_MS),
}
ALIVE = tuple(f"alive{number}" for number in range(10))
LACKING = ("fresh", "missing too short", "missing", "gone too short", "gone", "private")


class TestVerdict:
    def test_every_id_gets_its_fate(self) -> None:
        verdict = judge((*LACKING, *ALIVE), ALIVE, KNOWN, NOW)
        assert not verdict.failed
        assert verdict.seen == ALIVE
        assert verdict.lacking == LACKING
        assert verdict.newly_missing == ("fresh",)
        assert verdict.gone == ("missing",)
        assert verdict.repeated == ("gone",)
        assert verdict.unknown_absent == ("private",)

    def test_whatever_is_present_is_alive(self) -> None:
        verdict = judge(LACKING, (*LACKING, "never asked for"), KNOWN, NOW)
        assert verdict.seen == LACKING
        assert verdict.lacking == verdict.newly_missing == verdict.gone == verdict.repeated == ()

    def test_an_answer_that_lacks_more_than_half_proves_nothing(self) -> None:
        half = judge(("alive0", "missing"), {"alive0"}, KNOWN, NOW)
        assert half.gone == ("missing",)
        verdict = judge(("alive0", "missing", "fresh"), {"alive0"}, KNOWN, NOW)
        assert verdict.failed
        assert verdict.seen == ("alive0",)
        assert verdict.lacking == ("missing", "fresh")
        assert verdict.gone == verdict.newly_missing == ()

    def test_a_clock_that_jumped_back_declares_nobody_gone(self) -> None:
        verdict = judge(("alive0", "missing"), {"alive0"}, KNOWN, NOW - 10 * MINUTE_MS)
        assert verdict.gone == ()
