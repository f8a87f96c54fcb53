"""Settings: read from the environment, refused all at once, shown without secrets."""

from pathlib import Path

import pytest
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from contract.settings import (
    Settings,
    SettingsError,
    environment_name,
    load_settings,
    normal_query,
    require_for_polling,
    secret_values,
    shown_value,
    youtube_keys,
)

KEY = "AIza" + "x" * 35


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in Settings.model_fields:
        monkeypatch.delenv(environment_name(field), raising=False)
    monkeypatch.delenv("YOUTUBE_KEY", raising=False)


def test_without_any_setting_all_have_their_defaults() -> None:
    settings = load_settings()

    assert settings.youtube_api_key is None
    assert (settings.poll_seconds, settings.overlap_seconds) == (10, 21_600)
    assert (settings.search_calls_per_day, settings.units_per_day) == (100, 10_000)
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8080)


def test_the_environment_goes_before_the_file_and_arguments_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("YOUSYNC_API_PORT=1\nYOUSYNC_ADMIN_PORT=2\nYOUSYNC_SIMULATOR_PORT=3\n")
    monkeypatch.setenv("YOUSYNC_ADMIN_PORT", "20")
    monkeypatch.setenv("YOUSYNC_SIMULATOR_PORT", "30")

    settings = load_settings(simulator_port=300)

    assert (settings.api_port, settings.admin_port, settings.simulator_port) == (1, 20, 300)


def test_every_fault_is_in_one_message_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOUSYNC_API_PORT", "70000")
    monkeypatch.setenv("YOUSYNC_POLL_SECONDS", "soon")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "nowhere")
    monkeypatch.setenv("YOUSYNC_LOG_LEVEL", "loud")
    monkeypatch.setenv("YOUSYNC_QUERIES", "t" * 201)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    lines = str(refused.value).splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [
        "KAFKA_BOOTSTRAP_SERVERS",
        "YOUSYNC_API_PORT",
        "YOUSYNC_LOG_LEVEL",
        "YOUSYNC_POLL_SECONDS",
        "YOUSYNC_QUERIES",
    ]
    assert "65535 (it is '70000')" in str(refused.value)


def test_a_wrong_connection_string_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "http://user:hidden@host")

    with pytest.raises(SettingsError, match=r"MONGODB_URI: .*mongodb://") as refused:
        load_settings()

    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["YOUTUBE_API_KEY", "YOUTUBE_KEY"])
def test_the_key_has_two_names_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, KEY)

    settings = load_settings()

    assert settings.youtube_api_key is not None
    assert settings.youtube_api_key.get_secret_value() == KEY
    assert shown_value(settings, "youtube_api_key") == "***"
    assert KEY not in repr(settings)


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOUTUBE_API_KEY", "")
    monkeypatch.setenv("YOUSYNC_API_PORT", "")

    assert load_settings() == load_settings(api_port=8080)


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("tea", ("tea",)),
        ("tea;coffee", ("tea", "coffee")),
        (" tea  time \n\ncoffee;;tea time; ", ("tea time", "coffee")),
        ("*", ("*",)),
        (" ; \n", ()),
    ],
)
def test_queries_are_separated_by_newline_or_semicolon(text: str, queries: tuple[str, ...]) -> None:
    assert load_settings(queries=text).queries == queries


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "words"), (" \t ", "words"), ("a;b", "more than one"), ("a\nb", "more than one"), ("t" * 201, "longer")],
)
def test_one_query_is_not_none_not_two_and_not_endless(text: str, fault: str) -> None:
    assert normal_query(" green\t tea \n") == "green tea"
    assert normal_query("t" * 200) == "t" * 200

    with pytest.raises(ValueError, match=fault):
        normal_query(text)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://127.0.0.1:27017", "mongodb://127.0.0.1:27017"),
        ("mongodb://user:hidden@a:1,b:2/x?tls=true", "mongodb://***@a:1,b:2/x?tls=true"),
        ("mongodb://user:hidden@a/?appName=me@home", "mongodb://***@a/?appName=me@home"),
        ("mongodb://user:hidden@a?appName=me@home", "mongodb://***@a?appName=me@home"),
        (
            "mongodb://a/?authMechanismProperties=AWS_SESSION_TOKEN:hidden",
            "mongodb://a/?authMechanismProperties=***",
        ),
        (
            "mongodb://a/?tlsCertificateKeyFilePassword=hidden&tls=true",
            "mongodb://a/?tlsCertificateKeyFilePassword=***&tls=true",
        ),
    ],
)
def test_connection_strings_are_shown_without_their_passwords(uri: str, shown: str) -> None:
    assert shown_value(load_settings(mongodb_uri=uri), "mongodb_uri") == shown


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://",
        "mongodb://[x",
        "mongodb://::1",
        "mongodb://a,",
        "mongodb://a:port",
        "mongodb://a:0",
        "mongodb://a:65536",
        "mongodb://:hidden@a",
        "mongodb://u:hid@den@a",
        "mongodb://u:hid/den@a",
        "mongodb://u:hid%zzden@a",
        "mongodb://a/?replicaset",
        "mongodb://a/?tls=true&",
        "mongodb://a/?a=b=c",
        "mongodb://a/$x",
    ],
)
def test_what_no_driver_can_parse_is_refused_without_showing_it(uri: str) -> None:
    with pytest.raises((PyMongoError, ValueError)):
        parse_uri(uri)

    with pytest.raises(SettingsError, match="MONGODB_URI: not a MongoDB connection string") as refused:
        load_settings(mongodb_uri=uri)

    assert "hid" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "secrets"),
    [
        ("mongodb://a", ()),
        ("mongodb://[::1]:27017,b:65535/db.collection", ()),
        ("mongodb://%2Ftmp%2Fmongodb-27017.sock/?", ()),
        ("mongodb://u@a?tls=true;appName=x", ()),
        ("mongodb://u:@a", ()),
        ("mongodb://u:#[x]@a,b/?tls=true&appName=x@y", ("#[x]", "#[x]")),
        ("mongodb://u:p%40ss@a", ("p%40ss", "p@ss")),
    ],
)
def test_what_a_driver_takes_is_taken_and_its_password_known(uri: str, secrets: tuple[str, ...]) -> None:
    parse_uri(uri)

    assert secret_values(load_settings(mongodb_uri=uri)) == secrets


