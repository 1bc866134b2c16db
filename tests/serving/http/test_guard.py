"""What stands before the routes, without Ray; with Ray it is in test_access_and_limits.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.http import bodies
from serving.http.guard import UNKNOWN_BYTES
from serving.http.routes import KEYS, build_app
from serving.observability.metrics import Metrics
from serving.observability.requests import current_request
from serving.observability.traces import Traces
from serving.service.access import make_key
from serving.service.errors import ErrorCode
from serving.service.gate import Gate, GateSettings
from serving.service.models import Models
from serving.service.service import Limits, Service

KEY, KNOWN = make_key("alice")


class HeldService(Service):
    """Answers never; `asked` is set when it is asked."""

    def __init__(self) -> None:
        super().__init__(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())
        self.asked = asyncio.Event()
        self.keys: list[str | None] = []

    async def generate(self, request: Any, protocol: Any) -> Any:
        record = current_request()
        assert record is not None
        self.keys.append(record.key_name)
        self.asked.set()
        await asyncio.Event().wait()


@pytest.fixture
def service() -> Service:
    return Service(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())


def call(service: Service, gate: Gate, method: str, path: str, **arguments: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with client_of(service, gate) as client:
            return await client.request(method, path, **arguments)

    return asyncio.run(send())


def client_of(service: Service, gate: Gate) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(build_app(service, gate), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.parametrize("path", ["/v1/summarize", "/v1/models", "/nowhere", "/healthz/"])
def test_no_path_but_the_open_ones_is_answered_without_a_key(service: Service, path: str) -> None:
    response = call(service, Gate(GateSettings(keys=(KNOWN,))), "GET", path)
    assert error(response) == (401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/"])
def test_open_paths_need_no_key(service: Service, path: str) -> None:
    assert call(service, Gate(GateSettings(keys=(KNOWN,))), "GET", path).status_code == 200


def test_health_and_metrics_are_closed_by_setting(service: Service) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,), open_health=False, open_metrics=False))
    for path in ("/healthz", "/metrics"):
        assert error(call(service, gate, "GET", path)) == (401, "unauthenticated")
        assert call(service, gate, "GET", path, headers={"authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_a_key_opens(service: Service, headers: dict[str, str]) -> None:
    assert call(service, Gate(GateSettings(keys=(KNOWN,))), "GET", "/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Basic {KEY}"}, {"authorization": "Bearer dqb_x"}, {"x-api-key": KNOWN.digest.hex()}]
)
def test_another_key_does_not(service: Service, headers: dict[str, str]) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,)))
    response = call(service, gate, "POST", "/v1/summarize", headers=headers, json={"text": "a"})
    assert error(response) == (401, "unauthenticated")
    counted = 'dqbart_requests_total{model="unknown",outcome="unauthenticated",protocol="http",task="summarization"} 1.0'
    assert counted in call(service, gate, "GET", "/metrics").text


def test_a_key_may_be_in_the_body_where_clients_put_it(service: Service) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,)))
    body = {"q": "a", "source": "de", "target": "en"}
    assert call(service, gate, "POST", "/translate", json={**body, "api_key": "dqb_x"}).status_code == 401
    without = call(service, gate, "POST", "/translate", json=body)
    assert (without.status_code, type(without.json()["error"])) == (401, str)
    assert call(service, gate, "POST", "/translate", json={**body, "api_key": KEY}).status_code == 404


def routes() -> list[tuple[str, str]]:
    """Every method and path that the application has, its routers' too."""

    def walk(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
        for route in routes:
            if hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)
            else:
                yield from ((method, route.path.replace("{model}", "any")) for method in sorted(route.methods))

    found = list(walk(build_app(Service(Models(), Limits(1, 10, 1, 1, 60.0), Metrics())).routes))
    assert {("POST", "/translate"), ("POST", "/v1/answer"), ("POST", "/huggingface/any"), ("GET", "/")} <= set(found)
    return found


