"""What of a text is translated, and what comes back as it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.service.segments import NARROWEST, Segments, by_sentence, in_one


def words(text: str) -> list[int]:
    """A tokenizer of a token a word."""
    return [word.start() for word in re.finditer(r"\S+", text)]


def split(text: str, room: int = 50, between: str = " ", language: str = "de", script: str | None = "Latn") -> Segments:
    return by_sentence(text, language, script, between, room, words)


def shown(found: Segments) -> str:
    """The text with what would be translated in braces."""
    return "".join(f"{each.before}{{{each.text}}}" for each in found.segments) + found.after


@pytest.mark.parametrize(
    "expected",
    [
        "{Das ist mein Hund.} {Er heißt Max.} {Er ist fünf Jahre alt.}",
        "\n {Guten Morgen!}\n",
        "{Guten Morgen!} 😊",
        "😊 {Guten Morgen!}👍🏽👩‍🔬 {Wie geht es dir?} ❤️",
        "{Einkaufsliste:}\n- {Milch}\n- {Brot}\n- {Käse}",
        "* {Eins}\n• {Zwei}\n\n\n    a) {Drei}\n    (b) {Vier}\n5) {Fünf}\n> {Sechs}\n- [x] {Sieben}\n## {Acht}\n",
        "1. {Milch}\n2. {Brot}\n10. {Käse}",
        "1.1 {Milch}\r\n1.2 {Brot}\r\n",
        "A. {Milch}\nB. {Brot}",
        "{1. Mai ist ein Feiertag.}",
        "{A. Merkel sprach.} {Wir hörten zu.}",
        "42 000,50",
        "12. – 5 €! {Gut so.}\n+49 30 123",
        "Привет! {Guten Morgen!} 東京",
        "{Schau nach.}\nhttps://example.com/a?b=c\n{Oder schreib!}\nfoo@example.org",
        "---\n{Ende}\n***",
        "→ {Weiter} ©",
        "{Straße 5}\n{10117 Berlin}",
        "{Rosen sind rot,}\n{Veilchen sind blau,}\n\n{Zucker ist süß.}",
        "{Eins.}\u2028{Zwei.}\u2029{Drei.}\x85{Vier.}",
        "{Zwei  Leerzeichen.}  {Sie bleiben.}",
        "",
        " \n\t ",
    ],
)
def test_what_is_kept(expected: str) -> None:
    text = re.sub("[{}]", "", expected)
    assert shown(split(text)) == expected


WRAPPED = """Ich bin gestern in Berlin angekommen und das Wetter war
sehr schön. Dann sind wir zusammen ins Museum gegangen und
haben viel gelacht."""


def test_wrapped_prose_is_read_across_its_lines() -> None:
    expected = (
        "{Ich bin gestern in Berlin angekommen und das Wetter war sehr schön.} "
        "{Dann sind wir zusammen ins Museum gegangen und haben viel gelacht.}"
    )
    assert shown(split(WRAPPED)) == expected
    assert shown(split(f"- {WRAPPED}\n- Ende\n")) == f"- {expected}\n- {{Ende}}\n"
    assert shown(split(WRAPPED.replace("\n", "\r\n"))) == expected


def test_lines_that_are_not_full_are_lines() -> None:
    lines = ["a" * NARROWEST, "b c", "d e f g"]
    assert shown(split("\n".join(lines))) == "\n".join(f"{{{line}}}" for line in lines)
    paragraphs = ["Ein langer Absatz " * 9, "Noch ein langer Absatz " * 9]
    assert len(split("\n".join(paragraphs)).segments) == 2


def test_a_sentence_that_is_too_long_is_split() -> None:
    assert shown(split("Eins. Zwei drei vier fünf sechs. Sieben.", 3)) == "{Eins.} {Zwei drei vier} {fünf sechs.} {Sieben.}"
    found = by_sentence("abcdefgh ij", "de", None, " ", 3, lambda text: list(range(len(text))))
    assert shown(found) == "{abc} {def} {gh} {ij}"


def test_sentences_without_spaces_get_them_where_the_target_has_them() -> None:
    text = "私は犬です。彼は猫です。"
    assert shown(split(text, language="ja", script="Jpan")) == "{私は犬です。} {彼は猫です。}"
    assert shown(split("Ein Hund.  Eine Katze.\nEnde", between="")) == "{Ein Hund.}{Eine Katze.}\n{Ende}"


def test_a_byte_order_mark_is_dropped() -> None:
    assert shown(split("\ufeff- Milch")) == "- {Milch}"
    assert shown(in_one("\ufeffMilch", "Latn")) == "{Milch}"


@pytest.mark.parametrize("expected", ["😊", "42", " Привет ", "\n 😊 {Guten Morgen! 😊 Wie geht's?\n- Gut.} 👍\n", "a@b.de"])
def test_a_text_in_one(expected: str) -> None:
    assert shown(in_one(re.sub("[{}]", "", expected), "Latn")) == expected


@given(
    st.text(st.sampled_from("aB1 .!?-*()„“\"'»\n\r\t\u2028\u00a0\u200b。…ß😀Я"), max_size=80),
    st.integers(1, 8),
    st.sampled_from(["de", "ja", "xx"]),
)
def test_nothing_is_lost(text: str, room: int, language: str) -> None:
    """Put together without translating, a text is what it was, but for white space within and between sentences."""
    found = by_sentence(text, language, "Latn", " ", room, lambda part: list(range(len(part))))
    together = "".join(f"{each.before}{each.text}" for each in found.segments) + found.after
    assert re.sub(r"\s", "", together) == re.sub(r"\s", "", text)
    assert all(each.text.strip() for each in found.segments)
    one = in_one(text, "Latn")
    assert "".join(f"{each.before}{each.text}" for each in one.segments) + one.after == text


@pytest.mark.parametrize("pattern", [" ", "\n", "- ", "1. ", "😀", "„", "a\n", "a b\n" * 30 + "\n", "(", "#", "- \n"])
def test_long_texts_of_one_kind_take_no_longer(pattern: str) -> None:
    text = (pattern * 50_000)[:50_000]
    found = by_sentence(text, "de", "Latn", " ", 50, words)
    assert re.sub(r"[\s{}]", "", shown(found)) == re.sub(r"\s", "", text)
