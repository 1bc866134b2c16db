"""Matrices with a row a token, as loaded, trained, packed and saved again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BartForConditionalGeneration, PreTrainedModel

from compress.model.checkpoint import CheckpointError, load_checkpoint
from compress.model.embeddings import save_checkpoint
from compress.model.quantized_modules import (
    WeightScales,
    full_precision_weights,
    packable_weights,
    quantize_modules,
    quantized_weights,
)
from compress.model.sensitivity import measure_sensitivity
from compress.model.student import build_student
from compress.model.vocabulary import train_tokenizer, use_vocabulary
from quant.layout import DECODER_EMBEDDING, EMBEDDING, ENCODER_EMBEDDING, HEAD, LOGITS_BIAS, TOKEN_MATRICES
from quant.scheme import Layers, Scheme
from tests.compress.model.conftest import BATCH
from tests.compress.released import CHECKPOINTS, TEXTS, WEIGHTS, change_tensors

IDS = {"input_ids": torch.tensor([[0, 45, 99, 180, 2]]), "decoder_input_ids": torch.tensor([[2, 0, 77, 130]])}
OWN = {
    "plain": {EMBEDDING},
    "bias": {EMBEDDING},
    "untied": {EMBEDDING, DECODER_EMBEDDING, HEAD},
    "untied-by-an-older-release": {EMBEDDING, HEAD},
}


@pytest.fixture(params=OWN)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    CHECKPOINTS[name](tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(**IDS).logits


def test_what_a_checkpoint_has_is_said_and_kept(folder: Path, name: str) -> None:
    model, _ = load_checkpoint(str(folder))
    assert model.config.tie_word_embeddings == (HEAD not in OWN[name])
    assert model.config.share_encoder_decoder_embeddings == (DECODER_EMBEDDING not in OWN[name])
    assert model.config.add_bias_logits == (name == "bias")
    assert {matrix for matrix in TOKEN_MATRICES if matrix in dict(model.named_parameters())} == OWN[name]
    if name != "untied-by-an-older-release":  # of which stock classes make up the embeddings
        assert torch.equal(logits(model), logits(BartForConditionalGeneration.from_pretrained(folder)))
    written = load_file(folder / WEIGHTS)
    encoders = written.get(ENCODER_EMBEDDING, written[EMBEDDING])
    assert torch.equal(model.model.encoder.embed_tokens.weight, encoders)
    assert torch.equal(model.lm_head.weight, written.get(HEAD, encoders))


def test_what_is_saved_again_is_what_stock_classes_read(folder: Path, tmp_path: Path) -> None:
    model, _ = load_checkpoint(str(folder))
    save_checkpoint(model, tmp_path / "saved")
    assert torch.equal(logits(BartForConditionalGeneration.from_pretrained(tmp_path / "saved")), logits(model))


def test_a_student_has_the_teachers(folder: Path, name: str) -> None:
    teacher, _ = load_checkpoint(str(folder), attn_implementation="eager")
    student = build_student(teacher, Layers(2, 2))
    assert torch.equal(logits(student), logits(teacher))
    assert {matrix for matrix in TOKEN_MATRICES if matrix in dict(student.named_parameters())} == OWN[name]


@pytest.mark.parametrize("learned", [False, True])
def test_each_matrix_is_trained_and_packed_once(folder: Path, name: str, learned: bool) -> None:
    student = build_student(load_checkpoint(str(folder), attn_implementation="eager")[0], Layers(1, 1))
    quantize_modules(student, Scheme.parse("2-4-8"), scales=WeightScales(learned=learned))
    student.train()(**IDS).logits.square().mean().backward()
    parameters = dict(student.named_parameters())
    assert all(parameters[matrix].grad.any() for matrix in OWN[name])
    assert all(parameter.grad is not None for parameter in parameters.values())
    modules = quantized_weights(student)
    assert len({id(modules[matrix].clip_values) for matrix in TOKEN_MATRICES}) == (len(OWN[name]) if learned else 1)
    assert {modules[matrix].bits for matrix in TOKEN_MATRICES} == {4}
    assert {matrix for matrix in TOKEN_MATRICES if matrix in full_precision_weights(student)} == OWN[name]
    assert OWN[name] <= packable_weights(student).keys()


def test_sensitivity_is_measured_with_the_heads_bits(folder: Path, name: str) -> None:
    """All the matrices at 2 bits, whatever the block that is measured."""
    student = build_student(load_checkpoint(str(folder), attn_implementation="eager")[0], Layers(1, 1))
    levels = []

    def objective(_):
        def loss(model: PreTrainedModel) -> float:
            levels.append([len(model.get_parameter(matrix).data[7].unique()) for matrix in OWN[name]])
            return 0.0

        return loss

    measure_sensitivity(student, Scheme.parse("8-2-8"), [BATCH], objective)
    assert all(of_row <= 3 for each in levels for of_row in each)


def test_a_new_vocabulary_is_carried_over_in_every_matrix(folder: Path, name: str) -> None:
    model, old = load_checkpoint(str(folder))
    before = {matrix: model.get_parameter(matrix).detach().clone() for matrix in OWN[name]}
    bias = model.final_logits_bias.clone()
    new = train_tokenizer(TEXTS[:20], 290, 64)
    use_vocabulary(model, old, new)
    model.generate(input_ids=torch.tensor([[0, 9, 2]]), max_length=6)
    token = next(index for text, index in sorted(new.get_vocab().items()) if text.isalpha() and len(text) > 2)
    pieces = old(new.decode([token]), add_special_tokens=False)["input_ids"]
    for matrix in OWN[name]:
        weight = model.get_parameter(matrix)
        assert weight.shape[0] == len(new)
        torch.testing.assert_close(weight[token], before[matrix][pieces].mean(0))
    torch.testing.assert_close(model.final_logits_bias[0, token], bias[0, pieces].mean())
    assert {matrix for matrix in TOKEN_MATRICES if matrix in dict(model.named_parameters())} == OWN[name]


def test_two_heads_of_which_one_is_to_be_tied_stay_two(tmp_path: Path) -> None:
    """As in stock classes, whatever the configuration says."""
    folder = tmp_path / "checkpoint"
    CHECKPOINTS["plain"](folder)
    change_tensors(folder, lambda tensors: tensors.update({HEAD: 2 * tensors[EMBEDDING]}))
    model, _ = load_checkpoint(str(folder))
    assert not model.config.tie_word_embeddings
    assert torch.equal(logits(model), logits(BartForConditionalGeneration.from_pretrained(folder)))


@pytest.mark.parametrize("matrix", [HEAD, EMBEDDING])
def test_a_matrix_that_nothing_stands_for_is_missing(tmp_path: Path, matrix: str) -> None:
    folder = tmp_path / "checkpoint"
    CHECKPOINTS["untied-by-an-older-release"](folder)
    change_tensors(folder, lambda tensors: tensors.pop(matrix))
    with pytest.raises(CheckpointError, match=rf"missing tensors \([13]\): .*{matrix}"):
        load_checkpoint(str(folder))


def test_a_bias_of_zeros_is_none(tmp_path: Path) -> None:
    CHECKPOINTS["bias"](tmp_path / "checkpoint")
    change_tensors(tmp_path / "checkpoint", lambda tensors: tensors[LOGITS_BIAS].zero_())
    assert not load_checkpoint(str(tmp_path / "checkpoint"))[0].config.add_bias_logits
