"""Scales, normalizations and biases are tuned, and codes stay."""

import pytest
import torch
from rich.console import Console

from compress.calibration.tuning import TuningSettings, tune
from compress.data.text_format import Example
from compress.model.quantized_modules import WeightScales, packable_weights, quantize_modules, quantized_weights
from compress.model.straight_through import SMALLEST_SCALE
from compress.model.student import build_student
from compress.model.teacher import Teacher, load_teacher
from compress.model.told import Told
from compress.training.group import Alone
from compress.training.loop import Trainer
from compress.training.losses import LayerMap
from quant.numerics import Quantized, round_to_half
from quant.scheme import Layers, Scheme

SETTINGS = TuningSettings(steps=20, batch_tokens=200, bf16=False, seed=1)


@pytest.fixture(scope="module")
def teacher(teachers: dict[str, str]) -> Teacher:
    return load_teacher(teachers["bart"], Told("summarization"))


@pytest.fixture(scope="module")
def examples(teacher: Teacher):
    texts = [Example({"source": "abcdefgh"[: 3 + place % 5] * 2}, "ihgfe"[: 1 + place % 4]) for place in range(40)]
    return teacher.text_format.encode(texts, 16)


def student_of(teacher: Teacher, bits: str = "2-2-8", learned: bool = False):
    student = build_student(teacher.model, Layers(3, 2))
    quantize_modules(student, Scheme.parse(bits), scales=WeightScales(learned=learned))
    return student


def tuned(teacher: Teacher, examples, **made):
    student = student_of(teacher, **made)
    tune(student, teacher.model, examples, SETTINGS, Console(quiet=True), Alone())
    return student


def loss(student, teacher: Teacher, examples) -> float:
    student.eval()
    trainer = Trainer(student, teacher.model, LayerMap([], []), examples, SETTINGS.training)
    with torch.no_grad():
        batches = (trainer._batch(place)[0] for place in trainer._order.ahead(4))
        return sum(float(trainer._losses(batch, False, trainer.settings.losses)["kl"]) for batch in batches)


@pytest.mark.parametrize("learned", [False, True], ids=["computed", "learned"])
@pytest.mark.parametrize("bits", ["2-2-8", "4-8-8/matrix", "8-2-16"])
def test_codes_stay_and_the_rest_comes_closer_to_the_teacher(teacher: Teacher, examples, bits: str, learned: bool) -> None:
    before, after = student_of(teacher, bits, learned), tuned(teacher, examples, bits=bits, learned=learned)
    assert loss(after, teacher, examples) < 0.95 * loss(before, teacher, examples)
    packed, was = packable_weights(after), packable_weights(before)
    assert packed.keys() == was.keys()
    for name, tensor in packed.items():
        if isinstance(tensor, Quantized):
            assert torch.equal(tensor.codes, was[name].codes), name
            assert torch.equal(tensor.scale, round_to_half(tensor.scale)), name
            assert torch.equal(tensor.scale, was[name].scale) == ("embed_positions" in name), name
        else:
            assert torch.equal(tensor, was[name]) == ("logits_bias" in name), name


def test_afterwards_scales_are_learned_ones_that_tied_matrices_share(teacher: Teacher, examples) -> None:
    student = tuned(teacher, examples)
    assert student.lm_head.clip_values is student.model.shared.clip_values is not None
    assert all(module.held is None for module in quantized_weights(student).values())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert student.model.encoder.embed_positions.clip_values is None


def test_the_same_seed_gives_the_same_student(teacher: Teacher, examples) -> None:
    first, second = (tuned(teacher, examples).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_scale_too_small_to_be_learned_is_made_larger(teacher: Teacher, examples) -> None:
    student = student_of(teacher, "8-8-8")
    fc1 = student.model.encoder.layers[0].fc1
    with torch.no_grad():
        fc1.weight[3] *= 1e-5
    tune(student, teacher.model, examples, SETTINGS, Console(quiet=True), Alone())
    assert fc1.quantize().scale.min() >= SMALLEST_SCALE
