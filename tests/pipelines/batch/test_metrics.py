from __future__ import annotations

import urllib.request

import pytest

from pipelines.batch.errors import BatchError
from pipelines.batch.metrics import Metrics
from pipelines.batch.worker import Done


def test_parts_are_counted_and_what_is_left() -> None:
    metrics = Metrics(0, 100)
    try:
        metrics.begin(rows_left=70, actors=2)
        for part in range(2):
            metrics.count(Done(part, 20, bad_rows=1, source_tokens=300, generated_tokens=200, cpu_seconds=0.5))
        with urllib.request.urlopen(f"http://localhost:{metrics.port}/metrics") as page:
            lines = page.read().decode().splitlines()
        with pytest.raises(BatchError, match=f"metrics_port = {metrics.port}: Address already in use"):
            Metrics(metrics.port, 1)
    finally:
        metrics.close()
    shown = dict(line.removeprefix("dqbart_batch_").split(" ") for line in lines if line.startswith("dqbart_batch_"))
    assert {name: float(value) for name, value in shown.items() if not name.endswith("_created")} == {
        "input_rows": 100,
        "rows_left": 30,
        "actors": 2,
        "rows_total": 40,
        "bad_rows_total": 2,
        "source_tokens_total": 600,
        "generated_tokens_total": 400,
        "cpu_seconds_total": 1.0,
    }
