"""Waiting for what is away: it is tried again, and who waits for what is told truly."""

import asyncio

import pytest

from processors import waiting
from processors.waiting import Patience, Unavailable


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_DELAY_SECONDS", 0)


class Away:
    """A call that fails as long as it is told to."""

    def __init__(self, part: str = "MongoDB") -> None:
        self.part = part
        self.is_away = True

    async def __call__(self) -> str:
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable(self.part, "asked for")
        return "answer"


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_part_is_waited_for_until_the_last_call_is_answered() -> None:
    said: list[tuple[str, bool]] = []
    patience = Patience(lambda part, waits: said.append((part, waits)))
    one, other = Away(), Away()
    first, second = (asyncio.create_task(patience.until_available(call)) for call in (one, other))
    await turns()

    one.is_away = False
    assert await first == "answer"
    assert patience.waiting_for == {"MongoDB"}
    other.is_away = False
    assert await second == "answer"

    assert patience.waiting_for == set()
    assert said == [("MongoDB", True), ("MongoDB", False)]
    assert patience.failed_tries >= 2


async def test_what_ends_the_waiting_ends_that_it_is_told() -> None:
    patience = Patience()
    tries = 0

    async def lost() -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            raise PermissionError

    with pytest.raises(PermissionError):
        await patience.until_available(Away("Kafka"), lost)

    assert patience.waiting_for == set()


async def test_a_cancelled_call_waits_no_more() -> None:
    patience = Patience()
    call = asyncio.create_task(patience.until_available(Away()))
    await turns()
    assert patience.waiting_for == {"MongoDB"}

    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert patience.waiting_for == set()
