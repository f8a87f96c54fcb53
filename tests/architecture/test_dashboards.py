"""Grafana's dashboards ask for metrics that the services show, of the source that is provisioned, in valid PromQL."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.shown_metrics import METRIC, promtool, shown_series

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy/grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
UNITS = {"short", "s", "d", "bytes", "reqps", "cps", "percentunit"}
"""Of Grafana's names those that are used: a misspelt one would be shown as a suffix."""

LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
Json = dict[str, Any]


def read(dashboard: Path) -> Json:
    content: Json = json.loads(dashboard.read_text())
    return content


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of every panel, and where it is."""
    for dashboard in DASHBOARDS:
        for panel in read(dashboard)["panels"]:
            for target in panel["targets"]:
                yield f"{dashboard.stem}: {panel['title']}", target["expr"]


def provisioned(name: str) -> Json:
    content: Json = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    return content


def test_there_is_a_dashboard_for_the_pipeline_and_one_for_the_api() -> None:
    assert [dashboard.name for dashboard in DASHBOARDS] == ["api.json", "pipeline.json"]
    assert len({read(dashboard)["uid"] for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({read(dashboard)["title"] for dashboard in DASHBOARDS}) == len(DASHBOARDS)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.stem)
def test_every_panel_says_what_it_shows(dashboard: Path) -> None:
    panels = read(dashboard)["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["type"] in {"stat", "timeseries"}
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["title"], panel["type"]) for panel in panels}) == len(panels)


def test_panels_ask_for_what_is_shown() -> None:
    series = shown_series()
    for place, expression in expressions():
        asked = set(METRIC.findall(expression))
        assert asked or "ALERTS" in expression, place
        assert asked <= series.keys(), place


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.stem)
def test_legends_name_labels_that_are_there(dashboard: Path) -> None:
    series = shown_series()
    for panel in read(dashboard)["panels"]:
        for target in panel["targets"]:
            labels = {"instance"}.union(*(series[name] for name in METRIC.findall(target["expr"])))
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert set(LEGEND.findall(target["legendFormat"])) <= labels, panel["title"]
            assert {label for group in grouped for label in group.split(", ")} <= labels | {"le"}, panel["title"]
            if grouped and "le" not in grouped[0]:
                assert set(LEGEND.findall(target["legendFormat"])) == set(grouped[0].split(", ")), panel["title"]


def test_what_alerts_ask_for_is_on_a_dashboard() -> None:
    drawn = {name for _, expression in expressions() for name in METRIC.findall(expression)}
    alerted = {
        name
        for rules in (ROOT / "deploy/prometheus").glob("*-alerts.yml")
        for group in yaml.safe_load(rules.read_text())["groups"]
        for alert in group["rules"]
        for name in METRIC.findall(alert["expr"])
    }

    assert alerted - drawn <= {"yousync_lost_seconds_total"}


def test_the_source_and_the_folder_are_those_that_are_provisioned() -> None:
    [source] = provisioned("datasources/prometheus.yml")["datasources"]
    [provider] = provisioned("dashboards/yousync.yml")["providers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    def sources(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if "datasource" in part:
                yield part["datasource"]["uid"]
            for inner in part.values():
                yield from sources(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from sources(inner)

    assert {uid for dashboard in DASHBOARDS for uid in sources(read(dashboard))} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/pipeline.json"


def test_the_expressions_are_valid(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m"), "labels": {"at": place}}
        for number, (place, expression) in enumerate(expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    checked = promtool("check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
