from pathlib import Path

import pytest
import torch

from compress.model.packed_student import load_student
from compress.model.quantized_modules import (
    QuantizedLinear,
    WeightScales,
    full_precision_weights,
    packable_weights,
    quantize_modules,
    quantized_weights,
    set_codes,
)
from compress.model.straight_through import SMALLEST_SCALE
from compress.model.student import build_student
from compress.model.teacher import Teacher, load_teacher
from compress.model.told import Told
from quant.artifact import write_artifact
from quant.layout import EMBEDDING, TOKEN_MATRICES
from quant.numerics import dequantize, round_to_half
from quant.scheme import Granularity, Layers, Scheme
from quant.structure import Structure

SOURCE = torch.tensor([[0, 6, 9, 12, 7, 2], [0, 8, 2, 1, 1, 1]])
MASK = (SOURCE != 1).long()
TARGET = torch.tensor([[2, 0, 7, 9], [2, 0, 8, 6]])


def load(teachers: dict[str, str], name: str) -> Teacher:
    if name == "bart":
        return load_teacher(teachers[name], Told("summarization"))
    return load_teacher(teachers[name], Told("translation", ("de_DE", "en_XX")))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=TARGET).logits


@pytest.mark.parametrize(("bits", "granularity"), [(2, "row"), (4, "matrix"), (8, "row")])
@pytest.mark.parametrize("quantizes_activations", [True, False])
def test_a_linear_layer_trains_on_the_values_it_is_evaluated_with(
    bits: int, granularity: Granularity, quantizes_activations: bool
) -> None:
    layer = QuantizedLinear(torch.nn.Linear(48, 20), bits, granularity, quantizes_activations)
    tokens = torch.randn(3, 7, 48)
    torch.testing.assert_close(layer.train()(tokens), layer.eval()(tokens))


def test_eight_bits_stay_close_to_full_precision(teachers: dict[str, str]) -> None:
    teacher = load(teachers, "mbart50").model
    model = build_student(teacher, Layers(3, 3)).eval()
    quantize_modules(model, Scheme.parse("8-8-8"))
    expected = logits(teacher)
    assert (logits(model) - expected).norm() < 0.1 * expected.norm()


def test_every_parameter_gets_a_gradient(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "mbart50").model, Layers(2, 2)).train()
    quantize_modules(model, Scheme.parse("2-2-8"))
    model(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=TARGET).logits.square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_evaluation_sees_the_weights_of_the_last_step(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "bart").model, Layers(1, 1)).eval()
    quantize_modules(model, Scheme.parse("8-8-8"))
    before = logits(model)
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(logits(model.eval()), before)


@pytest.mark.parametrize("name", ["bart", "mbart50", "mbart-cc25"])
@pytest.mark.parametrize("scheme", ["2-2-8", "4-8-8/matrix", "8-8-16"])
def test_a_packed_student_computes_bit_for_bit_what_was_packed(
    teachers: dict[str, str], tmp_path: Path, name: str, scheme: str
) -> None:
    teacher = load(teachers, name)
    model = build_student(teacher.model, Layers(2, 1)).eval()
    quantize_modules(model, Scheme.parse(scheme))
    config = {key: value for key, value in model.config.to_dict().items() if value is not None}
    weights = full_precision_weights(model)
    write_artifact(tmp_path, weights, config, {}, Scheme.parse(scheme), teacher.digest, teacher.text_format.card)
    teacher.text_format.tokenizer.save_pretrained(tmp_path)
    packed, _, artifact = load_student(tmp_path)
    assert artifact.source_digest == teacher.digest
    assert torch.equal(logits(packed), logits(model))


