"""Keys, limits, ids and logs as a stranger meets them, at a server with Ray and whatever stands in front of it."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.dqbart.v1 import seq2seq_pb2 as pb
from protos.dqbart.v1 import seq2seq_pb2_grpc
from serving.service.access import make_key
from tests.serving.server.running import PATIENCE, Server, metrics, series, start_server

KEY, KNOWN = make_key("alice")
WRONG_KEY, _ = make_key("mallory")
TEXT = "wer hat das buch geschrieben"
HEADERS = {"authorization": f"Bearer {KEY}"}
WATCHERS, MANY_WATCHERS = 3, 400
"""Many more than the slots that Ray has for a replica of these limits."""

LONG = {"text": [TEXT] * 4, "parameters": {"num_beams": 16, "max_new_tokens": 63, "min_new_tokens": 63}}
LATE = {**LONG, "text": [TEXT] * 32}
"""Takes several times as long as the limits that it is asked with."""


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    keys = folder / "keys"
    keys.write_text(KNOWN.line())
    arguments = ("--api-keys-file", str(keys), "--log-format", "json", "--log-level", "info")
    limits = (
        "--max-concurrent-requests",
        "2",
        "--max-watchers",
        str(WATCHERS),
        "--max-payload-bytes",
        "20000",
        "--max-source-characters",
        "20000",
    )
    with start_server(folder, [artifacts["summarizer"]], *arguments, *limits) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield seq2seq_pb2_grpc.Seq2SeqStub(channel)


def post(server: Server, body: Any = None, **headers: str) -> httpx.Response:
    named = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(f"{server.url}/v1/summarize", json=body or {"text": TEXT}, headers=named, timeout=PATIENCE)


def refused(call: Any, **metadata: str) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(metadata=[(name.replace("_", "-"), value) for name, value in metadata.items()])
    return error.value


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.output.read_text().splitlines()]


def requests(server: Server) -> dict[str, dict[str, Any]]:
    return {line["request_id"]: line for line in lines(server) if line["message"] == "request"}


def wait_for_line(server: Server, request_id: str) -> None:
    """Ray hands lines on after a moment."""
    deadline = time.monotonic() + PATIENCE
    while request_id not in requests(server):
        assert time.monotonic() < deadline, f"no line of {request_id}"
        time.sleep(0.05)


def test_keys_open_both_protocols(server: Server, stub: Any) -> None:
    message = pb.SummarizeRequest(texts=[TEXT])
    for wrong in ("", f"Bearer {WRONG_KEY}"):
        response = post(server, authorization=wrong)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
        for call in (stub.Summarize, lambda *arguments, **named: list(stub.SummarizeStream(*arguments, **named))):
            error: Any = refused(lambda call=call, **named: call(message, **named), authorization=wrong)
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
            assert dict(error.trailing_metadata())["dqbart-error-code"] == "unauthenticated"
    assert (
        refused(lambda **named: stub.ListModels(pb.ListModelsRequest(), **named)).code() == grpc.StatusCode.UNAUTHENTICATED
    )
    answer = stub.Summarize(message, metadata=list(HEADERS.items()))
    assert post(server).json()["results"][0]["text"] == answer.results[0].text
    assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).status_code == 200


def test_the_id_comes_back_once_and_is_in_the_log(server: Server, stub: Any) -> None:
    for response in (post(server, x_request_id="http-1"), post(server, x_request_id="http-2", authorization="")):
        assert response.headers.get_list("x-request-id") in (["http-1"], ["http-2"])
    (replaced,) = post(server, x_request_id="<http 3>").headers.get_list("x-request-id")
    assert len(replaced) == 32
    metadata = [*HEADERS.items(), ("x-request-id", "grpc-1")]
    _, call = stub.Summarize.with_call(pb.SummarizeRequest(texts=[TEXT]), metadata=metadata)
    assert dict(call.trailing_metadata())["x-request-id"] == "grpc-1"
    stream = stub.SummarizeStream(pb.SummarizeRequest(texts=[TEXT]), metadata=[*HEADERS.items(), ("x-request-id", "grpc-2")])
    list(stream)
    assert dict(stream.trailing_metadata())["x-request-id"] == "grpc-2"
    expected = {"http-1": "ok", "http-2": "unauthenticated", replaced: "ok", "grpc-1": "ok", "grpc-2": "ok"}
    wait_for_line(server, "grpc-2")
    logged = requests(server)
    assert {name: logged[name]["outcome"] for name in expected} == expected
    assert (
        logged["grpc-2"].items()
        >= {
            "protocol": "grpc",
            "call": "dqbart.v1.Seq2Seq/SummarizeStream",
            "task": "summarization",
            "model": "summarizer",
            "inputs": 1,
            "key": "alice",
        }.items()
    )
    assert logged["grpc-2"]["source_tokens"] == logged["http-1"]["source_tokens"] > 0
    assert logged["grpc-2"]["generated_tokens"] == logged["http-1"]["generated_tokens"] > 0


def test_the_clients_time_is_the_limit_and_the_work_is_dropped(server: Server, stub: Any) -> None:
    response = post(server, LATE, x_request_timeout_seconds="0.02", x_request_id="late-1")
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
    assert response.json()["error"]["message"] == "no answer within the time that the request gave"
    parameters = pb.GenerationParameters(**LATE["parameters"])  # type: ignore[arg-type]
    message = pb.SummarizeRequest(texts=LATE["text"], parameters=parameters)  # type: ignore[arg-type]
    error: Any = refused(lambda **named: stub.Summarize(message, **named), **HEADERS, x_request_timeout_seconds="0.02")
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert dict(error.trailing_metadata())["dqbart-error-code"] == "timeout"
    error = refused(lambda **named: stub.Summarize(message, timeout=0.1, **named), **HEADERS, x_request_id="late-2")
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for_line(server, "late-2")
    assert (requests(server)["late-1"]["outcome"], requests(server)["late-2"]["outcome"]) == ("timeout", "cancelled")


def test_beyond_its_places_the_replica_refuses_at_once(server: Server, stub: Any) -> None:
    with ThreadPoolExecutor(12) as pool:
        responses = list(pool.map(lambda _: post(server, LONG), range(12)))
    codes = [response.status_code for response in responses]
    assert set(codes) == {200, 429}
    for response in responses:
        if response.status_code == 429:
            assert response.json()["error"]["message"].startswith("2 requests are being answered")
            assert response.headers["retry-after"] == "1"


def test_a_message_that_is_too_large_is_refused(server: Server, stub: Any) -> None:
    response = post(server, {"text": "a" * 20_000})
    assert response.status_code == 413
    assert response.json()["error"]["message"] == "the body is larger than 20000 bytes: split it"
    message = pb.SummarizeRequest(texts=["a" * 20_000])
    assert refused(lambda **named: stub.Summarize(message, **named), **HEADERS).code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_body_without_end_is_read_to_the_limit(server: Server) -> None:
    url = httpx.URL(server.url)
    head = f"POST /v1/summarize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        try:
            for _ in range(1000):
                connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        except OSError:
            pass  # The server has answered and closed.
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert post(server).status_code == 200


def test_what_is_logged_and_counted_has_neither_keys_nor_texts(server: Server) -> None:
    post(server, {"text": f"{TEXT} {'x ' * 300}"})
    post(server, {"text": TEXT, TEXT: KEY})
    post(server, x_request_id="last")
    wait_for_line(server, "last")
    output = server.output.read_text()
    assert all(isinstance(line, dict) for line in lines(server))
    page = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    for secret in (KEY, WRONG_KEY, TEXT, "geschrieben", "mallory"):
        assert secret not in output
        assert secret not in page
    assert "alice" not in page
    labels = {"task": "summarization", "model": "unknown", "protocol": "http", "outcome": "unauthenticated"}
    assert metrics(server)[series("dqbart_requests_total", **labels)] >= 2


def test_watchers_beyond_their_places_are_refused_and_take_none_of_the_requests(server: Server, stub: Any) -> None:
    with ExitStack() as held:
        channels = [
            held.enter_context(grpc.insecure_channel(server.grpc_address, [("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(8)
        ]
        watches = [
            health_pb2_grpc.HealthStub(channels[place % 8]).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            for place in range(MANY_WATCHERS)
        ]

        def told(watch: Any) -> Any:
            try:
                # Of a refused stream Ray hands the status on behind an empty message.
                return next(status for status in (answer.status for answer in watch) if status)
            except grpc.RpcError as error:
                return error.code()  # type: ignore[attr-defined]

        with ThreadPoolExecutor(16) as pool:
            outcomes = Counter(pool.map(told, watches))
        assert outcomes == {
            health_pb2.HealthCheckResponse.SERVING: WATCHERS,
            grpc.StatusCode.RESOURCE_EXHAUSTED: MANY_WATCHERS - WATCHERS,
        }
        assert post(server).status_code == 200
        assert stub.Summarize(pb.SummarizeRequest(texts=[TEXT]), metadata=list(HEADERS.items())).results
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        for watch in watches:
            watch.cancel()
