"""Faults that end the producer before anything starts."""

import socket

import pytest

from contract.settings import Settings, SettingsError
from producer.service import run


def settings(**fields: object) -> Settings:
    given: dict[str, object] = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", **fields}
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def test_a_missing_key_and_missing_queries_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YOUTUBE_API_KEY", "YOUTUBE_KEY", "YOUSYNC_QUERIES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError) as caught:
        run(settings())
    assert "YOUTUBE_API_KEY" in str(caught.value)
    assert "YOUSYNC_QUERIES" in str(caught.value)


def test_separators_alone_are_no_key() -> None:
    with pytest.raises(SettingsError, match="YOUTUBE_API_KEY"):
        run(settings(YOUTUBE_API_KEY=" , ;", YOUSYNC_QUERIES="tea"))


def test_a_taken_admin_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"YOUSYNC_ADMIN_PORT: 127.0.0.1:{port} is taken"):
            run(settings(YOUTUBE_API_KEY="k", YOUSYNC_QUERIES="tea", YOUSYNC_ADMIN_PORT=str(port)))
