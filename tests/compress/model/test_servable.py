"""Tokenizers that serving would refuse are refused before training."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Regex, normalizers

from compress.model.servable import ServableError, check_servable
from compress.model.teacher import Teacher, load_teacher
from compress.model.told import Told


@pytest.fixture
def teacher(teachers: dict[str, str]) -> Teacher:
    return load_teacher(teachers["bart"], Told("summarization"))


def check(teacher: Teacher) -> None:
    check_servable(teacher.text_format, teacher.architecture.vocab_size)


@pytest.mark.parametrize("name", ["bart", "mbart50", "mbart-cc25"])
def test_the_tokenizers_of_bart_and_mbart(teachers: dict[str, str], name: str) -> None:
    check(load_teacher(teachers[name], Told("summarization")))


def test_a_tokenizer_that_the_service_does_not_open(teacher: Teacher) -> None:
    teacher.text_format.tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex("(a+)+$"), "a")
    with pytest.raises(
        ServableError, match=r"teacher bart could not be served: tokenizer.json: normalizer has a Replace of"
    ):
        check(teacher)


def test_more_tokens_than_the_model_has(teacher: Teacher) -> None:
    teacher.text_format.tokenizer.add_tokens([f"new{number}" for number in range(9)])
    with pytest.raises(ServableError, match=r"could not be served: tokenizer.json: it has"):
        check(teacher)


def test_a_tokenizer_that_is_not_what_it_is_saved_as(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer: Any = teacher.text_format.tokenizer
    with monkeypatch.context() as patch:
        patch.setattr(type(tokenizer), "__call__", lambda *_, **__: {"input_ids": [5, 6]})
        with pytest.raises(ServableError, match="reads texts as other tokens"):
            check(teacher)
    monkeypatch.setattr(tokenizer, "decode", lambda *_, **__: "something else")
    with pytest.raises(ServableError, match="writes tokens as other texts"):
        check(teacher)


def test_a_tokenizer_without_a_file_of_its_own(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher.text_format.tokenizer, "save_pretrained", lambda folder: None)
    with pytest.raises(ServableError, match=r"could not be served: .*tokenizer\.json"):
        check(teacher)
