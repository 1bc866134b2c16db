"""That the manifests fit each other, and that each check finds what it is for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dqbart.cli import read_settings
from pipelines.batch.commands import Batch
from serving.server.settings import Serve
from tests.k8s import references
from tests.k8s.manifests import Manifest, manifests, of_kind, pods, ray_clusters, ray_service, serve_config

ROOT = Path(__file__).parents[2]
REQUEST_TIMEOUT = float(Serve.model_fields["request_timeout"].default)


@pytest.mark.parametrize("check", references.EVERYWHERE)
def test_everything_fits(rendered: list[Manifest], check: references.Check) -> None:
    assert [*check(rendered)] == []


@pytest.mark.parametrize("check", references.OF_SERVING)
def test_serving_fits(overlay: list[Manifest], check: references.Check) -> None:
    assert [*check(overlay)] == []


def test_time_is_left_for_answers(overlay: list[Manifest]) -> None:
    assert [*references.time_is_left_for_answers(overlay, REQUEST_TIMEOUT)] == []


@pytest.mark.parametrize("root", ["compress", "batch"])
def test_jobs_have_the_volumes_that_serving_has_and_their_own(root: str) -> None:
    claims = {each["metadata"]["name"] for root in ("overlays/cpu", root) for each in _claims(root)}
    for job in pods(manifests(root)):
        volumes = [volume.get("persistentVolumeClaim", {}) for volume in job.template["spec"]["volumes"]]
        assert {volume["claimName"] for volume in volumes if volume} <= claims


def test_ray_has_the_version_that_is_installed(rendered: list[Manifest]) -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for _, cluster in ray_clusters(rendered):
        assert f"ray[serve]=={cluster['rayVersion']}" in requirements


def test_the_batch_job_has_settings_that_the_command_takes() -> None:
    """The command of the RayJob, with its settings' file where it is here."""
    (job,) = of_kind(manifests("batch"), "RayJob")
    command, _, _ = job["spec"]["entrypoint"].partition(" || ")
    program, name, *arguments = command.replace("/config/", f"{ROOT}/k8s/batch/").split()
    assert (program, name) == ("dqbart", "batch")
    settings = read_settings(Batch, name, arguments)
    (head, *workers) = pods(manifests("batch"))
    assert head.ports["app-metrics"] == settings.metrics_port
    for each in (head, *workers):
        mounts = {mount["mountPath"] for container in each.containers for mount in container["volumeMounts"]}
        assert {f"/{Path(path).parts[1]}" for path in (settings.model, *settings.input, settings.output)} <= mounts


def test_secrets_that_must_exist_are_documented(rendered: list[Manifest]) -> None:
    deploy = (ROOT / "docs" / "deploy.md").read_text()
    volumes = [volume for each in pods(rendered) for volume in each.template["spec"].get("volumes", [])]
    names = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    names |= {tls["secretName"] for each in of_kind(rendered, "Ingress") for tls in each["spec"]["tls"]}
    assert {name for name in names if f"secret generic {name}" not in deploy and f"secret tls {name}" not in deploy} == set()


def _claims(root: str) -> list[Manifest]:
    return of_kind(manifests(root), "PersistentVolumeClaim")


def _worker(everything: list[Manifest]) -> Manifest:
    return ray_service(everything)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]  # type: ignore[no-any-return]


def _container(everything: list[Manifest]) -> Manifest:
    return _worker(everything)["template"]["spec"]["containers"][0]  # type: ignore[no-any-return]


def _first(everything: list[Manifest], kind: str) -> Manifest:
    return of_kind(everything, kind)[0]


def _serve(everything: list[Manifest], pattern: str, text: str) -> None:
    spec = ray_service(everything)["spec"]
    spec["serveConfigV2"], count = re.subn(pattern, text, spec["serveConfigV2"])
    assert count


