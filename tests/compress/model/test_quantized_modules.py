from pathlib import Path

import pytest
import torch
from transformers import AttentionInterface

from compress.model.packed_student import load_student
from compress.model.quantized_modules import (
    ATTENTION,
    QuantizedLinear,
    WeightScales,
    full_precision_weights,
    packable_weights,
    quantize_modules,
    quantized_weights,
)
from compress.model.student import build_student
from compress.model.teacher import Teacher, load_teacher
from quant.artifact import write_artifact
from quant.layout import EMBEDDING, TOKEN_MATRICES
from quant.numerics import dequantize
from quant.scheme import Granularity, Layers, Scheme
from quant.structure import Structure

SOURCE = torch.tensor([[0, 6, 9, 12, 7, 2], [0, 8, 2, 1, 1, 1]])
MASK = (SOURCE != 1).long()
TARGET = torch.tensor([[2, 0, 7, 9], [2, 0, 8, 6]])


def load(teachers: dict[str, str], name: str) -> Teacher:
    if name == "bart":
        return load_teacher(teachers[name], "summarization")
    return load_teacher(teachers[name], "translation", ("de_DE", "en_XX"))


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


def test_attention_trains_on_the_values_it_is_evaluated_with() -> None:
    attention = AttentionInterface()[ATTENTION]
    query, key, value = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 9, 16), torch.randn(2, 3, 9, 16)
    mask = torch.zeros(2, 1, 1, 9).masked_fill(torch.arange(9) >= 7, torch.finfo(torch.float32).min)
    module = torch.nn.Identity()
    trained, probabilities = attention(module.train(), query, key, value, mask, scaling=0.25)
    evaluated, _ = attention(module.eval(), query, key, value, mask, scaling=0.25)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 3, 5))
    # A probability on the edge between two codes may fall to either side: one step of its row is allowed.
    assert (trained - evaluated).abs().max() < float(value.abs().max()) / 127


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
