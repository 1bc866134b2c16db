from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.windows import BLOCK, sentences, split


def words(text: str) -> list[int]:
    """A tokenizer of a token a word."""
    return [word.start() for word in re.finditer(r"\S+", text)]


def characters(text: str) -> list[int]:
    return list(range(len(text)))


def texts(text: str, room: int, language: str = "de") -> list[str]:
    return split(text, language, room, words)


def found(text: str, language: str = "de") -> list[str]:
    return [text[start:end] for start, end in sentences(text, language)]


def test_abbreviations_end_no_sentence() -> None:
    assert found("Dr. Müller kam am 3. Mai z. B. nach Berlin. Er blieb.") == [
        "Dr. Müller kam am 3. Mai z. B. nach Berlin.",
        "Er blieb.",
    ]


def test_a_blank_line_ends_a_sentence_a_line_break_does_not() -> None:
    assert found("Die Überschrift\n \nEin Satz\nüber zwei Zeilen. \r\n\r\n Ende") == [
        "Die Überschrift",
        "Ein Satz\nüber zwei Zeilen.",
        "Ende",
    ]


def test_sentences_longer_than_a_block_are_kept_and_followed_by_others() -> None:
    long = "wort " * (BLOCK // 5) + "ende."
    assert " ".join(found(f"{long} Kurz. {long}")) == f"{long} Kurz. {long}"
    assert "Kurz." in found(f"{'Ein Satz. ' * BLOCK}Kurz.")


def test_windows_hold_as_many_sentences_as_have_room() -> None:
    assert texts("Eins zwei. Drei vier fünf. Sechs. Sieben acht.", room=5) == [
        "Eins zwei. Drei vier fünf.",
        "Sechs. Sieben acht.",
    ]


def test_a_sentence_that_is_too_long_is_split_at_words() -> None:
    assert texts("Eins. Zwei drei vier fünf sechs. Sieben.", room=3) == [
        "Eins. Zwei drei",
        "vier fünf sechs.",
        "Sieben.",
    ]


def test_a_word_that_is_too_long_is_split_at_tokens() -> None:
    assert split("abcdefgh ij", "de", 3, characters) == ["abc", "def", "gh", "ij"]


def test_tokens_of_one_character_are_not_torn_apart() -> None:
    assert split("ßß", "de", 1, lambda text: [place for place in range(len(text)) for _ in range(2)]) == ["ß", "ß"]


def test_a_window_keeps_what_stands_between_its_sentences() -> None:
    assert texts("Eins.\nZwei.\n\n\nDrei. Vier", room=3) == ["Eins.\nZwei.\n\n\nDrei.", "Vier"]


def test_a_part_of_a_text_has_sentences_too() -> None:
    text = "Eins. Zwei. Drei. Vier."
    assert [text[start:end] for start, end in sentences(text, "de", 6, 17)] == ["Zwei.", "Drei."]


def test_unknown_languages_have_sentences_too() -> None:
    assert texts("One. Two.", room=1, language="deu") == ["One.", "Two."]


def test_a_blank_text_has_no_window() -> None:
    assert split(" \n\n ", "en", 5, words) == []


@given(
    st.text(st.sampled_from("aB1 .!?„“\"'()«»\n\r\t\u2028\u00a0\u200b。…ß😀"), max_size=60),
    st.integers(1, 8),
    st.sampled_from(["de", "en", "ja", "xx"]),
)
def test_windows_have_the_whole_text_and_no_more_than_there_is_room_for(text: str, room: int, language: str) -> None:
    windows = split(text, language, room, characters)
    assert re.sub(r"\s", "", "".join(windows)) == re.sub(r"\s", "", text)
    # White space between the pieces of a window is not counted, since pieces are counted alone.
    assert all(len(re.sub(r"\s", "", window)) <= room for window in windows)


@pytest.mark.parametrize("pattern", ["„", "« ", "a\n \n", " \n"])
def test_texts_of_many_blocks_keep_every_character(pattern: str) -> None:
    text = pattern * 20_000
    assert re.sub(r"\s", "", "".join(found(text))) == re.sub(r"\s", "", text)
