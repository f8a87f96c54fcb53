"""The compose file, the Dockerfile, nginx's file, the settings and the command line must agree.

No engine is needed to see that. The schema is the Compose Specification's own (Apache License 2.0, beside it).
"""

import copy
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from contract.settings import Settings, environment_name, load_settings, shown_value
from yousync.cli import app
from yousync.local.kafka_jars import recorded_jars

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "topics": "yousync/topics.py",
    "producer": "producer",
    "processor": "processors",
    "api": "query_api",
    "simulator": "simulator",
}
OURS = set(PACKAGES)
FOREIGN = {
    "kafka": None,
    "mongodb": None,
    "nginx": None,
    "kafka-ui": "ui",
    "prometheus": "observability",
    "grafana": "observability",
}
"""Other people's programs, and the profile that asks for each."""

NETWORKS = {"nginx": {"edge"}, "api": {"edge", "inside"}}
"""Where they differ from the rest, which is inside: who is reached from outside reaches the API, and no store."""

PUBLISHED = {
    "nginx": "${YOUSYNC_API_HOST:-127.0.0.1}:${YOUSYNC_API_PORT:-8080}:8080",
    "kafka": "127.0.0.1:9092:9092",
    "kafka-ui": "127.0.0.1:8081:8080",
    "prometheus": "127.0.0.1:9090:9090",
    "grafana": "127.0.0.1:3000:3000",
}
"""Never an admin port of ours, and never more than this machine unless `.env` says so."""
INSIDE = {
    *("KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI", "YOUSYNC_ADMIN_HOST", "YOUSYNC_ADMIN_PORT"),
    *("YOUSYNC_API_HOST", "YOUSYNC_API_PORT", "YOUSYNC_SIMULATOR_HOST", "YOUSYNC_SIMULATOR_PORT"),
}
"""Addresses between the containers: the same whatever the user's `.env` says."""

OF_THE_IMAGE = {"YOUSYNC_HOME", "YOUSYNC_SIMULATOR_CATALOGUE"}
"""Paths: the user's mean nothing inside a container."""
VARIABLES = {environment_name(field): field for field in Settings.model_fields}
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])((?:[^${}]|\$\{[^}]*\})*))?\}")

Compose = dict[str, Any]


def read_compose() -> Compose:
    compose: Compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose


def read_dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_deployment_files_agree() -> None:
    assert deployment_faults(read_compose(), read_dockerfile()) == []


def deployment_faults(compose: Compose, dockerfile: str) -> list[str]:
    """Every disagreement, one a line."""
    services = compose["services"]
    if set(services) != OURS | FOREIGN.keys():
        return [f"services are {sorted(services)}"]
    return [
        *_schema_faults(compose),
        *_command_faults(services),
        *_missing_faults(services),
        *_restart_faults(services),
        *_variable_faults(services),
        *_address_faults(services),
        *_port_faults(services),
        *_health_faults(services),
        *_network_faults(compose),
        *_edge_faults(services),
        *_scrape_faults(services),
        *_start_faults(services),
        *_volume_faults(compose, dockerfile),
        *_user_faults(services, dockerfile),
        *_image_faults(services),
        *_dockerfile_faults(dockerfile),
    ]


def _schema_faults(compose: Compose) -> list[str]:
    schema = json.loads((ROOT / "tests/architecture/compose_spec/compose-spec.json").read_text())
    errors = jsonschema_rs.validator_for(schema).iter_errors(compose)
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


def _command_faults(services: Compose) -> list[str]:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    return [
        f"{name}: no command {services[name]['command']}"
        for name in OURS
        if services[name]["command"] != [name] or name not in known
    ]


def _missing_faults(services: Compose) -> list[str]:
    """A setting that a service reads must reach it from the user's `.env`."""
    faults = []
    for name, path in PACKAGES.items():
        given = services[name]["environment"]
        for variable in sorted(_variables_read_by(ROOT / path) - OF_THE_IMAGE):
            if variable not in given:
                faults.append(f"{name}: is not given {variable}")
            elif variable not in INSIDE and not REFERENCE.fullmatch(str(given[variable])):
                faults.append(f"{name}: {variable} cannot be set in .env")
    return faults


def _variables_read_by(path: Path) -> set[str]:
    files = [path] if path.is_file() else list(path.glob("**/*.py"))
    text = "\n".join(file.read_text() for file in files)
    read = {field for field in Settings.model_fields if re.search(rf"settings\.{field}\b", text)}
    if "require_for_polling" in text:
        read |= {"youtube_api_key", "queries"}
    return {environment_name(field) for field in read | {"log_level", "log_format"}}


