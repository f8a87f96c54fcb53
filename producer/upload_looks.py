"""Looks at channels' uploads: what matches a followed query is published, and the channel's rate is learned."""

from typing import Final, Protocol

import msgspec

from contract import events
from ops.logging import get_logger
from producer.channel_ranking import learn, mark_missing
from producer.error_policy import BadQuery, InvalidPageToken, NotFound, YouTubeUnavailable
from producer.known import KnownChannel
from producer.planner import LookAtUploads, UploadsPage
from producer.polling import Polling
from producer.raw_item import Sightings, read_uploads
from producer.search_pass import PAGE_ITEMS
from producer.sightings import sort_uploads
from producer.youtube_client import Page, UploadsRequest

_MAX_VERSIONS: Final = 500_000

_log = get_logger(__name__)


class UploadsClient(Protocol):
    """Who reads uploads playlists; see `YouTubeClient`."""

    async def uploads(self, request: UploadsRequest) -> Page:
        """Make one call; raises `YouTubeError`."""


class UploadLooks:
    """The looks at all channels."""

    def __init__(self, client: UploadsClient, polling: Polling) -> None:
        self._client: Final = client
        self._following: Final = polling.following
        self._calls: Final = polling.calls
        self._keeper: Final = polling.keeper
        self._state: Final = polling.state
        self._known: Final = polling.known
        self._metrics: Final = polling.metrics
        self._now_ms: Final = polling.now_ms
        self._versions: Final[dict[str, str | int]] = {}

    async def look(self, decision: LookAtUploads) -> None:
        """Read a page of a channel's uploads; the next one too if nothing on it was known."""
        self._known.last_unit, self._known.uploads_page = "other", None
        channel = self._state.channels[decision.channel_id]
        request = UploadsRequest(decision.channel_id, decision.page_token)
        try:
            page = await self._calls.make("playlistItems", "units", lambda: self._client.uploads(request))
        except (NotFound, BadQuery) as error:
            _log.info("a channel has no uploads any more", channel=decision.channel_id, error=str(error))
            await self._remember_channel(decision.channel_id, mark_missing(channel, self._now_ms()))
            return
        except InvalidPageToken as error:
            _log.warning("page chain broken, left for the next look", channel=decision.channel_id, error=str(error))
            return
        except YouTubeUnavailable:
            # Other channels first: YouTube may fail for this one alone. What is durable still says when it was seen.
            looked = msgspec.structs.replace(channel, looked_ms=self._now_ms())
            self._known.ranking.note(decision.channel_id, looked)
            raise
        found = read_uploads(page.items)
        self._keeper.count_ignored(found)
        now_ms = self._now_ms()
        result = sort_uploads(
            found.videos,
            self._state.videos,
            self._versions,
            self._known.matcher,
            now_ms,
            keep_all=self._following.keep_all_uploads,
        )
        for video_id in found.private:
            self._known.agenda.queue_private(video_id, now_ms)
        self._metrics.items_fetched.labels("playlistItems", "private").inc(len(found.private))
        was_looked_at = channel.looked_ms
        if decision.page_token is None:
            channel = self._learned(channel, found, {kept.seen.video_id for kept in result.kept})
        await self._keeper.keep("playlistItems", events.PLAYLIST_ITEMS, result, {decision.channel_id: channel})
        self._known.ranking.note(decision.channel_id, channel)
        self._note_versions(found)
        # Only what is newer than the last look is new for certain; older pages of a new channel are not asked for.
        oldest_ms = min((seen.published_ms or 0 for seen in found.videos), default=0)
        if page.next_page_token and was_looked_at is not None and oldest_ms > was_looked_at and not result.unchanged:
            self._known.uploads_page = UploadsPage(decision.channel_id, page.next_page_token)

    def _learned(self, channel: KnownChannel, found: Sightings, kept: set[str]) -> KnownChannel:
        moments = [
            (seen.published_ms or 0, seen.video_id in kept or seen.video_id in self._state.videos)
            for seen in found.videos
        ]
        return learn(
            channel,
            self._now_ms(),
            [moment for moment, matching in moments if matching],
            min((moment for moment, _ in moments), default=None),
            page_is_full=len(found.videos) + len(found.private) >= PAGE_ITEMS,
        )

    async def _remember_channel(self, channel_id: str, channel: KnownChannel) -> None:
        await self._state.set_known({}, {channel_id: channel})
        self._known.ranking.note(channel_id, channel)

    def _note_versions(self, found: Sightings) -> None:
        if len(self._versions) > _MAX_VERSIONS:
            self._versions.clear()
        self._versions.update({seen.video_id: seen.version for seen in found.videos})

    def forget_versions(self) -> None:
        """The queries have changed: what matched none may match now."""
        self._versions.clear()
