"""A real Prometheus scrapes a real server of two replicas, and answers all that dashboard, rules and document ask."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import pytest
import yaml

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from tests.serving.observability.expressions import RULES, dashboard_expressions, documented_expressions, filled_in, rules
from tests.serving.server.running import PATIENCE, Server, free_port, start_server

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is missing: Debian's package prometheus"
)

SCRAPE_SECONDS = 2

T = TypeVar("T")


@dataclass(frozen=True)
class Prometheus:
    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def ask(self, expression: str) -> dict[str, float]:
        """The vector that it gives, by the values of the labels in the order of their names; NaN is left out."""
        vector = {
            ",".join(value for _, value in sorted(sample["metric"].items())): float(sample["value"][1])
            for sample in self.get("query", query=expression)["result"]
        }
        return {labels: value for labels, value in vector.items() if not math.isnan(value)}


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def config(artifacts: dict[str, Path], metrics_port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "serve.yaml"
    models = [str(artifacts[name]) for name in ("translator", "summarizer")]
    path.write_text(yaml.safe_dump({"models": models, "replicas": 2, "metrics_port": metrics_port}))
    return path


@pytest.fixture(scope="module")
def server(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("server"), [], "--config", str(config)) as server:
        yield server


@pytest.fixture(scope="module")
def prometheus(server: Server, metrics_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(folder, {"dqbart": metrics_port, "http": httpx.URL(server.url).port or 80}) as prometheus:
        until(lambda: httpx.get(f"{prometheus.url}/-/ready").status_code == 200)
        # Nothing is counted before the first scrape, so that all of it is an increase.
        until(lambda: len(prometheus.ask("up == 1")) == 2)
        yield prometheus


@contextmanager
def running_prometheus(folder: Path, jobs: dict[str, int]) -> Iterator[Prometheus]:
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_SECONDS}s",
            "scrape_timeout": f"{SCRAPE_SECONDS}s",
            "evaluation_interval": f"{SCRAPE_SECONDS}s",
        },
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "output").open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def until(condition: Callable[[], T]) -> T:
    """What the condition gives as soon as it is true. A server that does not listen yet makes it false."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if given := condition():
                return given
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


def send(server: Server) -> None:
    """Some of everything: 11 requests."""
    translation = {"text": "guten morgen", "source_language": "de"}
    long = {"text": "good morning world. how are you. " * 4, "source_language": "en", "truncation": "chunk"}
    for path, body, status in (
        ("translate", translation, 200),
        ("translate", translation, 200),
        ("translate", long, 200),
        ("summarize", {"text": ["good", "morning"]}, 200),
        ("summarize", {"text": "good", "model": "absent"}, 404),
        ("summarize", {"text": "good", "parameters": {"max_new_tokens": 0}}, 422),
        ("summarize", {"text": " "}, 422),
    ):
        assert httpx.post(f"{server.url}/v1/{path}", json=body, timeout=PATIENCE).status_code == status
    with grpc.insecure_channel(server.grpc_address) as channel:
        stub: Any = seq2seq_pb2_grpc.Seq2SeqStub(channel)
        for _ in range(3):
            stub.Summarize(pb.SummarizeRequest(texts=["how are you"]))
        with pytest.raises(grpc.RpcError):
            stub.Summarize(pb.SummarizeRequest(texts=["how are you"], model="translator"))


SENT = {
    "http,translator,ok,translation": 3,
    "http,summarizer,ok,summarization": 1,
    "http,unknown,unknown_model,summarization": 1,
    "http,unknown,bad_parameter,summarization": 1,
    "http,summarizer,empty_text,summarization": 1,
    "grpc,summarizer,ok,summarization": 3,
    "grpc,unknown,wrong_task,summarization": 1,
}
"""What `send` adds to the requests, by protocol, model, outcome and task."""


def requests(prometheus: Prometheus, job: str) -> dict[str, float]:
    counted = prometheus.ask(f'sum by (task, model, protocol, outcome) (dqbart_requests_total{{job="{job}"}})')
    return {",".join([labels.split(",")[place] for place in (2, 0, 1, 3)]): value for labels, value in counted.items()}


@pytest.fixture(scope="module")
def asked(server: Server, prometheus: Prometheus) -> int:
    """How many times `send` was called: once before a scrape, and once after it, so that each series has an increase."""
    for times in (1, 2):
        send(server)
        expected = {key: times * count for key, count in SENT.items()}
        for job in ("dqbart", "http"):
            until(lambda job=job, expected=expected: requests(prometheus, job) == expected)  # type: ignore[misc]
    return 2


def test_what_the_dashboard_and_the_document_ask_is_answered(prometheus: Prometheus, asked: int) -> None:
    left = {filled_in(expression) for expression in (*dashboard_expressions(), *documented_expressions())}
    assert len(left) > 50

    def all_answered() -> bool:
        left.difference_update([expression for expression in left if prometheus.ask(expression)])
        return not left

    try:
        until(all_answered)
    except AssertionError:
        pytest.fail("no answer: " + "\n".join(sorted(left)))


