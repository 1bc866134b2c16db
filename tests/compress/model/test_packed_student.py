from pathlib import Path

import torch

from compress.model.packed_student import dequantized_student
from quant.artifact import read_artifact
from quant.numerics import dequantize

SHIPPED = Path(__file__).parents[3] / "models" / "mbart-de-en-2-2-8"


def test_a_dequantized_student_has_the_artifacts_values() -> None:
    artifact = read_artifact(SHIPPED)
    student = dequantized_student(artifact)
    name = "model.decoder.layers.2.encoder_attn.v_proj.weight"
    assert torch.equal(student.state_dict()[name], dequantize(artifact.quantized(name)))
    assert torch.equal(student.lm_head.weight, dequantize(artifact.quantized("model.shared.weight")))
