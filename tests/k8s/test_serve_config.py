"""serveConfigV2 is a text, which no schema of Kubernetes looks into. Ray's own model does, made strict."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import pytest

with warnings.catch_warnings():
    # Ray's models have what pydantic deprecates.
    warnings.simplefilter("ignore", DeprecationWarning)
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

from serving.observability.metrics import MULTIPROCESS_VARIABLE
from serving.server.model_table import ModelTable
from serving.server.run import SERVICERS
from tests.k8s.manifests import Manifest, manifests, pods, serve_config

KEY = "tests:" + "0" * 64
PER_MACHINE = {
    # Each pod has a network and a /tmp of its own, so that Ray's defaults do; KubeRay makes the token.
    *("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED", "RAY_SERVE_HAPROXY_BINARY_PATH"),
    *(f"RAY_SERVE_HAPROXY_{name}" for name in ("CONFIG_FILE_LOC", "SOCKET_PATH", "METRICS_SOCKET_PATH")),
    *(f"RAY_SERVE_HAPROXY_{name}" for name in ("SERVER_STATE_BASE", "SERVER_STATE_FILE")),
    *(f"RAY_SERVE_FALLBACK_PROXY_{protocol}_PORT" for protocol in ("HTTP", "GRPC")),
    *(f"RAY_SERVE_DIRECT_INGRESS_{end}_{protocol}_PORT" for end in ("MIN", "MAX") for protocol in ("HTTP", "GRPC")),
}


def config_faults(config: Manifest) -> list[str]:
    """What Ray would not know or not accept in a config, a line each."""
    faults = [error.message for error in jsonschema.Draft202012Validator(_strict(ServeDeploySchema)).iter_errors(config)]
    for application in config["applications"]:
        for deployment in application.get("deployments", []):
            scaling = deployment.get("autoscaling_config") or {}
            faults += [
                error.message for error in jsonschema.Draft202012Validator(_strict(AutoscalingConfig)).iter_errors(scaling)
            ]
            faults += _model_faults(AutoscalingConfig, scaling)
    return faults + _model_faults(ServeDeploySchema, config)


def _model_faults(model: Any, value: Manifest) -> list[str]:
    try:
        model.model_validate(value)
    except ValueError as error:
        return [str(error)]
    return []


def _strict(model: Any) -> dict[str, Any]:
    schema: dict[str, Any] = model.model_json_schema()
    for each in (schema, *schema.get("$defs", {}).values()):
        if "properties" in each:
            each["additionalProperties"] = False
    return schema


def test_ray_accepts_the_config(overlay: list[Manifest]) -> None:
    assert config_faults(serve_config(overlay)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), {"grpc_option": {}}),
        (("http_options",), {"prot": 8000}),
        (("grpc_options",), {"servicers": []}),
        (("applications", 0), {"import": "a:b"}),
        (("applications", 0), {"import_path": "no colon"}),
        (("applications", 0, "deployments", 0), {"max_ongoing": 5}),
        (("applications", 0, "deployments", 0, "ray_actor_options"), {"num_cpu": 1}),
        (("applications", 0, "deployments", 0, "autoscaling_config"), {"min_replica": 1}),
        (("applications", 0, "deployments", 0, "autoscaling_config"), {"min_replicas": 9}),
    ],
)
def test_a_fault_in_the_config_is_found(place: tuple[str | int, ...], value: dict[str, object]) -> None:
    config = copy.deepcopy(serve_config(manifests("overlays/cpu")))
    target: Any = config
    for key in place:
        target = target[key]
    target.update(value)
    assert config_faults(config) != []


def test_the_application_builds(overlay: list[Manifest], tmp_path: Path) -> None:
    """The import path is that of a function that takes these args, and its deployments are those that are configured."""
    (application,) = serve_config(overlay)["applications"]
    args = dict(application["args"])
    if "api_keys_file" in args:
        args["api_keys_file"] = str(tmp_path / "keys")
        (tmp_path / "keys").write_text(KEY)
    module, _, name = application["import_path"].partition(":")
    built = getattr(importlib.import_module(module), name)(args)
    assert [deployment["name"] for deployment in application["deployments"]] == [built._bound_deployment.name]


def test_the_servicers_are_those_of_dqbart_serve(overlay: list[Manifest]) -> None:
    servicers = serve_config(overlay)["grpc_options"]["grpc_servicer_functions"]
    assert servicers == SERVICERS
    for path in servicers:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_models_lie_where_the_workers_find_them(overlay: list[Manifest]) -> None:
    (application,) = serve_config(overlay)["applications"]
    (deployment,) = application["deployments"]
    table = ModelTable.model_validate(deployment["user_config"])
    assert {folder.parent for folder in table.models.values()} == {Path("/models")}


def test_the_key_file_is_in_the_secret_of_the_head(overlay: list[Manifest]) -> None:
    (application,) = serve_config(overlay)["applications"]
    head = next(each for each in pods(overlay) if each.labels["ray.io/node-type"] == "head")
    secrets = {volume["name"] for volume in head.template["spec"]["volumes"] if "secret" in volume}
    mounts = [mount["mountPath"] for mount in head.containers[0]["volumeMounts"] if mount["name"] in secrets]
    assert mounts == [str(Path(file).parent) for file in [application["args"].get("api_keys_file")] if file]


def test_replicas_add_up_their_metrics(overlay: list[Manifest]) -> None:
    """The config's ray_actor_options take the place of the application's own, variables included."""
    (application,) = serve_config(overlay)["applications"]
    (deployment,) = application["deployments"]
    assert MULTIPROCESS_VARIABLE in deployment["ray_actor_options"]["runtime_env"]["env_vars"]


def test_pods_have_the_environment_of_the_server(overlay: list[Manifest], tmp_path: Path) -> None:
    """Ray reads it in every process: what the server sets for its own is set for the pods'."""
    code = f"""
import json, os, pathlib
from serving.server.ray_environment import set_ray_environment
from serving.server.settings import Serve
before = dict(os.environ)
set_ray_environment(Serve().max_payload_bytes, "/haproxy", pathlib.Path({str(tmp_path)!r}))
changed = {{name: value for name, value in os.environ.items() if before.get(name) != value}}
print(json.dumps({{name: value for name, value in changed.items() if name.startswith("RAY")}}))
"""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = {name: value for name, value in json.loads(result.stdout).items() if name not in PER_MACHINE}
    for each in pods(overlay):
        set_here = {variable["name"]: variable["value"] for variable in each.containers[0]["env"]}
        assert set_here.pop("RAY_SERVE_HAPROXY_BINARY_PATH") == "/opt/dqbart/bin/dqbart-haproxy"
        assert set_here == expected
