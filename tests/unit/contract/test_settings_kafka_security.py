"""Settings of the brokers' security: what contradicts is refused with its remedy, and the password is shown nowhere."""

from pathlib import Path

import pytest

from contract.settings import Settings, SettingsError, environment_name, load_settings, secret_values, shown_value
from ops.kafka_connection import kafka_connection
from yousync.stack_plan import Ports, plan_stack

PASSWORD = "hidden-secret"  # noqa: S105  # of nobody
_SERVICES = ("simulator", "producer", "processor", "api")
USER = {"KAFKA_SASL_USERNAME": "alice", "KAFKA_SASL_PASSWORD": PASSWORD}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(environment_name(field), raising=False)


def load(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> Settings:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    return load_settings()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, ["KAFKA_SECURITY_PROTOCOL: "]),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, ["KAFKA_SASL_MECHANISM: "]),
        (
            USER,
            ["KAFKA_SASL_PASSWORD: has no use with", "KAFKA_SASL_USERNAME: has no use with", "set that to SASL_SSL"],
        ),
        (USER | {"KAFKA_SECURITY_PROTOCOL": "SSL"}, ["KAFKA_SASL_PASSWORD: has no use with"]),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            ["KAFKA_SASL_USERNAME: is needed with", "KAFKA_SASL_PASSWORD: is needed with"],
        ),
        ({"KAFKA_SSL_CAFILE": "ca.pem"}, ["KAFKA_SSL_CAFILE: has no use with", "set that to SSL or SASL_SSL"]),
        (
            USER | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CAFILE": "ca.pem"},
            ["KAFKA_SSL_CAFILE: has no use with KAFKA_SECURITY_PROTOCOL SASL_PLAINTEXT: set that to SASL_SSL"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": "c.pem"},
            ["KAFKA_SSL_KEYFILE: is needed with KAFKA_SSL_CERTFILE"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": "k.pem"},
            ["KAFKA_SSL_CERTFILE: is needed with KAFKA_SSL_KEYFILE"],
        ),
    ],
)
def test_what_contradicts_is_refused_with_setting_and_remedy(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, given)

    for part in told:
        assert part in str(refused.value)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"KAFKA_SSL_CAFILE": "missing.pem"}, "KAFKA_SSL_CAFILE: missing.pem cannot be read: No such file"),
        ({"KAFKA_SSL_CAFILE": "text.pem"}, "KAFKA_SSL_CAFILE: text.pem cannot be used: certificates in PEM"),
        (
            {"KAFKA_SSL_CERTFILE": "text.pem", "KAFKA_SSL_KEYFILE": "missing.pem"},
            "KAFKA_SSL_CERTFILE: text.pem and KAFKA_SSL_KEYFILE missing.pem cannot be",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str) -> None:
    Path("text.pem").write_text("no certificate")
    settings = load(monkeypatch, {"KAFKA_SECURITY_PROTOCOL": "SSL", **given})

    with pytest.raises(SettingsError) as refused:
        kafka_connection(settings)

    assert told in str(refused.value)


def test_the_password_is_a_secret_and_in_no_value_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, USER | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    connection = kafka_connection(settings)

    assert secret_values(settings) == (PASSWORD,)
    assert shown_value(settings, "kafka_sasl_password") == "***"
    assert PASSWORD not in repr(settings) + repr(connection)
    options = connection.options()
    assert (options["security_protocol"], options["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("alice", PASSWORD)
    assert options["ssl_context"].check_hostname


def test_the_stack_of_one_machine_speaks_to_its_own_brokers_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, USER | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"})
    ports = Ports(kafka=1, controller=2, mongodb=3, api=4, simulator=5, admin=dict.fromkeys(_SERVICES, 6))
    environment = plan_stack(settings, ports, ("tea",)).environments["processor"]

    beside = load(monkeypatch, environment)

    assert kafka_connection(beside).options() == {
        "bootstrap_servers": "127.0.0.1:1",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
    }
