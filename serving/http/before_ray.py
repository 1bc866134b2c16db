"""What stands before Ray's own code in its HTTP servers, where that code would answer in another way than we do.

Ray repeats whatever a client sent as the id of its request, in a header of its own. And it ends a request after the time
that a client gives it, with a plain 408 a moment before our own answer: so that header is shown to us only.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.observability.requests import HIDDEN_TIMEOUT_HEADER, REQUEST_ID_HEADER, TIMEOUT_HEADER, acceptable_id


class BeforeRay:
    """Has the request carry an acceptable id, and the response the same one, once; and hides the time limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        request_id = headers[REQUEST_ID_HEADER] = acceptable_id(headers.get(REQUEST_ID_HEADER))

        if (seconds := headers.get(TIMEOUT_HEADER)) is not None:
            headers[HIDDEN_TIMEOUT_HEADER] = seconds
            del headers[TIMEOUT_HEADER]

        async def send_with_one_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_one_id)


def ray_middlewares() -> list[Middleware]:
    """For Ray, which calls this by the import path in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""
    return [Middleware(BeforeRay)]