Change = Callable[[list[Manifest]], object]
BUDGET = "PodDisruptionBudget"
CASES: list[tuple[references.Check, Change]] = [
    (references.selectors_select, lambda all_: _first(all_, "Service")["spec"]["selector"].update(app="other")),
    (
        references.selectors_select,
        lambda all_: _first(all_, "PodMonitor")["spec"]["selector"]["matchLabels"].update(app="x"),
    ),
    (references.selectors_select, lambda all_: _first(all_, BUDGET)["spec"]["selector"]["matchLabels"].update(app="x")),
    (references.selectors_select, lambda all_: _worker(all_)["template"]["metadata"]["labels"].update(app="other")),
    (references.ports_exist, lambda all_: _first(all_, "Service")["spec"]["ports"][0].update(targetPort="rpc")),
    (references.ports_exist, lambda all_: _first(all_, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="web")),
    (references.ports_exist, lambda all_: _container(all_)["readinessProbe"]["httpGet"].update(port="http")),
    (
        references.ports_exist,
        lambda all_: _first(all_, "NetworkPolicy")["spec"]["ingress"][1]["ports"][0].update(port="web"),
    ),
    (references.scraped_ports_are_open, lambda all_: _first(all_, "NetworkPolicy")["spec"]["ingress"][2]["ports"].pop()),
    (references.backends_exist, lambda all_: ray_service(all_)["metadata"].update(name="other")),
    (references.backends_exist, lambda all_: _first(all_, "Service")["spec"]["ports"][0].update(name="rpc")),
    (references.backends_exist, lambda all_: _first(all_, "Ingress")["spec"]["rules"][0].update(host="plain.example.com")),
    (references.budgets_are_sane, lambda all_: _first(all_, BUDGET)["spec"].update(minAvailable=1)),
    (references.budgets_are_sane, lambda all_: _first(all_, BUDGET)["spec"].update(maxUnavailable=0)),
    (
        references.budgets_are_sane,
        lambda all_: _first(all_, BUDGET)["spec"]["selector"]["matchLabels"].pop("ray.io/node-type"),
    ),
    (references.volumes_exist, lambda all_: _worker(all_)["template"]["spec"]["volumes"].pop()),
    (references.volumes_exist, lambda all_: _container(all_)["volumeMounts"].pop()),
    (references.pods_are_restricted, lambda all_: _worker(all_)["template"]["spec"]["securityContext"].update(runAsUser=0)),
    (
        references.pods_are_restricted,
        lambda all_: _worker(all_)["template"]["spec"]["securityContext"].pop("seccompProfile"),
    ),
    (references.pods_are_restricted, lambda all_: _container(all_)["securityContext"].update(readOnlyRootFilesystem=False)),
    (references.pods_are_restricted, lambda all_: _container(all_)["resources"]["limits"].pop("memory")),
    (references.pods_are_restricted, lambda all_: _container(all_)["resources"]["requests"].pop("nvidia.com/gpu")),
    (references.pods_are_restricted, lambda all_: _container(all_).update(image="dqbart:latest")),
    (references.pods_are_restricted, lambda all_: _container(all_).update(image="dqbart")),
    (
        references.kuberays_labels_are_left_alone,
        lambda all_: _worker(all_)["template"]["metadata"]["labels"].update({"app.kubernetes.io/name": "dqbart"}),
    ),
    (references.one_namespace, lambda all_: _first(all_, "Service")["metadata"].update(namespace="default")),
    (references.ports_of_serve_are_open, lambda all_: _serve(all_, "port: 9000", "port: 9001")),
    (references.ports_of_serve_are_open, lambda all_: _serve(all_, "metrics_port: .*", "metrics_port: 9999")),
    (references.replicas_fit_workers, lambda all_: _serve(all_, "max_replicas: .*", "max_replicas: 40")),
    (references.replicas_fit_workers, lambda all_: _serve(all_, "num_cpus: .*", "num_cpus: 16")),
    (references.replicas_fit_workers, lambda all_: _serve(all_, "threads: .*", "threads: 64")),
    (references.replicas_fit_workers, lambda all_: _serve(all_, "num_gpus: .*", "num_gpus: 0")),
    (references.replicas_fit_workers, lambda all_: _worker(all_)["rayStartParams"].update({"num-cpus": "8"})),
    (
        references.shared_memory_holds_the_store,
        lambda all_: _worker(all_)["rayStartParams"].update({"object-store-memory": str(1 << 30)}),
    ),
    (references.head_and_workers_agree, lambda all_: _container(all_)["env"].pop()),
]


@pytest.mark.parametrize(("check", "change"), CASES)
def test_a_fault_is_found(check: references.Check, change: Change) -> None:
    everything = manifests("overlays/gpu")
    change(everything)
    assert [*check(everything)]


@pytest.mark.parametrize(
    "change",
    [
        lambda all_: ray_service(all_)["spec"].update(rayClusterDeletionDelaySeconds=60),
        lambda all_: _worker(all_)["template"]["spec"].update(terminationGracePeriodSeconds=30),
        lambda all_: _container(all_)["lifecycle"]["preStop"]["exec"].update(command=["sleep 5"]),
        lambda all_: _first(all_, "Ingress")["metadata"]["annotations"].update(
            {"nginx.ingress.kubernetes.io/proxy-read-timeout": "60"}
        ),
    ],
)
def test_too_little_time_is_found(change: Change) -> None:
    everything = manifests("overlays/gpu")
    change(everything)
    assert [*references.time_is_left_for_answers(everything, REQUEST_TIMEOUT)]


def test_the_serve_configs_differ_only_in_size() -> None:
    """The ports, servicers and the place of the application are repeated in each overlay, and must be the same."""
    configs = [serve_config(manifests(f"overlays/{name}")) for name in ("cpu", "gpu", "local")]
    for config in configs:
        (application,) = config.pop("applications")
        config["application"] = {key: application[key] for key in ("name", "route_prefix", "import_path")}
    assert yaml.safe_dump(configs[0]) == yaml.safe_dump(configs[1]) == yaml.safe_dump(configs[2])
