"""How requests of LibreTranslate's clients are understood; a client itself is in test_foreign_clients.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from serving.service.access import make_key
from serving.service.models import Models, ServedModel, check_model, default_models
from serving.service.requests import GenerationParameters, TranslateRequest
from tests.serving.http.conftest import Recording, result

Build = Callable[..., Recording]

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
PARTS = {"content-type": "multipart/form-data; boundary=x"}
BODY = {"q": "guten morgen", "source": "de", "target": "en"}


def in_parts(fields: dict[str, Any]) -> dict[str, Any]:
    """A form in parts, as httpx sends it."""
    texts = [(name, each) for name, value in fields.items() for each in (value if isinstance(value, list) else [value])]
    return {"files": [(name, (None, str(text).encode())) for name, text in texts]}


def test_json_forms_and_queries_are_the_same(recording: Build) -> None:
    service = recording()
    body = {**BODY, "q": "grüße & mehr=\U0001f600\r\n--x\n", "format": "text", "alternatives": 0, "api_key": ""}
    spelt = urlencode(body)
    answers = [
        service.call("POST", "/translate", json=body),
        service.call("POST", "/translate", content=spelt, headers=FORM),
        service.call("POST", "/translate", **in_parts(body)),
        service.call("POST", f"/translate?{spelt}"),
        service.call("POST", f"/translate?{spelt}", headers={"content-type": "application/json"}),
        service.call("POST", f"/translate?{urlencode({'source': 'de'})}", json={**body, "source": "fr"}),
    ]
    assert [answer.json() for answer in answers] == [{"translatedText": "out"}] * 6
    assert service.asked == [TranslateRequest(text=[body["q"]], source_language="de", target_language="en")] * 6
    assert {asked.truncation for asked in service.asked} == {"chunk"}


def test_a_list_gives_a_list(recording: Build) -> None:
    service = recording()
    service.results = (result("one"), result("two"))
    body = {**BODY, "q": ["eins", "zwei"]}
    answers = [
        service.call("POST", "/translate", json=body),
        service.call("POST", "/translate", content=urlencode(body, doseq=True), headers=FORM),
        service.call("POST", "/translate", **in_parts(body)),
        service.call("POST", f"/translate?{urlencode(body, doseq=True)}"),
    ]
    assert [answer.json() for answer in answers] == [{"translatedText": ["one", "two"]}] * 4
    service.results = (result("one"),)
    assert service.call("POST", "/translate", json={**BODY, "q": ["eins"]}).json() == {"translatedText": ["one"]}


def test_auto_leaves_the_source_to_the_target(recording: Build) -> None:
    service = recording()
    told = {"confidence": 0.0, "language": "de"}
    answer = service.call("POST", "/translate", json={**BODY, "source": "auto"})
    assert answer.json() == {"translatedText": "out", "detectedLanguage": told}
    answer = service.call("POST", "/translate", json={**BODY, "q": ["guten morgen"], "source": "auto"})
    assert answer.json() == {"translatedText": ["out"], "detectedLanguage": [told]}
    assert service.asked == [TranslateRequest(text=["guten morgen"], target_language="en")] * 2


def test_alternatives_are_the_next_best_that_differ(recording: Build) -> None:
    service = recording()
    service.results = (result("one", "two", "one", "three"), result("eins", "eins", "eins", "eins"))
    answer = service.call("POST", "/translate", json={**BODY, "q": ["a", " ", "b"], "alternatives": 3})
    assert answer.json() == {"translatedText": ["one", " ", "eins"], "alternatives": [["two", "three"], [], []]}
    service.results = (result("one", "two"),)
    answer = service.call("POST", "/translate", content=urlencode({**BODY, "alternatives": 1}), headers=FORM)
    assert answer.json() == {"translatedText": "one", "alternatives": ["two"]}
    # From as many beams as outputs; the tiny model has two by default.
    assert [asked.parameters for asked in service.asked] == [
        GenerationParameters(num_return_sequences=4, num_beams=4),
        GenerationParameters(num_return_sequences=2, num_beams=2),
    ]


def test_empty_texts_are_their_own_translation(recording: Build) -> None:
    service = recording()
    for text in ("", " \n", ["", "\t"]):
        assert service.call("POST", "/translate", json={**BODY, "q": text}).json() == {"translatedText": text}
    assert not service.asked
    service.results = (result("one"), result("two"))
    answer = service.call("POST", "/translate", json={**BODY, "q": ["", "eins", " ", "zwei"]})
    assert answer.json() == {"translatedText": ["", "one", " ", "two"]}
    assert service.asked[0].text == ["eins", "zwei"]


def test_a_model_without_codes_takes_any(recording: Build, artifacts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(artifacts["summarizer"], folder)
    config = json.loads((folder / "config.json").read_text())
    config["dqbart"]["task"] = "translation"
    (folder / "config.json").write_text(json.dumps(config))
    artifacts = {**artifacts, "plain": folder}
    checked = check_model("plain", folder, 8)
    served = ServedModel(checked, checked.codec(), engine=None)  # type: ignore[arg-type]
    service = Recording(Models([served], default_models([checked], {})))
    for source in ("de", "auto"):
        answer = service.call("POST", "/translate", json={**BODY, "source": source})
        assert answer.json() == {"translatedText": "out"}
    assert service.asked == [TranslateRequest(text=["guten morgen"])] * 2
    assert service.call("GET", "/languages").json() == []
    assert service.call("GET", "/frontend/settings").json()["language"] == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/detect", "Language detection is disabled on this server: name the source language"),
        ("/suggest", "Suggestions are disabled on this server"),
        ("/translate_file", "Files translation is disabled on this server"),
    ],
)
def test_what_cannot_be_done_is_refused_in_their_words(recording: Build, path: str, message: str) -> None:
    response = recording().call("POST", path, content=urlencode({"q": "Hallo"}), headers=FORM)
    assert (response.status_code, response.json()) == (403, {"error": message})


def test_what_a_page_may_offer(recording: Build) -> None:
    open_to_all = recording().call("GET", "/frontend/settings")
    assert open_to_all.json() == {
        "apiKeys": False,
        "keyRequired": False,
        "charLimit": 100,
        "frontendTimeout": 500,
        "suggestions": False,
        "filesTranslation": False,
        "supportedFilesFormat": [],
        "language": {"source": {"code": "de", "name": "German"}, "target": {"code": "en", "name": "English"}},
    }
    restricted = recording().call("GET", "/frontend/settings", (make_key("ci")[1],)).json()
    assert (restricted["apiKeys"], restricted["keyRequired"]) == (True, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**BODY, "format": "html"}, "format: only text is translated: markup would be lost or damaged"),
        ({**BODY, "alternatives": True}, "alternatives: should be a number"),
        ({**BODY, "alternatives": -1}, "alternatives: should be greater than or equal to 0"),
        ({**BODY, "alternatives": 8}, "alternatives: 8 are too many, 7 at most are accepted"),
        ({**BODY, "secret": 1}, "secret: unknown field"),
        ({"q": "a"}, "source: is required; target: is required"),
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
        (b"", FORM, 422, "q: is required; source: is required; target: is required"),
        (b"--x", PARTS, 422, "a form of UTF-8 texts with 9 fields at most is expected"),
        (b"", {**PARTS, "content-type": "multipart/form-data"}, 422, "a form of UTF-8 texts"),
        (
            b"<q>a</q>",
            {"content-type": "text/xml"},
            415,
            "a body with Content-Type: application/json, application/x-www-form",
        ),
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
