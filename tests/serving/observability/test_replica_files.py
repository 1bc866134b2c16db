"""Replicas in processes of their own, which share a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.observability.metrics import MULTIPROCESS_VARIABLE

ROOT = Path(__file__).parents[3]

REPLICA = """
import json
import sys
from types import SimpleNamespace

from serving.observability.metrics import Metrics

card = SimpleNamespace(task="translation")
model = SimpleNamespace(name="m", card=card, scheme="8-8-8", layers="1-1", size_bytes=7, compression_ratio=2.5)
stats = SimpleNamespace(
    queued_requests=3, running_requests=2, cache_bytes=100, max_cache_bytes=1000, longest_stall_seconds=float(sys.argv[1])
)
metrics = Metrics()
metrics.watch(model, lambda: stats)
metrics.show_models([model])
for line in sys.stdin:
    if line == "count\\n":
        metrics.record_request("translation", "m", "http", "ok", 0.5)
    elif line == "remove\\n":
        metrics.show_models([])
    print(json.dumps(metrics.page().decode() if line == "page\\n" else None), flush=True)
"""


SUCCESSOR = """
import os
import sys
from pathlib import Path

from serving.observability.metrics import Metrics

for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir():
    path.rename(path.with_name(path.name.replace(sys.argv[1], str(os.getpid()))))
print(Metrics().page().decode())
"""
"""Begins with its own number on the files of a dead replica, whose number is given."""


class Replica:
    """Counts and shows what it is told to."""

    def __init__(self, folder: Path, stall: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", REPLICA, str(stall)],
            cwd=ROOT,
            env={**os.environ, MULTIPROCESS_VARIABLE: str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self, what: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def page(self) -> dict[str, float]:
        """Samples by name and labels, sorted."""
        families = text_string_to_metric_families(self.told("page"))
        samples = [sample for family in families for sample in family.samples]
        return {
            ",".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
            for sample in samples
        }

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        with self.process:
            self.process.kill()


Start = Callable[..., Replica]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A replica in the shared folder, not yet asked anything."""
    started: list[Replica] = []

    def start(stall: float = 0.0) -> Replica:
        started.append(Replica(tmp_path / "metrics", stall))
        return started[-1]

    yield start
    for replica in started:
        replica.close()


REQUESTS = "dqbart_requests_total,m,ok,http,translation"


def test_each_replica_shows_the_sums_of_all(start: Start) -> None:
    one, other = start(0.5), start(0.25)
    for replica in (one, other, other):
        replica.told("count")
    page = one.page()
    assert page == {**other.page(), **{key: value for key, value in page.items() if key.startswith("dqbart_process_")}}
    assert page[REQUESTS] == 3
    assert page["dqbart_request_duration_seconds_sum,m,http,translation"] == 1.5
    assert page["dqbart_queue_size,m"] == 6
    assert page["dqbart_cache_limit_bytes,m"] == 2000
    assert page["dqbart_longest_stall_seconds,m"] == 0.5
    assert page["dqbart_model_info,1-1,m,8-8-8,translation"] == 1
    assert page["dqbart_replicas"] == 2


def test_each_replicas_process_is_shown(start: Start) -> None:
    one, other = start(), start()
    other.told("count")
    page = one.page()
    for replica in (one, other):
        assert page[f"dqbart_process_resident_memory_bytes,{replica.process.pid}"] > 1 << 20
        assert page[f"dqbart_process_start_time_seconds,{replica.process.pid}"] > 1e9


def test_counters_of_a_killed_replica_stay_and_its_gauges_go(start: Start, tmp_path: Path) -> None:
    one, other = start(0.25), start(0.5)
    for replica in (one, other, other):
        replica.told("count")
    other.kill()
    for _ in range(2):
        page = one.page()
        assert page[REQUESTS] == 3
        assert page["dqbart_request_duration_seconds_bucket,0.5,m,http,translation"] == 3
        assert page["dqbart_request_duration_seconds_count,m,http,translation"] == 3
        assert page["dqbart_queue_size,m"] == 3
        assert page["dqbart_longest_stall_seconds,m"] == 0.25
        assert page["dqbart_replicas"] == 1
        assert page["dqbart_replica_starts_total"] == 2
        assert f"dqbart_process_resident_memory_bytes,{other.process.pid}" not in page


def test_dead_replicas_leave_no_files_of_their_own(start: Start, tmp_path: Path) -> None:
    living = start()
    living.told("count")
    files: set[str] = set()
    for count in range(1, 4):
        replica = start()
        replica.told("count")
        replica.kill()
        page = living.page()
        assert (page[REQUESTS], page["dqbart_replica_starts_total"]) == (1 + count, 1 + count)
        now = {path.name for path in (tmp_path / "metrics").iterdir()}
        assert now == (files or now)
        files = now


def test_a_process_with_the_number_of_a_dead_one_starts_afresh(start: Start, tmp_path: Path) -> None:
    """As in a container that was started again: its processes have the numbers that they had."""
    dead = start()
    dead.told("count")
    dead.kill()
    page = subprocess.run(
        [sys.executable, "-c", SUCCESSOR, str(dead.process.pid)],
        cwd=ROOT,
        env={**os.environ, MULTIPROCESS_VARIABLE: str(tmp_path / "metrics")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert 'dqbart_requests_total{model="m",outcome="ok",protocol="http",task="translation"} 1.0' in page
    assert "dqbart_replica_starts_total 2.0" in page
    assert "dqbart_replicas 1.0" in page
    assert "dqbart_queue_size" not in page


def test_a_model_that_every_replica_removed_has_no_gauges(start: Start) -> None:
    one, other = start(), start()
    other.told("count")
    for replica in (one, other):
        replica.told("remove")
    page = one.page()
    assert not [key for key in page if key.startswith(("dqbart_queue_size", "dqbart_model_"))]
    assert page[REQUESTS] == 1
