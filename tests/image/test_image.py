"""The image as it would run elsewhere: not as root, with nothing to write to but /tmp, and without a network."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compress.conftest import write_mbart50
from tests.image.podman import HARDENED, PODMAN, Container, mounted, run
from tests.k8s.manifests import manifests, pods, ray_service, serve_config

READY_SECONDS = 300
STOP_SECONDS = 60
COMPILERS = {"cc", "c++", "gcc", "g++", "clang", "cpp", "as", "ld", "make"}
TRAINING = {"transformers", "datasets", "sacrebleu", "rouge_score", "matplotlib", "tensorboard", "compress", "pipelines"}

TRANSLATE_OVER_HTTP = """
import json, sys, urllib.request
body = json.dumps({"text": "Guten Morgen!", "source_language": "de", "target_language": "en"}).encode()
request = urllib.request.Request("http://127.0.0.1:8000/v1/translate", body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=60))["results"][0]["text"])
"""
TRANSLATE_OVER_GRPC = """
import grpc
from protos.dqbart.v1 import seq2seq_pb2, seq2seq_pb2_grpc
stub = seq2seq_pb2_grpc.Seq2SeqStub(grpc.insecure_channel("127.0.0.1:9000"))
request = seq2seq_pb2.TranslateRequest(texts=["Guten Morgen!"], source_language="de", target_language="en")
print(stub.Translate(request, timeout=60).results[0].text)
"""
GET = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
DEPLOY = """
import os, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8265/api/serve/applications/", sys.argv[1].encode(), method="PUT")
request.add_header("Content-Type", "application/json")
request.add_header("Authorization", "Bearer " + os.environ["RAY_AUTH_TOKEN"])
urllib.request.urlopen(request, timeout=60)
"""


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Container]:
    container = Container(image, [], "--memory=4g", "--env", "DQBART_THREADS=1")
    try:
        wait_until(lambda: container.succeeds("python", "/opt/healthcheck.py"), container)
        yield container
    finally:
        container.remove()


def wait_until(condition: Callable[[], bool], container: Container) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if not container.is_running() or time.monotonic() > deadline:
            pytest.fail(f"the container did not come to answer:\n{container.logs()[-8000:]}")
        time.sleep(1)


def test_it_is_small_and_says_what_it_is(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    (described,) = json.loads(run(*PODMAN, "image", "inspect", image))
    config = described["Config"]
    with capsys.disabled():
        print(f"\n{image}: {described['Size'] / 1e6:,.0f} MB")
    assert described["Size"] < 1.8e9
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["dqbart"]
    assert config["ExposedPorts"].keys() == {"8000/tcp", "9000/tcp"}
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert described["Healthcheck"]["Test"] == ["CMD", "python", "/opt/healthcheck.py"]


def test_it_has_nothing_that_serving_does_not_need(image: str) -> None:
    with mounted(image) as root:
        (packages,) = (root / "opt/dqbart/lib").glob("python3.*/site-packages")
        assert {path.name for path in packages.iterdir()} & TRAINING == set()
        folders = [root / folder for folder in ("bin", "usr/bin", "usr/local/bin", "opt/dqbart/bin")]
        assert {path.name for folder in folders for path in folder.iterdir()} & COMPILERS == set()
        assert [*(root / "opt/dqbart/bin").glob("pip*")] == []
        assert not (root / "etc/pip.conf").exists()
        assert [path for path in files(root) if path.stat().st_mode & 0o6000] == []
        assert [path.name for path in (root / "models").iterdir()] == ["mbart-de-en-2-4-8"]


def test_it_has_what_makes_it_fast(server: Container) -> None:
    code = "from serving.engine.native.library import INSTRUCTION_SETS, built_for; "
    assert server.python(code + "print([name for name in INSTRUCTION_SETS if built_for(name) is None])").strip() == "[]"
    assert server.run("dqbart-haproxy", "-v").startswith("HAProxy")


def test_it_runs_as_nobody_and_writes_nowhere(server: Container) -> None:
    assert server.run("id", "--user").strip() == "10001"
    assert server.succeeds("touch", "/tmp/file")
    for place in ("/models/file", "/opt/dqbart/file", "/etc/file"):
        assert not server.succeeds("touch", place)


def test_it_answers_over_http_and_grpc(server: Container) -> None:
    assert server.python(TRANSLATE_OVER_HTTP) == server.python(TRANSLATE_OVER_GRPC) == "Good morning!\n"


def test_it_ends_on_sigterm(server: Container) -> None:
    """Last of those with this server."""
    started = time.monotonic()
    assert server.stop(STOP_SECONDS) == 0, server.logs()[-4000:]
    assert time.monotonic() - started < STOP_SECONDS


def test_ray_serves_what_the_local_overlay_says(image: str) -> None:
    """What KubeRay does with the overlay: starts Ray in the pod's container, and gives it the config when it is healthy."""
    everything = manifests("overlays/local")
    (group,) = ray_service(everything)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    options = [option for name, value in variables.items() for option in ("--env", f"{name}={value}")]
    start = "ulimit -n 65536; ray start --head --block --num-cpus=1 --dashboard-host=0.0.0.0 "
    start += "--dashboard-agent-listen-port=52365 --metrics-export-port=8080 --object-store-memory=104857600"
    ray = Container(image, ["-c", start], "--entrypoint", "/bin/bash", "--memory=4g", *options)
    try:
        wait_until(lambda: answers(ray, probe_url(container["livenessProbe"], container)), ray)
        ray.python(DEPLOY, json.dumps(serve_config(everything)))
        wait_until(lambda: answers(ray, probe_url(container["readinessProbe"], container)), ray)
        assert ray.python(TRANSLATE_OVER_HTTP) == ray.python(TRANSLATE_OVER_GRPC) == "Good morning!\n"
        assert "dqbart_requests_total" in ray.python(GET, "http://127.0.0.1:9400/metrics")
        assert "ray_" in ray.python(GET, "http://127.0.0.1:8080/metrics")
    finally:
        ray.remove()


