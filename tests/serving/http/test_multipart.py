from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from serving.http.multipart import STEP, read_multipart
from serving.http.strict_json import ANY_TEXT, TextTooLong

TYPE = "multipart/form-data; boundary=x"


def read(body: bytes, content_type: str = TYPE, most_fields: int = 5, most_characters: int = 100_000) -> Any:
    return asyncio.run(read_multipart(body, content_type, most_fields, most_characters))


def part(name: str, text: str, *headers: str) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"', *headers, "", text]
    return b"--x\r\n" + "\r\n".join(lines).encode() + b"\r\n"


def test_what_a_client_sends_is_read() -> None:
    texts = {"q": "Grüße\r\n--x\r\n😀 ", "größe": "", "a b": 'say "a"; b=c'}
    request = httpx.Request("POST", "http://a", files={name: (None, text.encode()) for name, text in texts.items()})
    assert read(request.read(), request.headers["content-type"]) == texts


def test_a_name_that_is_given_several_times_has_a_list() -> None:
    assert read(part("q", "a") + part("source", "de") + part("q", "") + b"--x--") == {"q": ["a", ""], "source": "de"}


def test_what_follows_the_end_is_not_read() -> None:
    assert read(part("q", "a") + b"--x--" + part("q", "b") * STEP) == {"q": "a"}


def test_texts_of_many_steps() -> None:
    text = "ä\r\n--" * STEP
    assert read(part("q", text) + b"--x--\r\n", most_characters=len(text)) == {"q": text}


def test_a_text_has_its_limit() -> None:
    assert read(part("q", "a" * ANY_TEXT) + b"--x--", most_characters=10) == {"q": "a" * ANY_TEXT}
    with pytest.raises(TextTooLong):
        read(part("q", "a" * (ANY_TEXT + 1)) + b"--x--", most_characters=10)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", TYPE),
        (b"x", TYPE),
        (b"--x", TYPE),
        (b"--x--", "multipart/form-data"),
        (part("q", "a"), TYPE),
        (part("q", "a") * 6 + b"--x--", TYPE),
        (part("q", "a").replace(b"name", b"title") + b"--x--", TYPE),
        (part('q"; filename="a.txt', "a") + b"--x--", TYPE),
        (part("q", "a").replace(b"a\r\n", b"\xff\r\n") + b"--x--", TYPE),
        (part("q", "a", *(f"X-{number}: a" for number in range(100))) + b"--x--", TYPE),
        (part("q", "a", "X: " + "a" * 10_000) + b"--x--", TYPE),
        (part("q", "a") + b"--x--", "multipart/form-data; boundary=" + "x" * 1000),
    ],
)
def test_what_is_no_form(body: bytes, content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(body, content_type)
    assert not caplog.records, "logs have nothing of what clients send"
