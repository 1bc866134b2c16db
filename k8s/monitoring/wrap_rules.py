"""Makes prometheusrule.yaml of rules.yaml, which promtool reads and tests: kustomize cannot put one file into another.

python k8s/monitoring/wrap_rules.py
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """\
# Made of rules.yaml by wrap_rules.py: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: dqbart
spec:
"""


def wrapped(rules: str) -> str:
    """The manifest around the text of a rules file, its comments included."""
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in rules.splitlines())


if __name__ == "__main__":
    (FOLDER / "prometheusrule.yaml").write_text(wrapped((FOLDER / "rules.yaml").read_text()))
