import json
from pathlib import Path

import pytest

from compress.data.text_format import Example
from compress.model.teacher import TeacherError, load_teacher

PAIR = ("de_DE", "en_XX")


def tokens(teacher, ids: list[int]) -> list[str]:
    return teacher.text_format.tokenizer.convert_ids_to_tokens(ids)


def encode(teacher, example: Example):
    return teacher.text_format.encode([example], max_target_tokens=32)[0]


def test_bart_wraps_source_and_target_in_its_own_tokens(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], "summarization")
    encoded = encode(teacher, Example({"source": "ab"}, "c"))
    assert tokens(teacher, encoded.source_ids) == ["<s>", "a", "b", "</s>"]
    assert tokens(teacher, encoded.decoder_ids) == ["</s>", "<s>", "c"]
    assert tokens(teacher, encoded.label_ids) == ["<s>", "c", "</s>"]


def test_mbart50_puts_languages_first_and_forces_the_target_language(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart50"], "translation", PAIR)
    encoded = encode(teacher, Example({"source": "a"}, "c", "en_XX", "de_DE"))
    assert tokens(teacher, encoded.source_ids) == ["en_XX", "▁", "a", "</s>"]
    assert tokens(teacher, encoded.decoder_ids) == ["</s>", "de_DE", "▁", "c"]
    assert tokens(teacher, encoded.label_ids) == ["de_DE", "▁", "c", "</s>"]
    assert teacher.text_format.forced_bos_id("de_DE") == encoded.label_ids[0]


def test_mbart_cc25_puts_the_language_last_and_starts_the_decoder_with_it(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["mbart-cc25"], "translation", PAIR)
    encoded = encode(teacher, Example({"source": "a"}, "c", "de_DE", "en_XX"))
    assert tokens(teacher, encoded.source_ids) == ["▁", "a", "</s>", "de_DE"]
    assert tokens(teacher, encoded.decoder_ids) == ["en_XX", "▁", "c"]
    assert tokens(teacher, encoded.label_ids) == ["▁", "c", "</s>"]
    assert teacher.text_format.forced_bos_id("en_XX") is None


@pytest.mark.parametrize("name", ["mbart50", "mbart-cc25"])
def test_the_source_format_is_the_tokenizers_own(teachers: dict[str, str], name: str) -> None:
    teacher = load_teacher(teachers[name], "translation", PAIR)
    tokenizer = teacher.text_format.tokenizer
    for language in PAIR:
        tokenizer.src_lang = language
        encoded = encode(teacher, Example({"source": "guten tag"}, "c", language, "en_XX"))
        assert encoded.source_ids == tokenizer("guten tag")["input_ids"]


def test_passages_are_joined_by_a_space_unless_told(teachers: dict[str, str]) -> None:
    cards = [
        load_teacher(teachers["bart"], "question-answering", passage_separator=separator).text_format.card
        for separator in (None, " <P> ", "")
    ]
    assert [card.passage_separator for card in cards] == [" ", " <P> ", ""]


def test_a_summary_has_no_passages(teachers: dict[str, str]) -> None:
    assert load_teacher(teachers["bart"], "summarization").text_format.card.passage_separator is None
    with pytest.raises(TeacherError, match="passage_separator is ' ', for summarization null is expected"):
        load_teacher(teachers["bart"], "summarization", passage_separator=" ")


def test_the_template_of_question_answering_names_both_texts(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], "question-answering")
    assert teacher.text_format.card.source_text({"question": "q", "context": "c"}) == "question: q context: c"


def test_long_sources_and_targets_are_truncated_but_keep_their_ends(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], "summarization", max_source_tokens=8)
    encoded = teacher.text_format.encode([Example({"source": "a" * 20}, "b" * 20)], max_target_tokens=5)[0]
    assert tokens(teacher, encoded.source_ids) == ["<s>", *"aaaaaa", "</s>"]
    assert tokens(teacher, encoded.label_ids) == ["<s>", *"bbb", "</s>"]
    assert encoded.truncated


def test_a_source_that_just_fits_is_not_truncated(teachers: dict[str, str]) -> None:
    teacher = load_teacher(teachers["bart"], "summarization", max_source_tokens=8)
    assert not teacher.text_format.encode([Example({"source": "aaaaaa"}, "bbb")], max_target_tokens=5)[0].truncated


def test_another_architecture_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    with pytest.raises(TeacherError, match="model_type is 't5', supported are bart, mbart"):
        load_teacher(str(tmp_path), "summarization")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="nowhere"):
        load_teacher(str(tmp_path / "nowhere"), "summarization")


def test_an_unknown_language_lists_the_teachers_codes(teachers: dict[str, str]) -> None:
    with pytest.raises(TeacherError, match=r"xx_XX: no language code .* ar_AR, .*de_DE"):
        load_teacher(teachers["mbart50"], "translation", ("xx_XX", "en_XX"))
