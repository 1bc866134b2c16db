"""Requests as no client of ours sends them, made by hypothesis: bodies for HTTP, and messages for gRPC."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

fuzzed = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=300,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

BODIES: dict[str, dict[str, Any]] = {
    "/v1/translate": {"text": "guten morgen", "source_language": "de", "parameters": {"num_beams": 2}, "stream": False},
    "/v1/summarize": {"text": ["good morning"], "truncation": "chunk", "parameters": {"do_sample": True, "seed": 3}},
    "/v1/answer": {"question": "who", "context": ["she wrote it"], "parameters": {"return_scores": True}},
    "/huggingface/summarization": {"inputs": "good", "parameters": {"generate_parameters": {"max_length": 9}}},
    "/huggingface/translation": {"inputs": ["wie"], "parameters": {"src_lang": "de", "tgt_lang": "en"}},
    "/huggingface/question-answering": {"inputs": {"question": "who", "context": "she"}, "parameters": {"top_k": 1}},
    "/huggingface/translator": {"inputs": "wie", "parameters": {"src_lang": "de", "tgt_lang": "en"}},
    "/translate": {"q": "wie geht es dir", "source": "de", "target": "en", "format": "text"},
}
"""Path → a body that is answered."""

odd_texts = st.sampled_from(["", " ", "\0", "\ud800", "\U0010ffff", "a" * 60_000, "a. " * 9_000, "../../etc/passwd", "auto"])
odd_numbers = st.sampled_from([0, -1, 63, 2**31, 2**63, -(2**64), 10**99, 10**120, 1e308, 5e-324, -0.5])
odd_values = st.recursive(
    st.none() | st.booleans() | odd_texts | odd_numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def odd_bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path, and a body in JSON with something else in one of its places, or one thing too many, or too few."""
    path, body = draw(st.sampled_from(sorted(BODIES.items())))
    made = place = json.loads(json.dumps(body))
    while True:
        name = draw(st.sampled_from([*place, "unknown"]))
        if isinstance(place.get(name), dict) and draw(st.booleans()):
            place = place[name]
        else:
            break
    if name in place and draw(st.integers(0, 5)) == 0:
        del place[name]
    else:
        place[name] = draw(odd_values)
    return path, json.dumps(made, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


damages: list[Callable[[bytes], bytes]] = [
    lambda body: body[: len(body) // 2],
    lambda body: body + body,
    lambda body: body[:-1] + b"," + body[1:],
    lambda body: b"\xef\xbb\xbf" + body,
    lambda body: body.replace(b'"', b"\0"),
    lambda body: body.replace(b":", b":" + b"[" * 100_000, 1),
    lambda body: body.replace(b":", b':{"a"' * 20_000 + b":", 1),
    lambda body: b"[" * 50_000 + b"]" * 50_000,
    lambda body: body[:-1] + b',"seed":' + b"9" * 200_000 + b"}",
    lambda body: body[:-1] + b',"seed":NaN,"x":-Infinity}',
    lambda body: body.decode("utf-8", "replace").encode("utf-16"),
    lambda body: b"text=%ff&q=%00&" * 9_000,
    lambda body: body + b" " * 300_000,
    gzip.compress,
    lambda body: b"",
    lambda body: b"null",
]
content_types = [
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
]


@st.composite
def odd_requests(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A path, and such a body or one that was damaged on its way, and headers that speak of it, mostly truly."""
    path, body = draw(odd_bodies())
    if draw(st.booleans()):
        body = draw(st.sampled_from(damages) | st.binary(max_size=50).map(lambda noise: lambda _: noise))(body)
    headers = {"content-type": draw(st.just("application/json") | st.sampled_from(content_types))}
    if draw(st.integers(0, 9)) == 0:
        headers["content-encoding"] = draw(st.sampled_from(["gzip", "br", "identity", "\xff"]))
    return path, body, headers


def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Messages of that kind that the .proto allows, with the ends of every field's range."""
    fields = {
        field.name: st.lists(values(field), max_size=3) if field.is_repeated else values(field) for field in kind.fields
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: GetMessageClass(kind)(**given))


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return messages(field.message_type)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([0, 1, 2, 3, 99, -1, 2**31 - 1])
        case FieldDescriptor.CPPTYPE_STRING:
            known = ["good morning", "de", "en_XX", "summarizer", "translator", "", "\0", "a" * 60_000, "a. " * 9_000]
            return st.sampled_from(known) | st.text(max_size=20)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.sampled_from([0.0, 0.5, 1.0, -1.0, 5e-324, 1.7e308, float("inf"), float("-inf"), float("nan")])
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([0, 1, -1, 2**53 - 1, 2**63 - 1, -(2**63)])
        case _:
            return st.sampled_from([0, 1, -1, 2, 16, 63, 2**31 - 1, -(2**31)])
