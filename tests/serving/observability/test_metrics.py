from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serving.engine.engine import EngineStats
from serving.engine.request import GeneratedSequence, Result
from serving.observability.metrics import MULTIPROCESS_VARIABLE, Metrics

ROOT = Path(__file__).parents[3]

REPLICA = """
import sys
from serving.engine.engine import EngineStats
from serving.observability.metrics import Metrics
metrics = Metrics()
metrics.record_request("translation", "m", "http", "ok", 0.5)
metrics.record_step("m", 4, EngineStats(3, 2, 4, 100, 1000, float(sys.argv[2])))
if sys.argv[1] == "page":
    print(metrics.page().decode())
    sys.exit()
print("recorded", flush=True)
sys.stdin.read()
"""


def test_page_shows_what_was_recorded() -> None:
    metrics = Metrics()
    metrics.record_request("summarization", "m", "grpc", "ok", 0.2)
    sequences = (GeneratedSequence((1, 2, 3), "eos"), GeneratedSequence((1, 2), "eos"))
    metrics.record_window("m", 7, Result(sequences, 0.02, 0.1, 0.3))
    metrics.record_window("m", 4, Result(sequences[:1], 0.01, 0.1, 0.3))
    metrics.record_input("m", "chunk")
    metrics.record_input("m", "none")
    stats = EngineStats(
        queued_requests=5,
        running_requests=4,
        batch_rows=8,
        cache_bytes=100,
        max_cache_bytes=1000,
        longest_stall_seconds=0.25,
    )
    metrics.record_step("m", 8, stats)
    page = metrics.page().decode()
    for line in (
        'dqbart_requests_total{model="m",outcome="ok",protocol="grpc",task="summarization"} 1.0',
        'dqbart_request_duration_seconds_sum{model="m",protocol="grpc",task="summarization"} 0.2',
        'dqbart_inputs_total{model="m"} 2.0',
        'dqbart_truncated_inputs_total{model="m",truncation="chunk"} 1.0',
        'dqbart_windows_total{model="m"} 2.0',
        'dqbart_source_tokens_total{model="m"} 11.0',
        'dqbart_generated_tokens_total{model="m"} 8.0',
        'dqbart_queue_seconds_sum{model="m"} 0.03',
        'dqbart_queue_size{model="m"} 5.0',
        'dqbart_running_inputs{model="m"} 4.0',
        'dqbart_batch_rows_sum{model="m"} 8.0',
        'dqbart_cache_bytes{model="m"} 100.0',
        'dqbart_cache_limit_bytes{model="m"} 1000.0',
        'dqbart_longest_stall_seconds{model="m"} 0.25',
    ):
        assert line in page
    assert 'truncation="none"' not in page


def test_a_step_that_decodes_nothing_is_no_step() -> None:
    metrics = Metrics()
    metrics.record_step("m", 0, EngineStats(1, 0, 0))
    page = metrics.page().decode()
    assert 'dqbart_queue_size{model="m"} 1.0' in page
    assert "dqbart_batch_rows_count" not in page


def test_replicas_are_added_up_and_the_gauges_of_dead_ones_forgotten(tmp_path: Path) -> None:
    environment = {**os.environ, MULTIPROCESS_VARIABLE: str(tmp_path)}

    def start(mode: str, stall: float) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", REPLICA, mode, str(stall)], cwd=ROOT, env=environment, stdin=-1, stdout=-1, text=True
        )

    with start("wait", 0.5) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "recorded\n"
        both, _ = start("page", 0.25).communicate()
        other.kill()
    after, _ = start("page", 0.25).communicate()
    requests = 'dqbart_requests_total{model="m",outcome="ok",protocol="http",task="translation"}'
    assert f"{requests} 2.0" in both
    assert 'dqbart_queue_size{model="m"} 6.0' in both
    assert 'dqbart_cache_limit_bytes{model="m"} 2000.0' in both
    assert 'dqbart_longest_stall_seconds{model="m"} 0.5' in both
    assert f"{requests} 3.0" in after
    assert 'dqbart_queue_size{model="m"} 3.0' in after
