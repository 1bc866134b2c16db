"""Streams end to end, and what becomes of work that nobody waits for any more: a real server, real HTTP and gRPC clients."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.rpc.statuses import GRPC_STATUS
from serving.service.errors import HTTP_STATUS, ErrorCode
from tests.serving.conftest import REQUEST_TIMEOUT
from tests.serving.server.running import PATIENCE, Server, metrics, series

WINDOWS = 1000
LONG: dict[str, Any] = {
    "source_language": "en",
    "truncation": "chunk",
    "parameters": {"num_beams": 16, "max_new_tokens": 63, "min_new_tokens": 63},
}
"""With `WINDOWS` sentences, more than the server has time for."""
LONG_TEXT = "how are you. " * WINDOWS


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield seq2seq_pb2_grpc.Seq2SeqStub(channel)


def post(server: Server, task: str, body: dict[str, Any]) -> Any:
    response = httpx.post(f"{server.url}/v1/{task}", json=body, timeout=PATIENCE)
    response.raise_for_status()
    return response.json()


def events_of(server: Server, task: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Name and data of each event."""
    response = httpx.post(f"{server.url}/v1/{task}", json={**body, "stream": True}, timeout=PATIENCE)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (response.headers["cache-control"], response.headers["x-accel-buffering"]) == ("no-cache", "no")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    lines = [block.split("\n") for block in blocks]
    assert all(name.startswith("event: ") and data.startswith("data: ") for name, data in lines)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in lines]


def untimed(result: Any) -> Any:
    return {name: value for name, value in result.items() if name != "timings"}


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("translate", {"text": ["guten morgen welt", "wie geht es dir"], "source_language": "de"}),
    (
        "translate",
        {"text": "good morning world. how are you.\n\nshe wrote it.", "source_language": "en", "truncation": "chunk"},
    ),
    ("translate", {"text": "guten morgen", "source_language": "de", "parameters": {"num_beams": 1, "return_scores": True}}),
    ("summarize", {"text": "good morning world", "parameters": {"do_sample": True, "seed": 5, "max_new_tokens": 40}}),
    ("summarize", {"text": "good morning world. how are you. " * 12, "truncation": "chunk"}),
    ("answer", {"question": "who wrote the book", "context": "she wrote it"}),
    ("answer", {"question": "who", "context": "she wrote it. how are you. " * 8, "truncation": "chunk"}),
]


@pytest.mark.parametrize(("task", "body"), BODIES)
def test_a_stream_over_http_is_the_unstreamed_answer(server: Server, task: str, body: dict[str, Any]) -> None:
    answer = post(server, task, body)
    events = events_of(server, task, body)
    assert events.pop() == ("done", {"model": answer["model"]})
    results = {data["input"]: data["result"] for name, data in events if name == "result"}
    assert [untimed(results[place]) for place in range(len(results))] == [untimed(result) for result in answer["results"]]
    for place, result in results.items():
        named = [(name, data) for name, data in events if data["input"] == place]
        assert [name for name, _ in named] == ["text"] * (len(named) - 1) + ["result"]
        assert all(data.keys() == {"input", "text"} for name, data in named if name == "text")
        assert "".join(data["text"] for name, data in named if name == "text") == result["text"]


MESSAGES: list[tuple[str, Any]] = [
    ("Translate", pb.TranslateRequest(texts=["guten morgen welt", "wie geht es dir"], source_language="de")),
    ("Summarize", pb.SummarizeRequest(texts=["good morning"], parameters=pb.GenerationParameters(num_beams=1))),
    ("Answer", pb.AnswerRequest(questions=[pb.Question(question="who", contexts=["she wrote it"])])),
]


@pytest.mark.parametrize(("method", "message"), MESSAGES)
def test_a_stream_over_grpc_is_the_unstreamed_answer(stub: Any, method: str, message: Any) -> None:
    answer = getattr(stub, method)(message)
    events = list(getattr(stub, f"{method}Stream")(message))
    assert {event.model for event in events} == {answer.model}
    results = {event.input: event.result for event in events if event.WhichOneof("event") == "result"}
    for result in [*results.values(), *answer.results]:
        result.ClearField("timings")
    assert [results[place] for place in range(len(results))] == list(answer.results)
    for place, result in results.items():
        assert "".join(event.text for event in events if event.input == place) == result.text


