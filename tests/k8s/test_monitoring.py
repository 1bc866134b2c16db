"""The dashboard and the rules by themselves; with a service and a Prometheus they run in
tests/serving/observability/test_prometheus.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from serving.observability.metrics import Metrics
from tests.serving.observability.expressions import (
    DASHBOARD,
    DOCUMENT,
    MONITORING,
    RULES,
    dashboard_expressions,
    metric_names,
    panels,
    rules,
)

UNITS = {"reqps", "ops", "percentunit", "s", "short", "bytes"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: Debian's package prometheus"
)


def promtool(*arguments: str) -> str:
    checked = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return checked.stdout


@needs_promtool
def test_rules_are_valid() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", "rules.yaml")


def test_the_manifest_has_the_rules_that_are_tested() -> None:
    manifest = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert manifest["spec"] == yaml.safe_load(RULES.read_text()), "run python k8s/monitoring/wrap_rules.py"


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", "rules_test.yaml")


@needs_promtool
def test_the_example_configuration_is_valid() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_metrics_are_named_in_the_fields_manner() -> None:
    metrics = Metrics()
    metrics.record_request("translation", "m", "http", "ok", 0.1)
    page = metrics.page().decode()
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_every_alert_is_tested_to_fire_and_says_what_to_do() -> None:
    tests = (MONITORING / "rules_test.yaml").read_text()
    alerts = [rule for rule in rules() if "alert" in rule]
    for alert in alerts:
        name = alert["alert"]
        assert alert["for"]
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "description", "runbook"}
        assert re.search(rf"alertname: {name}\n\s+exp_alerts:\n\s+- exp_labels", tests), f"{name} is not tested to fire"
        assert f"alertname: {name}, exp_alerts: []" in tests, f"{name} is not tested to keep quiet"
    assert len(alerts) == 8


def test_alerts_read_what_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    read = {name for rule in rules() if "alert" in rule for name in re.findall(r"\w+:\w+:\w+", rule["expr"])}
    assert read == recorded


def test_dashboard_can_be_imported() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] == "dqbart"
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job", "model"]
    headings = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert headings == ["Overview", "Traffic", "Latency", "Engine", "Errors", "Models", "Replicas"]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_panel_has_expressions_a_unit_and_legends() -> None:
    for panel in panels():
        title = panel["title"]
        assert panel["description"], title
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, title
        assert panel["targets"], title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), title
        for target in panel["targets"]:
            assert target["expr"], title
            assert target["datasource"] == panel["datasource"], title
        if panel["type"] != "table":
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, title
            assert all(target["legendFormat"] for target in panel["targets"]), title


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in [(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]:
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]


def test_legends_name_labels_that_the_expression_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            if not re.search(r"\b(sum|max)\b", target["expr"]):
                kept = {"instance", "pid"}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, panel["title"]


def test_every_metric_that_is_read_is_documented() -> None:
    documented = set(re.findall(r"`(dqbart_\w+)`", DOCUMENT.read_text()))
    read = {name for expression in dashboard_expressions() for name in metric_names(expression)}
    read |= {name for rule in rules() for name in metric_names(rule["expr"])}
    assert read <= documented


def test_every_metric_is_documented_and_nothing_else() -> None:
    documented = set(re.findall(r"^\| `(dqbart_\w+)`", DOCUMENT.read_text(), flags=re.MULTILINE))
    declared = {metric.name + ("_total" if metric.type == "counter" else "") for metric in Metrics().registry.collect()}
    assert documented == declared
