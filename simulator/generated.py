"""Videos that nobody made: deterministic by seed and number, believable, and as awkward as real ones.

They come in several languages and scripts, with quotes, ampersands, emoji and empty descriptions. Each is made from
its number alone, so a simulator that goes on after a restart need not make the earlier ones again.
"""

# ruff: noqa: RUF001 (titles in other scripts look like Latin letters here and there)

import base64
import random
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from typing import Final, TypeVar

import msgspec
from faker import Faker

from contract.video import Live
from simulator.catalogue import CatalogueVideo
from simulator.publication_log import Publication

DEFAULT_QUERIES: Final = ("python", "coffee")
"""Two searches that a good part of the videos match."""

_BACKLOG_MS: Final = 5 * 86_400_000
_CHANNELS: Final = 60


class _Topic(msgspec.Struct, frozen=True):
    weight: int
    name: str
    tags: tuple[str, ...]


class _Language(msgspec.Struct, frozen=True):
    """A language: its share, Faker's locale and titles with places for the topic (`{t}`), a name and a number."""

    weight: int
    code: str
    locale: str
    titles: tuple[str, ...]


_Kind = TypeVar("_Kind", _Topic, _Language)

_TOPICS: Final = (
    _Topic(30, "Python", ("programming", "python3", "tutorial", "asyncio")),
    _Topic(30, "coffee", ("espresso", "barista", "brewing", "latte art")),
    _Topic(8, "astronomy", ("telescope", "night sky", "space")),
    _Topic(7, "bicycle repair", ("cycling", "DIY", "workshop")),
    _Topic(7, "chess", ("openings", "endgame", "blitz")),
    _Topic(6, "gardening", ("vegetables", "compost", "allotment")),
    _Topic(6, "synthesizers", ("music", "ambient", "modular")),
    _Topic(6, "sailing", ("boats", "knots", "sea")),
)

_LANGUAGES: Final = (
    _Language(
        52,
        "en",
        "en_US",
        (
            "{t} in {n} minutes",
            "What nobody tells you about {t}",
            '"Just one more cup" – {t} with {p}',
            "{t} & me: a year later",
            "{p}'s guide to {t} (part {n})",
            "I tried {t} for {n} days 😅",
            "{t} <live> Q&A with {p}",
            "Don't buy this before you've seen it | {t} review",
            "{t}: 5 mistakes & how to avoid them 🚀",
        ),
    ),
    _Language(
        12, "de", "de_DE", ("{t} für Anfänger – Teil {n}", "So geht's: {t} mit {p}", "„{t}“ – was wirklich hilft")
    ),
    _Language(9, "fr", "fr_FR", ("{t} : l'essentiel en {n} minutes", "Pourquoi j'aime {t} ❤️", "{t} avec {p} & amis")),
    _Language(9, "es", "es_ES", ("¿Qué es {t}? Te lo cuento", "{t} en español #{n}", "{p}: «{t} me cambió la vida»")),
    _Language(6, "ja", "ja_JP", ("{t}入門 第{n}回", "【初心者向け】{t}の基本", "{p}と学ぶ{t} ☕")),
    _Language(5, "ru", "ru_RU", ("{t} с нуля: урок {n}", "{p} о {t}: честный разговор")),
    _Language(4, "ar", "ar_EG", ("تعلم {t} خطوة بخطوة {n}", "{t} مع {p}")),
    _Language(3, "hi", "hi_IN", ("{t} हिन्दी में भाग {n}", "{p} के साथ {t}")),
)


class _Channel(msgspec.Struct, frozen=True):
    id: str
    title: str
    topic: _Topic
    language: _Language


def generated_videos(seed: int, known: Container[str] = ()) -> Iterator[CatalogueVideo]:
    """Videos for ever, those whose ids are known passed over."""
    for number in count():
        if _video_id(seed, number) not in known:
            yield generated_video(seed, number)


def generated_video(seed: int, number: int) -> CatalogueVideo:
    """The video of this number."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 (has to repeat)
    channel = dice.choice(_channels(seed))
    # A channel keeps to its subject, most of the time.
    topic = channel.topic if dice.random() < 0.8 else _weighted(dice, _TOPICS)
    faker = _faker(channel.language.locale)
    faker.seed_instance(dice.getrandbits(64))
    live: Live = dice.choices(("none", "live", "upcoming"), (96, 3, 1))[0]
    return CatalogueVideo(
        video_id=_video_id(seed, number),
        title=_title(dice, faker, channel, topic),
        description=_description(dice, faker, channel, topic),
        channel_id=channel.id,
        channel_title=channel.title,
        tags=(topic.name.lower(), *dice.sample(topic.tags, 2)) if dice.random() < 0.8 else (),
        duration_seconds=round(dice.lognormvariate(6.2, 1.0)) + 5,
        language=channel.language.code,
        live=live,
    )


def backlog(seed: int, size: int, now_ms: int) -> Iterable[Publication]:
    """The first `size` videos, published over the five days before now, oldest first."""
    for number in range(size):
        age_ms = _BACKLOG_MS * (size - number) // size
        yield Publication(now_ms - age_ms, generated_video(seed, number))


def _title(dice: random.Random, faker: Faker, channel: _Channel, topic: _Topic) -> str:
    title = dice.choice(channel.language.titles).format(t=topic.name, p=faker.first_name(), n=dice.randint(2, 90))
    if dice.random() < 0.3:
        title += f" | {channel.title}"
    return (title[0].upper() + title[1:])[:100]


def _description(dice: random.Random, faker: Faker, channel: _Channel, topic: _Topic) -> str:
    if dice.random() < 0.15:
        return ""
    handle = faker.user_name()
    paragraphs = [faker.paragraph(nb_sentences=dice.randint(1, 3)) for _ in range(dice.randint(1, 2))]
    links = f"☕ https://example.com/{handle}?topic={topic.tags[0].replace(' ', '-')}&ref=video"
    return "\n\n".join([*paragraphs, f'{channel.title} – "{topic.name}" & more', links])


@lru_cache(maxsize=4)
def _channels(seed: int) -> tuple[_Channel, ...]:
    return tuple(_channel(seed, number) for number in range(_CHANNELS))


def _channel(seed: int, number: int) -> _Channel:
    dice = random.Random(f"{seed}/channel/{number}")  # noqa: S311 (has to repeat)
    language = _weighted(dice, _LANGUAGES)
    topic = _weighted(dice, _TOPICS)
    faker = _faker(language.locale)
    faker.seed_instance(dice.getrandbits(64))
    title = dice.choice(("{p} & {l}", "The {l} Channel", "{p}'s Workshop", "{l} TV", '{p} "{l}"'))
    return _Channel(
        id=f"UC{_opaque(16, seed, 'channel', number)}",
        title=title.format(p=faker.first_name(), l=faker.last_name()),
        topic=topic,
        language=language,
    )


def _weighted(dice: random.Random, kinds: tuple[_Kind, ...]) -> _Kind:
    return dice.choices(kinds, [kind.weight for kind in kinds])[0]


@lru_cache(maxsize=len(_LANGUAGES))
def _faker(locale: str) -> Faker:
    return Faker(locale)


def _video_id(seed: int, number: int) -> str:
    return _opaque(8, seed, "video", number)


def _opaque(size: int, *parts: object) -> str:
    """Base64url of a hash: 8 bytes give the 11 characters of a video id, 16 the 22 of a channel's."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=size).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
