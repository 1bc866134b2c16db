"""OpenTelemetry traces: a span for each request, with children for the engine's queue, encoding and decoding.

The engine says how long each took, not when; they follow one another and end when the answer is there, which gives their
places in time. Spans have names and numbers, never texts. The SDK is an extra, imported only where traces are asked for.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from serving.observability.requests import RequestRecord, WindowRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTER = "opentelemetry.exporter.otlp.proto.http"

FLUSH_MILLISECONDS = 3000
"""Less than a server that stops gives its replicas to answer."""

Tracing = Callable[[RequestRecord, Mapping[str, str]], Any]
"""Called with a request and its headers or metadata: a context that ends when the request does."""


@contextmanager
def no_tracing(record: RequestRecord, carrier: Mapping[str, str]) -> Iterator[None]:
    """What stands for traces where none are asked for."""
    yield


def traces_wanted(endpoint: str | None) -> bool:
    """Whether a setting or one of OpenTelemetry's own variables says where traces go."""
    return endpoint is not None or any(os.environ.get(name) for name in ENDPOINT_VARIABLES)


def missing_exporter() -> str | None:
    """What is to be installed before traces can be sent; None where it is."""
    try:
        found = importlib.util.find_spec(EXPORTER)
    except ModuleNotFoundError:
        found = None
    return None if found else "traces need OpenTelemetry: pip install 'dqbart[tracing]'"


def otlp_exporter(endpoint: str | None) -> SpanExporter:
    """Sends spans as OTLP over HTTP: to `endpoint`, a base URL like http://collector:4318, or where OTEL_* variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces") if endpoint else OTLPSpanExporter()


class Traces:
    """Makes spans, and hands them to an exporter on a thread of its own, in batches."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Not the global provider, which is Ray's. What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins.
        resource = Resource.create({"service.name": "dqbart"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("dqbart")

    @contextmanager
    def __call__(self, record: RequestRecord, carrier: Mapping[str, str]) -> Iterator[None]:
        """A span from the request's arrival to its end, below the one that a `traceparent` names."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(carrier)
        span = self._tracer.start_span(record.call, parent, SpanKind.SERVER, start_time=record.started_ns)
        try:
            yield
        finally:
            for window in record.windows:
                self._add_window(span, window)
            _describe(span, record)
            span.end()

    def flush(self) -> None:
        """Send what has ended; what a collector does not take within a few seconds is left."""
        self._provider.force_flush(FLUSH_MILLISECONDS)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _add_window(self, parent: Any, window: WindowRecord) -> None:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent)
        phases = (("queue", window.queue_seconds), ("encode", window.encode_seconds), ("decode", window.decode_seconds))
        start = window.ended_ns - int(1e9 * sum(seconds for _, seconds in phases))
        for name, seconds in phases:
            child = self._tracer.start_span(name, context, start_time=start)
            start += int(1e9 * seconds)
            child.end(start)


def _describe(span: Any, record: RequestRecord) -> None:
    from opentelemetry.trace import Status, StatusCode

    attributes = {
        "dqbart.request_id": record.request_id,
        "dqbart.protocol": record.protocol,
        "dqbart.task": record.task,
        "dqbart.model": record.model,
        "dqbart.inputs": record.inputs,
        "dqbart.source_tokens": record.source_tokens,
        "dqbart.generated_tokens": record.generated_tokens,
        "dqbart.outcome": record.outcome,
    }
    span.update_name(record.call)
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if record.outcome != "ok":
        span.set_status(Status(StatusCode.ERROR, record.outcome))
