"""Manifests against the real schemas, strictly: a field that the API server does not know is a fault."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.k8s.manifests import Manifest
from tests.k8s.reduced_crds import CRDS, FILES, POD_TEMPLATE

KUBERNETES_VERSIONS = ("1.31", "1.37")
"""The oldest version that has every field used here, and the newest whose schemas there are."""


def faults(manifest: Manifest) -> list[str]:
    """What is wrong with a manifest, a line each. A kind that no schema is known for is a fault too."""
    if str(manifest.get("kind")) in FILES:
        return [*_custom_faults(manifest)]
    return [*_core_faults(manifest)]


def _custom_faults(manifest: Manifest) -> Iterator[str]:
    schema = _schema(manifest["kind"])
    for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
        yield f"{_place(error)}: {error.message}"
    yield from _core_faults({"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest.get("metadata")})
    for template in _pod_templates(schema, manifest):
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "wrapped"}, "template": template}
        yield from _core_faults(wrapped)


def _core_faults(manifest: Manifest) -> Iterator[str]:
    for version in KUBERNETES_VERSIONS:
        validator = _core_validator(version, str(manifest.get("kind")), str(manifest.get("apiVersion")))
        if validator is None:
            yield f"Kubernetes {version} has no {manifest.get('apiVersion')} {manifest.get('kind')}"
        else:
            yield from (
                f"Kubernetes {version}: {_place(error)}: {error.message}" for error in validator.iter_errors(manifest)
            )


@functools.cache
def _core_validator(version: str, kind: str, api_version: str) -> jsonschema.Draft202012Validator | None:
    # kubernetes_validate.validate does the same, and reads the definitions of a whole Kubernetes anew for each manifest.
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    group, _, number = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.partition('.')[0]}-{number}" if group else f"{kind.lower()}-{number}"
    try:
        schema = schema_contents(f"{folder}/{name}.json", version)
    except FileNotFoundError:
        return None
    return jsonschema.Draft202012Validator(schema, registry=_definitions(folder, version))


@functools.cache
def _definitions(folder: str, version: str) -> Registry[Any]:
    return Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version)) @ Registry()


@functools.cache
def _schema(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CRDS / f"{kind}.json").read_text())
    return schema


def _pod_templates(schema: dict[str, Any], value: Any) -> Iterator[Any]:
    if schema.get("title") == POD_TEMPLATE:
        yield value
    elif isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _pod_templates(inner, value[key])
    elif isinstance(value, list):
        for each in value:
            yield from _pod_templates(schema.get("items", {}), each)


def _place(error: Any) -> str:
    return ".".join(map(str, error.absolute_path)) or "top"