def probe_url(probe: dict[str, dict[str, object]], container: dict[str, list[dict[str, object]]]) -> str:
    port = probe["httpGet"]["port"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    return f"http://127.0.0.1:{ports.get(port, port)}{probe['httpGet']['path']}"


def answers(container: Container, url: str) -> bool:
    return container.succeeds("python", "-c", GET, url)


def test_the_other_image_compresses(compress_image: str, tmp_path: Path) -> None:
    """What the Job of k8s/compress runs, as it runs it, on a small teacher; then again, as after an eviction."""
    everything = manifests("compress")
    (settings,) = [each["data"] for each in everything if each["kind"] == "ConfigMap"]
    (job,) = pods(everything)
    (container,) = job.containers
    config, data, models = (tmp_path / name for name in ("config", "data", "models"))
    for folder in (config, data, models):
        folder.mkdir()
    for name, text in settings.items():
        (config / name).write_text(text)
    write_mbart50(data / "teacher")
    for name in ("train", "valid"):
        (data / f"{name}.jsonl").write_text('{"source": "guten tag", "target": "good day"}\n' * 8)
    os.chown(models, 10001, 10001)
    # What pytest and safetensors write is for its owner only.
    run("chmod", "--recursive", "a+rX", str(tmp_path))
    mounts = [("--volume", f"{config}:/config:ro"), ("--volume", f"{data}:/data:ro"), ("--volume", f"{models}:/models")]
    smaller = ["--env", "DQBART_LAYERS=2-1", "--env", "DQBART_MAX_STEPS=2"]
    options = ["--rm", "--pull=never", *HARDENED, *(each for mount in mounts for each in mount), *smaller]
    command = [compress_image, *container["command"][1:], *container["args"]]
    for expected in ("step 2", "resumed at step 2"):
        assert expected in run(*PODMAN, "run", *options, "--entrypoint", container["command"][0], *command)
    assert (models / "my-student" / "model.safetensors").is_file()


def files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path
