from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.card import Card, CardError, Texts, template_fields

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
    texts = {"question": "who {context}?", "context": "{0} {source!r}"}
    assert answering(card).source_text(texts) == "question: who {context}? context: {0} {source!r}"


def answering(card: Card, **entries: Any) -> Card:
    template = "question: {question} context: {context}"
    return replace(
        card, **{"task": "question-answering", "source_template": template, "passage_separator": " ; ", **entries}
    )


def test_passages_are_packed_in_their_order(card: Card) -> None:
    texts = {"question": "q", "context": ("best {question}", "second")}
    assert answering(card).source_text(texts) == "question: q context: best {question} ; second"
    assert answering(card).source_text({**texts, "context": ("best",)}) == "question: q context: best"


def test_the_passage_of_lowest_rank_loses_tokens_first(card: Card) -> None:
    letters = answering(card, source_template="{question}{context}!", max_source_tokens=12)  # 2 of them are <s> and </s>
    texts = {"question": "abc", "context": ("defg", "hi")}

    def cut(texts: Texts) -> str | None:
        """A token is a letter, and its id the letter's code."""
        text = letters.source_text(texts)
        kept = letters.cut(texts, [ord(letter) for letter in text], range(len(text)))
        return None if kept is None else "".join(map(chr, kept))

    assert cut(texts) == "abcdefg ;!"
    assert cut({**texts, "context": ("defg", "h", "i")}) == "abcdefg ;!"
    assert cut({**texts, "context": ("defghijkl",)}) == "abcdefghi!"
    assert cut({"question": "abcdefgh", "context": ("defg", "hi")}) == "abcdefghd!"
    assert cut({"question": "abcdefghi", "context": ("defg", "hi")}) is None


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
        "directions is 'en_XX', a list of at most 10000 such texts is expected",
        "max_source_tokens is 0, a whole number from 1 to 9007199254740991 is expected",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("task", "poetry", "task is 'poetry', accepted are translation, summarization, question-answering"),
        ("task", ["translation"], r"task is \['translation'\], a task is expected"),
        ("source_template", "no braces", r"it must use \{source\} once and no other braces"),
        ("source_template", "{source} {target}", r"it must use \{source\}"),
        ("source_template", "{source}" * 9, r"it must use \{source\} once and no other braces"),
        ("source_template", "{source}" + "a" * 1000, "source_template is .*, a text of at most 1000 characters is expected"),
        ("source_prefix", ["<s>"] * 10_001, "a list of at most 10000 such texts is expected"),
        ("teacher_bytes", 10**400, "a whole number from 1 to 9007199254740991 is expected"),
        ("source_template", "{question}", r"it must use \{source\}"),
        ("source_template", "{source:>9999999999}", r"it must use \{source\}"),
        ("source_template", "{source!r}", r"it must use \{source\}"),
        ("source_template", "{source.__class__}", r"it must use \{source\}"),
        ("source_template", "{source} {", r"it must use \{source\}"),
        ("directions", ["de_DE"], "'de_DE' is no direction, SOURCE>TARGET is expected"),
        ("directions", ["de_DE>de_DE"], "'de_DE>de_DE' is no direction"),
        ("directions", ["a>b>a"], "'a>b>a' is no direction"),
        ("directions", [">de_DE"], "'>de_DE' is no direction"),
        ("normalization", ["nfd"], r"normalization is \['nfd'\], accepted are controls, invisible, .* compose, each once"),
        ("normalization", ["spaces", "controls"], "each once and in this order"),
        ("normalization", "spaces", "normalization is 'spaces', a list of at most 10000 such texts is expected"),
        ("passage_separator", " ", "passage_separator is ' ', for summarization null is expected"),
        ("passage_separator", 1, "passage_separator is 1, a text of at most 1000 characters or null is expected"),
        ("source_prefix", [1], r"source_prefix is \[1\], a list of at most 10000 such texts is expected"),
        ("forced_bos", 2, "forced_bos is 2, a text of at most 1000 characters or null is expected"),
        ("decoder_start", None, "decoder_start is None, a text of at most 1000 characters is expected"),
        ("clean_up_tokenization_spaces", None, "clean_up_tokenization_spaces is None, true or false is expected"),
        ("max_source_tokens", True, "max_source_tokens is True, a whole number from 1 to 9007199254740991 is expected"),
        ("teacher_bytes", 1.5, "teacher_bytes is 1.5, a whole number from 1 to 9007199254740991 is expected"),
    ],
)
def test_an_entry_that_no_card_has(card: Card, name: str, value: Any, message: str) -> None:
    with pytest.raises(CardError, match=message):
        Card.from_dict({**card.to_dict(), name: value})


def test_texts_are_normalized_and_the_template_is_not(card: Card) -> None:
    asking = answering(card, source_template="a\u00a0{question} {context}")
    texts = {"question": "b\u00a0c", "context": ("d\u00ad", "e\u200b")}
    assert asking.source_text(texts) == "a\u00a0b c d ; e"
    assert replace(asking, normalization=()).source_text(texts) == "a\u00a0b\u00a0c d\u00ad ; e\u200b"


def test_what_stands_between_passages_is_short(card: Card) -> None:
    with pytest.raises(CardError, match="passage_separator has more than 20 characters"):
        Card.from_dict(answering(card, passage_separator=" " * 21).to_dict())


def test_a_card_for_answers_says_what_stands_between_passages(card: Card) -> None:
    with pytest.raises(CardError, match="passage_separator is None, for question-answering a text is expected"):
        Card.from_dict(answering(card, passage_separator=None).to_dict())


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
    assert template_fields("{question} and {{literal}} and {context}") == ["question", "context"]


def test_an_output_is_cleaned_up_where_the_card_says_so(card: Card) -> None:
    spelled = " Is n't it , well , ' so ' ? I 'm , we 've . "
    assert card.output_text(spelled) == "Is n't it , well , ' so ' ? I 'm , we 've ."
    cleaning = replace(card, clean_up_tokenization_spaces=True)
    assert cleaning.output_text(spelled) == "Isn't it, well,'so '? I'm, we've."


def test_the_tokens_that_a_card_names(card: Card, mbart50: Card) -> None:
    assert card.tokens == ["<s>", "</s>", "</s>", "<s>"]
    assert set(mbart50.tokens) == {"</s>", *mbart50.languages}
