"""How requests of LibreTranslate's clients are understood; a client itself is in test_foreign_clients.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from serving.service.access import make_key
from serving.service.requests import TranslateRequest
from tests.serving.http.conftest import Recording, result

Build = Callable[..., Recording]

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
BODY = {"q": "guten morgen", "source": "de", "target": "en"}


def test_json_and_forms_are_the_same(recording: Build) -> None:
    service = recording()
    body = {**BODY, "q": "grüße & mehr=\U0001f600\n", "format": "text", "alternatives": 0, "api_key": ""}
    answers = [
        service.call("POST", "/translate", json=body),
        service.call("POST", "/translate", content=urlencode(body), headers=FORM),
    ]
    assert [answer.json() for answer in answers] == [{"translatedText": "out"}] * 2
    assert service.asked == [TranslateRequest(text=body["q"], source_language="de", target_language="en")] * 2


def test_a_list_gives_a_list(recording: Build) -> None:
    service = recording()
    service.results = (result("one"), result("two"))
    body = {**BODY, "q": ["eins", "zwei"]}
    answers = [
        service.call("POST", "/translate", json=body),
        service.call("POST", "/translate", content=urlencode(body, doseq=True), headers=FORM),
    ]
    assert [answer.json() for answer in answers] == [{"translatedText": ["one", "two"]}] * 2
    service.results = (result("one"),)
    assert service.call("POST", "/translate", json={**BODY, "q": ["eins"]}).json() == {"translatedText": ["one"]}


def test_auto_leaves_the_source_to_the_target(recording: Build) -> None:
    service = recording()
    service.call("POST", "/translate", json={**BODY, "source": "auto"})
    assert service.asked == [TranslateRequest(text="guten morgen", target_language="en")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**BODY, "format": "html"}, "format: only text is translated: markup would be lost or damaged"),
        ({**BODY, "alternatives": 2}, "alternatives: only 0 is supported; POST /v1/translate has num_return_sequences"),
        ({**BODY, "secret": 1}, "secret: unknown field"),
        ({"q": "a"}, "source: Field required; target: Field required"),
        ({**BODY, "q": [["a"]]}, "q.0: should be a valid string"),
        ([], "should be a valid dictionary or instance of TranslateBody"),
    ],
)
def test_what_is_wrong_is_named_and_counted(recording: Build, body: Any, message: str) -> None:
    service = recording()
    response = service.call("POST", "/translate", json=body)
    assert (response.status_code, response.json()) == (422, {"error": message})
    assert b'outcome="bad_parameter"' in service.metrics_page()
    assert not service.asked


@pytest.mark.parametrize(
    ("content", "headers", "status", "message"),
    [
        (b"{", {}, 422, "the body is no valid JSON: "),
        (b'{"q": NaN}', {}, 422, "the body is no valid JSON: NaN is no number"),
        (b"q=%ff", FORM, 422, "a form of UTF-8 texts with 9 fields at most is expected"),
        (b"q=\xff", FORM, 422, "a form of UTF-8 texts with 9 fields at most is expected"),
        (b"q=a" + b"&q=a" * 9, FORM, 422, "a form of UTF-8 texts with 9 fields at most is expected"),
        (b"", FORM, 422, "q: Field required; source: Field required; target: Field required"),
        (b"--x", {"content-type": "multipart/form-data; boundary=x"}, 415, "a body with Content-Type: application/json or "),
    ],
)
def test_bodies_that_cannot_be_read(recording: Build, content: bytes, headers: Any, status: int, message: str) -> None:
    response = recording().call("POST", "/translate", content=content, headers=headers)
    assert response.status_code == status
    assert response.json()["error"].startswith(message)


def test_the_languages_of_the_default_model(recording: Build) -> None:
    response = recording().call("GET", "/languages")
    assert response.json() == [
        {"code": "de", "name": "German", "targets": ["en"]},
        {"code": "en", "name": "English", "targets": ["de"]},
    ]


def test_without_a_translator_there_are_no_languages(recording: Build) -> None:
    response = recording("summarizer").call("GET", "/languages")
    assert (response.status_code, response.json()) == (404, {"error": "no model for translation is served"})


def test_a_key_is_taken_from_the_body_or_the_header(recording: Build) -> None:
    key, known = make_key("ci")
    service = recording()

    def ask(headers: dict[str, str], **more: str) -> Any:
        return service.call("POST", "/translate", (known,), json={**BODY, **more}, headers=headers)

    assert ask({}, api_key=key).status_code == 200
    assert ask({"authorization": f"Bearer {key}"}).status_code == 200
    refused = [ask({}), ask({}, api_key="dqb_wrong"), ask({"authorization": "Bearer dqb_wrong"}, api_key=key)]
    assert [response.status_code for response in refused] == [401, 401, 401]
    assert all(isinstance(response.json()["error"], str) for response in refused)
    assert len(service.asked) == 2
