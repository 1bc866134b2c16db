"""The metrics, scraped over HTTP as Prometheus does."""

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from compress.training.loop import StepReport
from compress.training.prometheus import MetricsPortError, Prometheus


def scrape(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        sample.name.removeprefix("dqbart_training_") + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_scrape_shows_the_last_report_the_last_scores_and_all_tokens() -> None:
    metrics = Prometheus(0, start=10, steps=100)
    try:
        assert scrape(metrics.port)["step"] == 10
        metrics.report(StepReport(20, 100, {"total": 4.0, "task": 1.0}, 2e-3, 1_000, 2.0))
        metrics.report(StepReport(40, 100, {"total": 3.5, "task": 1.25}, 1e-3, 1_500, 2.5))
        metrics.validated(40, {"BLEU": 30.0, "chrF": 55.5}, best=True)
        metrics.validated(60, {"BLEU": 29.0, "chrF": 55.0}, best=False)
        assert scrape(metrics.port) == {
            "step": 40,
            "steps": 100,
            "loss/total": 3.5,
            "loss/task": 1.25,
            "learning_rate": 1e-3,
            "tokens_per_second": 600,
            "tokens_total": 2_500,
            "validation_score/BLEU": 29.0,
            "validation_score/chrF": 55.0,
            "best_step": 40,
        }
    finally:
        metrics.close()


def test_the_port_is_free_again_afterwards() -> None:
    metrics = Prometheus(0, 0, 1)
    port = metrics.port
    metrics.close()
    with pytest.raises(urllib.error.URLError):
        scrape(port)
    Prometheus(port, 0, 1).close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MetricsPortError, match=f"metrics_port is {port}: Address already in use"):
            Prometheus(port, 0, 1)
