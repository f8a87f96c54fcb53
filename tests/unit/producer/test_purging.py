"""Which videos a purge is about, and that it is done step by step and durably."""

from collections.abc import Iterable

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from contract.producer_state import FollowedQuery, PurgeRequest, purge_key, query_key
from contract.times import format_millis
from ops.metrics import ProducerMetrics
from producer.keeper import Keeper
from producer.known import KnownVideo
from producer.publisher import Publisher
from producer.purging import PER_STEP, Purging, victims
from producer.recall import recall
from producer.state import ProducerState
from tests.fakes.producer_edges import MemoryStateLog, MemoryWriter, OwnLease

NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000
AT = format_millis(NOW_MS)
BY_QUERY = PurgeRequest(AT, query="tea")
BY_AGE = PurgeRequest(AT, not_fetched_since=format_millis(NOW_MS - 30 * DAY_MS))
EMPTY = PurgeRequest(AT)


def video(*queries: str, age_days: int = 0) -> KnownVideo:
    return KnownVideo(0, NOW_MS - age_days * DAY_MS, queries)


@pytest.mark.parametrize(
    ("request_", "followed", "found"),
    [
        (BY_QUERY, {"coffee"}, {"tea", "tea and milk", "old tea"}),
        (BY_QUERY, {"coffee", "milk"}, {"tea", "old tea"}),
        (BY_QUERY, {"tea"}, set()),
        (BY_AGE, {"tea"}, {"old tea", "old"}),
        (EMPTY, set(), set()),
    ],
    ids=["removed", "others find some", "followed again", "by age, whatever is followed", "nothing asked"],
)
def test_a_request_is_about(request_: PurgeRequest, followed: set[str], found: set[str]) -> None:
    videos = {
        "tea": video("tea"),
        "tea and milk": video("milk", "tea"),
        "tea and coffee": video("coffee", "tea"),
        "old tea": video("tea", age_days=31),
        "old": video("coffee", age_days=31),
        "other": video(age_days=29),
    }

    assert set(victims(request_, videos, followed)) == found


class Bench:
    """A purge on fakes, of a state in which `followed` are followed."""

    def __init__(
        self, requests: Iterable[PurgeRequest], videos: dict[str, KnownVideo], followed: Iterable[str]
    ) -> None:
        self.log = MemoryStateLog()
        self.writer = MemoryWriter()
        for query in followed:
            self.log.values[query_key(query)] = msgspec.json.encode(FollowedQuery(AT))
        for number, request in enumerate(requests):
            self.log.values[purge_key(str(number))] = msgspec.json.encode(request)
        self.state = ProducerState(self.log, self.log.values)
        self.state.videos.update(videos)
        metrics = ProducerMetrics(CollectorRegistry())
        known = recall(self.state)
        keeper = Keeper(
            publisher=Publisher(self.writer, metrics),
            state=self.state,
            known=known,
            lease=OwnLease(),
            metrics=metrics,
            now_ms=lambda: NOW_MS,
        )
        self.known = known
        self.purging = Purging(self.state, keeper, known)


async def test_many_videos_take_several_steps_and_the_request_goes_last() -> None:
    videos = {f"vid{number:08d}": video("tea") for number in range(PER_STEP + 1)} | {"stays": video("coffee")}
    bench = Bench([BY_QUERY], videos, ["coffee"])

    assert await bench.purging.step() == PER_STEP
    assert set(bench.state.purges) == {"0"}
    assert await bench.purging.step() == 1
    assert await bench.purging.step() == 0

    assert sorted(bench.writer.removed_ids) == sorted(set(videos) - {"stays"})
    assert set(bench.state.videos) == {"stays"}
    assert len(bench.known.agenda) == 1
    assert purge_key("0") not in bench.log.values


async def test_a_request_without_victims_or_sense_is_dropped() -> None:
    bench = Bench([PurgeRequest(AT, not_fetched_since="long ago"), BY_AGE, EMPTY], {"stays": video()}, [])

    assert await bench.purging.step() == 0

    assert not bench.state.purges
    assert not bench.writer.records
