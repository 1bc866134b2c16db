"""Malformed and hostile requests at a running server, over both protocols: each is answered, with a fault of the client's.

Most bodies are made from the interface's own description: the OpenAPI document, by schemathesis, and the .proto.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.dqbart.v1 import seq2seq_pb2 as pb
from serving.http.errors import TEXT_ERROR_PATHS, TextErrorResponse
from serving.service.messages import ErrorResponse
from tests.serving.server.hostile import BODIES, fuzzed, messages, odd_requests
from tests.serving.server.running import PATIENCE, Server

INTERNALS = re.compile(r"Traceback|File \"|\.py\b|site-packages|<class|/home/|/tmp/|pydantic|google\.protobuf")
"""What no client is to read, and except for names of files no log to have."""


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel


@pytest.fixture(scope="module")
def description(client: httpx.Client) -> Any:
    return client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def before(client: httpx.Client) -> dict[str, Any]:
    return answers(client)


@pytest.fixture(autouse=True)
def unharmed(server: Server, client: httpx.Client, before: dict[str, Any]) -> Iterator[None]:
    yield
    assert answers(client) == before
    assert "Traceback" not in server.output.read_text()
    assert server.process.poll() is None


def answers(client: httpx.Client) -> dict[str, Any]:
    """What the valid bodies get, but for the time that it takes."""
    found = {path: client.post(path, json=body).raise_for_status().json() for path, body in BODIES.items()}
    for path, answer in found.items():
        for result in answer["results"] if path.startswith("/v1/") else ():
            del result["timings"]
    return found


def check_error(path: str, status: int, body: str) -> None:
    """Raises AssertionError unless it is an error as clients know them."""
    assert status < 500 or status in (503, 504), body
    assert not INTERNALS.search(body), body
    shape = TextErrorResponse if path.startswith(TEXT_ERROR_PATHS) else ErrorResponse
    assert shape.model_validate_json(body).model_fields_set == {"error"}


def test_requests_made_from_the_description_get_described_answers(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text('[parameters]\n"path.model" = "translator"\n')
    # No schema says that a text is not empty or a language known: what fits it may be refused all the same.
    checks = ("--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--no-color")
    cases = ("--phases", "examples,coverage,fuzzing", "--max-examples", "50", "--generation-deterministic")
    schemathesis = (sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run")
    run = subprocess.run(
        [*schemathesis, *checks, *cases, "--request-timeout", str(PATIENCE), f"{server.url}/openapi.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (tested,) = re.findall(r"(\d+) generated", run.stdout)
    assert int(tested) > 500


def test_bodies_that_are_damaged_get_described_answers(client: httpx.Client, description: Any) -> None:
    seen = set()

    @settings(fuzzed, max_examples=600)
    @given(request=odd_requests())
    def ask(request: tuple[str, bytes, dict[str, str]]) -> None:
        path, content, headers = request
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        response = client.post(path, content=content, headers=raw)
        described = "/huggingface/{model}" if path == "/huggingface/translator" else path
        assert str(response.status_code) in description["paths"][described]["post"]["responses"], response.text
        if response.status_code != 200:
            check_error(path, response.status_code, response.text)
        seen.add(response.status_code)

    ask()
    assert seen >= {200, 413, 415, 422}


@pytest.mark.parametrize("path", ["/v1/summarize", "/huggingface/summarization", "/translate", "/nowhere", "/huggingface/"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "M" * 300])
def test_other_methods_are_refused(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    if method == "FOO" or len(method) > 9:
        path = ""  # It never came to a route, and has the shape of the rest.
    check_error(path, response.status_code, response.text)


@pytest.mark.parametrize(
    "path",
    [
        *("//", "/%00", "/%ff%fe", "/v1/../v1/summarize", "//v1/summarize", "/v1/summarize;x", "/v1/summarize/more"),
        *("/page/..%2f..%2fetc/passwd", "/page/%2e%2e/%2e%2e/a.py", "/huggingface/%00", "/huggingface/..%2f.."),
        *("/" + "a" * 9_000, "/" + "a/" * 50_000, "*", "v1/summarize"),
    ],
)
def test_odd_paths_are_refused(server: Server, path: str) -> None:
    status, body = spoken(server, request(path=path))
    assert status in (400, 404)
    shaped = path if status == 404 else ""
    check_error(shaped, status, body)


HEADERS: dict[str, tuple[int, list[bytes]]] = {
    "a length that is none": (400, [b"Content-Length: 1e3"]),
    "two lengths": (400, [b"Content-Length: 1"]),
    "a length below 0": (400, [b"Content-Length: -1"]),
    "a length and chunks": (400, [b"Transfer-Encoding: chunked"]),
    "an unknown encoding": (400, [b"Transfer-Encoding: foo"]),
    "a space in a name": (400, [b"x y: 1"]),
    "a NUL": (400, [b"x: \0"]),
    "a thousand": (400, [b"x-%d: y" % place for place in range(1000)]),
    "one that is large": (200, [b"x: " + b"y" * 60_000]),
    "one that is no text": (200, [b"x: \xff"]),
    "an id that is none": (200, [b"x-request-id: \xff\xfe"]),
    "a key that is none": (200, [b"authorization: Bearer \xff"]),
    "another protocol": (
        200,
        [b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
    ),
    "a trace that is none": (200, [b"traceparent: 00-\xff-zz-01"]),
    "a time that is none": (422, [b"x-request-timeout-seconds: nan"]),
    "a time below 0": (422, [b"x-request-timeout-seconds: -1"]),
    "a time without end": (422, [b"x-request-timeout-seconds: 1e999"]),
}


@pytest.mark.parametrize("name", HEADERS)
def test_odd_headers(server: Server, name: str) -> None:
    expected, headers = HEADERS[name]
    status, body = spoken(server, request(headers=headers))
    assert status == expected
    assert not INTERNALS.search(body)


@pytest.mark.parametrize("sent", [bytes(range(256)) * 4, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET /\r\n\r\n"])
def test_what_is_no_http_is_refused(server: Server, sent: bytes) -> None:
    status, body = spoken(server, sent)
    assert status == 400
    assert not INTERNALS.search(body)


def request(path: str = "/v1/summarize", headers: list[bytes] | None = None) -> bytes:
    body = b'{"text": "good morning"}'
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Type: application/json"]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), *(headers or []), b"", body])


def spoken(server: Server, sent: bytes) -> tuple[int, str]:
    """Status and body of the answer to these bytes; clients would refuse to send some of them."""
    url = httpx.URL(server.url)
    answer = b""
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        while part := connection.recv(1 << 16):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["Seq2Seq"].methods}
CODES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def called(channel: grpc.Channel, path: str, message: bytes, **metadata: str) -> grpc.StatusCode:
    """How a call ends, whichever its kind: a client may read the answer of any as a stream."""
    call = channel.unary_stream(path)
    stream: Any = call(message, timeout=PATIENCE, metadata=[*metadata.items()])
    try:
        for _ in stream:
            pass
    except grpc.RpcError:
        assert not INTERNALS.search(stream.details()), stream.details()
    code: grpc.StatusCode = stream.code()
    return code


def test_every_message_of_the_proto_is_answered_or_refused(channel: grpc.Channel) -> None:
    seen = set()
    kinds = [method for name, method in METHODS.items() if name != "ListModels"]

    @fuzzed
    @given(call=st.sampled_from(kinds).flatmap(lambda method: st.tuples(st.just(method.name), messages(method.input_type))))
    def ask(call: tuple[str, Any]) -> None:
        name, message = call
        seen.add(called(channel, f"/dqbart.v1.Seq2Seq/{name}", message.SerializeToString()))

    ask()
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} <= seen <= CODES


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    paths = [f"/dqbart.v1.Seq2Seq/{name}" for name in METHODS] + ["/grpc.health.v1.Health/Check"]
    assert {called(channel, path, b"\xff\xff") for path in paths} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert called(channel, paths[0], b"\x0a\x02\xff\xfe") == grpc.StatusCode.INVALID_ARGUMENT
    assert called(channel, paths[0], b"\x0a\xe0\xa7\x12" + b"a" * 300_000) == grpc.StatusCode.RESOURCE_EXHAUSTED

    @fuzzed
    @given(path=st.sampled_from(paths), message=st.binary(max_size=60))
    def ask(path: str, message: bytes) -> None:
        assert called(channel, path, message) in CODES

    ask()


@pytest.mark.parametrize(
    "path",
    [
        *("/dqbart.v1.Seq2Seq/Nothing", "/dqbart.v1.Seq2Seq/drain", "/dqbart.v1.Seq2Seq/__init__", "/nowhere/Translate"),
        *("/grpc.health.v1.Health/check_health", "/", "//", "/" + "a" * 3_000 + "/b"),
    ],
)
def test_other_calls_are_unimplemented(channel: grpc.Channel, path: str) -> None:
    assert called(channel, path, b"") == grpc.StatusCode.UNIMPLEMENTED
    assert called(channel, path, b"\xff\xff") == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"x-request-timeout-seconds": "nan"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"x-request-id": "<script>" * 100}, grpc.StatusCode.OK),
        ({"authorization": "x" * 3_000}, grpc.StatusCode.OK),
        ({"application": "nothing"}, grpc.StatusCode.NOT_FOUND),
        ({"multiplexed_model_id": "x"}, grpc.StatusCode.OK),
    ],
)
def test_odd_metadata(channel: grpc.Channel, metadata: dict[str, str], code: grpc.StatusCode) -> None:
    message = pb.SummarizeRequest(texts=["good morning"]).SerializeToString()
    for name in ("Summarize", "SummarizeStream"):
        assert called(channel, f"/dqbart.v1.Seq2Seq/{name}", message, **metadata) == code
