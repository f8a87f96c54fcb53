"""What a search looks at: the words of a video's title, description, tags and channel title."""

from collections.abc import Iterator

from contract.query_match import Term, has_term, words_of
from simulator.catalogue import CatalogueVideo


def words_of_video(video: CatalogueVideo) -> set[str]:
    """Every word by which a search finds the video."""
    return {word for field in _searched_fields(video) for word in words_of(field)}


def has_phrase(video: CatalogueVideo, term: Term) -> bool:
    """Whether the words stand side by side in one of the searched fields."""
    return has_term(_searched_fields(video), term)


def _searched_fields(video: CatalogueVideo) -> Iterator[str]:
    yield video.title
    yield video.description
    yield from video.tags
    yield video.channel_title
