"""How requests of Hugging Face's clients are understood; the clients themselves are in test_foreign_clients.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quant.card import TASKS
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TranslateRequest
from tests.serving.http.conftest import Recording, result

Build = Callable[..., Recording]

QUESTION = {"question": "who", "context": "it was out there"}


def post(service: Recording, name: str, inputs: Any, parameters: dict[str, Any] | None = None) -> Any:
    body = {"inputs": inputs, "parameters": parameters or {}}
    response = service.call("POST", f"/huggingface/{name}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_name_is_a_task_or_a_model(recording: Build) -> None:
    service = recording()
    post(service, "summarization", "a")
    post(service, "summarizer", "a")
    post(service, "translator", "a")
    post(service, "answerer", QUESTION)
    assert [(type(asked), asked.model) for asked in service.asked] == [
        (SummarizeRequest, None),
        (SummarizeRequest, "summarizer"),
        (TranslateRequest, "translator"),
        (AnswerRequest, "answerer"),
    ]


def test_a_name_that_is_neither_lists_the_models(recording: Build) -> None:
    response = recording("summarizer", "answerer").call("POST", "/huggingface/t5", json={"inputs": "a"})
    assert response.status_code == 404
    assert response.json() == {"error": "'t5' is no served model and no task; served is summarizer, answerer"}


def test_parameters_by_the_names_of_transformers(recording: Build) -> None:
    service = recording()
    generate = {"num_beams": 3, "do_sample": False, "max_length": 20, "min_length": 5}
    post(service, "translation", ["a", "b"], {"src_lang": "de", "tgt_lang": "en", "generate_parameters": generate})
    assert service.asked == [
        TranslateRequest(
            text=["a", "b"],
            source_language="de",
            target_language="en",
            parameters=GenerationParameters(num_beams=3, do_sample=False, max_new_tokens=19, min_new_tokens=4),
        )
    ]


def test_a_length_in_new_tokens_wins(recording: Build) -> None:
    service = recording()
    post(service, "summarization", "a", {"generate_parameters": {"max_length": 20, "max_new_tokens": 9, "min_length": 0}})
    assert service.asked[0].parameters == GenerationParameters(max_new_tokens=9, min_new_tokens=0)


def test_parameters_as_clients_sent_them_before(recording: Build) -> None:
    service = recording()
    old = {"max_length": 20, "min_length": 5, "do_sample": True, "temperature": 0.7, "top_k": 5, "max_time": 9.5}
    post(service, "summarization", "a", {**old, "repetition_penalty": 1.5, "return_text": True, "return_tensors": False})
    post(service, "summarization", "a", {**old, "generate_parameters": {"max_length": 8, "use_cache": True}})
    sampled = {"do_sample": True, "temperature": 0.7, "top_k": 5, "min_new_tokens": 4}
    assert [asked.parameters for asked in service.asked] == [
        GenerationParameters(**sampled, max_new_tokens=19, repetition_penalty=1.5),
        GenerationParameters(**sampled, max_new_tokens=7),
    ]


@pytest.mark.parametrize("name", ["translation", "summarization", "question-answering", "translator"])
def test_what_says_how_a_server_is_to_work_means_nothing(recording: Build, name: str) -> None:
    service = recording()
    inputs = QUESTION if name == "question-answering" else "a"
    options = {"wait_for_model": True, "use_cache": False, "use_gpu": False}
    answers = [
        service.call("POST", f"/huggingface/{name}", json={"inputs": inputs, **more})
        for more in ({}, {"options": options, "model": "t5-small", "parameters": None}, {"options": None})
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert service.asked[0] == service.asked[1] == service.asked[2]


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (None, "chunk"),
        (True, "end"),
        (False, "chunk"),
        ("do_not_truncate", "error"),
        ("longest_first", "end"),
        ("only_first", "end"),
        *((name, name) for name in ("error", "end", "chunk")),
    ],
)
def test_truncation(recording: Build, given: str | bool | None, ours: str) -> None:
    service = recording()
    post(service, "summarization", "a", {"truncation": given})
    post(service, "translation", "a", {"truncation": given})
    assert [asked.truncation for asked in service.asked] == [ours, ours]


def test_inputs_that_are_too_long_are_split_by_default(recording: Build) -> None:
    service = recording()
    post(service, "summarization", "a")
    post(service, "translation", "a")
    assert [asked.truncation for asked in service.asked] == ["chunk", "chunk"]


def test_outputs_are_a_list(recording: Build) -> None:
    service = recording()
    assert post(service, "translation", "a") == [{"translation_text": "out", "score": -0.5}]
    service.results = (result("one", "other"), result("two", "second"))
    texts = [output["summary_text"] for output in post(service, "summarization", ["a", "b"])]
    assert texts == ["one", "other", "two", "second"]


def test_spaces_are_cleaned_up_when_asked_for(recording: Build) -> None:
    service = recording()
    service.results = (result("it 's , well , ' n ' done . is n't it ?"),)
    kept, cleaned = (
        post(service, "summarization", "a", {"clean_up_tokenization_spaces": asked})[0]["summary_text"]
        for asked in (False, True)
    )
    assert (kept, cleaned) == ("it 's , well , ' n ' done . is n't it ?", "it's, well,'n'done. isn't it?")


def test_an_answer_has_its_place_in_the_context_where_it_has_one(recording: Build) -> None:
    service = recording()
    place = QUESTION["context"].index("out")
    assert post(service, "question-answering", QUESTION) == {
        "answer": "out",
        "score": pytest.approx(0.5),
        "start": place,
        "end": place + 3,
    }
    service.results = (result("elsewhere"),)
    written = post(service, "question-answering", QUESTION)
    assert (written["start"], written["end"]) == (-1, -1)


def test_questions_are_asked_in_windows(recording: Build) -> None:
    service = recording()
    post(service, "question-answering", QUESTION, {"top_k": 2, "max_answer_len": 7})
    expected = GenerationParameters(num_return_sequences=2, num_beams=2, max_new_tokens=7, return_scores=True)
    assert service.asked == [
        AnswerRequest(question=["who"], context=[QUESTION["context"]], parameters=expected, truncation="chunk")
    ]


def test_options_of_answers_that_mean_nothing_are_taken(recording: Build) -> None:
    service = recording()
    options = {"align_to_words": True, "doc_stride": 64, "max_seq_len": 200, "max_question_len": 30}
    post(service, "question-answering", QUESTION, {**options, "handle_impossible_answer": False, "top_k": 1})
    post(service, "question-answering", QUESTION)
    assert service.asked[0] == service.asked[1]


def test_as_many_answers_as_there_can_be(recording: Build) -> None:
    """From as many beams: the tiny model has two by default, and the server allows eight."""
    service = recording()
    for several in (2, 5, 100):
        post(service, "question-answering", QUESTION, {"top_k": several})
    found = [(asked.parameters.num_return_sequences, asked.parameters.num_beams) for asked in service.asked]
    assert found == [(2, 2), (5, 5), (8, 8)]


@pytest.mark.parametrize(("inputs", "results", "answers"), [(1, ("a", "b"), 2), (2, ("a",), 2), (0, ("a",), 1)])
def test_several_answers_are_a_list(recording: Build, inputs: int, results: tuple[str, ...], answers: int) -> None:
    """Of one question with several answers, and of a list of questions, if only of one."""
    service = recording()
    service.results = [result(*results)] * max(1, inputs if len(results) == 1 else 1)
    asked: Any = QUESTION if inputs == 1 else [QUESTION] * max(inputs, 1)
    assert len(post(service, "question-answering", asked)) == answers


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("summarization", {"inputs": "a", "option": {}}, "option: unknown field"),
        ("summarizer", {"inputs": "a", "option": {}}, "option: unknown field"),
        ("translation", {"inputs": "a", "parameters": {"max_tim": 3}}, "parameters.max_tim: unknown field"),
        ("translation", {"inputs": "a", "parameters": {"max_length": True}}, "parameters.max_length: should be a number"),
        ("translation", {"inputs": "a", "parameters": {"return_tensors": True}}, "parameters.return_tensors: should be"),
        (
            "question-answering",
            {"inputs": QUESTION, "parameters": {"handle_impossible_answer": True}},
            "parameters.handle_impossible_answer: should be",
        ),
        ("summarization", {"inputs": "a", "parameters": {"src_lang": "de"}}, "parameters.src_lang: unknown field"),
        (
            "summarization",
            {"inputs": "a", "parameters": {"generate_parameters": {"beams": 3}}},
            "parameters.generate_parameters.beams: unknown field",
        ),
        ("translator", {"inputs": 3}, "inputs: should be a valid string"),
        ("question-answering", {"inputs": "who"}, "inputs: should be a valid dictionary"),
        ("question-answering", {"inputs": [{"question": "who"}]}, "inputs.0.context: is required"),
        ("answerer", {}, "inputs: is required"),
        ("summarization", {"inputs": "a", "parameters": {"truncation": "only_second"}}, "parameters.truncation: should be"),
    ],
)
def test_what_is_wrong_is_named_and_counted(recording: Build, name: str, body: Any, message: str) -> None:
    service = recording()
    response = service.call("POST", f"/huggingface/{name}", json=body)
    assert response.status_code == 422
    assert message in response.json()["error"]
    assert b'outcome="bad_parameter"' in service.metrics_page()
    assert not service.asked


@pytest.mark.parametrize("task", TASKS)
def test_a_body_that_is_no_json_is_refused(recording: Build, task: str) -> None:
    response = recording().call("POST", f"/huggingface/{task}", content="{", headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["error"].startswith("the body is no valid JSON")


def test_errors_before_and_behind_the_routes_are_texts_too(recording: Build) -> None:
    service = recording("summarizer")
    wrong_method = service.call("GET", "/huggingface/summarization")
    compressed = service.call("POST", "/huggingface/summarization", content=b"x", headers={"content-encoding": "gzip"})
    assert (wrong_method.status_code, compressed.status_code) == (405, 415)
    assert all(isinstance(response.json()["error"], str) for response in (wrong_method, compressed))