def test_texts_come_before_the_results(server: Server) -> None:
    body = {"text": "good morning", "parameters": {"num_beams": 1, "max_new_tokens": 60, "min_new_tokens": 60}}
    assert sum(name == "text" for name, _ in events_of(server, "summarize", body)) > 1


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (ErrorCode.EMPTY_TEXT, {"text": [" "]}),
        (ErrorCode.UNKNOWN_MODEL, {"text": ["how are you"], "model": "absent"}),
        (ErrorCode.WRONG_TASK, {"text": ["how are you"], "model": "summarizer"}),
        (ErrorCode.UNKNOWN_LANGUAGE, {"text": ["how are you"], "source_language": "fr"}),
        (ErrorCode.TOO_LONG, {"text": ["fine", "how are you " * 20], "source_language": "en", "truncation": "error"}),
        (ErrorCode.BAD_PARAMETER, {"text": ["how are you"], "source_language": "en", "parameters": {"max_new_tokens": 0}}),
        (
            ErrorCode.BAD_PARAMETER,
            {"text": ["how are you"], "source_language": "en", "parameters": {"num_return_sequences": 2}},
        ),
    ],
)
def test_refusals_are_those_of_unstreamed_requests(server: Server, stub: Any, code: ErrorCode, body: dict[str, Any]) -> None:
    response = httpx.post(f"{server.url}/v1/translate", json={**body, "stream": True}, timeout=PATIENCE)
    assert (response.status_code, response.json()["error"]["code"]) == (HTTP_STATUS[code], code)
    fields = {"texts" if key == "text" else key: value for key, value in body.items()}
    if "truncation" in fields:
        fields["truncation"] = f"TRUNCATION_{fields['truncation'].upper()}"
    message = pb.TranslateRequest(**fields)
    events: list[Any] = []
    with pytest.raises(grpc.RpcError) as refused:
        events.extend(stub.TranslateStream(message))
    assert not any(event.WhichOneof("event") for event in events)
    assert refused.value.code() == GRPC_STATUS[code]
    assert refused.value.details() == response.json()["error"]["message"]
    assert dict(refused.value.trailing_metadata())["dqbart-error-code"] == code


def test_a_stream_that_takes_too_long_ends_with_the_error(server: Server, stub: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        over_http = pool.submit(events_of, server, "translate", {"text": LONG_TEXT, **LONG})
        events: list[Any] = []
        with pytest.raises(grpc.RpcError) as failed:
            events.extend(stub.TranslateStream(long_message()))
        *texts, (name, data) = over_http.result()
    assert any(event.text for event in events)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert failed.value.details() == f"no answer within the server's limit of {REQUEST_TIMEOUT} seconds"
    assert dict(failed.value.trailing_metadata())["dqbart-error-code"] == ErrorCode.TIMEOUT
    assert {name for name, _ in texts} == {"text"}
    assert (name, data["error"]["code"], data["error"]["message"]) == ("error", "timeout", failed.value.details())
    wait_until_idle(server)


def long_message() -> Any:
    return pb.TranslateRequest(texts=[LONG_TEXT], **{**LONG, "truncation": pb.TRUNCATION_CHUNK})


def stream_over_grpc_cancelled(server: Server, stub: Any) -> None:
    call = stub.TranslateStream(long_message())
    assert next(call).text
    call.cancel()


def stream_over_grpc_beyond_its_deadline(server: Server, stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        list(stub.TranslateStream(long_message(), timeout=1))
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def stream_over_http_left(server: Server, stub: Any) -> None:
    body = {"text": LONG_TEXT, **LONG, "stream": True}
    with httpx.stream("POST", f"{server.url}/v1/translate", json=body, timeout=PATIENCE) as response:
        assert next(response.iter_text())


def call_over_grpc_cancelled(server: Server, stub: Any) -> None:
    call = stub.Translate.future(long_message())
    wait_until(lambda: running(server) > 0)
    call.cancel()


def call_over_grpc_beyond_its_deadline(server: Server, stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        stub.Translate(long_message(), timeout=1)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def call_over_http_left(server: Server, stub: Any) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/translate", json={"text": LONG_TEXT, **LONG}, timeout=1)


@pytest.mark.parametrize(
    ("protocol", "leave"),
    [
        ("grpc", stream_over_grpc_cancelled),
        ("grpc", stream_over_grpc_beyond_its_deadline),
        ("http", stream_over_http_left),
        ("grpc", call_over_grpc_cancelled),
        ("grpc", call_over_grpc_beyond_its_deadline),
        ("http", call_over_http_left),
    ],
)
def test_work_that_nobody_waits_for_is_dropped(
    server: Server, stub: Any, protocol: str, leave: Callable[[Server, Any], None]
) -> None:
    wait_until_idle(server)
    windows = series("dqbart_windows_total", model="translator")
    ends = {
        outcome: series("dqbart_requests_total", task="translation", model="translator", protocol=protocol, outcome=outcome)
        for outcome in ("ok", "cancelled", "timeout")
    }
    before = metrics(server)
    leave(server, stub)
    wait_until(lambda: metrics(server).get(ends["cancelled"], 0) > before.get(ends["cancelled"], 0))
    wait_until_idle(server)
    after = metrics(server)
    assert {name: after.get(key, 0) - before.get(key, 0) for name, key in ends.items()} == {
        "ok": 0,
        "cancelled": 1,
        "timeout": 0,
    }
    assert after.get(windows, 0) - before.get(windows, 0) < WINDOWS


def running(server: Server) -> float:
    page = metrics(server)
    return sum(page.get(series(name, model="translator"), 0) for name in ("dqbart_running_inputs", "dqbart_queue_size"))


def wait_until_idle(server: Server) -> None:
    wait_until(lambda: running(server) == 0)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_streams_are_described(server: Server) -> None:
    description = httpx.get(f"{server.url}/openapi.json", timeout=PATIENCE).json()
    for task in ("translate", "summarize", "answer"):
        route = description["paths"][f"/v1/{task}"]["post"]
        answer = route["responses"]["200"]["content"]
        assert answer["application/json"]["schema"]["$ref"] == "#/components/schemas/GenerateResponse"
        assert "event: done" in answer["text/event-stream"]["example"]
        body = route["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert description["components"]["schemas"][body]["properties"]["stream"]["type"] == "boolean"
