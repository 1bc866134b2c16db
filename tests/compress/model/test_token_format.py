"""What surrounds texts, and what outputs start with: the settings', unless languages are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from compress.model.teacher import load_teacher
from compress.model.token_format import TokenFormatError, language_codes, read_token_format, unsaid_language
from compress.model.told import Told
from quant.card import Task


def read(folder: str, task: Task, *languages: str | None, both: bool = False, **settings: Any) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in settings.items()}
    generation = GenerationConfig(**{"decoder_start_token_id": 2, **ids})
    return read_token_format(tokenizer, generation, task, languages or (), both)  # type: ignore[arg-type]


def test_the_settings_decide_and_not_the_tokenizer(teachers: dict[str, str]) -> None:
    assert read(teachers["bart"], "summarization").forced_bos is None
    read_off = read(teachers["bart"], "summarization", forced_bos_token_id="b", decoder_start_token_id="c")
    assert (read_off.source_prefix, read_off.source_suffix) == (("<s>",), ("</s>",))
    assert (read_off.decoder_start, read_off.forced_bos) == ("c", "b")


def test_without_languages_an_mbart_is_as_its_tokenizer_is_set(teachers: dict[str, str]) -> None:
    read_off = read(teachers["mbart50"], "translation", forced_bos_token_id="ar_AR")
    assert (read_off.source_prefix, read_off.forced_bos, read_off.directions) == (("de_DE",), "ar_AR", ())


@pytest.mark.parametrize(
    ("marks", "starts", "expected"),
    [
        (("de_DE",), {}, "de_DE"),
        (("de_DE",), {"forced_bos": "en_XX"}, None),
        (("de_DE",), {"decoder_start": "en_XX"}, None),
        (("{source_language}",), {"forced_bos": "{target_language}"}, None),
        (("<s>",), {}, None),
    ],
)
def test_the_language_of_outputs_may_be_unsaid(
    teachers: dict[str, str], marks: tuple[str, ...], starts: dict[str, str], expected: str | None
) -> None:
    card = load_teacher(teachers["bart"], Told("summarization")).text_format.card
    card = replace(card, source_prefix=marks, decoder_start="</s>", forced_bos=None)
    assert unsaid_language(replace(card, **starts), ["de_DE", "en_XX"]) == expected


def test_the_languages_of_a_translator_are_the_requests(teachers: dict[str, str]) -> None:
    mbart50 = read(teachers["mbart50"], "translation", "de_DE", "en_XX", both=True, forced_bos_token_id="ar_AR")
    assert (mbart50.source_prefix, mbart50.decoder_start) == (("{source_language}",), "</s>")
    assert (mbart50.forced_bos, mbart50.directions) == ("{target_language}", ("de_DE>en_XX", "en_XX>de_DE"))
    cc25 = read(teachers["mbart-cc25"], "translation", "de_DE", "en_XX", decoder_start_token_id="ar_AR")
    assert (cc25.source_suffix, cc25.decoder_start) == (("</s>", "{source_language}"), "{target_language}")
    assert (cc25.forced_bos, cc25.directions) == (None, ("de_DE>en_XX",))


@pytest.mark.parametrize(("forced", "expected"), [("ar_AR", "{target_language}"), ("a", "a")])
def test_cc25_may_be_forced_to_write_the_language_or_something_else(
    teachers: dict[str, str], forced: str, expected: str
) -> None:
    read_off = read(teachers["mbart-cc25"], "translation", "de_DE", "en_XX", forced_bos_token_id=forced)
    assert read_off.forced_bos == expected


@pytest.mark.parametrize(
    ("languages", "settings", "expected"),
    [
        (("en_XX", None), {}, ("en_XX", "en_XX")),
        (("en_XX", "en_XX"), {}, ("en_XX", "en_XX")),
        (("de_DE", "en_XX"), {"forced_bos_token_id": "ar_AR"}, ("de_DE", "en_XX")),
        (("en_XX", None), {"forced_bos_token_id": "fr_XX"}, ("en_XX", "fr_XX")),
        ((None, "en_XX"), {}, ("de_DE", "en_XX")),
    ],
)
def test_the_languages_of_other_tasks_are_fixed(
    teachers: dict[str, str], languages: tuple[str | None, str | None], settings: dict[str, str], expected: tuple[str, str]
) -> None:
    """What is not named is the checkpoint's own, and the source's where that has none."""
    read_off = read(teachers["mbart50"], "summarization", *languages, **settings)
    assert (read_off.source_prefix[0], read_off.forced_bos, read_off.directions) == (*expected, ())
    moved = dict(zip(["decoder_start_token_id"], settings.values(), strict=False))
    cc25 = read(teachers["mbart-cc25"], "summarization", *languages, **moved)
    assert (cc25.source_suffix[-1], cc25.decoder_start, cc25.directions) == (*expected, ())


def test_languages_that_change_nothing_are_refused(teachers: dict[str, str], tmp_path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(teachers["bart"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["de_DE", "en_XX"]})
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TokenFormatError, match=r"puts de_DE and en_XX nowhere, .* leave out --source-language"):
        read(str(tmp_path), "translation", "de_DE", "en_XX")
    # Where settings force a language, the target is put there.
    forced = read(str(tmp_path), "translation", "de_DE", "en_XX", both=True, forced_bos_token_id="en_XX")
    assert (forced.source_prefix, forced.forced_bos) == (("<s>",), "{target_language}")


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (("de_DE", None), "--source-language is de_DE alone: a translation needs --target-language too"),
        ((None, "de_DE"), "--target-language is de_DE alone: a translation needs --source-language too"),
        (("de_DE", "de_DE"), "are both de_DE: a translation is from one language to another"),
        (("xx_XX", "en_XX"), "xx_XX: no language code of its tokenizer, which has af_ZA, ar_AR, "),
    ],
)
def test_a_translation_is_between_two_languages(
    teachers: dict[str, str], languages: tuple[str | None, str | None], message: str
) -> None:
    with pytest.raises(TokenFormatError, match=message):
        read(teachers["mbart50"], "translation", *languages)


def test_a_tokenizer_without_codes_says_so(teachers: dict[str, str]) -> None:
    assert language_codes(AutoTokenizer.from_pretrained(teachers["bart"])) == []
    with pytest.raises(TokenFormatError, match="de_DE, en_XX: no language code of its tokenizer, which has none"):
        read(teachers["bart"], "translation", "de_DE", "en_XX")


def test_a_start_that_is_no_token(teachers: dict[str, str]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(teachers["bart"])
    with pytest.raises(
        TokenFormatError, match=r"decoder_start_token_id 999, a token of its tokenizer \(0 to 34\) is expected"
    ):
        read_token_format(tokenizer, GenerationConfig(decoder_start_token_id=999), "summarization", (), False)
    given = GenerationConfig(decoder_start_token_id=2, forced_bos_token_id=[1, 2])
    with pytest.raises(TokenFormatError, match=r"forced_bos_token_id \[1, 2\]"):
        read_token_format(tokenizer, given, "summarization", (), False)


def test_only_a_translation_has_two_directions(teachers: dict[str, str]) -> None:
    with pytest.raises(TokenFormatError, match="--both-directions is for translations, the task is summarization"):
        read(teachers["mbart50"], "summarization", "de_DE", "en_XX", both=True)
