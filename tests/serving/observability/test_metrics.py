from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.engine import EngineStats
from serving.engine.port import Step
from serving.engine.request import GeneratedSequence, Result
from serving.observability.metrics import Metrics
from serving.service.counting import UNKNOWN_MODEL
from serving.service.errors import ErrorCode
from serving.service.models import CheckedModel, check_model

STATS = EngineStats(
    queued_requests=5,
    running_requests=4,
    batch_rows=8,
    cache_bytes=100,
    max_cache_bytes=1000,
    longest_stall_seconds=0.25,
    set_back_requests=3,
)


def values(metrics: Metrics, name: str) -> dict[str, float]:
    """Of each sample with that name, by the values of its labels in the order of their names."""
    families = text_string_to_metric_families(metrics.page().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {",".join(value for _, value in sorted(sample.labels.items())): sample.value for sample in samples}


def summarizer(artifacts: dict[str, Path], name: str = "m") -> CheckedModel:
    return check_model(name, artifacts["summarizer"], 8)


def test_page_shows_what_was_recorded() -> None:
    metrics = Metrics()
    metrics.record_request("summarization", "m", "grpc", "ok", 0.2)
    sequences = (GeneratedSequence((1, 2, 3), "eos"), GeneratedSequence((1, 2), "eos"))
    metrics.record_window("m", 7, Result(sequences, 0.02, 0.1, 0.4, 0.22))
    metrics.record_window("m", 4, Result(sequences[:1], 0.01, 0.1, 0.4, 0.31))
    metrics.record_input("m", "chunk")
    metrics.record_input("m", "none")
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
        'dqbart_encode_seconds_sum{model="m"} 0.2',
        'dqbart_decode_seconds_sum{model="m"} 0.8',
        'dqbart_time_to_first_token_seconds_sum{model="m"} 0.53',
        # Two tokens after the first one in 0.30 and in 0.20 seconds.
        'dqbart_time_per_output_token_seconds_sum{model="m"} 0.25',
        'dqbart_time_per_output_token_seconds_count{model="m"} 2.0',
        "dqbart_replicas 1.0",
        "dqbart_replica_starts_total 1.0",
    ):
        assert line in page
    assert 'truncation="none"' not in page


def test_one_token_has_no_time_after_it() -> None:
    metrics = Metrics()
    metrics.record_window("m", 7, Result((GeneratedSequence((1,), "length"),), 0.02, 0.1, 0.3, 0.22))
    assert values(metrics, "dqbart_time_per_output_token_seconds_count") == {}


def test_errors_are_failures_and_cancelled_requests_are_none() -> None:
    metrics = Metrics()
    for outcome in ("ok", "cancelled", ErrorCode.OVERLOADED):
        metrics.record_request("translation", "m", "http", outcome, 0.1)
    assert values(metrics, "dqbart_request_failures_total")["overloaded,m"] == 1
    assert sum(values(metrics, "dqbart_request_failures_total").values()) == 1
    assert sum(values(metrics, "dqbart_requests_total").values()) == 3


