from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.card import Card, CardError, template_fields

VOCABULARY = {"<s>": 0, "</s>": 2, "en_XX": 10, "de_DE": 11}


def token_id(token: str) -> int:
    return VOCABULARY[token]


@pytest.fixture
def mbart50(card: Card) -> Card:
    return replace(
        card,
        task="translation",
        source_prefix=("{source_language}",),
        forced_bos="{target_language}",
        directions=("en_XX>de_DE", "de_DE>en_XX"),
    )


def test_bart(card: Card) -> None:
    assert card.source_ids([5, 6], token_id, None) == [0, 5, 6, 2]
    assert card.decoder_start_id(token_id, None) == 2
    assert card.forced_bos_id(token_id, None) == 0
    assert card.affixes == 2


def test_mbart_50(mbart50: Card) -> None:
    assert mbart50.source_ids([5, 6], token_id, "en_XX") == [10, 5, 6, 2]
    assert mbart50.decoder_start_id(token_id, "de_DE") == 2
    assert mbart50.forced_bos_id(token_id, "de_DE") == 11


def test_mbart_cc25(mbart50: Card) -> None:
    cc25 = replace(
        mbart50,
        source_prefix=(),
        source_suffix=("</s>", "{source_language}"),
        decoder_start="{target_language}",
        forced_bos=None,
    )
    assert cc25.source_ids([5, 6], token_id, "de_DE") == [5, 6, 2, 11]
    assert cc25.decoder_start_id(token_id, "en_XX") == 10
    assert cc25.forced_bos_id(token_id, "en_XX") is None


def test_a_model_of_several_languages_needs_them(mbart50: Card) -> None:
    with pytest.raises(CardError, match=r"needs a language for \{source_language\}"):
        mbart50.source_ids([5], token_id, None)
    with pytest.raises(CardError, match=r"needs a language for \{target_language\}"):
        mbart50.forced_bos_id(token_id, None)


def test_the_template_takes_texts_as_they_are(card: Card) -> None:
    answering = replace(card, task="question-answering", source_template="question: {question} context: {context}")
    texts = {"question": "who {context}?", "context": "{0} {source!r}"}
    assert answering.source_text(texts) == "question: who {context}? context: {0} {source!r}"


def test_a_card_survives_json(card: Card, mbart50: Card) -> None:
    for each in (card, mbart50):
        assert Card.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_every_fault_is_listed(card: Card) -> None:
    entries = {**card.to_dict(), "beams": 4, "colour": "blue", "directions": "en_XX", "max_source_tokens": 0}
    del entries["teacher"]
    with pytest.raises(CardError) as caught:
        Card.from_dict(entries)
    assert str(caught.value).split("; ") == [
        "teacher is missing",
        "beams is unknown",
        "colour is unknown",
        "directions is 'en_XX', a list of texts is expected",
        "max_source_tokens is 0, a whole number above 0 is expected",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("task", "poetry", "task is 'poetry', accepted are translation, summarization, question-answering"),
        ("task", ["translation"], r"task is \['translation'\], a task is expected"),
        ("source_template", "no braces", r"it must use \{source\} and no other braces"),
        ("source_template", "{source} {target}", r"it must use \{source\}"),
        ("source_template", "{question}", r"it must use \{source\}"),
        ("source_template", "{source:>9999999999}", r"it must use \{source\}"),
        ("source_template", "{source!r}", r"it must use \{source\}"),
        ("source_template", "{source.__class__}", r"it must use \{source\}"),
        ("source_template", "{source} {", r"it must use \{source\}"),
        ("directions", ["de_DE"], "'de_DE' is no direction, SOURCE>TARGET is expected"),
        ("directions", ["de_DE>de_DE"], "'de_DE>de_DE' is no direction"),
        ("directions", ["a>b>a"], "'a>b>a' is no direction"),
        ("directions", [">de_DE"], "'>de_DE' is no direction"),
        ("source_prefix", [1], r"source_prefix is \[1\], a list of texts is expected"),
        ("forced_bos", 2, "forced_bos is 2, a text or null is expected"),
        ("decoder_start", None, "decoder_start is None, a text is expected"),
        ("max_source_tokens", True, "max_source_tokens is True, a whole number above 0 is expected"),
        ("teacher_bytes", 1.5, "teacher_bytes is 1.5, a whole number above 0 is expected"),
    ],
)
def test_an_entry_that_no_card_has(card: Card, name: str, value: Any, message: str) -> None:
    with pytest.raises(CardError, match=message):
        Card.from_dict({**card.to_dict(), name: value})


@pytest.mark.parametrize("entries", [None, [], "task", 3])
def test_what_is_no_object_is_no_card(entries: Any) -> None:
    with pytest.raises(CardError, match="an object is expected"):
        Card.from_dict(entries)


@given(
    st.dictionaries(
        st.sampled_from(("task", "source_template", "teacher", "directions")), st.none() | st.text() | st.integers()
    )
)
def test_any_entries_give_a_card_or_a_card_error(card: Card, changed: dict[str, Any]) -> None:
    try:
        read = Card.from_dict({**card.to_dict(), **changed})
    except CardError:
        return
    assert Card.from_dict(read.to_dict()) == read


def test_fields_of_a_template() -> None:
    assert template_fields("{question} and {{literal}} and {context}") == {"question", "context"}
