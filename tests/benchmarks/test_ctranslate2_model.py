"""CTranslate2 in float32 generates what `generate` of the same dequantized student does: the conversion is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.model.packed_student import dequantized_student
from quant.artifact import Artifact, read_artifact, write_artifact
from quant.layout import Architecture, model_layout
from quant.scheme import Scheme

from .conftest import TINY

ctranslate2 = pytest.importorskip("ctranslate2", reason="the peer CTranslate2 comes with the bench extra")


@pytest.fixture(scope="module", params=["bart", "mbart"])
def artifact(request: pytest.FixtureRequest, tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A last norm of random sign keeps the tied head from recognising the token that was just fed: outputs vary."""
    config = {**TINY, "model_type": request.param, "encoder_layers": 2, "decoder_layers": 2}
    config["scale_embedding"] = request.param == "mbart"
    scheme = Scheme(8, 8, 8)
    generator = torch.Generator().manual_seed(1)
    architecture = Architecture.from_config(config)
    last = "decoder.layer_norm" if architecture.normalizes_before else "decoder.layers.1.final_layer_norm"
    weights = {}
    for tensor in model_layout(architecture, scheme):
        values = torch.randn(tensor.shape, generator=generator)
        if "norm" in tensor.name and last not in tensor.name:
            values = torch.full(tensor.shape, float(tensor.name.endswith("weight")))
        elif tensor.name.endswith("bias"):
            values *= 0.02
        elif tensor.bits is not None:
            values *= 0.1 if "out_proj" in tensor.name or "shared" in tensor.name else 0.6
            values -= values.mean(1, keepdim=True) * ("fc2" in tensor.name)
        weights[tensor.name] = values
    folder = tmp_path_factory.mktemp("student") / request.param
    write_artifact(folder, weights, config, {}, scheme, "sha256:0", read_artifact(tiny_student).card)
    return read_artifact(folder)


@pytest.mark.parametrize("beams", [1, 4])
def test_same_ids_as_generate(artifact: Artifact, beams: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    from benchmarks.ctranslate2_model import write_ctranslate2

    folder = tmp_path_factory.mktemp("converted") / "model"
    write_ctranslate2(artifact, folder, "float32")
    translator = ctranslate2.Translator(str(folder), intra_threads=1)
    model = dequantized_student(artifact)
    seen = set()
    for length in (1, 7, 33):
        source = torch.randint(10, 203, (1, length), generator=torch.Generator().manual_seed(length))
        expected = generate(model, source, beams)
        (result,) = translator.translate_batch(
            [[str(token) for token in source[0].tolist()]],
            beam_size=beams,
            min_decoding_length=20,
            max_decoding_length=20,
            return_end_token=True,
        )
        assert [int(token) for token in result.hypotheses[0]] == expected
        seen |= set(expected)
    assert len(seen) > 15, "outputs that never vary compare little"


def generate(model: Any, source: torch.Tensor, beams: int) -> list[int]:
    ids = model.generate(
        input_ids=source,
        attention_mask=torch.ones_like(source),
        num_beams=beams,
        do_sample=False,
        min_new_tokens=20,
        max_new_tokens=20,
        decoder_start_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
        forced_eos_token_id=None,
    )
    return ids[0, 1:].tolist()
