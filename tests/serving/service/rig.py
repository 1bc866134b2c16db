"""What the tests of the service ask, and an engine that fails on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.engine.request import Request, Result
from serving.service.errors import ServiceError
from serving.service.requests import TaskRequest
from serving.service.service import Limits, Service

LIMITS = Limits(max_inputs=3, max_source_characters=10_000, max_windows=20, max_rows=8, request_timeout_seconds=30)

SENTENCES = ["good morning world.", "how are you.", "who wrote the book.", "she wrote it."]
LONG = " ".join(SENTENCES) + " "
"""A little more than the 48 tokens that the models read."""

Build = Callable[..., Service]
"""A service with an engine of one's choice, and limits."""


class Failing:
    """An engine whose every request ends in the fault given, or hangs until cancelled when there is none."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault: str | None = None
        self.asked = self.cancelled = 0
        self.raised = fault

    async def generate(self, request: Request) -> Result:
        self.asked += 1
        if self.raised is not None:
            raise self.raised
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise AssertionError("unreachable")


def ask(service: Service, request: TaskRequest) -> Any:
    return asyncio.run(service.generate(request, "http"))


def refused(service: Service, request: TaskRequest) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        ask(service, request)
    return error.value


def counted(service: Service, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric by its labels: task, model, protocol, outcome, as far as it has them."""
    families = text_string_to_metric_families(service.metrics_page().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    order = ("task", "model", "protocol", "outcome")
    return {tuple(each.labels[label] for label in order if label in each.labels): each.value for each in samples}
