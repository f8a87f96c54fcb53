"""The fold's rules one by one; their interplay is in tests/property."""

from typing import Any

import pytest
from msgspec.structs import replace

from contract import events
from contract.video import encode
from processors.decode import Gone, Item, Refusal, decode
from processors.document import Document, Marker, SourcePosition, VideoDocument
from processors.fold import CONFIRM_AFTER_MS, MAX_BODY_BYTES, Folded, fold
from tests.raw_items import NOW_MS, partition_of, playlist_item, record, search_item, video_id, video_item

SEARCH, LIST, VIDEOS = events.SEARCH, events.PLAYLIST_ITEMS, events.VIDEOS


def said(item: Any, source: str = SEARCH, **more: Any) -> Item | Gone:
    answer = decode(record(1, 0, item, source=source, **more), partition_of)
    assert not isinstance(answer, Refusal), answer
    return answer


def folded(*sequence: Item | Gone) -> Folded:
    """The last step of folding these, one after another, from nothing."""
    document: Document | None = None
    step = Folded(None, changed=False)
    for offset, one in enumerate(sequence):
        answer = fold(document, one, SourcePosition("raw", 0, offset))
        assert isinstance(answer, Folded)
        step, document = answer, answer.document
    return step


def video(*sequence: Item | Gone) -> VideoDocument:
    document = folded(*sequence).document
    assert isinstance(document, VideoDocument)
    return document


def test_a_first_item_discovers_the_video() -> None:
    step = folded(said(search_item(1)))

    assert step.changed
    assert step.event is not None
    assert (step.event.type, step.event.previous_sort_key) == (events.VIDEO_DISCOVERED, None)
    document = video(said(search_item(1)))
    assert document.body == encode(document.video)
    assert document.sort_key == f"{NOW_MS - 1000}{video_id(1)}"


def test_an_excerpt_never_replaces_a_description() -> None:
    document = video(
        said(search_item(1, description="one")),
        said(search_item(1, description="two", title="New"), time_ms=NOW_MS + 1),
    )

    assert (document.video.title, document.video.description) == ("New", "one")


def test_descriptions_go_by_the_precedence_of_their_sources() -> None:
    search, listed, full = said(search_item(1)), said(playlist_item(1), LIST), said(video_item(1), VIDEOS)

    assert video(search, listed).video.description == "Most of it"
    assert video(search, listed, full).video.description == "All of it"
    assert video(search, full, listed).video.description == "All of it"


def test_what_only_a_higher_source_has_stays() -> None:
    document = video(said(video_item(1), VIDEOS), said(search_item(1, title="Renamed"), time_ms=NOW_MS + 1))

    assert document.video.duration_seconds == 3723
    assert document.video.title == "Renamed"


def test_an_older_item_of_a_source_is_stale_and_brings_only_its_sighting() -> None:
    newest = said(search_item(1, title="New"), time_ms=NOW_MS + 10)
    older = said(search_item(1, title="Old"), queries=("how",), first_seen_ms=NOW_MS - 5)

    document = video(newest, older)

    assert document.video.title == "New"
    assert document.video.queries == ["how", "tea"]
    assert document.first_seen_ms == NOW_MS - 5
    assert document.registers["search"].time_ms == NOW_MS + 10


def test_a_source_that_lags_behind_another_does_not_flap() -> None:
    fresh = said(video_item(1, title="New"), VIDEOS, time_ms=NOW_MS + 10)
    old_word = said(search_item(1, title="Old"))
    same_old_word = said(search_item(1, title="Old"), time_ms=NOW_MS + 20)

    step = folded(old_word, fresh, same_old_word)

    assert not step.changed
    assert isinstance(step.document, VideoDocument)
    assert step.document.video.title == "New"
    assert step.document.registers["search"].time_ms == NOW_MS


LATER = NOW_MS + 10


