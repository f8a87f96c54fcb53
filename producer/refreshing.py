"""Asks for videos by id: those that are there are refreshed, those that are not may be gone."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from contract import events
from ops.logging import get_logger
from producer.error_policy import BadQuery, InvalidPageToken, NotFound, YouTubeUnavailable
from producer.planner import AskForVideos
from producer.polling import Polling, PollingStep
from producer.raw_item import read_videos
from producer.sightings import sort_refreshed
from producer.video_agenda import judge
from producer.youtube_client import Page

_log = get_logger(__name__)


class VideosClient(Protocol):
    """Who lists videos by id; see `YouTubeClient`."""

    async def videos(self, ids: Sequence[str]) -> Page:
        """Make one call; raises `YouTubeError`."""


class Refreshing(PollingStep):
    """The calls of `videos.list`."""

    def __init__(self, client: VideosClient, polling: Polling) -> None:
        super().__init__(polling)
        self._client: Final = client

    async def ask(self, decision: AskForVideos) -> None:
        """Ask for videos by id: those that are there are refreshed, those that are not may be gone."""
        asked = decision.batch.ids
        self._known.last_unit = "refresh" if decision.batch.purpose == "refresh" else "other"
        self._known.agenda.note_asked(asked, self._now_ms())
        try:
            page = await self._calls.make("videos", "units", lambda: self._client.videos(asked))
        except (NotFound, BadQuery, InvalidPageToken) as error:
            self._known.agenda.note_failed(asked, self._now_ms())
            _log.error("YouTube refuses to list videos", error=str(error), ids=len(asked))
            return
        except YouTubeUnavailable:
            self._known.agenda.note_failed((), self._now_ms())  # other calls first: it may fail for these ids alone
            raise
        now_ms = self._now_ms()
        found = read_videos(page.items)
        self._keeper.count_ignored(found)
        present = {seen.video_id for seen in found.videos}
        verdict = judge(asked, present, self._state.videos, now_ms)
        result = sort_refreshed(
            found.videos,
            self._state.videos,
            self._known.matcher,
            now_ms,
            keep_all=self._following.keep_all_uploads,
        )
        await self._keeper.keep("videos", events.VIDEOS, result)
        if verdict.failed:
            self._known.agenda.note_failed(verdict.lacking, now_ms)
            self._metrics.failed_refreshes.inc()
            _log.warning(
                "more than half of the videos asked for are missing: taken as a failure",
                asked=len(asked),
                present=len(present),
            )
            return
        await self._note_missing(verdict.newly_missing, now_ms)
        await self._keeper.remove(verdict.gone, "gone")
        # A purged video that is back at YouTube, but that no query asks for, stays removed.
        unwanted = present.difference(each.seen.video_id for each in result.kept).intersection(self._state.videos)
        await self._keeper.remove([*verdict.repeated, *sorted(unwanted)], "repeated", forget=True)

    async def _note_missing(self, video_ids: Sequence[str], now_ms: int) -> None:
        videos = {
            video_id: msgspec.structs.replace(self._state.videos[video_id], missing_ms=now_ms) for video_id in video_ids
        }
        if videos:
            await self._keeper.remember(videos)
