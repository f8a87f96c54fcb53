"""The four methods: pages, caps, windows, what is shown when, and the faults that change a page."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from contract.times import format_seconds
from simulator.errors import ApiError
from simulator.faults import ENDPOINTS, Endpoint, Faults, Setting
from simulator.indexing_delay import IndexingDelay
from tests.unit.simulator.simulations import (
    CHANNEL,
    OTHER_CHANNEL,
    START_MS,
    Made,
    always,
    make_simulation,
    published,
    video,
)


def call(made: Made, endpoint: Endpoint, **parameters: str) -> dict[str, Any]:
    return made.simulation.endpoints.answer(endpoint, {"part": "snippet", **parameters}, made.clock())


def search(made: Made, **parameters: str) -> dict[str, Any]:
    return call(made, "search", **{"type": "video", "order": "date", "maxResults": "50", **parameters})


def pages(made: Made, **parameters: str) -> list[dict[str, Any]]:
    found = [search(made, **parameters)]
    while found[-1].get("nextPageToken"):
        assert len(found) < 100, "the pages do not end"
        found.append(search(made, **parameters, pageToken=found[-1]["nextPageToken"]))
    return found


def ids(*answers: dict[str, Any]) -> list[str]:
    return [item["id"].get("videoId", "") for answer in answers for item in answer["items"]]


def numbers(*answers: dict[str, Any]) -> list[int]:
    return [int(id_[-6:]) for id_ in ids(*answers)]


def test_an_answer_has_every_key_in_its_place(tmp_path: Path) -> None:
    first, second = pages(published(tmp_path, 60), regionCode="de")

    assert list(first) == ["kind", "etag", "nextPageToken", "regionCode", "pageInfo", "items"]
    assert list(second) == ["kind", "etag", "prevPageToken", "regionCode", "pageInfo", "items"]
    assert first["kind"] == "youtube#searchListResponse"
    assert (first["nextPageToken"], second["prevPageToken"]) == ("CDIQAA", "CDIQAQ")
    assert first["regionCode"] == "DE"
    assert first["pageInfo"]["resultsPerPage"] == 50


def test_nothing_found_is_an_empty_page(tmp_path: Path) -> None:
    answer = search(published(tmp_path, 3), q="absent")

    assert answer["pageInfo"] == {"totalResults": 0, "resultsPerPage": 0}
    assert answer["items"] == []
    assert "nextPageToken" not in answer


@pytest.mark.parametrize("size", [1, 7, 50])
def test_pages_tile_the_list_newest_first(tmp_path: Path, size: int) -> None:
    assert numbers(*pages(published(tmp_path, 60), maxResults=str(size))) == list(range(59, -1, -1))


def test_videos_of_one_second_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    made = make_simulation(tmp_path)
    made.simulation.publish([video(5), video(1)])
    made.clock.forward(0.3)
    made.simulation.publish([video(3)])

    assert numbers(search(made)) == [5, 3, 1]


def test_a_previous_page_token_leads_back(tmp_path: Path) -> None:
    made = published(tmp_path, 20)
    second = search(made, maxResults="5", pageToken="CAUQAA")

    assert numbers(search(made, maxResults="5", pageToken=second["prevPageToken"])) == [19, 18, 17, 16, 15]


def test_a_page_of_none_ends(tmp_path: Path) -> None:
    answer = search(published(tmp_path, 3), maxResults="0")

    assert answer["items"] == []
    assert "nextPageToken" not in answer


def test_new_videos_shift_the_next_page(tmp_path: Path) -> None:
    made = published(tmp_path, 10)
    first = search(made, maxResults="5")
    made.clock.forward(1)
    made.simulation.publish([video(10), video(11)])

    second = search(made, maxResults="5", pageToken=first["nextPageToken"])

    assert numbers(first, second) == [9, 8, 7, 6, 5, 6, 5, 4, 3, 2]


def test_a_search_ends_at_five_hundred(tmp_path: Path) -> None:
    made = published(tmp_path, 620)

    assert numbers(*pages(made)) == list(range(619, 119, -1))
    assert search(made)["pageInfo"]["totalResults"] > 500
    assert search(made, pageToken="CPQDEAA")["items"] == []
    assert len(ids(*pages(made, order="relevance"))) == 500


def test_both_ends_of_a_window_are_inside_it(tmp_path: Path) -> None:
    made = published(tmp_path, 10)

    answer = search(
        made, publishedAfter=format_seconds(START_MS + 3000), publishedBefore=format_seconds(START_MS + 6000)
    )

    assert numbers(answer) == [6, 5, 4, 3]


def test_the_total_is_about_right_and_the_same_again(tmp_path: Path) -> None:
    made = published(tmp_path, 400)

    totals = {search(made, q=q)["pageInfo"]["totalResults"] for q in ("talk", "Talk", "TALK", "tAlk")}

    assert all(360 <= total <= 440 for total in totals)
    assert len(totals) > 1
    assert search(made, q="talk")["pageInfo"] == search(made, q="talk")["pageInfo"]


def test_the_etag_never_repeats(tmp_path: Path) -> None:
    made = published(tmp_path, 2)

    assert search(made)["etag"] != search(made)["etag"]
    assert search(made)["items"] == search(made)["items"]


def test_an_indexing_delay_hides_a_video_from_search_alone(tmp_path: Path) -> None:
    made = make_simulation(tmp_path, indexing_delay=IndexingDelay(1, 600, 60))
    made.simulation.publish([video(1)])

    assert ids(search(made)) == []
    assert len(call(made, "playlistItems", playlistId="UU" + CHANNEL[2:])["items"]) == 1
    assert len(call(made, "videos", id="video000001")["items"]) == 1

    made.clock.forward(60)
    assert numbers(search(made)) == [1]
    assert search(made)["items"][0]["snippet"]["publishedAt"] == format_seconds(START_MS)


def test_a_removed_video_is_gone_everywhere(tmp_path: Path) -> None:
    made = published(tmp_path, 3)
    made.simulation.remove("video000001")

    assert numbers(search(made)) == [2, 0]
    playlist = call(made, "playlistItems", playlistId="UU" + CHANNEL[2:])
    assert [item["snippet"]["resourceId"]["videoId"] for item in playlist["items"]] == ["video000002", "video000000"]
    assert [item["id"] for item in call(made, "videos", id="video000002,video000001")["items"]] == ["video000002"]


def test_a_private_video_counts_as_none_of_its_channels(tmp_path: Path) -> None:
    made = published(tmp_path, 3)
    made.simulation.hide("video000002")

    (channel,) = call(made, "channels", part="statistics", id=CHANNEL)["items"]

    assert channel["statistics"]["videoCount"] == "2"


def test_filters_narrow_a_search(tmp_path: Path) -> None:
    made = make_simulation(tmp_path)
    made.simulation.publish(
        [
            video(1, live="live", duration_seconds=10),
            video(2, duration_seconds=239),
            video(3, duration_seconds=240, channel_id=OTHER_CHANNEL),
            video(4, duration_seconds=1201),
            video(5),
        ]
    )

    assert numbers(search(made, eventType="live")) == [1]
    assert numbers(search(made, eventType="completed")) == []
    assert numbers(search(made, videoDuration="short")) == [2, 1]
    assert numbers(search(made, videoDuration="medium")) == [3]
    assert numbers(search(made, videoDuration="long")) == [4]
    assert numbers(search(made, channelId=OTHER_CHANNEL)) == [3]


def test_other_orders_are_of_the_same_videos(tmp_path: Path) -> None:
    made = published(tmp_path, 20)

    by_title = [item["snippet"]["title"] for item in search(made, order="title")["items"]]
    assert by_title == sorted(by_title)
    assert sorted(numbers(search(made, order="relevance"))) == list(range(20))
    assert numbers(search(made, order="relevance", q="talk")) != numbers(search(made, q="talk"))


def test_without_a_type_channels_and_playlists_are_mixed_in(tmp_path: Path) -> None:
    made = published(tmp_path, 300)

    def kinds(**parameters: str) -> Counter[str]:
        return Counter(item["id"]["kind"] for page in pages(made, **parameters) for item in page["items"])

    assert set(kinds(type="")) == {"youtube#video", "youtube#channel", "youtube#playlist"}
    assert kinds(type="")["youtube#video"] == 300
    assert kinds() == {"youtube#video": 300}
    assert kinds(type="channel") == {}


def test_an_uploads_playlist_pages_newest_first_with_positions(tmp_path: Path) -> None:
    made = published(tmp_path, 12)
    playlist = "UU" + CHANNEL[2:]
    parts = "snippet,contentDetails"

    first = call(made, "playlistItems", playlistId=playlist, part=parts)
    second = call(made, "playlistItems", playlistId=playlist, part=parts, pageToken=first["nextPageToken"])
    third = call(made, "playlistItems", playlistId=playlist, part=parts, pageToken=second["nextPageToken"])

    items = [*first["items"], *second["items"], *third["items"]]
    assert [item["contentDetails"]["videoId"] for item in items] == [f"video{n:06d}" for n in range(11, -1, -1)]
    assert [item["snippet"]["position"] for item in items] == list(range(12))
    assert first["pageInfo"] == {"totalResults": 12, "resultsPerPage": 5}
    assert "nextPageToken" not in third
    assert third["prevPageToken"] == "CAoQAQ"


@pytest.mark.parametrize("playlist", ["UUzzzzzzzzzzzzzzzzzzzzzz", "PLaaaaaaaaaaaaaaaaaaaaaa", "x"])
def test_an_unknown_playlist_is_not_found(tmp_path: Path, playlist: str) -> None:
    with pytest.raises(ApiError) as raised:
        call(published(tmp_path, 1), "playlistItems", playlistId=playlist)

    assert (raised.value.status, raised.value.reason) == (404, "playlistNotFound")


def test_videos_are_listed_in_the_order_asked_and_unknown_ones_left_out(tmp_path: Path) -> None:
    answer = call(
        published(tmp_path, 3),
        "videos",
        part="snippet,contentDetails,status,statistics",
        id="video000002,nonsense000,video000000",
    )

    assert [item["id"] for item in answer["items"]] == ["video000002", "video000000"]
    assert answer["pageInfo"] == {"totalResults": 2, "resultsPerPage": 2}
    assert list(answer["items"][0]) == [
        *("kind", "etag", "id", "snippet", "contentDetails", "status", "statistics"),
    ]


def test_a_channel_leads_to_its_uploads(tmp_path: Path) -> None:
    made = published(tmp_path, 3)

    answer = call(made, "channels", part="snippet,contentDetails,statistics", id=f"{CHANNEL},{OTHER_CHANNEL}")

    (channel,) = answer["items"]
    assert channel["contentDetails"]["relatedPlaylists"]["uploads"] == "UU" + CHANNEL[2:]
    assert channel["snippet"]["title"] == "Somebody"
    assert channel["statistics"]["videoCount"] == "3"
    assert "items" not in call(made, "channels", id=OTHER_CHANNEL)


# The faults that change a page.


def test_omission_leaves_others_out_each_time(tmp_path: Path) -> None:
    made = published(tmp_path, 200, faults=Faults(1, {"omission": Setting(0.2)}))

    first, second = numbers(*pages(made)), numbers(*pages(made))

    assert 120 < len(first) < 190
    assert first != second
    assert set(first) | set(second) > set(first)


def test_everything_omitted_still_ends(tmp_path: Path) -> None:
    assert ids(*pages(published(tmp_path, 200, faults=always("omission")))) == []


def test_duplicates_lose_nothing(tmp_path: Path) -> None:
    found = numbers(*pages(published(tmp_path, 120, faults=always("duplicates_across_pages"))))

    assert len(found) > 120
    assert sorted(set(found), reverse=True) == list(range(119, -1, -1))


def test_foreign_kinds_stand_between_the_videos_and_displace_none(tmp_path: Path) -> None:
    found = pages(published(tmp_path, 120, faults=always("foreign_kinds")))

    assert all(len(page["items"]) <= 50 for page in found)
    kinds = {item["id"]["kind"] for page in found for item in page["items"]}
    assert kinds == {"youtube#video", "youtube#channel", "youtube#playlist"}
    assert [id_ for id_ in ids(*found) if id_] == [f"video{number:06d}" for number in range(119, -1, -1)]
    one_by_one = pages(published(tmp_path / "one", 3, faults=always("foreign_kinds")), maxResults="1")
    assert [len(page["items"]) for page in one_by_one] == [1, 1, 1]


@pytest.mark.parametrize(
    ("fault", "there"),
    [
        ("missing_video_id", lambda item: "videoId" in item["id"]),
        ("missing_snippet", lambda item: "snippet" in item),
        ("missing_thumbnails", lambda item: "thumbnails" in item["snippet"]),
    ],
)
def test_damaged_items_miss_what_the_fault_says(tmp_path: Path, fault: str, there: Any) -> None:
    answer = search(published(tmp_path, 3, faults=always(fault, times=1)))

    assert [there(item) for item in answer["items"]] == [False, True, True]


def test_published_after_ignored_shows_older_videos(tmp_path: Path) -> None:
    made = published(tmp_path, 10, faults=always("published_after_ignored", times=1))
    window = {
        "publishedAfter": format_seconds(START_MS + 7000),
        "publishedBefore": format_seconds(START_MS + 8000),
    }

    assert numbers(search(made, **window)) == list(range(8, -1, -1))
    assert numbers(search(made, **window)) == [8, 7]


def test_ignored_filters_show_the_newest_of_everything_that_matches(tmp_path: Path) -> None:
    made = published(tmp_path, 10, faults=always("filters_ignored", times=2))
    old = {"publishedBefore": format_seconds(START_MS + 2000), "q": "talk"}
    new = {"publishedAfter": format_seconds(START_MS + 9000)}

    assert numbers(search(made, q="talk")) == list(range(9, -1, -1))  # nothing to ignore, so no strike
    assert numbers(search(made, **old)) == list(range(9, -1, -1))
    assert numbers(search(made, **new)) == list(range(9, -1, -1))
    assert numbers(search(made, **old)) == [2, 1, 0]
    assert numbers(search(made, **new)) == [9]


def test_a_stuck_page_token_leads_to_the_same_page_for_ever(tmp_path: Path) -> None:
    made = published(tmp_path, 10, faults=always("stuck_page_token"))
    first = search(made, maxResults="4")
    again = search(made, maxResults="4", pageToken=first["nextPageToken"])
    second = search(made, maxResults="4", pageToken="CAQQAA")
    last = search(made, maxResults="4", pageToken="CAgQAA")

    assert numbers(first) == numbers(again) == [9, 8, 7, 6]
    assert again["nextPageToken"] == first["nextPageToken"]
    assert (numbers(second), second["nextPageToken"]) == ([5, 4, 3, 2], "CAQQAA")
    assert (numbers(last), last["nextPageToken"]) == ([1, 0], "CAgQAA")


def test_a_list_that_was_stuck_once_goes_on(tmp_path: Path) -> None:
    made = published(tmp_path, 10, faults=always("stuck_page_token", times=1))

    assert numbers(*pages(made, maxResults="4")) == [9, 8, 7, 6, *range(9, -1, -1)]


def test_missing_videos_are_there_the_next_time(tmp_path: Path) -> None:
    made = published(tmp_path, 3, faults=always("missing_videos", times=2))
    ask = {"part": "id", "id": "absent00000,video000000,video000001,video000002"}

    answer = call(made, "videos", **ask)

    assert [item["id"] for item in answer["items"]] == ["video000002"]
    assert answer["pageInfo"] == {"totalResults": 1, "resultsPerPage": 1}
    assert len(call(made, "videos", **ask)["items"]) == 3


def test_private_uploads_are_public_the_next_time(tmp_path: Path) -> None:
    made = published(tmp_path, 3, faults=always("private_uploads", times=2))
    ask = {"part": "snippet,contentDetails,status", "playlistId": "UU" + CHANNEL[2:]}

    def titles() -> list[str]:
        return [item["snippet"]["title"] for item in call(made, "playlistItems", **ask)["items"]]

    assert titles() == ["Private video", "Private video", "Talk 0"]
    assert titles() == ["Talk 2", "Talk 1", "Talk 0"]


def test_a_blank_next_page_token_is_there_and_empty(tmp_path: Path) -> None:
    answer = search(published(tmp_path, 10, faults=always("blank_next_page_token")), maxResults="5")

    assert answer["nextPageToken"] == ""


def test_a_good_page_token_is_refused_and_a_first_page_is_not(tmp_path: Path) -> None:
    made = published(tmp_path, 10, faults=always("invalid_page_token"))
    token = search(made, maxResults="5")["nextPageToken"]

    with pytest.raises(ApiError) as raised:
        search(made, maxResults="5", pageToken=token)
    assert raised.value.reason == "invalidPageToken"


def test_disorder_swaps_neighbours_and_loses_none(tmp_path: Path) -> None:
    found = numbers(search(published(tmp_path, 7, faults=always("disorder"))))

    assert found == [5, 6, 3, 4, 1, 2, 0]


def test_every_endpoint_is_answered(tmp_path: Path) -> None:
    made = published(tmp_path, 1)
    enough = {"id": f"video000000,{CHANNEL}", "playlistId": "UU" + CHANNEL[2:]}
    wanted = {"search": (), "videos": ("id",), "playlistItems": ("playlistId",), "channels": ("id",)}

    for endpoint in ENDPOINTS:
        answer = call(made, endpoint, **{name: enough[name] for name in wanted[endpoint]})
        assert answer["items"], endpoint
