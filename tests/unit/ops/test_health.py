"""Checks, and what they say."""

from ops.health import Health


async def _well() -> str | None:
    return None


async def _ill() -> str | None:
    return "the part is away"


async def test_without_checks_all_is_well() -> None:
    assert await Health().liveness_faults() == {}
    assert await Health().readiness_faults() == {}


async def test_only_failing_checks_are_named_each_on_its_side() -> None:
    health = Health()
    health.add_readiness("mongodb", _ill)
    health.add_readiness("kafka", _well)
    health.add_liveness("loop", _well)

    assert await health.readiness_faults() == {"mongodb": "the part is away"}
    assert await health.liveness_faults() == {}
    health.add_liveness("agent", _ill)
    assert await health.liveness_faults() == {"agent": "the part is away"}
