"""Serves the page at / and the documentation at /docs: a few files of this folder, read once, without any build step.

FastAPI's own documentation loads its scripts from another host, which a server without a way out does not reach, and which
would learn who reads it. Nothing here leaves the host: the content security policy has no other source than the server
itself, and neither inline scripts nor inline styles. Links are relative, so that the page also works below a proxy's path.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGES = {"index.html": "/", "docs.html": "/docs"}

HEADERS = {
    # A browser asks each time whether its copy is still the one: after an update nobody sees old scripts on a new page.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    content_type: str
    etag: str

    async def respond(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self.etag}
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if known & {self.etag, "*"}:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers={**headers, "Content-Type": self.content_type})


def _read() -> dict[str, _File]:
    served = {}
    for entry in files(__package__).iterdir():
        content_type = CONTENT_TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            served[PAGES.get(entry.name, f"/page/{entry.name}")] = _File(content, content_type, etag)
    return served


_FILES = _read()

PATHS = frozenset(_FILES)
"""Every path that is served here. They tell nothing that is secret, and are where a browser's user can enter a key."""


def page_router() -> APIRouter:
    """GET of every path in PATHS."""
    router = APIRouter(include_in_schema=False)
    for path, file in _FILES.items():
        router.add_api_route(path, file.respond, methods=["GET", "HEAD"], response_class=Response)
    return router
