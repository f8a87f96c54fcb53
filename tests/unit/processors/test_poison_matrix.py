"""Each record of the poison matrix by itself: through decoding and the fold, as far as MongoDB's form of a document."""

import sys
from datetime import UTC, datetime

import bson
import pytest
from bson.codec_options import CodecOptions

from contract.topics import RAW_MAX_BYTES
from processors.decode import Refusal, decode
from processors.document import Document, Marker, SourcePosition, VideoDocument, from_stored, to_stored
from processors.fold import fold
from tests.poison import Case, batch_bytes, poison_matrix
from tests.raw_items import ITEM_MAKERS, partition_of, record

MATRIX = poison_matrix()
MONGODB_MAX_BYTES = 16 << 20
each_case = pytest.mark.parametrize("case", MATRIX, ids=[case.name for case in MATRIX])


def taken(case: Case) -> tuple[Document | None, Refusal | None]:
    """The document of the case's key in the end, and the refusal of its record."""
    document: Document | None = None
    refusal: Refusal | None = None
    for offset, one in enumerate(filter(None, [case.before, case.record])):
        assert refusal is None
        said = decode(one, partition_of)
        if isinstance(said, Refusal):
            refusal = said
            continue
        folded = fold(document, said, SourcePosition(one.topic, one.partition, offset))
        if isinstance(folded, Refusal):
            refusal = folded
        else:
            document = folded.document
    return document, refusal


@each_case
def test_it_ends_as_the_matrix_says(case: Case) -> None:
    document, refusal = taken(case)

    assert (refusal.reason if refusal else None) == case.reason
    if case.public is not None:
        assert isinstance(document, VideoDocument)
        assert document.body == case.body(case.record.timestamp_ms)
    elif case.leaves_a_marker:
        assert isinstance(document, Marker)
    else:
        assert document is None


@each_case
def test_mongodb_would_take_what_the_fold_takes(case: Case) -> None:
    document, _ = taken(case)
    if document is None:
        return
    stored = bson.encode(to_stored(document, datetime(2026, 1, 1, tzinfo=UTC)))

    assert len(stored) < MONGODB_MAX_BYTES / 3
    assert from_stored(bson.decode(stored, CodecOptions(tz_aware=True))) == document


@each_case
def test_the_callers_stack_does_not_matter(case: Case) -> None:
    """A replay decodes the same bytes elsewhere, and must refuse the same."""

    def deeper(levels: int) -> object:
        return decode(case.record, partition_of) if levels == 0 else deeper(levels - 1)

    frames = 0
    frame = sys._getframe()
    while frame.f_back:
        frame, frames = frame.f_back, frames + 1
    assert deeper(sys.getrecursionlimit() - frames - 250) == decode(case.record, partition_of)


@each_case
def test_the_topic_would_take_it(case: Case) -> None:
    assert batch_bytes(case.record) <= RAW_MAX_BYTES


def test_a_video_cannot_grow_to_what_mongodb_refuses_record_by_record() -> None:
    """Queries and thumbnails add up over records; short ones take the most room beside the `Video` bytes."""
    document: Document | None = None
    reasons = []
    for offset in range(12):
        names = [f"{offset:02d}{number:05d}" for number in range(8_000)]
        source = sorted(ITEM_MAKERS)[offset % len(ITEM_MAKERS)]
        item = ITEM_MAKERS[source](1, title=f"Version {offset}")
        item["snippet"]["thumbnails"] = {name: {"url": ""} for name in names}
        said = decode(record(1, offset, item, source=source, queries=tuple(names)), partition_of)
        assert not isinstance(said, Refusal)
        folded = fold(document, said, SourcePosition("raw", 0, offset))
        reasons.append(folded.reason if isinstance(folded, Refusal) else None)
        document = document if isinstance(folded, Refusal) else folded.document

    assert document
    assert reasons == [None] * 4 + ["too_large"] * 8
    assert len(bson.encode(to_stored(document, datetime(2026, 1, 1, tzinfo=UTC)))) < MONGODB_MAX_BYTES / 3
