from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serving.engine.engine import EngineStats
from serving.engine.request import Result
from serving.metrics import MULTIPROCESS_VARIABLE, Metrics

ROOT = Path(__file__).parents[2]

REPLICA = """
import sys
from types import SimpleNamespace
from serving.metrics import Metrics
metrics = Metrics()
metrics.record_request("translation", "m", "http", "ok", 0.5)
metrics.record_step("m", 4, SimpleNamespace(queued_requests=3, running_requests=2, batch_rows=4))
if sys.argv[1] == "page":
    print(metrics.page().decode())
    sys.exit()
print("recorded", flush=True)
sys.stdin.read()
"""


def test_page_shows_what_was_recorded() -> None:
    metrics = Metrics()
    metrics.record_request("summarization", "m", "grpc", "ok", 0.2)
    metrics.record_result("m", 7, Result((1, 2, 3), "eos", -1.0, 0.02, 0.1, 0.3))
    metrics.record_step("m", 8, EngineStats(queued_requests=5, running_requests=4, batch_rows=8))
    page = metrics.page().decode()
    for line in (
        'dqbart_requests_total{model="m",outcome="ok",protocol="grpc",task="summarization"} 1.0',
        'dqbart_request_duration_seconds_sum{model="m",protocol="grpc",task="summarization"} 0.2',
        'dqbart_source_tokens_total{model="m"} 7.0',
        'dqbart_generated_tokens_total{model="m"} 3.0',
        'dqbart_queue_seconds_sum{model="m"} 0.02',
        'dqbart_queue_size{model="m"} 5.0',
        'dqbart_running_inputs{model="m"} 4.0',
        'dqbart_batch_rows_sum{model="m"} 8.0',
    ):
        assert line in page


def test_a_step_that_decodes_nothing_is_no_step() -> None:
    metrics = Metrics()
    metrics.record_step("m", 0, EngineStats(1, 0, 0))
    page = metrics.page().decode()
    assert 'dqbart_queue_size{model="m"} 1.0' in page
    assert "dqbart_batch_rows_count" not in page


def test_replicas_are_added_up_and_the_gauges_of_dead_ones_forgotten(tmp_path: Path) -> None:
    environment = {**os.environ, MULTIPROCESS_VARIABLE: str(tmp_path)}

    def start(mode: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", REPLICA, mode], cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True
        )

    with start("wait") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "recorded\n"
        both, _ = start("page").communicate()
        other.kill()
    after, _ = start("page").communicate()
    requests = 'dqbart_requests_total{model="m",outcome="ok",protocol="http",task="translation"}'
    assert f"{requests} 2.0" in both
    assert 'dqbart_queue_size{model="m"} 6.0' in both
    assert f"{requests} 3.0" in after
    assert 'dqbart_queue_size{model="m"} 3.0' in after
