"""What `up` is going to run, for each source."""

from pathlib import Path
from typing import Any

import pytest

from contract.settings import SettingsError, load_settings
from yousync.stack_plan import GENEROUS_CALLS, SIMULATOR_KEY, Ports, Source, StackPlan, choose_source, plan_stack

PORTS = Ports(
    kafka=1,
    controller=2,
    mongodb=3,
    api=8080,
    simulator=5,
    admin={"simulator": 6, "processor": 7, "producer": 8, "api": 9},
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("YOUTUBE_API_KEY", "YOUTUBE_KEY", "YOUSYNC_QUERIES", "YOUSYNC_OVERLAP_SECONDS", "YOUSYNC_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def plan(tmp_path: Path, **settings: Any) -> StackPlan:
    return plan_stack(load_settings(home=tmp_path, **settings), PORTS, ("python", "coffee"))


def catalogue(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "talks.jsonl"
    path.write_text(content)
    return path


def test_without_a_key_the_simulator_runs_with_generous_quotas_on_both_sides(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    producer = planned.environments["producer"]

    assert planned.source is Source.GENERATED
    assert planned.services == ("simulator", "processor", "producer", "api")
    assert planned.folder == tmp_path / "simulated"
    assert producer["YOUTUBE_API_KEY"] == SIMULATOR_KEY
    assert producer["YOUTUBE_API_ENDPOINT"] == "http://127.0.0.1:5/"
    assert producer["YOUSYNC_QUERIES"] == "python;coffee"
    assert producer["YOUSYNC_OVERLAP_SECONDS"] == "30"
    assert producer["YOUSYNC_SEARCH_CALLS_PER_DAY"] == str(GENEROUS_CALLS)
    assert planned.environments["simulator"]["YOUSYNC_SIMULATOR_SEARCH_CALLS_PER_DAY"] == str(GENEROUS_CALLS)
    assert planned.environments["simulator"]["YOUSYNC_SIMULATOR_MAX_INDEXING_DELAY_SECONDS"] == "10"
    assert "quotas are generous" in planned.headline
    assert planned.url == "http://127.0.0.1:8080/v1/videos"
    assert planned.simulator_url == "http://127.0.0.1:5"


def test_a_catalogue_has_its_own_folder_by_content_and_follows_everything(tmp_path: Path) -> None:
    first = plan(tmp_path, simulator_catalogue=catalogue(tmp_path, "one"))
    again = plan(tmp_path, simulator_catalogue=catalogue(tmp_path, "one"))
    other = plan(tmp_path, simulator_catalogue=catalogue(tmp_path, "two"))

    assert first.folder == again.folder != other.folder
    assert first.folder.name.startswith("catalogue-")
    assert first.environments["producer"]["YOUSYNC_QUERIES"] == "*"
    assert first.environments["simulator"]["YOUSYNC_SIMULATOR_CATALOGUE"] == str(tmp_path / "talks.jsonl")


def test_with_a_key_youtube_is_asked_and_nothing_is_simulated(tmp_path: Path) -> None:
    planned = plan(tmp_path, youtube_api_key="secret", queries="tea;coffee")

    assert planned.services == ("processor", "producer", "api")
    assert planned.folder == tmp_path / "youtube"
    assert planned.simulator_url is None
    assert planned.environments["producer"]["YOUSYNC_QUERIES"] == "tea;coffee"
    assert not {"YOUTUBE_API_ENDPOINT", "YOUTUBE_API_KEY", "YOUSYNC_OVERLAP_SECONDS"} & set(
        planned.environments["producer"]
    )
    assert "secret" not in str(planned)


def test_with_a_key_queries_are_required(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="YOUSYNC_QUERIES"):
        plan(tmp_path, youtube_api_key="secret")


def test_what_the_user_has_set_wins_over_the_simulators_values(tmp_path: Path) -> None:
    planned = plan(tmp_path, queries="tea", overlap_seconds=5, search_calls_per_day=7)

    assert planned.environments["producer"]["YOUSYNC_QUERIES"] == "tea"
    assert planned.environments["producer"]["YOUSYNC_OVERLAP_SECONDS"] == "5"
    assert planned.environments["producer"]["YOUSYNC_SEARCH_CALLS_PER_DAY"] == "7"
    assert "generous" not in planned.headline


def test_a_catalogue_asks_for_the_simulator_even_with_a_key(tmp_path: Path) -> None:
    settings = load_settings(youtube_api_key="secret", simulator_catalogue=tmp_path / "talks.jsonl")

    assert choose_source(settings) is Source.CATALOGUE


def test_every_service_has_its_own_admin_port_and_the_same_servers(tmp_path: Path) -> None:
    environments = plan(tmp_path).environments

    assert {name: values["YOUSYNC_ADMIN_PORT"] for name, values in environments.items()} == {
        "simulator": "6",
        "processor": "7",
        "producer": "8",
        "api": "9",
    }
    assert {values["KAFKA_BOOTSTRAP_SERVERS"] for values in environments.values()} == {"127.0.0.1:1"}
    assert {values["MONGODB_URI"] for values in environments.values()} == {"mongodb://127.0.0.1:3"}


def test_the_url_of_an_api_on_all_addresses_can_be_opened(tmp_path: Path) -> None:
    assert plan(tmp_path, api_host="0.0.0.0").url == "http://127.0.0.1:8080/v1/videos"  # noqa: S104
