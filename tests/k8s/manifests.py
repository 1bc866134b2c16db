"""What kustomize makes of the folders under k8s/, and where things are in it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = ("overlays/cpu", "overlays/gpu", "overlays/local")
ROOTS = (*OVERLAYS, "compress", "batch")
"""Everything that is applied by itself."""

Manifest = dict[str, Any]

KUBERAY_POD_LABELS = {"app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator"}
"""What KubeRay gives to pods, and selects the head by: a template that sets them cuts the workers off from the head."""


@dataclass(frozen=True)
class Pods:
    """Pods that a manifest makes: their template, with the labels that they will have."""

    owner: str
    template: Manifest
    labels: dict[str, str]
    replicas: int
    group: Manifest
    """KubeRay's group of head or workers; of a Job, its spec."""

    @property
    def containers(self) -> list[Manifest]:
        return list(self.template["spec"]["containers"])

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for each in self.containers for port in each.get("ports", [])}


@functools.cache
def render(root: str) -> str:
    kubectl = Path(sys.executable).with_name("kubectl")
    result = subprocess.run([kubectl, "kustomize", K8S / root], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def manifests(root: str) -> list[Manifest]:
    """The manifests of a folder; the caller may change them."""
    return [each for each in yaml.load_all(render(root), yaml.CSafeLoader) if each]


def of_kind(all_of_them: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in all_of_them if each["kind"] == kind]


def ray_service(all_of_them: list[Manifest]) -> Manifest:
    (service,) = of_kind(all_of_them, "RayService")
    return service


def ray_clusters(all_of_them: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """What each RayService and RayJob has KubeRay make, and by whose name."""
    for kind, cluster in (("RayService", "rayClusterConfig"), ("RayJob", "rayClusterSpec")):
        for each in of_kind(all_of_them, kind):
            yield each["metadata"]["name"], each["spec"][cluster]


def serve_config(all_of_them: list[Manifest]) -> Manifest:
    config: Manifest = yaml.safe_load(ray_service(all_of_them)["spec"]["serveConfigV2"])
    return config


def pods(all_of_them: list[Manifest]) -> Iterator[Pods]:
    """All pods, with the labels that KubeRay adds."""
    for name, cluster in ray_clusters(all_of_them):
        groups = [("head", cluster["headGroupSpec"], 1)]
        groups += [("worker", group, group["minReplicas"]) for group in cluster["workerGroupSpecs"]]
        for node_type, group, replicas in groups:
            labels = {**KUBERAY_POD_LABELS, **group["template"]["metadata"]["labels"], "ray.io/node-type": node_type}
            owner = f"{name} {group.get('groupName', 'head')}"
            yield Pods(owner, group["template"], labels, replicas, group)
    for job in of_kind(all_of_them, "Job"):
        template = job["spec"]["template"]
        yield Pods(job["metadata"]["name"], template, template["metadata"]["labels"], 1, job["spec"])


def selected(all_of_them: list[Manifest], selector: dict[str, str]) -> list[Pods]:
    return [each for each in pods(all_of_them) if selector.items() <= each.labels.items()]