def test_failures_begin_at_zero(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    metrics.watch(model := summarizer(artifacts), lambda: STATS)
    metrics.show_models([model])
    expected = {f"{code},{name}": 0.0 for name in ("m", UNKNOWN_MODEL) for code in ErrorCode}
    assert values(metrics, "dqbart_request_failures_total") == expected


def test_a_step_is_recorded_and_one_that_decodes_nothing_is_none(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    model = summarizer(artifacts)
    stats = EngineStats(max_cache_bytes=1000)
    record_step = metrics.watch(model, lambda: stats)
    metrics.show_models([model])
    assert values(metrics, "dqbart_queue_size") == {"m": 0}
    assert values(metrics, "dqbart_cache_limit_bytes") == {"m": 1000}
    stats = STATS
    record_step(Step(8, 0.5))
    record_step(Step(0, 0.25))
    stats = replace(STATS, set_back_requests=5)
    record_step(Step(0, 0.25))
    page = metrics.page().decode()
    for line in (
        'dqbart_queue_size{model="m"} 5.0',
        'dqbart_running_inputs{model="m"} 4.0',
        'dqbart_batch_rows_sum{model="m"} 8.0',
        'dqbart_batch_rows_count{model="m"} 1.0',
        'dqbart_step_seconds_sum{model="m"} 1.0',
        'dqbart_step_seconds_count{model="m"} 3.0',
        'dqbart_cache_bytes{model="m"} 100.0',
        'dqbart_longest_stall_seconds{model="m"} 0.25',
        'dqbart_set_back_total{model="m"} 5.0',
    ):
        assert line in page


def test_a_models_footprint_is_shown(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    metrics.watch(model := summarizer(artifacts), lambda: STATS)
    metrics.show_models([model])
    assert values(metrics, "dqbart_model_size_bytes") == {"m": model.size_bytes}
    assert values(metrics, "dqbart_model_compression_ratio") == {"m": model.compression_ratio}
    assert 'dqbart_model_info{layers="1-1",model="m",scheme="8-8-8",task="summarization"} 1.0' in metrics.page().decode()


def test_ongoing_requests_are_those_that_have_not_ended() -> None:
    metrics = Metrics()
    key = "m,http,translation"
    with metrics.ongoing("translation", "m", "http"), metrics.ongoing("translation", "m", "http"):
        assert values(metrics, "dqbart_ongoing_requests") == {key: 2}
    with pytest.raises(asyncio.CancelledError), metrics.ongoing("translation", "m", "http"):
        raise asyncio.CancelledError
    assert values(metrics, "dqbart_ongoing_requests") == {key: 0}


GAUGES = (
    "dqbart_queue_size",
    "dqbart_running_inputs",
    "dqbart_cache_bytes",
    "dqbart_cache_limit_bytes",
    "dqbart_longest_stall_seconds",
    "dqbart_model_size_bytes",
    "dqbart_model_compression_ratio",
    "dqbart_model_info",
    "dqbart_ongoing_requests",
)


def test_a_removed_model_has_counters_and_no_gauges(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    removed, kept = summarizer(artifacts, "removed"), summarizer(artifacts, "kept")
    record_step = metrics.watch(removed, lambda: STATS)
    metrics.watch(kept, lambda: STATS)
    metrics.show_models([removed, kept])
    with metrics.ongoing("summarization", "removed", "http"):
        metrics.show_models([kept])
        record_step(Step(2, 0.5))
        for name in GAUGES:
            assert not [labels for labels in values(metrics, name) if "removed" in labels], name
    assert values(metrics, "dqbart_queue_size") == {"kept": 5}
    assert values(metrics, "dqbart_batch_rows_count") == {"removed": 1, "kept": 0}
    assert "removed" in values(metrics, "dqbart_generated_tokens_total")


def test_a_model_that_comes_back_is_shown_again(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    metrics.watch(model := summarizer(artifacts), lambda: STATS)
    metrics.show_models([model])
    with metrics.ongoing("summarization", "m", "http"):
        metrics.show_models([])
        metrics.watch(again := summarizer(artifacts), lambda: STATS)
        metrics.show_models([again])
        assert values(metrics, "dqbart_ongoing_requests") == {"m,http,summarization": 1}
    assert values(metrics, "dqbart_queue_size") == {"m": 5}


def test_the_gauges_of_a_name_show_the_model_that_has_taken_it(artifacts: dict[str, Path]) -> None:
    metrics = Metrics()
    old, new = summarizer(artifacts), check_model("m", artifacts["translator"], 8)
    record_old = metrics.watch(old, lambda: STATS)
    metrics.show_models([old])
    record_new = metrics.watch(new, lambda: EngineStats(queued_requests=1))
    record_new(Step(0, 0.5))
    assert values(metrics, "dqbart_queue_size") == {"m": 5}
    metrics.show_models([new])
    record_old(Step(2, 0.5))
    assert values(metrics, "dqbart_queue_size") == {"m": 1}
    assert len(values(metrics, "dqbart_model_info")) == 1
    assert 'task="translation"} 1.0' in metrics.page().decode()
