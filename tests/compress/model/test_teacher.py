import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.data.text_format import Example
from compress.model.embeddings import save_checkpoint
from compress.model.generation import eos_token_ids
from compress.model.heads import resize_heads
from compress.model.quantized_modules import full_precision_weights
from compress.model.teacher import Teacher, TeacherError, load_teacher
from compress.model.told import Told, ToldError
from compress.scoring.decoding import DecodingSettings
from quant.artifact import write_artifact
from quant.scheme import Scheme
from quant.structure import UNIFORM, Structure

PAIR = ("de_DE", "en_XX")
HEADS = {"encoder.layers.1.self_attn": 1, "decoder.layers.0.encoder_attn": 1}


def tokens(teacher, ids: list[int]) -> list[str]:
    return teacher.text_format.tokenizer.convert_ids_to_tokens(ids)


def encode(teacher, example: Example):
    return teacher.text_format.encode([example], max_target_tokens=32)[0]


def test_bart_wraps_source_and_target_in_its_own_tokens(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    encoded = encode(teacher, Example({"source": "ab"}, "c"))
    assert tokens(teacher, encoded.source_ids) == ["<s>", "a", "b", "</s>"]
    assert tokens(teacher, encoded.decoder_ids) == ["</s>", "<s>", "c"]
    assert tokens(teacher, encoded.label_ids) == ["<s>", "c", "</s>"]


def test_mbart50_puts_languages_first_and_forces_the_target_language(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", PAIR))
    encoded = encode(teacher, Example({"source": "a"}, "c", "en_XX", "de_DE"))
    assert tokens(teacher, encoded.source_ids) == ["en_XX", "▁", "a", "</s>"]
    assert tokens(teacher, encoded.decoder_ids) == ["</s>", "de_DE", "▁", "c"]
    assert tokens(teacher, encoded.label_ids) == ["de_DE", "▁", "c", "</s>"]
    assert teacher.text_format.forced_bos_id("de_DE") == encoded.label_ids[0]


def test_mbart_cc25_puts_the_language_last_and_starts_the_decoder_with_it(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart-cc25"], Told("translation", PAIR))
    encoded = encode(teacher, Example({"source": "a"}, "c", "de_DE", "en_XX"))
    assert tokens(teacher, encoded.source_ids) == ["▁", "a", "</s>", "de_DE"]
    assert tokens(teacher, encoded.decoder_ids) == ["en_XX", "▁", "c"]
    assert tokens(teacher, encoded.label_ids) == ["▁", "c", "</s>"]
    assert teacher.text_format.forced_bos_id("en_XX") is None


@pytest.mark.parametrize("name", ["mbart50", "mbart-cc25"])
def test_the_source_format_is_the_tokenizers_own(teachers: dict[str, str], name: str) -> None:
    teacher = load_teacher(teachers[name], Told("translation", PAIR))
    tokenizer = teacher.text_format.tokenizer
    for language in PAIR:
        tokenizer.src_lang = language
        encoded = encode(teacher, Example({"source": "guten tag"}, "c", language, "en_XX"))
        assert encoded.source_ids == tokenizer("guten tag")["input_ids"]


def test_passages_are_joined_by_a_space_unless_told(teachers: dict[str, str]) -> None:
    cards = [
        load_teacher(teachers["bart"], Told("question-answering", passage_separator=separator)).text_format.card
        for separator in (None, " <P> ", "")
    ]
    assert [card.passage_separator for card in cards] == [" ", " <P> ", ""]


def test_a_summary_has_no_passages(teachers: dict[str, str]) -> None:
    assert load_teacher(teachers["bart"], Told("summarization")).text_format.card.passage_separator is None
    with pytest.raises(TeacherError, match="passage_separator is ' ', for summarization null is expected"):
        load_teacher(teachers["bart"], Told("summarization", passage_separator=" "))


def test_the_template_of_question_answering_names_both_texts(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("question-answering"))
    assert teacher.text_format.card.source_text({"question": "q", "context": "c"}) == "question: q context: c"


def test_long_sources_and_targets_are_truncated_but_keep_their_ends(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization", max_source_tokens=8))
    encoded = teacher.text_format.encode([Example({"source": "a" * 20}, "b" * 20)], max_target_tokens=5)[0]
    assert tokens(teacher, encoded.source_ids) == ["<s>", *"aaaaaa", "</s>"]
    assert tokens(teacher, encoded.label_ids) == ["<s>", *"bbb", "</s>"]
    assert encoded.truncated


def test_a_source_that_just_fits_is_not_truncated(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], Told("summarization", max_source_tokens=8))
    assert not teacher.text_format.encode([Example({"source": "aaaaaa"}, "bbb")], max_target_tokens=5)[0].truncated


def test_another_architecture_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(TeacherError, match="model_type is 't5', supported are bart, mbart"):
        load_teacher(str(tmp_path), Told("summarization"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="nowhere"):
        load_teacher(str(tmp_path / "nowhere"), Told("summarization"))


def test_an_unknown_language_lists_the_teachers_codes(teachers: dict[str, str]) -> None:
    with pytest.raises(TeacherError, match=r"xx_XX: no language code .* ar_AR, .*de_DE"):
        load_teacher(teachers["mbart50"], Told("translation", ("xx_XX", "en_XX")))


def pack(teacher: Teacher, folder: Path, structure: Structure = UNIFORM, **changed: Any) -> Path:
    """The teacher as an artifact of all its layers, with heads removed where the structure says so."""
    resize_heads(teacher.model, structure.heads)
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    generation = DecodingSettings().recorded(teacher.model, teacher.text_format)
    weights, card = full_precision_weights(teacher.model), replace(teacher.text_format.card, **changed)
    write_artifact(folder, weights, config, generation, Scheme.parse("8-8-8"), teacher.digest, card, structure)
    teacher.text_format.tokenizer.save_pretrained(folder)
    return folder


def test_an_artifact_is_a_teacher_that_reads_and_generates_as_it_does(teachers: dict[str, str], tmp_path: Path) -> None:
    checkpoint = load_teacher(teachers["mbart50"], Told("translation", PAIR, both_directions=True, max_source_tokens=40))
    folder = pack(checkpoint, tmp_path / "packed", normalization=("controls",), max_source_tokens=30)
    teacher = load_teacher(str(folder), Told(languages=PAIR, both_directions=True))
    card = checkpoint.text_format.card
    assert teacher.text_format.card == replace(card, teacher="packed", normalization=("controls",), max_source_tokens=30)
    example = Example({"source": "guten tag"}, "c", "en_XX", "de_DE")
    assert encode(teacher, example) == encode(checkpoint, example)
    # The settings of the teacher it was made from, in full, and its weights rounded to 8 bits.
    assert teacher.model.generation_config.num_beams == checkpoint.model.generation_config.num_beams
    assert eos_token_ids(teacher.model) == eos_token_ids(checkpoint.model)
    for name, tensor in checkpoint.model.state_dict().items():
        assert (teacher.model.state_dict()[name] - tensor).abs().max() <= tensor.abs().max() / 254 + 1e-3, name


def test_the_digest_of_an_artifact_is_that_of_its_plain_copy(teachers: dict[str, str], tmp_path: Path) -> None:
    folder = pack(load_teacher(teachers["bart"], Told("summarization")), tmp_path / "packed")
    packed = load_teacher(str(folder), Told())
    save_checkpoint(packed.model, tmp_path / "plain")
    packed.text_format.tokenizer.save_pretrained(tmp_path / "plain")
    assert load_teacher(str(tmp_path / "plain"), Told("summarization")).digest == packed.digest
    assert load_teacher(teachers["bart"], Told("summarization")).digest != packed.digest


def test_removed_heads_are_zeros_and_count_for_nothing(teachers: dict[str, str], tmp_path: Path) -> None:
    whole = load_teacher(teachers["bart"], Told("summarization"))
    size = whole.text_format.card.teacher_bytes
    teacher = load_teacher(str(pack(whole, tmp_path / "packed", Structure(heads=HEADS))), Told())
    attention = teacher.model.model.encoder.layers[1].self_attn
    assert attention.num_heads == 2
    assert not attention.out_proj.weight[:, 16:].any()
    # Each of the two has lost 16 of 32 rows in three matrices and their biases, and as many columns of a fourth.
    assert teacher.text_format.card.teacher_bytes == size - 2 * 4 * (3 * 16 * 33 + 16 * 32)


def test_a_task_that_nothing_says_is_asked_for(teachers: dict[str, str]) -> None:
    with pytest.raises(ToldError, match="bart is no packed artifact, so --task is needed"):
        load_teacher(teachers["bart"], Told())
