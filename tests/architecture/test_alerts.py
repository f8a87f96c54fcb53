"""Alert rules and the guides name metrics that the services really show, and one another."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ops.metrics import ApiMetrics, ProcessorMetrics
from tests.shown_metrics import METRIC, promtool, shown_series

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES = sorted(PROMETHEUS.glob("*-alerts.yml"))
UNIT_TESTS = [PROMETHEUS / "tests" / rules.name.replace("-alerts", "") for rules in RULES]
GUIDES = sorted((ROOT / "docs/operations").glob("*.md"))
LABEL = re.compile(r"\$labels\.(\w+)")
ASKED_ALERT = re.compile(r'ALERTS\{alertname="(\w+)",alertstate="firing"\}')


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


def test_every_alert_is_in_a_guide() -> None:
    explained = {name for guide in GUIDES for name in re.findall(r"(?:\*\*|\| `)(YouSync\w+)", guide.read_text())}

    assert {alert["alert"] for rules in RULES for alert in alerts(rules)} <= explained


def test_the_operations_guide_says_what_to_do_about_each_alert() -> None:
    table = (ROOT / "docs/operations.md").read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]

    named = re.findall(r"`(YouSync\w+)`", table)
    assert sorted(named) == sorted(alert["alert"] for rules in RULES for alert in alerts(rules))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_guides_name_metrics_and_alerts_that_exist(guide: Path) -> None:
    text = guide.read_text()
    names = {one for name in shown_series() for one in (name, re.sub("_(bucket|sum|count)$", "", name))}
    known = {alert["alert"] for rules in RULES for alert in alerts(rules)}

    assert set(METRIC.findall(text)) <= names
    assert set(re.findall(r"\*\*(YouSync\w+)\*\*", text)) <= known


def test_what_prometheus_is_told_is_valid() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    for rules in RULES:
        assert f"Checking {rules}" in checked.stdout


@pytest.mark.parametrize("tests", UNIT_TESTS, ids=lambda tests: tests.stem)
def test_alerts_fire_when_they_should(tests: Path) -> None:
    tested = promtool("test", "rules", tests)

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    ("rules", "tests"), [*zip(RULES, UNIT_TESTS, strict=True)], ids=[rules.stem for rules in RULES]
)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(rules: Path, tests: Path) -> None:
    stated = yaml.safe_load(tests.read_text())
    cases = [case for test in stated["tests"] for case in test["promql_expr_test"]]

    def asked(*, firing: bool) -> set[str]:
        return {
            name for case in cases if bool(case["exp_samples"]) is firing for name in ASKED_ALERT.findall(case["expr"])
        }

    assert stated["rule_files"] == [f"../{rules.name}"]
    assert asked(firing=True) == asked(firing=False) == {alert["alert"] for alert in alerts(rules)}
