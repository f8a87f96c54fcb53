"""Which videos the answers showed: whoever read them whole must know of every one of these.

An item of a playlist that says no more than "Private video" does not show its video.
"""

from collections.abc import Iterator

from simulator.faults import Endpoint
from simulator.responses import Json


class Answered:
    """Video ids by the method whose answers held them, each once, in the order of their first answer."""

    def __init__(self) -> None:
        self._ids: dict[Endpoint, dict[str, None]] = {"search": {}, "playlistItems": {}, "videos": {}}

    def note(self, endpoint: Endpoint, answer: Json) -> None:
        """This answer has been sent to its end, and could be read."""
        if endpoint in self._ids:
            self._ids[endpoint].update(dict.fromkeys(_shown(endpoint, answer)))

    def ids(self) -> dict[Endpoint, list[str]]:
        """What has been shown so far."""
        return {endpoint: list(ids) for endpoint, ids in self._ids.items()}


def _shown(endpoint: Endpoint, answer: Json) -> Iterator[str]:
    for item in answer["items"]:
        if endpoint == "videos":
            yield item["id"]
        elif endpoint == "search":
            if "videoId" in item["id"]:
                yield item["id"]["videoId"]
        elif "videoPublishedAt" in item.get("contentDetails", {}):
            yield item["contentDetails"]["videoId"]
        elif "videoOwnerChannelId" in item.get("snippet", {}):
            yield item["snippet"]["resourceId"]["videoId"]
