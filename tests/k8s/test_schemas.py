"""Every manifest against the schemas of what will read it, and the schemas against manifests that are wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import Manifest, manifests, ray_service
from tests.k8s.reduced_crds import CRDS, FILES, full_crds, reduced
from tests.k8s.schemas import faults

FREE_FORM = {
    *("labels", "annotations", "matchLabels", "selector", "rayStartParams", "data", "requests", "limits", "hard"),
    *("nodeSelector", "resources"),  # of a group, by Ray's names
}
"""Maps whose keys no schema knows. What is in them is for test_references.py."""

Path = tuple[str | int, ...]


def test_every_manifest_is_valid(rendered: list[Manifest]) -> None:
    found = {f"{each['kind']} {each['metadata']['name']}": faults(each) for each in rendered}
    assert {name: problems for name, problems in found.items() if problems} == {}


@pytest.mark.parametrize("root", ["overlays/gpu", "compress"])
def test_a_field_with_another_name_is_found(root: str) -> None:
    missed = [
        (manifest["kind"], path)
        for manifest in manifests(root)
        for path in paths(manifest)
        if isinstance(path[-1], str) and not FREE_FORM.intersection(path[-2:-1]) and not faults(renamed(manifest, path))
    ]
    assert missed == []


@pytest.mark.parametrize("root", ["overlays/gpu", "compress"])
def test_a_value_of_another_kind_is_found(root: str) -> None:
    missed = [
        (manifest["kind"], path)
        for manifest in manifests(root)
        for path in paths(manifest)
        if not isinstance(path[-1], int) and not faults(replaced(manifest, path, [[]]))
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("rayClusterConfig.authOptions.mode", "password"),
        ("rayClusterConfig.autoscalerOptions.version", 2),
        ("rayClusterConfig.workerGroupSpecs.0.minReplicas", "two"),
        ("rayClusterConfig.workerGroupSpecs.0.template.spec.containers.0.resources.requests", {"cpu": True}),
        ("rayClusterConfig.workerGroupSpecs.0.template.spec.tolerations", {"key": "nvidia.com/gpu"}),
        ("rayClusterConfig.headGroupSpec.template.spec.containers.0.ports.0.containerPort", "http"),
    ],
)
def test_a_wrong_value_in_the_ray_service_is_found(place: str, value: object) -> None:
    service = ray_service(manifests("overlays/gpu"))
    path = tuple(int(part) if part.isdigit() else part for part in f"spec.{place}".split("."))
    assert faults(replaced(service, path, value))


def test_a_kind_that_nobody_knows_is_found() -> None:
    assert faults({"apiVersion": "v1", "kind": "Servise", "metadata": {"name": "dqbart"}}) != []


def test_the_schemas_here_are_those_of_the_definitions() -> None:
    folder = full_crds()
    if folder is None:
        pytest.skip("CRD_DIR names no folder of the full definitions, which are not kept here")
    for kind, name in FILES.items():
        full = yaml.load((folder / name).read_text(), yaml.CSafeLoader)
        assert json.loads((CRDS / f"{kind}.json").read_text()) == reduced(full)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where every key and every element is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def renamed(manifest: Manifest, path: Path) -> Manifest:
    changed = copy.deepcopy(manifest)
    parent = _at(changed, path[:-1])
    parent[f"{path[-1]}x"] = parent.pop(path[-1])
    return changed


def replaced(manifest: Manifest, path: Path, value: object) -> Manifest:
    changed = copy.deepcopy(manifest)
    _at(changed, path[:-1])[path[-1]] = value
    return changed


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value
