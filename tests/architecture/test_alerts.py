"""Alert rules and the guides name metrics that the services really show, and one another."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ops.metrics import ApiMetrics, ProcessorMetrics, ProducerMetrics

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "deploy/prometheus").glob("*-alerts.yml"))
GUIDES = sorted((ROOT / "docs/operations").glob("*.md"))
METRIC = re.compile(r"\byousync_\w+")
LABEL = re.compile(r"\$labels\.(\w+)")
SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def shown_series() -> dict[str, set[str]]:
    """Every series by name, with its labels."""
    series = {}
    for metrics in (ProducerMetrics, ProcessorMetrics, ApiMetrics):
        for declared in vars(metrics(CollectorRegistry())).values():
            [family] = declared.describe()
            for suffix in SERIES[family.type]:
                series[family.name + suffix] = set(declared._labelnames)
    return series


def alerts(rules: Path) -> list[dict[str, Any]]:
    return [alert for group in yaml.safe_load(rules.read_text())["groups"] for alert in group["rules"]]


def test_there_are_rules_for_every_service() -> None:
    assert [rules.name for rules in RULES] == ["api-alerts.yml", "processor-alerts.yml", "producer-alerts.yml"]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: rules.stem)
def test_alerts_ask_for_metrics_that_exist_and_say_what_is_wrong(rules: Path) -> None:
    series = shown_series()
    for alert in alerts(rules):
        asked = set(METRIC.findall(alert["expr"]))
        assert asked, alert["alert"]
        assert asked <= series.keys(), alert["alert"]
        assert alert["labels"]["severity"] in {"critical", "warning"}
        text = " ".join(alert["annotations"].values())
        assert set(LABEL.findall(text)) <= {"instance"}.union(*(series[one] for one in asked)), alert["alert"]
        assert set(METRIC.findall(text)) <= series.keys(), alert["alert"]
        assert alert["annotations"]["summary"]


@pytest.mark.parametrize(("name", "metrics"), [("processor", ProcessorMetrics), ("api", ApiMetrics)])
def test_the_guide_of_a_service_explains_its_metrics_and_alerts(
    name: str, metrics: type[ProcessorMetrics] | type[ApiMetrics]
) -> None:
    guide = (ROOT / f"docs/operations/{name}.md").read_text()
    declared = vars(metrics(CollectorRegistry())).values()

    assert {one.describe()[0].name for one in declared} <= {
        name.removesuffix("_total") for name in METRIC.findall(guide)
    }
    rules = ROOT / f"deploy/prometheus/{name}-alerts.yml"
    assert {alert["alert"] for alert in alerts(rules)} <= set(re.findall(r"\bYouSync\w+", guide))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_guides_name_metrics_and_alerts_that_exist(guide: Path) -> None:
    text = guide.read_text()
    names = {one for name in shown_series() for one in (name, re.sub("_(bucket|sum|count)$", "", name))}
    known = {alert["alert"] for rules in RULES for alert in alerts(rules)}

    assert set(METRIC.findall(text)) <= names
    assert set(re.findall(r"\*\*(YouSync\w+)\*\*", text)) <= known
