"""What Ray's own code sees, which repeats the id that it is given; with Ray it is in test_access_and_limits.py."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.before_ray import ray_middlewares


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(Request(scope).headers)
    response = JSONResponse(headers, headers={"x-request-id": "the application's"})
    response.headers.append("X-Request-ID", headers["x-request-id"])
    await response(scope, receive, send)


def call(**headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        app: ASGIApp = application
        for middleware in ray_middlewares():
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("headers", "kept"), [({"x_request_id": "my-1"}, True), ({"x_request_id": "my 1"}, False), ({}, False)]
)
def test_there_is_one_id_and_the_application_knows_it(headers: dict[str, str], kept: bool) -> None:
    response = call(**headers)
    (given,) = response.headers.get_list("x-request-id")
    assert response.json()["x-request-id"] == given
    assert given == "my-1" if kept else len(given) == 32


def test_ray_does_not_see_the_time_limit() -> None:
    seen = call(x_request_timeout_seconds="2").json()
    assert "x-request-timeout-seconds" not in seen
    assert seen["x-dqbart-request-timeout-seconds"] == "2"