def test_learned_scales_are_packed_bit_for_bit(teachers: dict[str, str], tmp_path: Path) -> None:
    teacher, scheme = load(teachers, "mbart50"), Scheme.parse("2-4-8")
    model = build_student(teacher.model, Layers(2, 1)).train()
    quantize_modules(model, scheme, scales=WeightScales(learned=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    model(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=TARGET).logits.square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    optimizer.step()
    config = {key: value for key, value in model.config.to_dict().items() if value is not None}
    write_artifact(tmp_path, packable_weights(model), config, {}, scheme, teacher.digest, teacher.text_format.card)
    teacher.text_format.tokenizer.save_pretrained(tmp_path)
    packed, _, artifact = load_student(tmp_path)
    for name, module in quantized_weights(model).items():
        if name in artifact.tensors:
            assert torch.equal(dequantize(artifact.quantized(name)), module.fake_quantize()), name
    assert torch.equal(logits(packed), logits(model.eval()))


def test_tied_embeddings_share_their_learned_scales(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "bart").model, Layers(1, 1))
    quantize_modules(model, Scheme.parse("8-8-8"), scales=WeightScales(learned=True))
    modules = quantized_weights(model)
    shared = modules[EMBEDDING].clip_values
    assert shared is not None
    assert all(modules[name].clip_values is shared for name in TOKEN_MATRICES)
    names = [name for name in full_precision_weights(model) if name.endswith("clip_values")]
    assert "model.shared.clip_values" in names
    assert len(names) == 1 + 2 + 6 + 10  # embedding, positions, an encoder and a decoder layer


@pytest.mark.parametrize(("bits", "granularity"), [(2, "row"), (4, "matrix"), (8, "row")])
def test_given_codes_are_packed_bit_for_bit_and_trained_on(bits: int, granularity: Granularity) -> None:
    layer = QuantizedLinear(torch.nn.Linear(24, 20), bits, granularity, True)
    most = 2 ** (bits - 1) - 1
    codes = torch.randint(-most, most + 1, (20, 24)).to(torch.int8)
    scale = round_to_half(torch.rand(20 if granularity == "row" else 1, 1) + SMALLEST_SCALE)
    latent = torch.randn(20, 24) * most * scale
    layer.set_codes(codes, scale, latent)
    packed = layer.quantize()
    assert torch.equal(packed.codes, codes)
    assert torch.equal(packed.scale, scale)
    assert torch.equal(layer.fake_quantize(), codes * scale)
    aside = layer.weight.detach() / scale - codes  # as far as the latent weight, in its cell, but nearer to the middle
    expected = 0.3 * (latent / scale - codes).clamp(-0.5, 0.5)
    within = (codes + expected).abs() <= most
    torch.testing.assert_close(aside[within], expected[within], rtol=0, atol=1e-4)
    assert float(aside.abs().max()) <= 0.1501
    layer.fake_quantize().sum().backward()
    assert bool((layer.weight.grad == 1).all())


def test_given_codes_of_a_tied_embedding_are_the_heads_too(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "bart").model, Layers(1, 1))
    quantize_modules(model, Scheme.parse("8-4-8"))
    modules = quantized_weights(model)
    codes, scale = modules[EMBEDDING].quantize()
    scale = scale.clamp(min=SMALLEST_SCALE)  # the padding's is 0
    set_codes(model, EMBEDDING, -codes, scale * 2, modules[EMBEDDING].weight.detach().clone())
    for name in TOKEN_MATRICES:
        assert torch.equal(modules[name].quantize().codes, -codes)
        assert torch.equal(modules[name].quantized.scale, scale * 2)


@pytest.mark.parametrize(
    ("codes", "scale", "message"),
    [
        (torch.full((3, 4), 2.0), torch.ones(3, 1), "from -1 to 1, those of 2 bits"),
        (torch.full((3, 4), 0.5), torch.ones(3, 1), "whole numbers"),
        (torch.ones(3, 4), torch.full((3, 1), 0.1), "of float16 from 6.10352e-05"),
        (torch.ones(3, 4), torch.zeros(3, 1), "of float16 from 6.10352e-05"),
        (torch.ones(3, 4), torch.ones(1, 1), r"scale \[1, 1\]: \[3, 4\] and \[3, 1\] are expected"),
    ],
)
def test_codes_that_no_weight_has_are_refused(codes: torch.Tensor, scale: torch.Tensor, message: str) -> None:
    layer = QuantizedLinear(torch.nn.Linear(4, 3), 2, "row", True)
    with pytest.raises(ValueError, match=message):
        layer.set_codes(codes, scale, codes)


def test_each_block_has_its_bits(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "bart").model, Layers(1, 1))
    structure = Structure(block_bits={"encoder.layers.0.feed_forward": 8, "decoder.layers.0.encoder_attn": 4})
    quantize_modules(model, Scheme.parse("2-4-8"), structure)
    bits = {name: module.bits for name, module in quantized_weights(model).items()}
    assert {name for name, count in bits.items() if count == 8 and "layers" in name} == {
        f"model.encoder.layers.0.{name}.weight" for name in ("fc1", "fc2")
    }
    assert bits["model.decoder.layers.0.encoder_attn.out_proj.weight"] == 4
    assert bits["model.decoder.layers.0.self_attn.q_proj.weight"] == 2
    assert bits["lm_head.weight"] == 4


def test_padding_does_not_change_a_source(teachers: dict[str, str]) -> None:
    model = build_student(load(teachers, "bart").model, Layers(2, 2)).eval()
    quantize_modules(model, Scheme.parse("2-2-8"))
    with torch.no_grad():
        alone = model(input_ids=SOURCE[1:, :3], attention_mask=MASK[1:, :3], decoder_input_ids=TARGET[1:]).logits
    assert torch.equal(logits(model)[1:], alone)