@pytest.mark.parametrize(("method", "path"), [*routes(), ("POST", "/nowhere")])
def test_no_route_asks_for_a_body_before_the_key_is_known(
    service: Service, method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But those whose clients send it there: of their bodies a part is read, and nothing understood."""

    def understood(*_: Any) -> None:
        raise AssertionError("a body was looked into")

    monkeypatch.setattr(bodies, "read_json", understood)
    monkeypatch.setattr(bodies, "read_form", understood)
    gate = Gate(GateSettings(keys=(KNOWN,)))
    asked: list[int] = []

    async def receive() -> dict[str, Any]:
        asked.append(1)
        return {"type": "http.request", "body": b"x" * (64 << 10), "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(build_app(service, gate)({**scope, "root_path": ""}, receive, send))
    status = sent[0]["status"]
    if path in KEYS:
        assert (status, len(asked)) == (401, (UNKNOWN_BYTES // (64 << 10)) + 1)
    else:
        assert (status if asked else 401) == 401
        assert not asked


@pytest.mark.parametrize("size", [10, UNKNOWN_BYTES])
def test_a_body_without_a_known_key_is_not_looked_into(service: Service, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "read_json", lambda *_: pytest.fail("it was"))
    gate = Gate(GateSettings(keys=(KNOWN,)))
    for wrong in (b"", b"dqb_" + b"a" * 43, KEY.encode() + b"a"):
        content = b'{"api_key":"' + wrong + b'","q":"' + b"a" * size
        response = call(service, gate, "POST", "/translate", content=content, headers={"content-type": "application/json"})
        assert response.status_code == 401


def test_a_key_in_the_body_is_found_in_any_form(service: Service) -> None:
    gate = Gate(GateSettings(keys=(KNOWN,)))
    fields = {"q": "a", "source": "de", "target": "en", "api_key": KEY}
    assert call(service, gate, "POST", "/translate", data=fields).status_code == 404
    assert call(service, gate, "POST", f"/translate?api_key={KEY}", data={"q": "a"}).status_code == 422


def test_languages_need_no_key(service: Service) -> None:
    assert call(service, Gate(GateSettings(keys=(KNOWN,))), "GET", "/languages").status_code == 404


def test_other_servers_clients_are_told_in_a_text(service: Service) -> None:
    response = call(service, Gate(GateSettings(keys=(KNOWN,))), "POST", "/huggingface/summarization", json={"inputs": "a"})
    assert response.status_code == 401
    assert response.json() == {"error": "an API key is required: send `Authorization: Bearer KEY`"}


def test_beyond_the_places_requests_are_refused_at_once_and_health_is_not() -> None:
    async def ask() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        service = HeldService()
        gate = Gate(GateSettings(max_concurrent_requests=1))
        async with client_of(service, gate) as client:
            held = asyncio.create_task(client.post("/v1/summarize", json={"text": "a"}))
            await service.asked.wait()
            refused = await client.post("/v1/summarize", json={"text": "a"})
            health = await client.get("/healthz")
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
            return refused, health, await client.get("/v1/models")

    refused, health, then = asyncio.run(ask())
    assert error(refused) == (429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert (health.status_code, then.status_code) == (200, 200)


def test_beyond_the_bytes_in_flight_requests_are_refused_at_once() -> None:
    async def ask() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        service = HeldService()
        gate = Gate(GateSettings(max_payload_bytes_in_flight=100))
        async with client_of(service, gate) as client:
            held = asyncio.create_task(client.post("/v1/summarize", json={"text": "a" * 50}))
            await service.asked.wait()
            refused = await client.post("/v1/summarize", json={"text": "a" * 50})
            models = await client.get("/v1/models")
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
            return refused, models, await client.post("/v1/summarize", json={"none": "a" * 50})

    refused, models, then = asyncio.run(ask())
    assert error(refused) == (429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["message"].startswith("requests of 100 bytes are being answered")
    assert (models.status_code, then.status_code) == (200, 422)


def test_a_body_beyond_the_limit_is_refused_declared_or_not(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" "

    gate = Gate(GateSettings(max_payload_bytes=10))
    for body in (b" " * 11, chunks()):
        response = call(service, gate, "POST", "/v1/summarize", content=body)
        assert response.json() == {"error": {"code": "too_long", "message": "the body is larger than 10 bytes: split it"}}
        assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "content", "status", "message"),
    [
        ({"content-type": "text/plain"}, b'{"text": "a"}', 415, "Content-Type: application/json is expected"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"text=a", 415, "Content-Type: application/json"),
        ({"content-encoding": "gzip"}, b"x", 415, "is compressed (Content-Encoding)"),
        ({"content-encoding": ""}, b"{", 422, "Expecting property name"),
        ({}, b'{"text": "a", "text": "b"}', 422, "an object has the same name twice"),
        ({}, b"[" * 100_000, 422, "more than 32 lists and objects"),
        ({}, b'{"text": "a\\u0000"}', 422, "a NUL character"),
        ({}, b'{"text": "\\ud800"}', 422, "half a surrogate pair"),
        ({}, b'{"\\ud800": 1}', 422, "half a surrogate pair"),
        ({}, b'{"text": "a", "parameters": {"length_penalty": NaN}}', 422, "NaN is no number"),
        ({}, b'{"text": "a", "parameters": {"seed": 1' + b"0" * 5000 + b"}}", 422, "a number has more than 100 digits"),
        ({"x-request-timeout-seconds": "soon"}, b'{"text": "a"}', 422, "seconds above 0 are expected"),
    ],
)
def test_hostile_bodies_have_our_shape(
    service: Service, headers: dict[str, str], content: bytes, status: int, message: str
) -> None:
    headers = {"content-type": "application/json", **headers}
    response = call(service, Gate(), "POST", "/v1/summarize", headers=headers, content=content)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"])
def test_json_by_any_of_its_names(service: Service, kind: str) -> None:
    headers = {"content-type": kind}
    response = call(service, Gate(), "POST", "/v1/summarize", headers=headers, content=b'{"text": "a"}')
    assert error(response) == (404, "unknown_model")


def test_a_body_without_a_name_is_refused(service: Service) -> None:
    response = call(service, Gate(), "POST", "/v1/summarize", content=b'{"text": "a"}')
    assert error(response) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/summarize"), ("GET", "/nowhere"), ("GET", "/healthz"), ("PUT", "/v1/answer")]
)
def test_every_answer_has_the_requests_id(service: Service, method: str, path: str) -> None:
    assert call(service, Gate(), method, path, headers={"x-request-id": "my-1"}).headers.get_list("x-request-id") == ["my-1"]
    made = call(service, Gate(), method, path, headers={"x-request-id": "my 1"}).headers["x-request-id"]
    assert len(made) == 32


def test_a_request_has_one_line_without_texts_and_keys(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "serving")
    gate = Gate(GateSettings(keys=(KNOWN,)))
    call(service, gate, "POST", "/v1/summarize", headers={"x-api-key": KEY}, json={"text": "a secret"})
    call(service, gate, "POST", "/v1/summarize", headers={"x-api-key": "dqb_x"}, json={"text": "a secret"})
    call(service, gate, "GET", "/a-secret", headers={"x-api-key": KEY})
    call(service, gate, "GET", "/healthz")
    told = [record.__dict__["fields"] for record in caplog.records]
    assert [(each["call"], each["outcome"], each.get("key")) for each in told] == [
        ("/v1/summarize", "unknown_model", "alice"),
        ("/v1/summarize", "unauthenticated", None),
        ("unknown", "not_found", "alice"),
    ]
    assert "secret" not in str([record.__dict__ for record in caplog.records])


def test_a_request_has_a_span_and_a_probe_has_none(service: Service) -> None:
    exporter = InMemorySpanExporter()
    tracing = Traces(exporter)
    call(service, Gate(tracing=tracing), "POST", "/v1/summarize", json={"text": "a"})
    call(service, Gate(tracing=tracing), "GET", "/healthz")
    tracing.close()
    assert [(span.name, span.status.description) for span in exporter.get_finished_spans()] == [
        ("/v1/summarize", ErrorCode.UNKNOWN_MODEL)
    ]