def test_the_key_is_a_secret() -> None:
    assert secret_values(load_settings(youtube_api_key=KEY)) == (KEY,)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("a", ("a",)),
        ("a,b", ("a", "b")),
        (" b , a;b\nc\n,", ("b", "a", "c")),
    ],
)
def test_several_keys_of_one_project_are_taken_in_the_order_given(given: str, keys: tuple[str, ...]) -> None:
    settings = load_settings(youtube_api_key=given)
    assert youtube_keys(settings) == keys
    assert secret_values(settings) == keys, "each of them is a secret"
    assert shown_value(settings, "youtube_api_key") == "***"


@pytest.mark.parametrize("given", [",", " ;\n"])
def test_separators_alone_are_no_key(given: str) -> None:
    settings = load_settings(youtube_api_key=given, queries="tea")
    assert youtube_keys(settings) == ()
    with pytest.raises(SettingsError, match="YOUTUBE_API_KEY"):
        require_for_polling(settings)


@pytest.mark.parametrize("wrong", ["hidden key", "hidden\tkey", "hiddené", "good,hidden\x00"])
def test_what_can_be_no_key_is_refused_without_showing_it(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"YOUTUBE_API_KEY: key [12]") as refused:
        load_settings(youtube_api_key=wrong)
    assert "hidden" not in str(refused.value)


def test_a_query_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of the environment that are not UTF-8 become lone surrogates, which no topic can hold."""
    monkeypatch.setenv("YOUSYNC_QUERIES", "tea;t\udcff")
    with pytest.raises(SettingsError, match=r"YOUSYNC_QUERIES: .*not text in UTF-8"):
        load_settings()


def test_a_sweep_reaches_back_over_a_day_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().sweep_seconds == 30 * 3_600
    monkeypatch.setenv("YOUSYNC_SWEEP_SECONDS", "0")
    assert load_settings().sweep_seconds == 0
    for wrong in ("-1", "2592001", "soon"):
        monkeypatch.setenv("YOUSYNC_SWEEP_SECONDS", wrong)
        with pytest.raises(SettingsError, match="YOUSYNC_SWEEP_SECONDS"):
            load_settings()


def test_only_matching_uploads_are_kept_unless_all_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().keep_all_uploads
    monkeypatch.setenv("YOUSYNC_KEEP_ALL_UPLOADS", "true")
    assert load_settings().keep_all_uploads
    monkeypatch.setenv("YOUSYNC_KEEP_ALL_UPLOADS", "perhaps")
    with pytest.raises(SettingsError, match="YOUSYNC_KEEP_ALL_UPLOADS"):
        load_settings()


def test_polling_needs_a_key_and_queries_and_says_so_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        require_for_polling(load_settings())

    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == ["YOUTUBE_API_KEY", "YOUSYNC_QUERIES"]
    assert require_for_polling(load_settings(youtube_api_key=KEY, queries="tea")) == ("tea",)


def test_every_setting_is_described_and_says_its_unit() -> None:
    for field, info in Settings.model_fields.items():
        assert info.description, field
        if info.annotation in (float, int):
            assert environment_name(field).rsplit("_", maxsplit=1)[-1] in {
                *("SECONDS", "DAY", "PARTITIONS", "REPLICATION", "SHARE", "CONSECUTIVE", "PORT"),
                *("RATE", "BACKLOG", "SEED", "PROCESSES", "CONNECTIONS"),
            }, field
