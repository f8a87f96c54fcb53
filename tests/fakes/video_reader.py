"""A read model in memory; `tests/suites/test_video_reader.py` holds it to the real one."""

from query_api.pagination import StoredVideo
from query_api.video_reader import ReadModelUnavailable
from tests.fakes.video_documents import Document


class InMemoryVideoReader:
    """Reads `documents` (by `_id`) as MongoDB would; set `away` and it cannot."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.away = False

    def put(self, document: Document) -> None:
        """Store a document in place of the one of its id."""
        self.documents[document["_id"]] = document

    async def list_videos(self, *, limit: int, skip: int = 0, after: str | None = None) -> list[StoredVideo]:
        """As in `VideoReader`."""
        below = [video for video in self._newest_first() if after is None or video.sort_key < after]
        return below[skip : skip + limit]

    async def count_videos(self) -> int:
        """As in `VideoReader`."""
        return len(self._newest_first())

    async def find_video(self, video_id: str) -> bytes | None:
        """As in `VideoReader`."""
        return next((video.body for video in self._newest_first() if video.sort_key.endswith(video_id)), None)

    def _newest_first(self) -> list[StoredVideo]:
        if self.away:
            raise ReadModelUnavailable("away, as the test wants it")
        stored = [StoredVideo(row["k"], bytes(row["body"])) for row in self.documents.values() if "k" in row]
        return sorted(stored, key=lambda video: video.sort_key, reverse=True)
