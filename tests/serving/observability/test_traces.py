"""Spans as an exporter gets them, and over the wire to a receiver of OTLP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.engine.request import GeneratedSequence, Result
from serving.observability import traces
from serving.observability.requests import RequestRecord, begin_request
from serving.observability.traces import Traces, missing_exporter, otlp_exporter, traces_wanted
from serving.server.run import check
from serving.server.settings import Serve

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answered(tracing: Traces, carrier: dict[str, str], outcome: str = "ok") -> RequestRecord:
    record = begin_request("my-id", "http", "unknown")
    with tracing(record, carrier):
        times = {"queue_seconds": 0.25, "encode_seconds": 0.5, "decode_seconds": 1.0, "first_token_seconds": 0.8}
        sequence = GeneratedSequence(token_ids=(5, 2), finish_reason="eos")
        record.add_window(7, Result(sequences=(sequence,), **times))
        record.call, record.task, record.model, record.inputs = "/v1/translate", "translation", "m", 1
        record.outcome = outcome
    return record


def spans(carrier: dict[str, str], outcome: str = "ok") -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Traces(exporter)
    answered(tracing, carrier, outcome)
    tracing.close()
    finished: Sequence[ReadableSpan] = exporter.get_finished_spans()
    return {span.name: span for span in finished}


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_request_has_a_span_and_the_engines_phases_below_it() -> None:
    made = spans({})
    root = made.pop("/v1/translate")
    assert root.parent is None
    assert {name: round(seconds(span), 3) for name, span in made.items()} == {"queue": 0.25, "encode": 0.5, "decode": 1.0}
    assert all(span.parent is not None and span.parent.span_id == root.context.span_id for span in made.values())
    assert made["queue"].end_time == made["encode"].start_time
    assert made["encode"].end_time == made["decode"].start_time
    assert dict(root.attributes or {}) == {
        "dqbart.request_id": "my-id",
        "dqbart.protocol": "http",
        "dqbart.task": "translation",
        "dqbart.model": "m",
        "dqbart.inputs": 1,
        "dqbart.source_tokens": 7,
        "dqbart.generated_tokens": 2,
        "dqbart.outcome": "ok",
    }
    assert root.resource.attributes["service.name"] == "dqbart"


def test_a_span_goes_below_the_one_that_the_client_names() -> None:
    root = spans({"traceparent": PARENT})["/v1/translate"]
    assert root.parent is not None
    assert f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{root.parent.span_id:016x}" == PARENT.split("-")[2]


def test_a_traceparent_that_is_none_is_passed_over() -> None:
    assert spans({"traceparent": "00-zz"})["/v1/translate"].parent is None


def test_a_refused_request_is_an_error() -> None:
    status = spans({}, "overloaded")["/v1/translate"].status
    assert (status.is_ok, status.description) == (False, "overloaded")


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert spans({})["/v1/translate"].resource.attributes["service.name"] == "mine"


def test_traces_are_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in traces.ENDPOINT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert not traces_wanted(None)
    assert traces_wanted("http://localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert traces_wanted(None)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_exporter() is None
    monkeypatch.setattr(traces, "EXPORTER", "opentelemetry.exporter.absent.http")
    assert missing_exporter() == "traces need OpenTelemetry: pip install 'dqbart[tracing]'"


def test_traces_that_cannot_be_sent_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "EXPORTER", "opentelemetry.exporter.absent.http")
    with pytest.raises(SystemExit, match=r"otlp_endpoint: traces need OpenTelemetry: pip install 'dqbart\[tracing\]'"):
        check(Serve(otlp_endpoint="http://localhost:4318"))


def test_spans_reach_a_collector() -> None:
    received: list[tuple[str, ExportTraceServiceRequest]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tracing = Traces(otlp_exporter(f"http://127.0.0.1:{server.server_port}/"))
        answered(tracing, {})
        tracing.close()
        server.shutdown()
        thread.join()
    ((path, sent),) = received
    assert path == "/v1/traces"
    names = [span.name for group in sent.resource_spans for scope in group.scope_spans for span in scope.spans]
    assert sorted(names) == ["/v1/translate", "decode", "encode", "queue"]
