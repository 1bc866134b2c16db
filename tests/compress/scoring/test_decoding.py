from pathlib import Path
from typing import Any

import pytest
import torch

from compress.data.text_format import Example
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.scoring.decoding import (
    DecodingError,
    DecodingSettings,
    Source,
    decode_alike,
    generate,
    generate_ids,
    search_settings,
)


def test_settings_override_the_models_own_and_lengths_count_the_start_token(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    config = DecodingSettings(num_beams=3, max_new_tokens=20, min_new_tokens=4).resolved(teacher.model, teacher.text_format)
    assert (config.num_beams, config.max_length, config.min_length) == (3, 21, 5)
    assert (config.max_new_tokens, config.min_new_tokens) == (None, None)
    assert DecodingSettings().over(teacher.model).in_effect() == {"num_beams": 2, "max_length": 12}


def test_no_shortest_length_overrides_the_models_own(teachers: dict[str, str]) -> None:
    model = load_teacher(teachers["bart"], Told("summarization")).model
    model.generation_config.min_length = 6
    assert DecodingSettings().over(model).min_new_tokens == 5
    assert DecodingSettings(min_new_tokens=0).over(model).min_new_tokens == 0


def test_asking_for_short_outputs_lowers_the_models_own_shortest_length(teachers: dict[str, str]) -> None:
    model = load_teacher(teachers["bart"], Told("summarization")).model
    model.generation_config.min_length = 9
    settings = DecodingSettings(max_new_tokens=4).over(model)
    assert (settings.max_new_tokens, settings.min_new_tokens) == (4, 4)


def test_what_has_no_effect_is_not_recorded_and_not_told_to_generate(teachers: dict[str, str], tmp_path: Path) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    teacher.model.generation_config.update(early_stopping="never", length_penalty=2.0, top_k=10, no_repeat_ngram_size=3)
    greedy, beams = (DecodingSettings(num_beams=count) for count in (1, 3))
    assert greedy.over(teacher.model).in_effect() == {"num_beams": 1, "max_length": 12, "no_repeat_ngram_size": 3}
    assert beams.over(teacher.model).in_effect() == {
        "num_beams": 3,
        "max_length": 12,
        "length_penalty": 2.0,
        "early_stopping": "never",
        "no_repeat_ngram_size": 3,
    }
    # transformers refuses to write settings that contradict each other.
    greedy.resolved(teacher.model, teacher.text_format).save_pretrained(tmp_path)
    # The artifact has them nonetheless: a request may ask for beams.
    recorded = greedy.recorded(teacher.model, teacher.text_format)
    assert (recorded["num_beams"], recorded["early_stopping"], recorded["length_penalty"]) == (1, "never", 2.0)


def test_an_artifact_records_all_settings_and_the_tokens_that_no_request_decides(teachers: dict[str, str]) -> None:
    bart = load_teacher(teachers["bart"], Told("summarization"))
    assert DecodingSettings(num_beams=4).recorded(bart.model, bart.text_format) == {
        "max_length": 12,
        "min_length": 0,
        "num_beams": 4,
        "length_penalty": 1.0,
        "early_stopping": False,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "repetition_penalty": 1.0,
        "do_sample": False,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
        "eos_token_id": 2,
        "forced_eos_token_id": 2,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
    }


@pytest.mark.parametrize(("both", "forced"), [(False, "en_XX"), (True, None)])
def test_a_forced_language_is_recorded_where_there_is_one_only(
    teachers: dict[str, str], both: bool, forced: str | None
) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX"), both_directions=both))
    recorded = DecodingSettings().recorded(teacher.model, teacher.text_format)
    token_id = recorded.get("forced_bos_token_id")
    assert (None if token_id is None else teacher.text_format.tokenizer.convert_ids_to_tokens(token_id)) == forced


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"typical_p": 0.5}, r"typical_p = 0\.5 is not supported"),
        ({"do_sample": True}, "do_sample with num_beams = 2 is not supported"),
        ({"max_length": 500}, "at most 499 new tokens, 1 to 63 are possible"),
    ],
)
def test_settings_that_serving_cannot_follow_are_refused(
    teachers: dict[str, str], settings: dict[str, Any], message: str
) -> None:
    model = load_teacher(teachers["bart"], Told("summarization")).model
    model.generation_config.update(**settings)
    with pytest.raises(DecodingError, match=message):
        DecodingSettings().over(model)


def test_flags_may_mend_what_a_checkpoint_says(teachers: dict[str, str]) -> None:
    model = load_teacher(teachers["bart"], Told("summarization")).model
    model.generation_config.update(do_sample=True, max_length=500)
    assert DecodingSettings(num_beams=1, max_new_tokens=9).over(model).do_sample


def test_two_models_decode_alike_with_the_settings_of_one(teachers: dict[str, str]) -> None:
    bart, mbart = (load_teacher(teachers[name], Told("summarization")).model for name in ("bart", "mbart50"))
    bart.generation_config.update(num_beams=5, length_penalty=2.0, max_new_tokens=7, no_repeat_ngram_size=3)
    mbart.generation_config.update(min_new_tokens=4, early_stopping=True, eos_token_id=9)
    decode_alike(mbart, search_settings(DecodingSettings().over(bart)))
    records = [DecodingSettings().over(model).in_effect() for model in (bart, mbart)]
    assert records[0] == records[1]
    assert (records[1]["num_beams"], records[1]["max_length"]) == (5, 8)
    assert DecodingSettings().over(mbart).eos_token_ids == (9,)


def test_outputs_keep_the_order_and_do_not_depend_on_the_batch(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
    languages = [("de_DE", "en_XX"), ("en_XX", "de_DE")]
    examples = [Example({"source": "abc"[: 1 + i % 3] * (i + 1)}, "c", *languages[i % 2]) for i in range(7)]
    encoded = teacher.text_format.encode(examples, 16)
    together, alone = (
        generate(teacher.model, teacher.text_format, examples, encoded, DecodingSettings(num_beams=2), tokens)
        for tokens in (4096, 1)
    )
    assert together == alone
    assert len(set(together)) > 1


def test_each_direction_starts_with_its_own_language(teachers: dict[str, str], monkeypatch) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
    examples = [Example({"source": "ab"}, "c", "de_DE", "en_XX"), Example({"source": "ab"}, "c", "en_XX", "de_DE")]
    seen: list[torch.Tensor] = []
    original = teacher.model.generate
    monkeypatch.setattr(teacher.model, "generate", lambda **inputs: seen.append(original(**inputs)) or seen[-1])
    encoded = teacher.text_format.encode(examples, 16)
    generate(teacher.model, teacher.text_format, examples, encoded, DecodingSettings(num_beams=1), 4096)
    first = {teacher.text_format.tokenizer.convert_ids_to_tokens(int(ids[0, 1])) for ids in seen}
    assert first == {"de_DE", "en_XX"}


def test_ids_end_with_the_token_that_ends_an_output(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    teacher.model.generation_config.update(max_length=8, eos_token_id=[2, 9])
    config = DecodingSettings(num_beams=2).resolved(teacher.model, teacher.text_format)
    sources = [Source((0, *range(6, 6 + length), 2), 2, None) for length in (1, 3, 9)]
    batches: list[list[int]] = []
    ids = generate_ids(teacher.model, sources, config, 4096, lambda places: batches.append(list(places)))
    assert [sum(token_id in (2, 9) for token_id in output) for output in ids] == [1, 1, 1]
    assert all(output[-1] in (2, 9) and len(output) <= 7 for output in ids)
    assert batches == [[0, 1, 2]]