def _restart_faults(services: Compose) -> list[str]:
    """Who stops to be looked at must not be started for ever; what not everybody needs is there when asked for."""
    wanted = {"topics": "on-failure", "producer": "on-failure:5", "processor": "on-failure:5"}
    faults = [
        f"{name}: restart is {service.get('restart')}"
        for name, service in services.items()
        if service.get("restart") != wanted.get(name, "unless-stopped")
    ]
    profiles = {name: service["profiles"] for name, service in services.items() if "profiles" in service}
    optional = {name: [profile] for name, profile in FOREIGN.items() if profile}
    if profiles != {"simulator": ["simulator"], **optional}:
        faults.append(f"profiles are {profiles}")
    return faults


def _variable_faults(services: Compose) -> list[str]:
    faults = []
    for name in OURS:
        for variable, value in services[name]["environment"].items():
            if variable not in VARIABLES:
                faults.append(f"{name}: {variable} is no setting")
            faults += [f"{name}: {fault}" for fault in _reference_faults(variable, str(value))]
    required = services["producer"]["environment"]
    if not {"YOUTUBE_API_KEY", "YOUSYNC_QUERIES"} <= set(required):
        faults.append("producer: no key or no queries")
    faults += [
        f"{name}: has the key" for name in OURS - {"producer"} if "YOUTUBE_API_KEY" in services[name]["environment"]
    ]
    return faults


def _reference_faults(variable: str, value: str) -> list[str]:
    """A value taken from the user's environment must be of the same name, with the settings' own default."""
    match = REFERENCE.fullmatch(value)
    if match is None:
        return []
    name, kind, default = match.groups()
    if name != variable:
        return [f"{variable} is taken from {name}"]
    wanted = shown_value(load_defaults(), VARIABLES[variable]) if variable in VARIABLES else ""
    if kind == "-" and not default.startswith("${") and default != wanted:
        return [f"{variable} has the default {default}, the settings say {wanted}"]
    return []


def load_defaults() -> Settings:
    return Settings.model_construct()


def _address_faults(services: Compose) -> list[str]:
    faults = []
    listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    inside = f"INTERNAL://{services['api']['environment']['KAFKA_BOOTSTRAP_SERVERS']}"
    if inside not in listeners:
        faults.append(f"Kafka does not advertise {inside}")
    for listener in listeners:
        name, _, address = listener.partition("://")
        port = address.rpartition(":")[2]
        if f"{name}://:{port}" not in services["kafka"]["environment"]["KAFKA_LISTENERS"].split(","):
            faults.append(f"Kafka does not listen for {listener}")
    if services["api"]["environment"]["MONGODB_URI"] != "mongodb://mongodb:27017":
        faults.append("MONGODB_URI does not name the service mongodb")
    return faults


def _port_faults(services: Compose) -> list[str]:
    published = {name: services[name]["ports"] for name in services if services[name].get("ports")}
    wanted = {name: [port] for name, port in PUBLISHED.items()}
    return [] if published == wanted else [f"published are {published}"]


def _health_faults(services: Compose) -> list[str]:
    faults = [
        f"{name}: has no health check" for name in FOREIGN if not services[name].get("healthcheck", {}).get("test")
    ]
    for name in OURS:
        admin_port = services[name]["environment"]["YOUSYNC_ADMIN_PORT"]
        health = services[name]["healthcheck"]
        if name == "topics":
            continue
        if f"127.0.0.1:{admin_port}/readyz" not in str(health.get("test")):
            faults.append(f"{name}: its health check does not ask its admin port {admin_port}")
    return faults


def _network_faults(compose: Compose) -> list[str]:
    services = compose["services"]
    faults = [
        f"{name}: is in the networks {service.get('networks')}"
        for name, service in services.items()
        if set(service.get("networks", ())) != NETWORKS.get(name, {"inside"})
    ]
    if set(compose["networks"]) != {"edge", "inside"}:
        faults.append(f"networks are {sorted(compose['networks'])}")
    return faults


