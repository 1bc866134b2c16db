"""The same request by three doors: a program, HTTP and gRPC. What comes out is the same, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from dqbart import Result, load
from serving.clients.client import Client
from tests.serving.server.running import Server

NOT_COMPARED = {"timings"}
LONG = "who wrote the book. she wrote it. " * 8
SCORED: dict[str, Any] = {"return_scores": True, "max_new_tokens": 9}

REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("translate", {"text": ["guten morgen welt", "guten morgen. Wie geht es dir. "]}, {}),
    ("translate", {"text": ["wie geht es dir"], "truncation": "error"}, {"num_beams": 1, "no_repeat_ngram_size": 1}),
    ("translate", {"text": ["guten morgen"]}, {"do_sample": True, "seed": 11, "num_return_sequences": 3, "top_p": 0.9}),
    ("summarize", {"text": ["she wrote it"]}, {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 0.5}),
    ("summarize", {"text": [LONG], "truncation": "chunk"}, {"return_scores": False, "max_new_tokens": 4}),
    ("summarize", {"text": [LONG], "truncation": "end"}, {"early_stopping": "never"}),
    ("answer", {"question": "who", "context": "she wrote it"}, {}),
    ("answer", {"question": "who", "context": [LONG, "how are you"], "truncation": "chunk"}, {}),
]
MODELS = {"translate": "translator", "summarize": "summarizer", "answer": "answerer"}


def compared(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in NOT_COMPARED and value is not None}


def by_program(folder: Path, call: str, given: dict[str, Any], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    truncation = {name: given[name] for name in ("truncation",) if name in given}
    with load(folder) as model:
        results: list[Result]
        if call == "translate":
            results = model.translate(given["text"], source="de", target="en", **truncation, **parameters)
        elif call == "summarize":
            results = model.summarize(given["text"], **truncation, **parameters)
        else:
            results = model.answer(given["question"], given["context"], **truncation, **parameters)
    return [compared(result.model_dump(exclude_none=True)) for result in results]


def by_http(server: Server, call: str, given: dict[str, Any], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    languages = {"source_language": "de", "target_language": "en"} if call == "translate" else {}
    body = {**given, **languages, "parameters": parameters}
    response = httpx.post(f"{server.url}/v1/{call}", json=body, timeout=120)
    response.raise_for_status()
    return [compared(result) for result in response.json()["results"]]


def by_grpc(server: Server, call: str, given: dict[str, Any], parameters: dict[str, Any]) -> list[dict[str, Any]]:
    options = {name: given[name] for name in ("truncation",) if name in given} | parameters
    with Client(server.grpc_address) as client:
        if call == "translate":
            results = client.translate(given["text"], "de", "en", **options)
        elif call == "summarize":
            results = client.summarize(given["text"], **options)
        else:
            results = [client.answer(given["question"], given["context"], **options)]
    return [compared(MessageToDict(result, preserving_proto_field_name=True)) for result in results]


def tokens(results: list[dict[str, Any]]) -> list[Any]:
    """What all doors tell alike: texts, and each token with its log-probability."""
    outputs = [output for result in results for output in result.get("sequences") or [result]]
    return [
        (each["text"], [(token.get("id", 0), token.get("log_probability", 0.0)) for token in each.get("tokens", ())])
        for each in outputs
    ]


@pytest.mark.parametrize(("call", "given", "parameters"), REQUESTS)
def test_a_request_gives_the_same_by_all_doors(
    shared_server: Server,
    artifacts: dict[str, Path],
    call: str,
    given: dict[str, Any],
    parameters: dict[str, Any],
) -> None:
    parameters = {**SCORED, **parameters}
    expected = by_http(shared_server, call, given, parameters)
    # JSON has all bits of a number, and the same names.
    assert by_program(artifacts[MODELS[call]], call, given, parameters) == expected
    assert tokens(by_grpc(shared_server, call, given, parameters)) == tokens(expected)
