"""Settings that the service cannot work with: one sentence, before anything is served."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.settings import Settings, SettingsError, load_settings
from query_api.service import run

HIDDEN = "not-for-logs"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def _settings(**overrides: object) -> Settings:
    nowhere = {"mongodb_uri": "mongodb://127.0.0.1:1", "api_port": 0, "admin_port": 0}
    return load_settings(**{**nowhere, **overrides})


def _refusal(settings: Settings) -> str:
    with pytest.raises(SettingsError) as refused:
        run(settings)
    return str(refused.value)


def test_a_port_in_use_is_named_with_the_remedy(taken_port: int) -> None:
    assert _refusal(_settings(api_port=taken_port)) == (
        f"YOUSYNC_API_PORT: 127.0.0.1:{taken_port} is taken by another program: "
        "choose another port, or 0 for a free one"
    )
    assert _refusal(_settings(admin_port=taken_port)).startswith(f"YOUSYNC_ADMIN_PORT: 127.0.0.1:{taken_port} is taken")


def test_a_host_that_is_not_ours_is_named() -> None:
    assert _refusal(_settings(api_host="192.0.2.1")).startswith("YOUSYNC_API_HOST: cannot listen on 192.0.2.1")
    assert _refusal(_settings(admin_host="192.0.2.1")).startswith("YOUSYNC_ADMIN_HOST: cannot listen on 192.0.2.1")


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://user:{HIDDEN}@host/?tls=true&tlsCAFile=/no/such/file",
        f"mongodb://user:{HIDDEN}@host/?tls=true&tlsInsecure=true&tlsAllowInvalidCertificates=true",
    ],
)
def test_an_unusable_connection_string_is_refused_without_showing_it(uri: str) -> None:
    refusal = _refusal(_settings(mongodb_uri=uri))

    assert refusal.startswith("MONGODB_URI: the driver cannot use this connection string")
    assert HIDDEN not in refusal
