"""The expressions of the dashboard, the rules and the document, as a Prometheus of a test can be asked them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).parents[3] / "k8s" / "monitoring"
DASHBOARD = MONITORING / "dashboard.json"
RULES = MONITORING / "rules.yaml"
DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"

VARIABLES = {"$__rate_interval": "1m", "$job": "dqbart", "$model": ".*"}
"""What a test puts in for what Grafana does."""


def panels() -> list[dict[str, Any]]:
    """Those of the dashboard that show something: all but the headings."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def documented_expressions() -> list[str]:
    """The examples of docs/metrics.md."""
    lines = [line.strip() for line in DOCUMENT.read_text().splitlines() if line.startswith("    ")]
    return [line for line in lines if not line.startswith(("#", "curl "))]


def filled_in(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def rules() -> list[dict[str, Any]]:
    """Recorded expressions and alerts, in their order."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def metric_names(expression: str) -> set[str]:
    """The service's own metrics that an expression reads, without the suffixes of histograms."""
    names = re.findall(r"(?<![\w:])dqbart_\w+", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
