from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.normalizers import Normalizer

from quant.normalization import STEPS, missing_steps, normalized

ODD = "aiü\u0308\u0301 \t\n\r\x0b\x07\x85\u00a0\u00ad\u1100\u1161\u200b\u200c\u200d\u200e\u2009\u2028\u2060\u3000"
JOINED = ["می\u200cخواهم", "क्\u200dष", "ශ්\u200dරී", "👩\u200d🔬", "👩🏽\u200d🚀", "❤\ufe0f\u200d🔥", "🏳\ufe0f\u200d🌈"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ich habe 5\u00a0Äpfel.", "Ich habe 5 Äpfel."),
        ("10\u202f000\u2009€ 東京\u3000駅", "10 000 € 東京 駅"),
        ("\ufeffGuten Morgen!", "Guten Morgen!"),
        ("Donau\u00addampf\u200bschiff\u2060fahrt", "Donaudampfschifffahrt"),
        ("u\u0308ber cafe\u0301", "über café"),
        ("ab\x07c\x1b\x9f", "abc"),
        ("eins\r\nzwei\rdrei\u2028vier\tfünf", "eins zwei drei vier fünf"),
        ("\u200eHallo\u200f \u202aWelt\u202c", "Hallo Welt"),
        ("zero\u200cwidth\u200djoiners", "zerowidthjoiners"),
    ],
)
def test_what_people_paste(text: str, expected: str) -> None:
    assert normalized(text, STEPS) == expected


@pytest.mark.parametrize("text", JOINED)
def test_joiners_are_kept_where_they_are_spelling(text: str) -> None:
    assert normalized(text, STEPS) == text


def test_only_the_named_steps_are_done() -> None:
    assert normalized("a\u00a0b\u00ad\n", ()) == "a\u00a0b\u00ad\n"
    assert normalized("a\u00a0b\u00ad\r\n", ("controls", "spaces")) == "a b\u00ad\n"


@given(st.text(st.one_of(st.sampled_from(ODD + "".join(JOINED)), st.characters(exclude_categories=["Cs"])), max_size=30))
def test_a_second_time_changes_nothing(text: str) -> None:
    once = normalized(text, STEPS)
    assert normalized(once, STEPS) == once


def tokenizer(*characters: str, normalizer: Normalizer | None = None) -> Tokenizer:
    """A token a character, and an unknown one."""
    found = Tokenizer(models.BPE({each: place for place, each in enumerate(["<unk>", *characters])}, [], unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    if normalizer is not None:
        found.normalizer = normalizer
    return found


def missing(of: Tokenizer) -> tuple[str, ...]:
    return missing_steps(lambda text: of.encode(text, add_special_tokens=False).ids, 0)


def test_a_tokenizer_without_a_normalizer_lacks_all() -> None:
    assert missing(tokenizer(*"▁abeuüé")) == STEPS


def test_a_newline_of_its_own_is_kept() -> None:
    assert "lines" not in missing(tokenizer(*"▁abeuüé\n"))


def test_what_the_tokenizer_does_itself_is_left_to_it() -> None:
    """As mBART's own does: white space, zero-width characters and composition, but no soft hyphens."""
    own = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace("  ", " ")])
    steps = missing(tokenizer(*"▁abeuüé", normalizer=own))
    assert {"spaces", "lines", "compose"}.isdisjoint(steps)
    assert "hyphens" in steps
