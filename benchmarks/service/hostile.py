"""Bodies and messages that cost a reader as much as their bytes can be made to, and large ones that are to be answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from protos.dqbart.v1 import seq2seq_pb2 as pb

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
TRANSLATE, FOREIGN, HUGGING_FACE = "/v1/translate", "/translate", "/huggingface/translation"


class Sent(NamedTuple):
    """What one request sends; to a path by HTTP, or as a message of a gRPC call."""

    name: str
    target: str
    content: bytes
    kind: str = JSON

    @property
    def grpc(self) -> bool:
        return not self.target.startswith("/")


def sent(size: int, inputs: int, characters: int, tokens: int) -> Iterator[Sent]:
    """Each in about `size` bytes; and what is within the limits of a request's inputs, their characters and new tokens."""
    yield from _json(size)
    yield from _forms(size)
    yield from _parts(size)
    yield from _messages(size)
    yield from _allowed(inputs, characters)
    yield from _answers(inputs, tokens)


def _json(size: int) -> Iterator[Sent]:
    def texts(part: bytes) -> bytes:
        return b'{"source_language":"de","text":[' + b",".join([part] * (size // (len(part) + 1))) + b"]}"

    def text(part: bytes) -> bytes:
        return b'{"source_language":"de","text":"' + part * (size // len(part)) + b'"}'

    yield Sent("empty lists", TRANSLATE, texts(b"[]"))
    yield Sent("lists within one another", TRANSLATE, b'{"text":' + b"[" * (size - 9))
    yield Sent("objects within one another", TRANSLATE, b'{"text":' + b'{"a":' * (size // 5))
    yield Sent("one-letter texts", TRANSLATE, texts(b'"a"'))
    yield Sent("numbers", TRANSLATE, texts(b"1"))
    yield Sent("long numbers", TRANSLATE, texts(b"1" * 99))
    yield Sent("fractions", TRANSLATE, texts(b"1.5e300"))
    yield Sent("words", TRANSLATE, texts(b"null"))
    yield Sent("one number", TRANSLATE, b'{"text":' + b"9" * (size - 9) + b"}")
    yield Sent("names", TRANSLATE, b"{" + b",".join(b'"%x":1' % place for place in range(size // 12)) + b"}")
    yield Sent("20,000 wrong texts", TRANSLATE, b'{"text":[' + b",".join([b"1"] * 19_990) + b"]}")
    yield Sent("20,000 unknown fields", TRANSLATE, json.dumps({f"a{place}": 1 for place in range(19_990)}).encode())
    yield Sent("20,000 texts of 1 kB", TRANSLATE, b'{"text":[' + b",".join([b'"%s"' % (b"a" * 1000)] * 19_990) + b"]}")
    yield Sent("a text", TRANSLATE, text(b"a"))
    yield Sent("a text of another script", TRANSLATE, text("字".encode()))
    yield Sent("a text of escapes", TRANSLATE, text(rb"\u00e9"))
    yield Sent("a text of short escapes", TRANSLATE, text(rb"\n"))
    yield Sent("a text of surrogate pairs", TRANSLATE, text(rb"\ud83d\ude00"))
    yield Sent("a text without an end", TRANSLATE, text(rb"\"")[:-2])
    yield Sent("white space", TRANSLATE, b" " * size)
    yield Sent("no JSON", TRANSLATE, b"x" * size)
    yield Sent("no UTF-8", TRANSLATE, text(b"a")[:-2] + b'\xff"}')
    yield Sent("a text of escapes", HUGGING_FACE, text(rb"\u00e9").replace(b'"text"', b'"inputs"'))
    yield Sent("one-letter texts", HUGGING_FACE, texts(b'"a"').replace(b'"text"', b'"inputs"'))
    yield Sent("a text of escapes", FOREIGN, text(rb"\u00e9").replace(b'"text"', b'"q"'))
    yield Sent("one-letter texts", FOREIGN, texts(b'"a"').replace(b'"text"', b'"q"'))


def _forms(size: int) -> Iterator[Sent]:
    for name, part in (
        ("escapes", b"%41"),
        ("wrong escapes", b"%"),
        ("plus signs", b"+"),
        ("fields", b"&q=a"),
        ("signs", b"&"),
    ):
        yield Sent(f"form of {name}", FOREIGN, b"source=de&target=en&q=" + part * (size // len(part)), FORM)


def _parts(size: int) -> Iterator[Sent]:
    part = b'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\na\r\n'
    kind = "multipart/form-data; boundary=x"
    yield Sent("parts", FOREIGN, part * (size // len(part)), kind)
    yield Sent("a part's header", FOREIGN, b"--x\r\nContent-Disposition: " + b"a" * (size - 26), kind)
    yield Sent("a part's headers", FOREIGN, b"--x\r\n" + b"a: b\r\n" * (size // 7), kind)
    yield Sent("a part", FOREIGN, part.replace(b"\r\na\r", b"\r\n" + b"-" * (size - 60) + b"\r"), kind)
    yield Sent("a part of lines", FOREIGN, part.replace(b"\r\na\r", b"\r\n" + b"\r\n-" * (size // 3 - 30) + b"\r"), kind)


def _messages(size: int) -> Iterator[Sent]:
    one_letter = pb.TranslateRequest(texts=["a"] * 1000).SerializeToString()
    yield Sent("empty texts", "Translate", b"\x0a\x00" * (size // 2))
    yield Sent("one-letter texts", "Translate", one_letter * (size // len(one_letter)))
    yield Sent("unknown fields", "Translate", b"\xf8\x07\x01" * (size // 3))
    yield Sent("parameters", "Translate", b"\x2a\x00" * (size // 2))
    question = pb.AnswerRequest(questions=[pb.Question(question="a", contexts=["a"] * 1000)]).SerializeToString()
    yield Sent("contexts", "Answer", question * (size // len(question)))
    yield Sent("empty questions", "Answer", b"\x0a\x00" * (size // 2))
    yield Sent("a text", "Translate", pb.TranslateRequest(texts=["a" * size]).SerializeToString())
    yield Sent("20,000 texts of 1 kB", "Translate", pb.TranslateRequest(texts=["a" * 1000] * 20_000).SerializeToString())
    yield Sent("no message", "Translate", b"\xff" * size)


def _allowed(inputs: int, characters: int) -> Iterator[Sent]:
    kinds = {
        "sentences": ("Heute gehen wir bei gutem Wetter in den Park. " * characters)[:characters],
        "one word": "a" * characters,
        "another script": "漢" * characters,
        "many scripts": ("Ａ漢é🙂 " * characters)[:characters],
        "quotes": ('"' * characters)[:characters],
        "full stops": (". " * characters)[:characters],
    }
    for name, text in kinds.items():
        for truncation in ("error", "end", "chunk"):
            texts = [text] * inputs
            body = {"text": texts, "source_language": "de", "target_language": "en", "truncation": truncation}
            yield Sent(f"{inputs} of {name}, {truncation}", TRANSLATE, json.dumps(body).encode())
    texts = [kinds["sentences"]] * inputs
    message = pb.TranslateRequest(texts=texts, source_language="de", target_language="en", truncation=pb.TRUNCATION_CHUNK)
    yield Sent(f"{inputs} of sentences, chunk", "Translate", message.SerializeToString())
    form = f"source=de&target=en&q={quote_plus(kinds['another script'])}"
    yield Sent("form of another script", FOREIGN, form.encode(), FORM)


def _answers(most: int, tokens: int) -> Iterator[Sent]:
    for outputs, inputs in ((1, most), (64, most), (64, 65_536 // (64 * tokens))):
        asked: dict[str, Any] = {"return_scores": True, "max_new_tokens": tokens, "num_return_sequences": outputs}
        asked["do_sample"] = True
        texts = ["Hallo"] * inputs
        languages: dict[str, Any] = {"source_language": "de", "target_language": "en"}
        name = f"{inputs} answers of {outputs} outputs of {tokens} tokens"
        yield Sent(name, TRANSLATE, json.dumps({"text": texts, **languages, "parameters": asked}).encode())
        message = pb.TranslateRequest(texts=texts, parameters=pb.GenerationParameters(**asked), **languages)
        yield Sent(name, "Translate", message.SerializeToString())
