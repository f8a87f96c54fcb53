"""What a batch of records comes to: duplicates dropped, then one outcome per key. Rules only."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contract import events
from contract.events import VideoEnvelope
from processors.decode import Gone, Item, Record, Refusal
from processors.dedup import KnownVideo, is_duplicate, known_video
from processors.document import Document, Marker, OwedEvent, SourcePosition, VideoDocument
from processors.fold import fold


class Taken(msgspec.Struct, frozen=True):
    """A record that was decoded, and what it says."""

    record: Record
    said: Item | Gone


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the batch makes of one key.

    `write`: the document must be written. `event`: what is owed to `youtube.videos`, None for nothing.
    `already_applied`: some record stood at or below the document's position, so another run was here before.
    `absent`: nothing was stored of the key, neither document nor marker.
    """

    video_id: str
    document: Document | None
    write: bool
    event: OwedEvent | None
    already_applied: bool
    taken: Sequence[Taken]
    refused: Sequence[tuple[Record, Refusal]]
    absent: bool = False


def without_duplicates(
    taken: Iterable[Taken], known: Mapping[str, KnownVideo], generation: str
) -> dict[str, list[Taken]]:
    """Records by key, in offset order, less those of which the table says that they change nothing.

    After a record of a key that is no duplicate the table's word on that key is out of date.
    """
    by_key: dict[str, list[Taken]] = {}
    for one in taken:
        video_id = one.said.video_id
        if (
            isinstance(one.said, Item)
            and video_id not in by_key
            and is_duplicate(known.get(video_id), one.said, generation)
        ):
            continue
        by_key.setdefault(video_id, []).append(one)
    return by_key


def fold_batch(by_key: Mapping[str, Sequence[Taken]], documents: Mapping[str, Document]) -> list[Outcome]:
    """One outcome per key; `documents` are those that MongoDB has of these keys."""
    return [_fold_key(video_id, taken, documents.get(video_id)) for video_id, taken in by_key.items()]


def _fold_key(video_id: str, taken: Sequence[Taken], document: Document | None) -> Outcome:
    write = already_applied = False
    absent = document is None
    event: OwedEvent | None = None
    refused = []
    for one in taken:
        record = one.record
        if document is not None and record.offset <= document.source.offset:
            already_applied = True
            event = _later(event, document.event)
            continue
        folded = fold(document, one.said, SourcePosition(record.topic, record.partition, record.offset))
        if isinstance(folded, Refusal):
            refused.append((record, folded))
            continue
        document, write = folded.document, write or folded.changed
        event = _later(event, folded.event)
    return Outcome(
        video_id=video_id,
        document=document,
        write=write,
        event=event,
        already_applied=already_applied and not write,
        taken=taken,
        refused=refused,
        absent=absent,
    )


def _later(one: OwedEvent | None, other: OwedEvent | None) -> OwedEvent | None:
    """Of two events of a key the one with the higher sequence, as every consumer will see it."""
    if one is None or other is None:
        return one or other
    return other if other.offset >= one.offset else one


def overtaken(outcome: Outcome, document: Document) -> Outcome:
    """The outcome of a key whose write found this or a newer write in place: its owed event, and no table entry."""
    return msgspec.structs.replace(
        outcome, document=document, write=False, event=_later(outcome.event, document.event), already_applied=True
    )


def video_event(outcome: Outcome, partition: int) -> tuple[VideoEnvelope, bytes | None] | None:
    """The event that the outcome owes, with its value: the `Video` bytes, or None for a removal."""
    event, document = outcome.event, outcome.document
    if event is None:
        return None
    living = document if isinstance(document, VideoDocument) else None
    cause = next((one.record for one in outcome.taken if one.record.offset == event.offset), None)
    envelope = VideoEnvelope(
        type=event.type if living else events.VIDEO_REMOVED,
        partition=partition,
        sequence=event.offset,
        subject=outcome.video_id,
        sort_key=living.sort_key if living else event.previous_sort_key,
        previous_sort_key=event.previous_sort_key if living else None,
        traceparent=None if cause is None else events.read_traceparent(cause.headers),
    )
    return envelope, living.body if living else None


def table_entry(outcome: Outcome, generation: str) -> KnownVideo | None:
    """What the table is to hold of the key afterwards; None deletes it, so that the next record asks the document."""
    document = outcome.document
    if outcome.already_applied or document is None or isinstance(document, Marker):
        return None
    return known_video(document, generation)
