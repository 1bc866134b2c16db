from pathlib import Path

import torch

from compress.model.heads import resize_heads
from compress.model.packed_student import dequantized_student, load_student
from compress.model.quantized_modules import full_precision_weights, quantize_modules
from compress.model.student import build_student
from compress.model.teacher import load_teacher
from compress.model.told import Told
from quant.artifact import read_artifact, write_artifact
from quant.numerics import dequantize
from quant.scheme import Layers, Scheme
from quant.structure import Structure

STRUCTURE = Structure(
    {"encoder.layers.0.self_attn": 8, "decoder.layers.0.feed_forward": 4},
    {"encoder.layers.1.self_attn": 1, "decoder.layers.0.self_attn": 1, "decoder.layers.0.encoder_attn": 1},
)
SHIPPED = Path(__file__).parents[3] / "models" / "mbart-de-en-2-4-8"


def test_a_dequantized_student_has_the_artifacts_values() -> None:
    artifact = read_artifact(SHIPPED)
    student = dequantized_student(artifact)
    name = "model.decoder.layers.2.encoder_attn.v_proj.weight"
    assert torch.equal(student.state_dict()[name], dequantize(artifact.quantized(name)))
    assert torch.equal(student.lm_head.weight, dequantize(artifact.quantized("model.shared.weight")))


def test_a_student_of_a_structure_comes_back_bit_for_bit(teachers: dict[str, str], tmp_path: Path) -> None:
    """And its dequantized form is close, as its activations alone are not quantized."""
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    model = build_student(teacher.model, Layers(2, 1)).eval()
    resize_heads(model, STRUCTURE.heads)
    scheme = Scheme.parse("2-8-8")
    quantize_modules(model, scheme, STRUCTURE)
    config = {key: value for key, value in model.config.to_dict().items() if value is not None}
    weights, card = full_precision_weights(model), teacher.text_format.card
    write_artifact(tmp_path, weights, config, {}, scheme, teacher.digest, card, STRUCTURE)
    teacher.text_format.tokenizer.save_pretrained(tmp_path)
    packed, _, artifact = load_student(tmp_path)
    assert artifact.structure == STRUCTURE
    ids = {"input_ids": torch.tensor([[0, 6, 9, 12, 7, 2]]), "decoder_input_ids": torch.tensor([[2, 0, 7, 9]])}
    with torch.no_grad():
        expected = model(**ids).logits
        assert torch.equal(packed(**ids).logits, expected)
        plain = dequantized_student(artifact)(**ids).logits
    assert (plain - expected).norm() < 0.1 * expected.norm()


def test_an_artifact_from_before_there_were_structures_is_uniform() -> None:
    assert read_artifact(SHIPPED).structure == Structure()
