"""The routes without Ray, over a service that fails as wanted; what needs real answers is in test_server.py."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from serving.http.routes import build_app
from serving.observability.metrics import Metrics
from serving.service.errors import ErrorCode, ServiceError
from serving.service.models import Models
from serving.service.requests import GenerationParameters
from serving.service.service import Limits, Service


class FailingService(Service):
    """Every request for generation ends in `fault`."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(Models([], {}), Limits(1, 1, 1, 1, 1.0), Metrics())
        self.fault = fault

    async def generate(self, request: Any, protocol: Any) -> Any:
        raise self.fault


def call(service: Service, method: str, path: str, **arguments: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **arguments)

    return asyncio.run(send())


@pytest.fixture
def service() -> Service:
    return Service(Models([], {}), Limits(1, 1, 1, 1, 1.0), Metrics())


def test_overload_says_when_to_come_back() -> None:
    service = FailingService(ServiceError(ErrorCode.OVERLOADED, "too many"))
    response = call(service, "POST", "/v1/summarize", json={"text": "a"})
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert response.json() == {"error": {"code": "overloaded", "message": "too many"}}


def test_the_field_at_fault_is_named() -> None:
    service = FailingService(ServiceError(ErrorCode.BAD_PARAMETER, "wrong", "parameters.num_beams"))
    response = call(service, "POST", "/v1/summarize", json={"text": "a"})
    assert "retry-after" not in response.headers
    assert response.json()["error"]["field"] == "parameters.num_beams"


def test_an_unexpected_fault_shows_nothing_of_the_inside() -> None:
    response = call(FailingService(RuntimeError("/root/secret")), "POST", "/v1/summarize", json={"text": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": 5}, "text"),
        ({"text": ["a", None]}, "text.1"),
        ({"text": "a", "texts": "b"}, "texts"),
        ({"text": "a", "parameters": {"beams": 4}}, "parameters.beams"),
        ({"text": "a", "parameters": {"num_beams": 0}}, "parameters.num_beams"),
        ({"text": "a", "parameters": {"length_penalty": "nan"}}, "parameters.length_penalty"),
        ({"text": "a", "parameters": {"num_beams": True}}, "parameters.num_beams"),
        ({"text": "a", "parameters": {"repetition_penalty": 0}}, "parameters.repetition_penalty"),
        ({"text": "a", "parameters": {"temperature": 0}}, "parameters.temperature"),
        ({"text": "a", "parameters": {"temperature": "inf"}}, "parameters.temperature"),
        ({"text": "a", "parameters": {"top_k": -1}}, "parameters.top_k"),
        ({"text": "a", "parameters": {"top_p": 1.5}}, "parameters.top_p"),
        ({"text": "a", "parameters": {"seed": 2**53}}, "parameters.seed"),
        ({"text": "a", "parameters": {"num_return_sequences": 0}}, "parameters.num_return_sequences"),
        ({"text": "a", "truncation": "start"}, "truncation"),
        ([], None),
    ],
)
def test_bodies_that_fastapi_refuses_have_our_shape_and_are_counted(service: Service, body: Any, field: str | None) -> None:
    response = call(service, "POST", "/v1/summarize", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "bad_parameter"
    assert response.json()["error"].get("field") == field
    counted = 'dqbart_requests_total{model="unknown",outcome="bad_parameter",protocol="http",task="summarization"} 1.0'
    assert counted in call(service, "GET", "/metrics").text


def test_a_body_that_is_no_json_is_called_so(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    response = call(service, "POST", "/v1/translate", content=b'{"text": ', headers=headers)
    assert response.status_code == 422
    detail = response.json()["error"]
    assert detail["message"].startswith("the body is no valid JSON: ")
    assert "field" not in detail


def test_unknown_paths_and_methods_have_our_shape(service: Service) -> None:
    assert call(service, "GET", "/nowhere").json()["error"]["code"] == "not_found"
    wrong_method = call(service, "GET", "/v1/answer")
    assert (wrong_method.json()["error"]["code"], wrong_method.headers["allow"]) == ("method_not_allowed", "POST")


def test_every_error_status_is_described(service: Service) -> None:
    responses = call(service, "GET", "/openapi.json").json()["paths"]["/v1/translate"]["post"]["responses"]
    assert {"200", "400", "401", "404", "413", "415", "422", "429", "500", "503", "504"} == responses.keys()
    for status in responses.keys() - {"200"}:
        assert responses[status]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}


NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"Infinity"', '"-inf"', '"1e999"']


@pytest.mark.parametrize("spelt", NO_NUMBERS)
@pytest.mark.parametrize("name", sorted(GenerationParameters.model_fields))
def test_what_is_no_number_is_refused_everywhere(service: Service, name: str, spelt: str) -> None:
    parameters = f'{{"{name}": {spelt}}}'
    for path, body in (
        ("/v1/translate", f'{{"text": "a", "parameters": {parameters}}}'),
        ("/v1/answer", f'{{"question": "a", "context": "a", "parameters": {parameters}}}'),
        ("/huggingface/summarization", f'{{"inputs": "a", "parameters": {{"generate_parameters": {parameters}}}}}'),
    ):
        response = call(service, "POST", path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 422, response.text


@pytest.mark.parametrize("spelt", NO_NUMBERS)
def test_what_is_no_number_is_no_number_of_alternatives(service: Service, spelt: str) -> None:
    body = f'{{"q": "a", "source": "de", "target": "en", "alternatives": {spelt}}}'
    response = call(service, "POST", "/translate", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422), response.text
