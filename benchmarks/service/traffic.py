"""Requests of all kinds as a soak sends them, drawn at random, and what each should come to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.service.running import Listed
from benchmarks.service.senders import Protocol
from benchmarks.service.works import PASSAGE, SENTENCES
from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.card import Task
from serving.clients.client import TRUNCATIONS, Request
from serving.service.errors import ErrorCode

Kind = Literal["whole", "streamed", "cancelled", "bad"]
KINDS: dict[Kind, int] = {"whole": 6, "streamed": 3, "cancelled": 2, "bad": 1}
"""How often each comes, beside the others."""
SENTENCES_OF_A_TEXT = (1, 1, 1, 3, 40)
CANCELLED_WITHIN = 0.2
"""Seconds."""


class Asked(NamedTuple):
    """One request."""

    kind: Kind
    protocol: Protocol
    task: Task
    body: dict[str, Any]
    """Of HTTP, without `stream`."""
    streamed: bool
    cancel_after: float | None
    """Seconds."""
    expected: ErrorCode | None
    """Of bad requests."""

    @property
    def key(self) -> str:
        """The same for requests that have the same answer."""
        return repr((self.task, sorted(self.body.items(), key=lambda item: item[0])))

    def message(self) -> Request:
        """Of gRPC."""
        body = self.body
        parameters = pb.GenerationParameters(**body["parameters"])
        shared: dict[str, Any] = {
            "model": body["model"],
            "parameters": parameters,
            "truncation": TRUNCATIONS[body["truncation"]],
        }
        match self.task:
            case "translation":
                languages = {name: body[name] for name in ("source_language", "target_language")}
                return pb.TranslateRequest(texts=body["text"], **languages, **shared)
            case "summarization":
                return pb.SummarizeRequest(texts=body["text"], **shared)
            case _:
                questions = [
                    pb.Question(question=question, contexts=[context])
                    for question, context in zip(body["question"], body["context"], strict=True)
                ]
                return pb.AnswerRequest(questions=questions, **shared)


def draw(chance: random.Random, models: Sequence[Listed]) -> Asked:
    """The next request."""
    model = chance.choice(models)
    (kind,) = chance.choices(list(KINDS), list(KINDS.values()))
    texts = [_text(chance) for _ in range(chance.choice((1, 1, 1, 2, 8)))]
    body: dict[str, Any] = {"model": model.name, "truncation": "chunk", "parameters": _parameters(chance)}
    match model.task:
        case "translation":
            ((source, target),) = model.languages
            body |= {"text": texts, "source_language": source, "target_language": target}
        case "summarization":
            body |= {"text": texts}
        case _:
            body |= {"question": ["Who wrote the book?"] * len(texts), "context": [f"{PASSAGE} {text}" for text in texts]}
    expected = _spoil(chance, body) if kind == "bad" else None
    streamed = kind == "streamed" or (kind != "whole" and chance.random() < 0.5)
    cancel_after = chance.uniform(0, CANCELLED_WITHIN) if kind == "cancelled" else None
    return Asked(kind, chance.choice(("http", "grpc")), model.task, body, streamed, cancel_after, expected)


def _text(chance: random.Random) -> str:
    count = chance.choice(SENTENCES_OF_A_TEXT)
    start = chance.randrange(len(SENTENCES))
    return " ".join(SENTENCES[(start + place) % len(SENTENCES)] for place in range(count))


def _parameters(chance: random.Random) -> dict[str, Any]:
    """A seed makes draws the same each time."""
    return chance.choice(
        [{}, {"num_beams": 1}, {"num_beams": 2, "max_new_tokens": 16}, {"do_sample": True, "seed": 7, "top_k": 20}]
    )


def _spoil(chance: random.Random, body: dict[str, Any]) -> ErrorCode:
    """Make a body wrong; what the server should say of it."""
    code = chance.choice((ErrorCode.BAD_PARAMETER, ErrorCode.UNKNOWN_MODEL, ErrorCode.EMPTY_TEXT, ErrorCode.TOO_LONG))
    field = "text" if "text" in body else "question"
    match code:
        case ErrorCode.BAD_PARAMETER:
            body["parameters"] = {"num_beams": 0}
        case ErrorCode.UNKNOWN_MODEL:
            body["model"] = "one-that-is-not-served"
        case ErrorCode.EMPTY_TEXT:
            body[field] = [" ", *body[field][1:]]
        case _:
            body["truncation"] = "error"
            body[field] = ["word " * 3000, *body[field][1:]]
    return code