def test_rules_are_evaluated(prometheus: Prometheus, asked: int) -> None:
    for rule in rules():
        if "record" in rule:
            until(lambda rule=rule: prometheus.ask(f'{rule["record"]}{{job="dqbart"}}'))  # type: ignore[misc]
    evaluated = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    for rule in evaluated:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]
        # What clients did wrong on purpose above is no reason for an alert.
        assert rule.get("state", "inactive") == "inactive", rule["name"]


def test_what_was_sent_is_what_is_counted(prometheus: Prometheus, asked: int) -> None:
    by_model = 'sum by (model) ({}{{job="dqbart"}})'
    assert prometheus.ask(by_model.format("dqbart_inputs_total")) == {"translator": 3 * asked, "summarizer": 5 * asked}
    assert prometheus.ask(by_model.format("dqbart_windows_total")) == {"translator": 10 * asked, "summarizer": 5 * asked}
    assert prometheus.ask(by_model.format("dqbart_truncated_inputs_total")) == {"translator": asked}
    for name in ("queue", "encode", "decode", "time_to_first_token"):
        counted = prometheus.ask(by_model.format(f"dqbart_{name}_seconds_count"))
        assert counted == {"translator": 10 * asked, "summarizer": 5 * asked}, name
    failures = prometheus.ask('sum by (code, model) (dqbart_request_failures_total{job="dqbart"}) > 0')
    expected = {"empty_text,summarizer": asked} | {
        f"{code},unknown": asked for code in ("unknown_model", "bad_parameter", "wrong_task")
    }
    assert failures == expected
    assert prometheus.ask('sum(dqbart_ongoing_requests{job="dqbart"})') == {"": 0}
    assert prometheus.ask('dqbart_replicas{job="dqbart"} == dqbart_replicas_desired')
    first, rest = (
        prometheus.ask(f'sum(dqbart_{name}_sum{{job="dqbart"}})')[""]
        for name in ("time_to_first_token_seconds", "time_per_output_token_seconds")
    )
    parts = prometheus.ask('sum({__name__=~"dqbart_(queue|encode|decode)_seconds_sum", job="dqbart"})')[""]
    assert 0 < first < parts
    assert rest > 0


def test_both_addresses_show_the_same(server: Server, metrics_port: int, asked: int) -> None:
    pages = [
        httpx.get(url, timeout=PATIENCE).text
        for url in (f"{server.url}/metrics", f"http://127.0.0.1:{metrics_port}/metrics")
    ]
    one, other = (re.sub(r"dqbart_process_.*\n", "", page) for page in pages)
    assert one == other
    assert "guten morgen" not in one
    assert "127.0.0.1" not in one


def test_counters_go_on_when_a_replica_is_killed(server: Server, prometheus: Prometheus, asked: int) -> None:
    pids = list(prometheus.ask('sum by (pid) (dqbart_process_start_time_seconds{job="dqbart"})'))
    assert len(pids) == 2
    os.kill(int(pids[0]), signal.SIGKILL)
    until(lambda: prometheus.ask('dqbart_replica_starts_total{job="dqbart"} == 3'))
    until(lambda: prometheus.ask('dqbart_replicas{job="dqbart"} == 2'))
    assert requests(prometheus, "dqbart") == {key: asked * count for key, count in SENT.items()}
    now = prometheus.ask('sum by (pid) (dqbart_process_start_time_seconds{job="dqbart"})')
    assert pids[0] not in now
    assert pids[1] in now
    assert len(now) == 2
    for name in prometheus.get("label/__name__/values"):
        if re.fullmatch(r"dqbart_(?!process).*_(total|count|sum|bucket)", name):
            assert prometheus.ask(f"max(resets({name}[10m]))") == {"": 0}, name
    # The new one counts from its start, and shows its models once they are open.
    limit = 'dqbart_cache_limit_bytes{job="dqbart", model="summarizer"}'
    until(lambda: list(prometheus.ask(limit).values()) == [2 << 30])


def test_a_removed_models_gauges_go_and_its_counters_stay(
    server: Server, config: Path, prometheus: Prometheus, asked: int
) -> None:
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, "models": settings["models"][:1]}))
    server.process.send_signal(signal.SIGHUP)
    gauges = (
        '{__name__=~"dqbart_(model_.*|queue_size|running_inputs|cache_.*bytes|longest_.*|ongoing_requests)", job="dqbart"}'
    )
    until(lambda: set(prometheus.ask(f"count by (model) ({gauges})")) == {"translator"})
    inputs = prometheus.ask('sum by (model) (dqbart_inputs_total{job="dqbart"})')
    assert inputs == {"translator": 3 * asked, "summarizer": 5 * asked}
