"""Custom resource definitions as strict JSON schemas, small enough to be kept beside the tests.

A definition is mostly copies of what Kubernetes itself defines: the pods of each group of workers, services. These are left
out here (`POD_TEMPLATE`), and checked against the core schemas instead. A Kubernetes schema says some things in words of its
own, and lets unknown fields pass, which the API server drops or refuses: here they are faults.

    CRD_DIR=folder python -m tests.k8s.reduced_crds

makes `crds/` anew from the definitions of KubeRay and prometheus-operator in a folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).with_name("crds")
FILES = {
    "RayService": "ray.io_rayservices.yaml",
    "RayJob": "ray.io_rayjobs.yaml",
    "PodMonitor": "monitoring.coreos.com_podmonitors.yaml",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
}
POD_TEMPLATE = "a pod template, checked against the core schemas"
KEPT = (
    *("type", "enum", "format", "pattern", "required"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
)


def full_crds() -> Path | None:
    """The folder of full definitions, where there is one."""
    for folder in (os.environ.get("CRD_DIR"), Path(__file__).parents[3] / "shared" / "crds"):
        if folder and all((Path(folder) / name).is_file() for name in FILES.values()):
            return Path(folder)
    return None


def reduced(definition: dict[str, Any]) -> dict[str, Any]:
    """The strict schema of the definition's version v1."""
    version = next(each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    properties = {key: value for key, value in schema["properties"].items() if key != "status"}
    properties["apiVersion"] = {"enum": [f"{definition['spec']['group']}/v1"], "type": "string"}
    properties["kind"] = {"enum": [definition["spec"]["names"]["kind"]], "type": "string"}
    required = ["apiVersion", "kind", "metadata", *schema.get("required", [])]
    return _strict({**schema, "properties": properties, "required": sorted(set(required))})


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    if "containers" in schema.get("properties", {}).get("spec", {}).get("properties", {}):
        return {"type": "object", "title": POD_TEMPLATE}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        strict["properties"] = {key: _strict(value) for key, value in sorted(schema["properties"].items())}
        strict["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    elif "additionalProperties" in schema:
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if schema.get("nullable") and isinstance(strict.get("type"), str):
        strict["type"] = [strict["type"], "null"]
    return strict


def main() -> None:
    folder = full_crds()
    if folder is None:
        raise SystemExit(f"CRD_DIR names no folder with {', '.join(FILES.values())}")
    for kind, name in FILES.items():
        schema = reduced(yaml.safe_load((folder / name).read_text()))
        (CRDS / f"{kind}.json").write_text(json.dumps(schema, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
