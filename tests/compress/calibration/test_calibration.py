from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from compress.calibration.calibration import Mapped, calibrate, expect_calibrated, parts_of
from compress.calibration.saved import Saved
from compress.data.batches import collate
from compress.data.encoded import Encoded
from compress.model.embeddings import tie_embeddings
from compress.model.heads import keep_heads
from compress.model.quantized_modules import (
    QuantizedPositions,
    full_precision_weights,
    packable_weights,
    quantize_modules,
    quantized_weights,
)
from compress.model.student import build_student, spaced_layers
from quant.layout import TOKEN_MATRICES
from quant.numerics import Quantized, dequantize
from quant.scheme import Layers, Scheme
from quant.structure import Structure

from .conftest import teacher_of


def student_of(teacher: PreTrainedModel, layers: str = "3-3", scheme: str | None = "2-2-8", **more) -> PreTrainedModel:
    student = build_student(teacher, Layers.parse(layers)).eval()
    keep_heads(student, more.pop("heads", {}))
    if scheme is not None:
        quantize_modules(student, Scheme.parse(scheme), **more)
    return student


def mapped(layers: str, heads=None) -> Mapped:
    count = Layers.parse(layers)
    return Mapped(spaced_layers(3, count.encoder), spaced_layers(3, count.decoder), heads or {})


def lost(student: PreTrainedModel, teacher: PreTrainedModel, examples: list[Encoded]) -> float:
    """Mean square of what the decoder's last states lack, as a share of the teacher's."""
    batch = collate(examples, 1)
    with torch.no_grad():
        ours, theirs = (
            model.model(
                input_ids=batch.source_ids,
                attention_mask=batch.source_mask.long(),
                decoder_input_ids=batch.decoder_ids,
                use_cache=False,
            ).last_hidden_state[batch.target_mask]
            for model in (student, teacher)
        )
    return float((ours - theirs).square().sum() / theirs.square().sum())


@pytest.mark.parametrize("kind", ["bart", "mbart"])
@pytest.mark.parametrize("scheme", ["2-2-8", "4-2-8/matrix", "8-8-8", "2-4-16"])
def test_less_is_lost_than_by_rounding(kind: str, scheme: str, examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of(kind)
    student = student_of(teacher, scheme=scheme)
    before = lost(student, teacher, examples)
    record = calibrate(student, teacher, mapped("3-3"), examples, Saved(tmp_path))
    after = lost(student, teacher, examples)
    assert after < (0.9 if scheme == "8-8-8" else 0.6) * before
    assert record["lost"] == pytest.approx(after, abs=2e-3)
    assert (record["examples"], record["source_tokens"]) == (60, sum(len(each.source_ids) for each in examples))


@pytest.mark.parametrize("kind", ["bart", "mbart"])
@pytest.mark.parametrize(("layers", "scheme"), [("3-1", None), ("1-2", "8-8-8"), ("2-2", "2-4-8")])
def test_dropped_layers_are_healed(
    kind: str, layers: str, scheme: str | None, examples: list[Encoded], tmp_path: Path
) -> None:
    teacher = teacher_of(kind)
    student = student_of(teacher, layers, scheme)
    before = lost(student, teacher, examples)
    calibrate(student, teacher, mapped(layers), examples, Saved(tmp_path))
    assert lost(student, teacher, examples) < 0.7 * before


def test_a_student_that_lacks_nothing_stays_what_it_is(examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of("mbart")
    student = student_of(teacher, scheme=None)
    calibrate(student, teacher, mapped("3-3"), examples, Saved(tmp_path))
    assert lost(student, teacher, examples) < 1e-8


def test_removed_heads_and_other_bits_by_block(examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of("bart")
    heads = {"encoder.layers.0.self_attn": [1, 3], "decoder.layers.2.encoder_attn": [0, 2, 3]}
    structure = Structure({"encoder.layers.1.feed_forward": 8}, {block: len(kept) for block, kept in heads.items()})
    student = student_of(teacher, scheme="2-4-8", heads=heads, structure=structure)
    before = lost(student, teacher, examples)
    calibrate(student, teacher, mapped("3-3", heads), examples, Saved(tmp_path))
    assert lost(student, teacher, examples) < 0.7 * before
    assert int(packable_weights(student)["model.encoder.layers.1.fc1.weight"].codes.abs().max()) > 7


@pytest.mark.parametrize("own", [True, False])
def test_a_head_of_its_own_is_calibrated_too(own: bool, examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of("bart")
    if own:
        teacher.config.tie_word_embeddings = False
        teacher.lm_head.weight = torch.nn.Parameter(torch.randn_like(teacher.lm_head.weight))
        tie_embeddings(teacher)
    student = student_of(teacher)
    calibrate(student, teacher, mapped("3-3"), examples, Saved(tmp_path))
    modules = quantized_weights(student)
    head, embedding = modules["lm_head.weight"], modules["model.shared.weight"]
    assert (head.clip_values is embedding.clip_values) is not own
    assert torch.equal(modules["model.decoder.embed_tokens.weight"].quantize().scale, embedding.quantize().scale)


def test_what_is_packed_is_what_was_found_and_training_goes_on_from_it(examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of("mbart")
    student = student_of(teacher)
    calibrate(student, teacher, mapped("3-3"), examples, Saved(tmp_path))
    for name, module in quantized_weights(student).items():
        assert (module.clip_values is None) == isinstance(module, QuantizedPositions), name
        assert torch.equal(module.fake_quantize(), dequantize(module.quantize())), name
        assert torch.equal(module.quantized.codes, module.quantize().codes.float()), name


def interrupted_after(parts: int):
    left = [parts]

    def advance(count: int) -> None:
        left[0] -= count
        if left[0] == 0:
            raise KeyboardInterrupt

    return advance


@pytest.mark.parametrize("parts", [1, 3, 6])
def test_one_that_was_interrupted_ends_as_one_that_was_not(parts: int, examples: list[Encoded], tmp_path: Path) -> None:
    teacher = teacher_of("bart")
    whole, part = student_of(teacher, "3-2"), student_of(teacher, "3-2")
    calibrate(whole, teacher, mapped("3-2"), examples, Saved(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        calibrate(part, teacher, mapped("3-2"), examples, Saved(tmp_path / "part"), interrupted_after(parts))
    continued = student_of(teacher, "3-2")
    called: list[int] = []
    calibrate(continued, teacher, mapped("3-2"), examples, Saved(tmp_path / "part"), called.append)
    assert sum(called) == parts_of(continued) == 6
    expected = packable_weights(whole)
    for name, tensor in packable_weights(continued).items():
        if isinstance(tensor, Quantized):
            assert torch.equal(tensor.codes, expected[name].codes), name
            assert torch.equal(tensor.scale, expected[name].scale), name
        else:
            assert torch.equal(tensor, expected[name]), name


def test_a_student_that_is_yet_to_be_loaded_has_the_tensors_of_a_calibrated_one(
    examples: list[Encoded], tmp_path: Path
) -> None:
    teacher = teacher_of("bart")
    calibrated, empty = student_of(teacher), student_of(teacher)
    calibrate(calibrated, teacher, mapped("3-3"), examples, Saved(tmp_path))
    expect_calibrated(empty)
    assert full_precision_weights(empty).keys() == full_precision_weights(calibrated).keys()
    modules = quantized_weights(empty)
    assert len({id(modules[name].clip_values) for name in TOKEN_MATRICES}) == 1
