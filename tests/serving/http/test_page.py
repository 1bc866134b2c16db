"""The page's files, as they are served: types, caching, and a policy that keeps the page on its host."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.http.page.page import CONTENT_TYPES, PATHS, page_router


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(page_router())
    return TestClient(app)


def get(client: TestClient, path: str, **headers: str) -> Any:
    return client.get(path, headers=headers)


def test_both_pages_and_what_they_load_are_there(client: TestClient) -> None:
    wanted = {"/", "/docs"}
    for path in ("/", "/docs"):
        wanted |= {f"/{name}" for name in re.findall(r'(?:src|href)="(page/[^"]+)"', get(client, path).text)}
    for path in sorted(PATHS):
        wanted |= {f"/page/{name}" for name in re.findall(r'from "\./([^"]+)"', get(client, path).text)}
    assert wanted == PATHS


@pytest.mark.parametrize("path", sorted(PATHS))
def test_each_file_says_what_it_is_and_keeps_to_this_host(client: TestClient, path: str) -> None:
    response = get(client, path)
    assert response.status_code == 200
    suffix = path.rpartition(".")[2] if "." in path else "html"
    assert response.headers["content-type"] == CONTENT_TYPES[suffix]
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_has_nothing_that_its_policy_forbids(client: TestClient, path: str) -> None:
    page = get(client, path).text
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://", page) == []


def test_a_file_that_is_known_already_is_not_sent_again(client: TestClient) -> None:
    first = get(client, "/page/page.js")
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = get(client, "/page/page.js", **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == "no-cache"
    assert get(client, "/page/page.js", **{"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/page/page.py", "/page/index.html", "/page/../routes.py", "/page/"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert get(client, path).status_code == 404
