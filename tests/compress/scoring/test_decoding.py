import torch

from compress.data.text_format import Example
from compress.model.teacher import load_teacher
from compress.scoring.decoding import DecodingSettings, decode_alike, decoding_record, generate


def test_settings_override_the_models_own_and_lengths_count_the_start_token(teachers: dict[str, str]) -> None:
    model = load_teacher(teachers["bart"], "summarization").model
    config = DecodingSettings(num_beams=3, max_new_tokens=20, min_new_tokens=4).resolved(model)
    assert (config.num_beams, config.max_length, config.min_length) == (3, 21, 5)
    assert (config.max_new_tokens, config.min_new_tokens) == (None, None)
    untouched = decoding_record(DecodingSettings().resolved(model))
    assert (untouched["num_beams"], untouched["max_length"]) == (2, 12)


def test_no_shortest_length_overrides_the_models_own(teachers: dict[str, str]) -> None:
    model = load_teacher(teachers["bart"], "summarization").model
    model.generation_config.min_length = 6
    assert DecodingSettings().resolved(model).min_length == 6
    assert DecodingSettings(min_new_tokens=0).resolved(model).min_length == 1


def test_two_models_decode_alike_with_the_settings_of_one(teachers: dict[str, str]) -> None:
    bart, mbart = (load_teacher(teachers[name], "summarization").model for name in ("bart", "mbart50"))
    bart.generation_config.update(num_beams=5, length_penalty=2.0, max_new_tokens=7, no_repeat_ngram_size=3)
    mbart.generation_config.update(min_new_tokens=4, early_stopping=True, eos_token_id=9)
    decode_alike(mbart, bart)
    records = [decoding_record(DecodingSettings().resolved(model)) for model in (bart, mbart)]
    assert records[0] == records[1]
    assert (records[1]["num_beams"], records[1]["max_length"]) == (5, 8)
    assert mbart.generation_config.eos_token_id == 9


def test_outputs_keep_the_order_and_do_not_depend_on_the_batch(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], "translation", ("de_DE", "en_XX"))
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
    teacher = load_teacher(teachers["mbart50"], "translation", ("de_DE", "en_XX"))
    examples = [Example({"source": "ab"}, "c", "de_DE", "en_XX"), Example({"source": "ab"}, "c", "en_XX", "de_DE")]
    seen: list[torch.Tensor] = []
    original = teacher.model.generate
    monkeypatch.setattr(teacher.model, "generate", lambda **inputs: seen.append(original(**inputs)) or seen[-1])
    encoded = teacher.text_format.encode(examples, 16)
    generate(teacher.model, teacher.text_format, examples, encoded, DecodingSettings(num_beams=1), 4096)
    first = {teacher.text_format.tokenizer.convert_ids_to_tokens(int(ids[0, 1])) for ids in seen}
    assert first == {"de_DE", "en_XX"}
