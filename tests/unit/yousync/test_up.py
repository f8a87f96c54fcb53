"""The ports of the stack: what is not chosen is free, and what is taken is one sentence before anything starts."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.settings import Settings, load_settings
from yousync.local.server import LocalStackError, port_is_free
from yousync.up import _choose_ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("YOUTUBE_API_KEY", "YOUTUBE_KEY", "YOUSYNC_SIMULATOR_PORT", "YOUSYNC_API_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def _settings(**overrides: object) -> Settings:
    return load_settings(**{"api_port": 0, **overrides})


@pytest.mark.parametrize("chosen", [{}, {"simulator_port": 0}], ids=["by default", "by 0"])
def test_a_port_that_is_not_chosen_is_a_free_one(chosen: dict[str, int]) -> None:
    ports = _choose_ports(_settings(**chosen), None, None)

    every = [ports.kafka, ports.controller, ports.mongodb, ports.api, ports.simulator, *ports.admin.values()]
    assert len(set(every)) == len(every) == 9
    assert all(port > 0 and port_is_free(port) for port in every)


def test_a_taken_port_is_named_with_the_remedy(taken_port: int) -> None:
    with pytest.raises(LocalStackError, match=rf"^The simulator .* port {taken_port} .*: .* YOUSYNC_SIMULATOR_PORT$"):
        _choose_ports(_settings(simulator_port=taken_port), None, None)
    with pytest.raises(LocalStackError, match=rf"^Kafka .* port {taken_port} .* --kafka-port$"):
        _choose_ports(_settings(), taken_port, None)


def test_a_run_without_a_simulator_does_not_need_its_port(taken_port: int) -> None:
    assert _choose_ports(_settings(simulator_port=taken_port, youtube_api_key="key"), None, None).api > 0
