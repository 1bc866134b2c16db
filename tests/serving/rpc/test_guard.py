"""What stands before the calls, without Ray; with Ray it is in test_access_and_limits.py."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.observability.metrics import Metrics
from serving.observability.requests import current_request
from serving.rpc import guard
from serving.rpc.calls import Rpc
from serving.service.access import make_key
from serving.service.gate import Gate, GateSettings
from serving.service.models import Models
from serving.service.service import Limits, Service
from tests.serving.rpc.ray_context import Context, unread

KEY, KNOWN = make_key("alice")
MESSAGE = unread(pb.SummarizeRequest(texts=["a secret"]))


@pytest.fixture
def service() -> Service:
    return Service(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())


def summarize(service: Service, gate: Gate, **metadata: str) -> Context:
    context = Context({name.replace("_", "-"): value for name, value in metadata.items()})
    assert asyncio.run(Rpc(service, gate).summarize(MESSAGE, context)) == pb.GenerateResponse()
    return context


def test_a_key_opens(service: Service) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,)))
    for metadata in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
        assert summarize(service, gate, **metadata).status == grpc.StatusCode.NOT_FOUND


def test_calls_without_a_key_are_refused_and_counted(service: Service) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,)))
    for metadata in ({}, {"authorization": "Bearer dqb_x"}, {"authorization": KEY}):
        context = summarize(service, gate, **metadata)
        assert context.status == grpc.StatusCode.UNAUTHENTICATED
        assert ("dqbart-error-code", "unauthenticated") in context.trailers
    listed = Context()
    asyncio.run(Rpc(service, gate).list_models(unread(pb.ListModelsRequest()), listed))
    assert listed.status == grpc.StatusCode.UNAUTHENTICATED
    assert b'outcome="unauthenticated",protocol="grpc",task="summarization"} 3.0' in service.metrics_page()


def test_a_stream_without_a_key_ends_with_an_empty_message(service: Service) -> None:
    async def read() -> list[pb.StreamEvent]:
        return [event async for event in Rpc(service, Gate(GateSettings(keys=(KNOWN,)))).summarize_stream(MESSAGE, context)]

    context = Context({"x-request-id": "my-1"})
    assert asyncio.run(read()) == [pb.StreamEvent()]
    assert context.status == grpc.StatusCode.UNAUTHENTICATED
    assert ("x-request-id", "my-1") in context.trailers


@pytest.mark.parametrize(("open_health", "status"), [(True, None), (False, grpc.StatusCode.UNAUTHENTICATED)])
def test_health_is_open_or_closed_by_setting(service: Service, open_health: bool, status: Any) -> None:
    context = Context()
    gate = Gate(GateSettings(keys=(KNOWN,), open_health=open_health))
    asyncio.run(Rpc(service, gate).check(unread(health_pb2.HealthCheckRequest()), context))
    assert context.status == status


def test_beyond_the_places_calls_are_refused_at_once(service: Service) -> None:
    gate = Gate(GateSettings(max_concurrent_requests=1))
    with gate.place():
        context = summarize(service, gate)
    assert context.status == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("retry-after", "1") in context.trailers
    assert summarize(service, gate).status == grpc.StatusCode.NOT_FOUND


def test_beyond_the_bytes_in_flight_calls_are_refused_at_once(service: Service) -> None:
    gate = Gate(GateSettings(max_payload_bytes_in_flight=len(MESSAGE.content)))
    with gate.place() as place:
        place.hold(1)
        context = summarize(service, gate)
    assert context.status == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("retry-after", "1") in context.trailers
    assert summarize(service, gate).status == grpc.StatusCode.NOT_FOUND
    assert b'outcome="overloaded",protocol="grpc",task="summarization"} 1.0' in service.metrics_page()


@pytest.mark.parametrize(
    ("metadata", "named"),
    [({"x_request_id": "my-1"}, "my-1"), ({}, "1"), ({"x_request_id": "my 1"}, None)],
)
def test_every_answer_has_the_requests_id_once(service: Service, metadata: dict[str, str], named: str | None) -> None:
    context = summarize(service, Gate(), **metadata)
    (given,) = [value for name, value in context.trailers if name == "x-request-id"]
    assert given == named if named else len(given) == 32


def test_a_call_has_one_line_without_texts_and_keys(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving")
    summarize(service, Gate(GateSettings(keys=(KNOWN,))), x_api_key=KEY)
    summarize(service, Gate(GateSettings(keys=(KNOWN,))), x_api_key="dqb_x")
    told = [record.__dict__["fields"] for record in caplog.records]
    assert [(each["call"], each["outcome"], each.get("key")) for each in told] == [
        ("dqbart.v1.Seq2Seq/Summarize", "unknown_model", "alice"),
        ("dqbart.v1.Seq2Seq/Summarize", "unauthenticated", None),
    ]
    assert "secret" not in str([record.__dict__ for record in caplog.records])


def test_a_cancelled_call_gives_its_place_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving")
    gate = Gate(GateSettings(max_concurrent_requests=1))

    class Held(Service):
        async def generate(self, request: Any, protocol: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

    async def cancel() -> None:
        call = asyncio.ensure_future(Rpc(held, gate).summarize(MESSAGE, Context()))
        await asked.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        with gate.place():
            pass

    held, asked = Held(Models(), Limits(1, 10, 1, 1, 60.0), Metrics()), asyncio.Event()
    asyncio.run(cancel())
    assert [record.__dict__["fields"]["outcome"] for record in caplog.records] == ["cancelled"]


def test_the_time_limit_is_known(service: Service) -> None:
    class Asked(Service):
        async def generate(self, request: Any, protocol: Any) -> Any:
            record = current_request()
            assert record is not None
            limits.append(record.time_limit)
            return await super().generate(request, protocol)

    limits: list[float | None] = []
    asked = Asked(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())
    summarize(asked, Gate(), x_request_timeout_seconds="2")
    assert summarize(asked, Gate(), x_request_timeout_seconds="soon").status == grpc.StatusCode.INVALID_ARGUMENT
    assert limits == [2.0]


def test_a_message_is_not_read_before_the_key_is_known(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "read_message", lambda *_: pytest.fail("it was read"))
    gate = Gate(GateSettings(keys=(KNOWN,), open_health=False))
    rpc = Rpc(service, gate)
    calls = [each for each in vars(Rpc).values() if hasattr(each, "__wrapped__")]
    assert len(calls) == 9

    async def status(call: Any) -> Any:
        context = Context()
        answer = call(rpc, MESSAGE, context)
        await (anext(answer) if hasattr(answer, "__anext__") else answer)
        return context.status

    for call in calls:
        assert asyncio.run(status(call)) == grpc.StatusCode.UNAUTHENTICATED


async def watching(rpc: Rpc) -> tuple[Any, Context]:
    context = Context()
    watch = rpc.watch(unread(health_pb2.HealthCheckRequest()), context)
    await anext(watch)
    return watch, context


def test_watchers_have_places_of_their_own(service: Service) -> None:
    gate = Gate(GateSettings(max_watchers=2, max_concurrent_requests=1))
    rpc = Rpc(service, gate)

    async def watch() -> None:
        watches = [await watching(rpc) for _ in range(3)]
        assert [context.status for _, context in watches] == [None, None, grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert ("retry-after", "1") in watches[2][1].trailers
        context = Context()
        await rpc.summarize(MESSAGE, context)
        assert context.status == grpc.StatusCode.NOT_FOUND
        await rpc.check(unread(health_pb2.HealthCheckRequest()), checked := Context())
        assert checked.status is None
        for each, _ in watches:
            await each.aclose()
        again, context = await watching(rpc)
        assert context.status is None
        await again.aclose()

    asyncio.run(watch())
