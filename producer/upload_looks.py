"""Looks at channels' uploads: what matches a followed query is published, and the channel's rate is learned."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from contract import events
from ops.logging import get_logger
from producer.channel_ranking import learn, mark_missing
from producer.error_policy import BadQuery, InvalidPageToken, NotFound, YouTubeUnavailable
from producer.known import KnownChannel
from producer.planner import LookAtUploads, UploadsPage
from producer.polling import Polling, PollingStep
from producer.raw_item import read_uploads
from producer.search_pass import PAGE_ITEMS
from producer.sightings import sort_uploads
from producer.youtube_client import Page, UploadsRequest

_MAX_VERSIONS: Final = 500_000

_log = get_logger(__name__)


class UploadsClient(Protocol):
    """Who reads uploads playlists; see `YouTubeClient`."""

    async def uploads(self, request: UploadsRequest) -> Page:
        """Make one call; raises `YouTubeError`."""


class UploadLooks(PollingStep):
    """The looks at all channels."""

    def __init__(self, client: UploadsClient, polling: Polling) -> None:
        super().__init__(polling)
        self._client: Final = client
        self._versions: Final[dict[str, _Upload]] = {}

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
        changed, unchanged = self._parted(page.items)
        found = read_uploads(changed)
        self._keeper.count_ignored(found)
        now_ms = self._now_ms()
        result = sort_uploads(
            found.videos,
            self._state.videos,
            self._known.matcher,
            now_ms,
            keep_all=self._following.keep_all_uploads,
        )
        for video_id in found.private:
            self._known.agenda.queue_private(video_id, now_ms)
        self._metrics.items_fetched.labels("playlistItems", "private").inc(len(found.private))
        self._metrics.items_fetched.labels("playlistItems", "duplicate").inc(len(unchanged))
        kept = {each.seen.video_id for each in result.kept}
        seen = [_Upload(it.video_id, it.version, it.published_ms or 0, it.video_id in kept) for it in found.videos]
        uploads = [*unchanged, *seen]
        was_looked_at = channel.looked_ms
        if decision.page_token is None:
            is_full = len(uploads) + len(found.private) >= PAGE_ITEMS
            channel = self._learned(channel, uploads, page_is_full=is_full)
        await self._keeper.keep("playlistItems", events.PLAYLIST_ITEMS, result, {decision.channel_id: channel})
        self._note_versions(uploads)
        # Only what is newer than the last look is new for certain; older pages of a new channel are not asked for.
        oldest_ms = min((upload.published_ms for upload in uploads), default=0)
        if page.next_page_token and was_looked_at is not None and oldest_ms > was_looked_at and not unchanged:
            self._known.uploads_page = UploadsPage(decision.channel_id, page.next_page_token)

    def _parted(self, items: Sequence[Any]) -> tuple[list[Any], list["_Upload"]]:
        """Items to read, and uploads that were seen in this very version: nearly all, so they are not read again."""
        changed: list[Any] = []
        unchanged: list[_Upload] = []
        for item in items:
            seen = self._seen_before(item)
            if seen is None:
                changed.append(item)
            else:
                unchanged.append(seen)
        return changed, unchanged

    def _seen_before(self, item: Any) -> "_Upload | None":
        """The upload as it was seen last, if nothing has changed: neither its item nor what is known of the video."""
        try:
            seen = self._versions.get(item["contentDetails"]["videoId"])
            if seen is None or seen.version != item["etag"]:
                return None
        except (KeyError, TypeError):  # an odd item: the reader tells
            return None
        video = self._state.videos.get(seen.video_id)
        is_as_it_was = not seen.is_kept if video is None else video.gone_ms is None
        return seen if is_as_it_was else None

    def _learned(self, channel: KnownChannel, uploads: Sequence["_Upload"], *, page_is_full: bool) -> KnownChannel:
        matching = [upload.published_ms for upload in uploads if upload.is_kept]
        oldest_ms = min((upload.published_ms for upload in uploads), default=None)
        return learn(channel, self._now_ms(), matching, oldest_ms, page_is_full=page_is_full)

    async def _remember_channel(self, channel_id: str, channel: KnownChannel) -> None:
        await self._state.set_known({}, {channel_id: channel})
        self._known.ranking.note(channel_id, channel)

    def _note_versions(self, uploads: Sequence["_Upload"]) -> None:
        if len(self._versions) > _MAX_VERSIONS:
            self._versions.clear()
        self._versions.update({upload.video_id: upload for upload in uploads})

    def forget_versions(self) -> None:
        """The queries have changed: what matched none may match now."""
        self._versions.clear()


class _Upload(NamedTuple):
    """An upload as it was seen last: `version` changes when its item does, `is_kept` if a query is known to match."""

    video_id: str
    version: str | int
    published_ms: int
    is_kept: bool