def _edge_faults(services: Compose) -> list[str]:
    """What nginx.conf relies on: who it passes requests to, where it is asked after its health, where it may write."""
    faults = []
    text = (ROOT / "deploy/nginx/nginx.conf").read_text()
    nginx, api = services["nginx"], services["api"]
    if nginx["volumes"] != ["./deploy/nginx/nginx.conf:/etc/nginx/nginx.conf:ro"]:
        faults.append("nginx: does not read deploy/nginx/nginx.conf")
    if f"server api:{api['environment']['YOUSYNC_API_PORT']} resolve " not in text:
        faults.append("nginx: does not pass requests to the port that the API listens on")
    if api.get("deploy", {}).get("replicas") != 2:
        faults.append("api: does not have two replicas")
    listens = re.findall(r"^ *listen (\S+?)[ ;]", text, re.MULTILINE)
    if listens != [PUBLISHED["nginx"].rpartition(":")[2], "127.0.0.1:8081"]:
        faults.append(f"nginx: listens on {listens}")
    if "http://127.0.0.1:8081/healthz" not in nginx["healthcheck"]["test"]:
        faults.append("nginx: its health check asks elsewhere")
    places = re.findall(
        r"^ *(?:pid|\w+_temp_path|proxy_cache_path|access_log|error_log) (\S+?)[ ;]", text, re.MULTILINE
    )
    faults += [
        f"nginx: would write to {place}"
        for place in places
        if not place.startswith("/tmp/") and place not in {"/dev/stdout", "stderr", "off"}
    ]
    return faults


