"""Forms as `urllib` reads them, within limits, and in steps."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.forms import read_form
from serving.http.strict_json import ANY_TEXT, TextTooLong


def read(body: bytes, fields: int = 100, characters: int = 100) -> object:
    return asyncio.run(read_form(body, fields, characters))


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=8)), max_size=6), st.sampled_from([quote, quote_plus]))
def test_fields_are_read(fields: list[tuple[str, str]], spell: object) -> None:
    body = "&".join(f"{spell(name)}={spell(text)}" for name, text in fields)  # type: ignore[operator]
    expected = parse_qs(body, keep_blank_values=True, errors="strict")
    assert read(body.encode()) == {name: texts[0] if len(texts) == 1 else texts for name, texts in expected.items()}


@pytest.mark.parametrize("body", [b"q=50%", b"q=%4", b"q=%zz%41", b"q=%%41", b"&&q&=a&"])
def test_signs_that_are_no_escapes_stay(body: bytes) -> None:
    expected = parse_qs(body.decode(), keep_blank_values=True)
    assert read(body) == {name: texts[0] for name, texts in expected.items()}


@pytest.mark.parametrize("body", [b"q=\xff", b"q=%ff", b"%ff=a", b"&".join([b"q=a"] * 101)])
def test_what_is_no_such_form_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"fields|can't decode"):
        read(body)


@pytest.mark.parametrize("body", [b"q=" + b"a" * 4097, b"q=" + b"%41" * 2000, b"a" * 5000])
def test_a_text_that_is_too_long_is_not_read(body: bytes) -> None:
    with pytest.raises(TextTooLong):
        read(body)


def test_a_text_of_as_many_characters_as_are_accepted_is_read() -> None:
    text = "\U0001f600" * 1000
    assert len(quote(text)) > ANY_TEXT
    assert read(f"q={quote(text)}".encode(), characters=1000) == {"q": text}