@pytest.mark.parametrize(
    ("late", "source"),
    [
        (search_item(1, title="Old", publishedAt="2026-01-01T00:00:00Z"), SEARCH),
        (playlist_item(1, title="Old", description="Old"), LIST),
    ],
)
def test_a_word_older_than_that_of_another_source_overwrites_nothing(late: Any, source: str) -> None:
    newest = said(video_item(1, title="New"), VIDEOS, time_ms=LATER)
    before = video(newest)

    document = video(newest, said(late, source, queries=("how",), time_ms=NOW_MS))

    thumbnails = {**document.video.thumbnails, **before.video.thumbnails}
    assert document.video == replace(
        before.video, queries=["how", "tea"], first_seen_at=document.video.first_seen_at, thumbnails=thumbnails
    )
    assert (document.sort_key, document.first_seen_ms) == (before.sort_key, NOW_MS)


def test_a_word_that_comes_late_fills_gaps_of_which_an_excerpt_is_one() -> None:
    excerpt = said(search_item(1, title="New", channelTitle=None), time_ms=LATER)

    document = video(excerpt, said(video_item(1, title="Old"), VIDEOS, time_ms=NOW_MS))

    found = document.video
    assert (found.title, found.description, found.duration_seconds) == ("New", "All of it", 3723)
    assert found.channel.title == "Tea & Talks"

    listed = said(playlist_item(1, description="Newer"), LIST, time_ms=LATER + 1)
    document = video(excerpt, listed, said(video_item(1, title="Old"), VIDEOS, time_ms=NOW_MS))

    assert document.video.description == "Newer"


def test_a_repeat_is_confirmed_after_a_day_with_the_same_owed_event() -> None:
    first, soon = said(search_item(1)), said(search_item(1), time_ms=NOW_MS + CONFIRM_AFTER_MS)
    late = said(search_item(1), time_ms=NOW_MS + CONFIRM_AFTER_MS + 1)

    assert not folded(first, soon).changed
    step = folded(first, soon, late)
    assert step.changed
    assert isinstance(step.document, VideoDocument)
    assert step.document.confirmed_ms == NOW_MS + CONFIRM_AFTER_MS + 1
    assert step.document.source.offset == 2
    assert step.event == folded(first).event


def test_a_moved_publish_time_tells_the_previous_sort_key() -> None:
    step = folded(said(search_item(1)), said(search_item(1, publishedAt="2026-01-01T00:00:00Z"), time_ms=NOW_MS + 1))

    assert step.event is not None
    assert step.event.previous_sort_key == f"{NOW_MS - 1000}{video_id(1)}"


def test_a_null_leaves_a_marker_that_remembers_the_sort_key() -> None:
    step = folded(said(search_item(1)), said(None, time_ms=NOW_MS + 1))

    assert isinstance(step.document, Marker)
    assert step.event is not None
    assert (step.event.type, step.event.offset) == (events.VIDEO_REMOVED, 1)
    assert step.event.previous_sort_key == f"{NOW_MS - 1000}{video_id(1)}"


def test_a_null_for_nothing_changes_nothing_but_is_said() -> None:
    for step in (folded(said(None)), folded(said(search_item(1)), said(None), said(None))):
        assert not step.changed
        assert step.event is not None
        assert step.event.type == events.VIDEO_REMOVED


def test_an_item_after_a_marker_is_new_whatever_its_time() -> None:
    step = folded(said(search_item(1)), said(None), said(search_item(1, title="Back"), time_ms=NOW_MS - 99))

    assert isinstance(step.document, VideoDocument)
    assert step.event is not None
    assert step.event.type == events.VIDEO_DISCOVERED


def test_thumbnails_merge_by_name_and_absent_fields_never_overwrite() -> None:
    bare = search_item(1, title="New", channelId=None, channelTitle=None, thumbnails={"fhd": {"url": "u"}})
    del bare["snippet"]["liveBroadcastContent"]

    document = video(said(search_item(1, liveBroadcastContent="live")), said(bare, time_ms=NOW_MS + 1))

    assert list(document.video.thumbnails) == ["default", "fhd"]
    assert document.video.live == "live"
    assert document.video.channel.title == "Tea & Talks"


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 4 * MAX_BODY_BYTES])
def test_a_video_too_large_to_send_is_refused_and_the_document_stays(size: int) -> None:
    before = video(said(search_item(1)))

    answer = fold(before, said(search_item(1, title="x" * size), time_ms=NOW_MS + 1), SourcePosition("raw", 0, 9))

    assert isinstance(answer, Refusal)
    assert answer.reason == "too_large"