def _scrape_faults(services: Compose) -> list[str]:
    """Prometheus must find every service that shows figures for long enough to be asked."""
    stated = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    scraped = {
        (name, found["port"])
        for job in stated["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
    }
    wanted = {(name, services[name]["environment"]["YOUSYNC_ADMIN_PORT"]) for name in OURS - {"topics", "simulator"}}
    faults = [] if scraped == wanted else [f"Prometheus scrapes {sorted(scraped)}"]
    if not any(
        volume.startswith("./deploy/prometheus:/etc/prometheus:ro") for volume in services["prometheus"]["volumes"]
    ):
        faults.append("prometheus: does not read deploy/prometheus")
    return faults


def _start_faults(services: Compose) -> list[str]:
    wanted = {
        "topics": {"kafka": "service_healthy"},
        "producer": {"topics": "service_completed_successfully"},
        "processor": {"mongodb": "service_healthy", "topics": "service_completed_successfully"},
        "api": {"mongodb": "service_healthy", "topics": "service_completed_successfully"},
        "nginx": {"api": "service_healthy"},
        "kafka-ui": {"kafka": "service_healthy"},
        "grafana": {"prometheus": "service_healthy"},
        "prometheus": {},
        "simulator": {},
    }
    faults = []
    for name, conditions in wanted.items():
        found = {other: how["condition"] for other, how in services[name].get("depends_on", {}).items()}
        if found != conditions:
            faults.append(f"{name}: waits for {found}")
        for other, condition in found.items():
            if condition == "service_healthy" and "test" not in services[other].get("healthcheck", {}):
                faults.append(f"{name}: {other} has no health check")
    return faults


def _volume_faults(compose: Compose, dockerfile: str) -> list[str]:
    used = {
        name: [volume.split(":") for volume in service.get("volumes", [])]
        for name, service in compose["services"].items()
    }
    faults = [f"{name}: has no volume" for name in ("kafka", "mongodb", "processor", "simulator") if not used[name]]
    declared = set(compose["volumes"])
    mounted = {place[0] for places in used.values() for place in places if not place[0].startswith("./")}
    faults += [
        f"{name}: {place[0]} can be written, or is not there"
        for name, places in used.items()
        for place in places
        if place[0].startswith("./") and (place[2:] != ["ro"] or not (ROOT / place[0]).exists())
    ]
    if mounted != declared:
        faults.append(f"volumes declared are {sorted(declared)}, used {sorted(mounted)}")
    home = re.search(r"YOUSYNC_HOME=(\S+)", dockerfile)
    faults += [
        f"{name}: its volume is not at YOUSYNC_HOME, {home[1]}"
        for name in ("processor", "simulator")
        if home and any(path != home[1] for _, path in used[name])
    ]
    log_folder = compose["services"]["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    if any(path != log_folder for _, path in used["kafka"]):
        faults.append("kafka: its volume is not where it keeps its logs")
    return faults


def _user_faults(services: Compose, dockerfile: str) -> list[str]:
    faults = [
        f"{name}: does not run as a plain user"
        for name in FOREIGN
        if services[name].get("user") in {None, "root", "0", 0}
    ]
    # Kafka and MongoDB write beside their data.
    faults += [
        f"{name}: may do more than it needs"
        for name in services.keys() - {"kafka", "mongodb"}
        if not services[name].get("read_only") or services[name].get("cap_drop") != ["ALL"]
    ]
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    if not users or users[-1].split(":")[0] in {"root", "0"}:
        faults.append("the image runs as root")
    faults += [f"{name}: overrides the image's user" for name in OURS if "user" in services[name]]
    return faults


def _image_faults(services: Compose) -> list[str]:
    kafka = next(jar.coordinate for jar in recorded_jars() if jar.coordinate.startswith("org.apache.kafka:kafka_"))
    images = {"kafka": f"apache/kafka:{kafka.rpartition(':')[2]}", "mongodb": "mongo:8"}
    faults = [
        f"{name}: is {services[name]['image']}" for name, image in images.items() if services[name]["image"] != image
    ]
    faults += [
        f"{name}: {services[name]['image']} names no version"
        for name in FOREIGN
        if not re.search(r":v?\d[\w.-]*$", services[name]["image"])
    ]
    return faults


def _dockerfile_faults(dockerfile: str) -> list[str]:
    faults = []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        faults += [f"COPY {path}: no such file" for path in source.split() if not (ROOT / path).exists()]
    packages = {package.split(".")[0] for package in project["tool"]["setuptools"]["packages"]}
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    if copied != packages:
        faults.append(f"the image has the packages {sorted(copied)}, the project {sorted(packages)}")
    if (
        "--require-hashes -r requirements/${REQUIREMENTS}.txt" not in dockerfile
        or "\nARG REQUIREMENTS=runtime\n" not in dockerfile
    ):
        faults.append("requirements/runtime.txt is not installed with its hashes")
    base = re.search(r"^ARG PYTHON_IMAGE=python:3\.(\d+)-slim$", dockerfile, re.MULTILINE)
    if base is None or not 11 <= int(base[1]) <= 13:
        faults.append(f"the image's Python is {base and base[0]}")
    if set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) != {"${PYTHON_IMAGE}"}:
        faults.append("a stage has another base")
    if 'ENTRYPOINT ["yousync"]' not in dockerfile or "yousync" not in project["project"]["scripts"]:
        faults.append("the entry point is not yousync")
    for variable in re.findall(r"\b(YOUSYNC_\w+|KAFKA_\w+|MONGODB_\w+)=", dockerfile):
        if variable not in VARIABLES:
            faults.append(f"Dockerfile: {variable} is no setting")
    return faults


Change = Callable[[Compose], None]


def _at(*path: str, value: Any) -> Change:
    def change(compose: Compose) -> None:
        place = compose
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _without(*path: str) -> Change:
    def change(compose: Compose) -> None:
        place = compose
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_at("services", "api", "command", value=["serve"]), "api: no command"),
        (_at("services", "api", "environment", "YOUSYNC_API_HOSTS", value="x"), "YOUSYNC_API_HOSTS is no setting"),
        (_at("services", "api", "environment", "YOUTUBE_API_KEY", value="x"), "api: has the key"),
        (
            _at("services", "producer", "environment", "YOUSYNC_POLL_SECONDS", value="${YOUSYNC_POLL_SECONDS:-5}"),
            "default 5",
        ),
        (_at("services", "producer", "environment", "YOUSYNC_POLL_SECONDS", value="${POLL:-10.0}"), "taken from POLL"),
        (_at("services", "kafka", "environment", "KAFKA_LISTENERS", value="HOST://:9092"), "does not listen"),
        (_at("services", "api", "environment", "KAFKA_BOOTSTRAP_SERVERS", value="kafka:9"), "does not advertise"),
        (_at("services", "api", "environment", "MONGODB_URI", value="mongodb://db"), "MONGODB_URI"),
        (_at("services", "processor", "ports", value=["9090:9090"]), "published are"),
        (_at("services", "grafana", "ports", value=["3000:3000"]), "'grafana': ['3000:3000']"),
        (_at("services", "api", "environment", "YOUSYNC_API_PORT", value=8081), "to the port that the API listens on"),
        (_at("services", "api", "deploy", "replicas", value=1), "does not have two replicas"),
        (_at("services", "nginx", "networks", value=["edge", "inside"]), "nginx: is in the networks"),
        (_at("services", "nginx", "healthcheck", "test", value=["CMD", "true"]), "asks elsewhere"),
        (_at("services", "nginx", "image", value="nginx:alpine"), "names no version"),
        (_at("services", "nginx", "volumes", value=["./deploy/nginx/nginx.conf:/etc/nginx/nginx.conf"]), "be written"),
        (_at("services", "prometheus", "healthcheck", value={}), "prometheus: has no health check"),
        (_at("services", "processor", "environment", "YOUSYNC_ADMIN_PORT", value=9), "Prometheus scrapes"),
        (_at("services", "grafana", "read_only", value=False), "grafana: may do more"),
        (_at("services", "api", "depend_on", value=[]), "'depend_on' was unexpected"),
        (_at("services", "api", "environment", "YOUSYNC_ADMIN_PORT", value=9), "health check does not ask"),
        (_at("services", "producer", "depends_on", value={}), "producer: waits for"),
        (_at("services", "mongodb", "healthcheck", value={}), "mongodb has no health check"),
        (_at("services", "mongodb", "volumes", value=[]), "mongodb: has no volume"),
        (_at("services", "processor", "volumes", value=["processor-data:/data"]), "not at YOUSYNC_HOME"),
        (_at("volumes", "more", value=None), "volumes declared"),
        (_at("networks", "more", value=None), "networks are"),
        (_at("services", "mongodb", "user", value="root"), "does not run as a plain user"),
        (_at("services", "kafka", "image", value="apache/kafka:4.2.0"), "kafka: is apache/kafka:4.2.0"),
        (_at("services", "worker", value={}), "services are"),
        (_at("services", "processor", "restart", value="unless-stopped"), "processor: restart is unless-stopped"),
        (_at("services", "simulator", "profiles", value=["all"]), "profiles are"),
        (
            _without("services", "processor", "environment", "YOUSYNC_SESSION_TIMEOUT_SECONDS"),
            "processor: is not given",
        ),
        (_without("services", "producer", "environment", "YOUSYNC_QUERIES"), "producer: is not given YOUSYNC_QUERIES"),
        (
            _at("services", "processor", "environment", "YOUSYNC_MONGODB_DATABASE", value="yousync"),
            "YOUSYNC_MONGODB_DATABASE cannot be set in .env",
        ),
    ],
)
def test_a_changed_compose_file_is_noticed(change: Change, fault: str) -> None:
    compose = copy.deepcopy(read_compose())
    change(compose)

    assert any(fault in found for found in deployment_faults(compose, read_dockerfile()))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("USER 10001:10001", "USER root", "runs as root"),
        ("COPY ops ops\n", "", "the image has the packages"),
        ("requirements/tracing.txt requirements/", "requirements/other.txt requirements/", "no such file"),
        ("--require-hashes ", "", "with its hashes"),
        ("PYTHON_IMAGE=python:3.12-slim\n", "PYTHON_IMAGE=python:3.10-slim\n", "python:3.10"),
        ("FROM ${PYTHON_IMAGE}\n", "FROM python\n", "another base"),
        ('ENTRYPOINT ["yousync"]', 'ENTRYPOINT ["sh"]', "entry point"),
        ("YOUSYNC_API_HOST=", "YOUSYNC_HOST=", "YOUSYNC_HOST is no setting"),
        ("YOUSYNC_HOME=/var/lib/yousync", "YOUSYNC_HOME=/data", "not at YOUSYNC_HOME"),
    ],
)
def test_a_changed_dockerfile_is_noticed(old: str, new: str, fault: str) -> None:
    dockerfile = read_dockerfile()
    assert old in dockerfile

    assert any(fault in found for found in deployment_faults(read_compose(), dockerfile.replace(old, new)))


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_services_environment_makes_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"YOUTUBE_API_KEY": "key", "YOUSYNC_QUERIES": "tea;coffee"}
    for variable, value in read_compose()["services"][name]["environment"].items():
        monkeypatch.setenv(variable, REFERENCE.sub(lambda m: given.get(m[1], m[3] or ""), str(value)))

    settings = load_settings()

    assert settings.kafka_bootstrap_servers == "kafka:19092"
    if name == "producer":
        assert settings.queries == ("tea", "coffee")


def test_env_example_names_every_setting_with_its_default() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    defaults = load_defaults()

    assert [line for line in lines if re.match(r"#\w+=", line)] == [
        f"#{variable}={shown_value(defaults, field)}" for variable, field in VARIABLES.items()
    ]
    assert not [line for line in lines if line and not line.startswith("#")]
