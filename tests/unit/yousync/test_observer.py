"""What the store's own documents ask for, and a connection string that cannot be used."""

import pytest

from contract.read_model import PROJECTION_VERSION
from contract.settings import SettingsError
from yousync.observer import _mongo_client, replay_notices


@pytest.mark.parametrize(
    "options", ["tls=true&tlsCAFile=/no/such/file", "tlsInsecure=true&tlsAllowInvalidHostnames=true"]
)
def test_a_connection_string_that_the_driver_refuses_is_one_sentence(options: str) -> None:
    with pytest.raises(SettingsError, match=r"^MONGODB_URI: ") as refused:
        _mongo_client(f"mongodb://user:hidden@127.0.0.1:1/?{options}")

    assert "hidden" not in str(refused.value)


def test_an_older_projection_is_told_with_the_command_to_run() -> None:
    generations = {"versions": {"live": PROJECTION_VERSION - 1, "old": PROJECTION_VERSION}}

    (notice,) = replay_notices(generations, None, "live")

    assert f"version {PROJECTION_VERSION - 1}" in notice
    assert "yousync replay --execute" in notice
    assert replay_notices(generations, None, "old") == []
    assert replay_notices(None, None, None) == []


def test_a_replay_that_has_not_ended_is_told() -> None:
    run = {"phase": "loading", "started_at": "2026-01-15T10:00:00+00:00"}

    (notice,) = replay_notices(None, run, "live")

    assert "2026-01-15T10:00:00+00:00 has not ended (loading)" in notice
    assert replay_notices(None, {**run, "phase": "done"}, "live") == []
