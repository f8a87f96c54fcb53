"""How groups are shown, and what is said of one that may not be read."""

from typing import Any, Final

from aiokafka.errors import GroupAuthorizationFailedError

from yousync import consumer_groups
from yousync.consumer_groups import GroupLag, group_lines

REFUSED: Final = 30
"""Kafka's code for a group that may not be read."""


class Brokers:
    """Refuse one group when asked who coordinates it, and another when asked what it is."""

    async def find_coordinator(self, group: str) -> int:
        if group == "secret":
            raise GroupAuthorizationFailedError(group)
        return 1

    async def describe_consumer_groups(self, groups: list[str], coordinator: int) -> list[Any]:
        class Answer:
            groups: Final[list[Any]] = [(REFUSED, "hidden", "", "", "", [])]

        return [Answer()]


async def test_a_group_that_may_not_be_read_is_named_with_the_reason() -> None:
    for name in ("secret", "hidden"):
        assert "GroupAuthorizationFailedError" in str(await consumer_groups._describe(Brokers(), name))


def test_groups_are_a_table_and_what_cannot_be_read_is_below_it() -> None:
    groups = [
        GroupLag("a", "youtube.videos", 1234, 2, "Stable"),
        GroupLag("sec\x1bret", fault="not\nallowed"),
        GroupLag("newer", "youtube.videos.raw", 0, None, None),
    ]

    assert group_lines(groups) == [
        "group  topic                 lag  members  state",
        "a      youtube.videos      1,234        2  Stable",
        "newer  youtube.videos.raw      0        ?  ?",
        "sec?ret: cannot be read: not?allowed",
    ]


def test_without_groups_there_is_no_table() -> None:
    assert group_lines([]) == []
