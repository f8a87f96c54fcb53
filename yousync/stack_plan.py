"""What `yousync up` is going to run: which source, which folder, which settings for each service."""

import hashlib
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from contract.settings import ALL_VIDEOS, Settings, environment_name, require_for_polling

SIMULATOR_KEY: Final = "simulated-key"
"""Stands where the API key would; the simulator takes any."""

GENEROUS_CALLS: Final = 10_000_000
"""Calls (and units) a day on both sides when the simulator answers: a demonstration should never run out."""

_SIMULATED: Final[dict[str, object]] = {
    "overlap_seconds": 30,
    "backfill_seconds": 2_592_000,
    "search_calls_per_day": GENEROUS_CALLS,
    "units_per_day": 500_000,  # five a second: enough for every video, and the machine is not busy with looks
    "simulator_search_calls_per_day": GENEROUS_CALLS,
    "simulator_units_per_day": GENEROUS_CALLS,
    "simulator_indexing_delay_seconds": 2,
    "simulator_max_indexing_delay_seconds": 10,
}
"""Settings of a simulated run, where the user has not set them."""


_SERVICES: Final = ("processor", "producer", "api")


class Source(Enum):
    """Where the videos come from."""

    GENERATED = "generated"
    CATALOGUE = "catalogue"
    YOUTUBE = "youtube"


class Ports(msgspec.Struct, frozen=True):
    """Ports of 127.0.0.1 for everything but the API, which has its own setting."""

    kafka: int
    controller: int
    mongodb: int
    api: int
    simulator: int
    admin: dict[str, int]


class StackPlan(msgspec.Struct, frozen=True):
    """What to start, decided before anything is."""

    source: Source
    headline: str
    services: tuple[str, ...]
    folder: Path
    logs: Path
    ports: Ports
    environments: dict[str, dict[str, str]]
    shared: dict[str, str]

    @property
    def url(self) -> str:
        host = self.shared["api_host"]
        return f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{self.ports.api}/v1/videos"  # noqa: S104

    @property
    def simulator_url(self) -> str | None:
        return None if self.source is Source.YOUTUBE else f"http://127.0.0.1:{self.ports.simulator}"


def choose_source(settings: Settings) -> Source:
    """A catalogue asks for the simulator; otherwise a key means YouTube, and no key generated videos."""
    if settings.simulator_catalogue is not None:
        return Source.CATALOGUE
    return Source.GENERATED if settings.youtube_api_key is None else Source.YOUTUBE


def data_folder(home: Path, source: Source, catalogue: Path | None) -> Path:
    """A folder for each kind of run, so that simulated videos never mix with real ones."""
    if source is Source.YOUTUBE:
        return home / "youtube"
    if catalogue is None:
        return home / "simulated"
    with catalogue.open("rb") as file:
        return home / f"catalogue-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def plan_stack(settings: Settings, ports: Ports, generated_queries: tuple[str, ...]) -> StackPlan:
    """The plan for these settings.

    Raises:
        SettingsError: a real run lacks its queries.
    """
    source = choose_source(settings)
    catalogue = settings.simulator_catalogue.resolve() if settings.simulator_catalogue else None
    home = settings.home.resolve()
    folder = data_folder(home, source, catalogue)
    shared = _shared_settings(settings, source, ports, generated_queries) | {"home": str(folder)}
    if catalogue:
        shared["simulator_catalogue"] = str(catalogue)
    services = _SERVICES if source is Source.YOUTUBE else ("simulator", *_SERVICES)
    return StackPlan(
        source=source,
        headline=_headline(settings, source, shared),
        services=services,
        folder=folder,
        logs=home / "logs",
        ports=ports,
        environments={
            name: _as_environment({**shared, "admin_host": "127.0.0.1", "admin_port": str(ports.admin[name])})
            for name in services
        },
        shared=shared,
    )


def _shared_settings(
    settings: Settings, source: Source, ports: Ports, generated_queries: tuple[str, ...]
) -> dict[str, str]:
    """Settings by field that every service of the stack gets."""
    shared: dict[str, object] = {
        "kafka_bootstrap_servers": f"127.0.0.1:{ports.kafka}",
        "kafka_security_protocol": "PLAINTEXT",
        "mongodb_uri": f"mongodb://127.0.0.1:{ports.mongodb}",
        "mongodb_database": settings.mongodb_database,
        "topic_partitions": settings.topic_partitions,
        "topic_replication": 1,
        "api_host": settings.api_host,
        "api_port": ports.api,
        "search_calls_per_day": settings.search_calls_per_day,
        "units_per_day": settings.units_per_day,
    }
    if source is Source.YOUTUBE:
        return _as_text({**shared, "queries": require_for_polling(settings)})
    shared |= {
        field: getattr(settings, field) if field in settings.model_fields_set else value
        for field, value in _SIMULATED.items()
    }
    shared |= {
        "youtube_api_key": SIMULATOR_KEY,
        "youtube_api_endpoint": f"http://127.0.0.1:{ports.simulator}/",
        "simulator_host": "127.0.0.1",
        "simulator_port": ports.simulator,
        "simulator_rate": settings.simulator_rate,
        "queries": settings.queries or ((ALL_VIDEOS,) if source is Source.CATALOGUE else generated_queries),
    }
    return _as_text(shared)


def _as_text(settings: dict[str, object]) -> dict[str, str]:
    return {
        field: ";".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for field, value in settings.items()
    }


def _as_environment(settings: dict[str, str]) -> dict[str, str]:
    return {environment_name(field): value for field, value in settings.items()}


def _headline(settings: Settings, source: Source, shared: dict[str, str]) -> str:
    """One sentence: where the videos come from, and what that means for quotas."""
    following = f"following {shared['queries'].replace(';', ', ')}"
    if source is Source.YOUTUBE:
        return f"YouTube Data API, {following}"
    videos = (
        f"the videos of {settings.simulator_catalogue}"
        if source is Source.CATALOGUE
        else "generated videos (no API key)"
    )
    calls = int(shared["search_calls_per_day"])
    generous = f"; quotas are generous ({calls:,} searches a day)" if calls >= GENEROUS_CALLS else ""
    return f"Simulated YouTube, {videos}, {settings.simulator_rate:g} a second, {following}{generous}"
