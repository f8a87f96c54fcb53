"""Shapes of the answers."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import responses
from simulator.video_index import PublishedVideo
from tests.unit.simulator.simulations import CHANNEL, START_MS, video

ETAG = re.compile(r"[\w-]{27}")
LONG = "The quick brown fox jumps over the lazy dog again. " * 8


def out(title: str = "Some talk", **fields: object) -> PublishedVideo:
    return PublishedVideo(video=video(1, title, **fields), published_ms=START_MS + 999, searchable_ms=START_MS)


def test_a_search_item_has_every_key_in_its_place() -> None:
    item = responses.search_item(
        out('Tom\'s "Q&A" <1>', channel_title="A & B", description='R&D\'s "best"'), (), with_snippet=True
    )

    assert list(item) == ["kind", "etag", "id", "snippet"]
    assert ETAG.fullmatch(item["etag"])
    assert item["kind"] == "youtube#searchResult"
    assert item["id"] == {"kind": "youtube#video", "videoId": "video000001"}
    assert list(item["snippet"].items()) == [
        ("publishedAt", "2026-09-26T12:00:00Z"),
        ("channelId", CHANNEL),
        ("title", "Tom&#39;s &quot;Q&amp;A&quot; &lt;1&gt;"),
        ("description", 'R&D\'s "best"'),
        (
            "thumbnails",
            {
                "default": {"url": "https://i.ytimg.com/vi/video000001/default.jpg", "width": 120, "height": 90},
                "medium": {"url": "https://i.ytimg.com/vi/video000001/mqdefault.jpg", "width": 320, "height": 180},
                "high": {"url": "https://i.ytimg.com/vi/video000001/hqdefault.jpg", "width": 480, "height": 360},
            },
        ),
        ("channelTitle", "A &amp; B"),
        ("liveBroadcastContent", "none"),
        ("publishTime", "2026-09-26T12:00:00Z"),
    ]


def test_without_the_snippet_part_there_is_none() -> None:
    assert list(responses.search_item(out(), (), with_snippet=False)) == ["kind", "etag", "id"]


@given(st.text())
def test_unescaping_once_gives_the_title_back(title: str) -> None:
    assert html.unescape(responses.escaped(title)) == html.unescape(html.escape(title))
    assert "'" not in responses.escaped(title)


def test_pictures_of_a_live_video_have_other_names() -> None:
    pictures = responses.thumbnails(out(live="live").video)

    assert pictures["default"]["url"] == "https://i.ytimg.com/vi/video000001/default_live.jpg"


def test_other_items_say_everything_unescaped() -> None:
    published = out("Tom's Q&A", channel_title="A & B", description=LONG, tags=("x",), language="en")

    for item in (
        responses.playlist_item(published, 3, frozenset({"snippet"})),
        responses.video_item(published, frozenset({"snippet"}), START_MS),
    ):
        assert item["snippet"]["title"] == "Tom's Q&A"
        assert item["snippet"]["channelTitle"] == "A & B"
        assert item["snippet"]["description"] == LONG
        assert set(item["snippet"]["thumbnails"]) == {"default", "medium", "high", "standard", "maxres"}


def test_a_playlist_item_names_the_video_its_owner_and_its_place() -> None:
    item = responses.playlist_item(out(), 3, frozenset({"snippet", "contentDetails"}))

    assert list(item) == ["kind", "etag", "id", "snippet", "contentDetails"]
    assert item["contentDetails"] == {"videoId": "video000001", "videoPublishedAt": "2026-09-26T12:00:00Z"}
    assert item["snippet"]["position"] == 3
    assert item["snippet"]["playlistId"] == "UU" + CHANNEL[2:]
    assert item["snippet"]["resourceId"] == {"kind": "youtube#video", "videoId": "video000001"}
    assert item["snippet"]["videoOwnerChannelId"] == CHANNEL
    assert item["snippet"]["videoOwnerChannelTitle"] == "Somebody"


def test_a_private_playlist_item_says_where_it_stands_and_no_more() -> None:
    parts = frozenset({"snippet", "contentDetails", "status"})
    public = responses.playlist_item(out(description=LONG), 3, parts)
    private = responses.playlist_item(out(description=LONG), 3, parts, private=True)

    assert private["id"] == public["id"]
    assert private["snippet"] == {
        "publishedAt": "2026-09-26T12:00:00Z",
        "channelId": CHANNEL,
        "title": "Private video",
        "description": "This video is private.",
        "thumbnails": {},
        "channelTitle": "Somebody",
        "playlistId": "UU" + CHANNEL[2:],
        "position": 3,
        "resourceId": {"kind": "youtube#video", "videoId": "video000001"},
    }
    assert list(private["snippet"]) == [name for name in public["snippet"] if not name.startswith("videoOwner")]
    assert private["contentDetails"] == {"videoId": "video000001"}
    assert (public["status"], private["status"]) == ({"privacyStatus": "public"}, {"privacyStatus": "private"})


def test_a_videos_counts_are_text_and_grow() -> None:
    def counts(days: float) -> dict[str, str]:
        item = responses.video_item(out(), frozenset({"statistics"}), START_MS + round(days * 86_400_000))
        return dict(item["statistics"])

    assert counts(0)["viewCount"] == "0"
    assert 0 < int(counts(2)["viewCount"]) < int(counts(20)["viewCount"])
    assert counts(-1)["viewCount"] == "0"


@pytest.mark.parametrize(
    ("seconds", "live", "iso"),
    [
        (0, "none", "PT0S"),
        (59.6, "none", "PT1M"),
        (3600, "none", "PT1H"),
        (3723, "none", "PT1H2M3S"),
        (90_000, "none", "PT25H"),
        (None, "none", None),
        (60, "live", "P0D"),
    ],
)
def test_durations_are_iso_8601(seconds: float | None, live: str, iso: str | None) -> None:
    published = out(duration_seconds=seconds, live=live)

    assert responses.iso_duration(published.video) == iso
    item = responses.video_item(published, frozenset({"contentDetails"}), START_MS)
    assert item["contentDetails"].get("duration") == iso


def test_a_short_description_is_its_own_excerpt() -> None:
    assert responses.excerpt("One.\n\nTwo  three", ["two"]) == "One. Two three"
    assert responses.excerpt("", ()) == ""


def test_an_excerpt_shows_where_the_query_is() -> None:
    description = LONG + "Then came the espresso machine. " + LONG

    shown = responses.excerpt(description, ["espresso"])

    assert "espresso" in shown
    assert shown.startswith("... ")
    assert shown.endswith(" ...")
    assert shown != responses.excerpt(description, [])
    assert responses.excerpt(description, []).startswith("The quick brown")


@given(st.text(min_size=1), st.integers(1, 60), st.text(max_size=5))
def test_no_excerpt_is_longer_than_171_characters(text: str, times: int, word: str) -> None:
    assert len(responses.excerpt(text * times, [word])) <= 171


@pytest.mark.parametrize("before", range(40, 260, 7))
@pytest.mark.parametrize("after", [0, 60, 90, 105, 120, 400])
def test_an_excerpt_from_the_middle_is_as_short(before: int, after: int) -> None:
    description = f"{'word ' * (before // 5)}espresso{' more' * (after // 5)}"

    shown = responses.excerpt(description, ["espresso"])

    assert len(shown) <= 171
    assert "espresso" in shown


def test_a_channel_among_the_videos_has_pictures_without_a_size() -> None:
    channel = responses.foreign_item(out(), playlist=False, with_snippet=True)
    playlist = responses.foreign_item(out(), playlist=True, with_snippet=True)

    assert channel["id"] == {"kind": "youtube#channel", "channelId": CHANNEL}
    assert all(list(picture) == ["url"] for picture in channel["snippet"]["thumbnails"].values())
    assert playlist["id"] == {"kind": "youtube#playlist", "playlistId": "UU" + CHANNEL[2:]}


def test_etags_of_content_repeat_and_fresh_ones_do_not() -> None:
    assert responses.content_etag({"a": 1}) == responses.content_etag({"a": 1})
    assert responses.content_etag({"a": 1}) != responses.content_etag({"a": 2})
    assert responses.fresh_etag() != responses.fresh_etag()
    assert ETAG.fullmatch(responses.fresh_etag())
