"""An artifact as 8-bit safetensors in the layout of `compressed-tensors` (its format `int-quantized`).

    NAME.weight         int8 [rows, columns]: the artifact's codes, whatever bits they were packed in
    NAME.weight_scale   float32 [rows, 1]: a matrix of one scale has it in every row
    everything else     float32, under its stock name

A value is code times scale, exactly the artifact's: ternary and 4-bit codes are widened, not quantized again. With the
package `compressed-tensors`, `transformers` loads the folder as plain weights (`dequantize` in its quantization_config);
whoever converts for another engine finds codes and scales by name, and in config.json how activations were quantized.
Stock shapes are kept: heads that were removed are zeros here, and ternary codes take five times the artifact's bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Size, Tensor

from compress.model.export import configurations, readme, save_tokenizer
from quant.artifact import CONFIG_FILE, WEIGHTS_FILE, Artifact
from quant.hf import with_zero_heads
from quant.layout import TOKEN_MATRICES, model_layout
from quant.numerics import Quantized
from quant.whole_files import save_tensors

_SCALE = "_scale"
_WEIGHTS = """Weights are 8-bit, in the layout of `compressed-tensors` (`int-quantized`): `NAME.weight` holds int8 codes
[rows, columns], `NAME.weight_scale` a float32 scale for each row [rows, 1], and a value is code times scale. Everything else
is float32. {tied}`transformers` loads the folder, to float32, after `pip install compressed-tensors`"""
_TIED = "The head is tied to `model.shared`, and so are the token embeddings of encoder and decoder. "


def export_int8(artifact: Artifact, folder: Path) -> None:
    """Write codes and scales, configurations, tokenizer and README to an existing folder."""
    config, generation = configurations(artifact, save_tokenizer(artifact, folder))
    entries = {**config.to_diff_dict(), "dtype": "float32", "quantization_config": _quantization_config(artifact)}
    (folder / CONFIG_FILE).write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    generation.save_pretrained(folder)
    weights = _WEIGHTS.format(tied=_TIED if artifact.architecture.tie_word_embeddings else "")
    save_tensors(folder / WEIGHTS_FILE, int8_tensors(artifact), {"format": "pt"})
    (folder / "README.md").write_text(readme(artifact, weights), encoding="utf-8")


def int8_tensors(artifact: Artifact) -> dict[str, Tensor]:
    """The tensors of the file by their names, in stock shapes."""
    tensors: dict[str, Tensor] = {}
    architecture = artifact.architecture
    for stock in model_layout(architecture, artifact.scheme):
        tensor, shape = artifact.tensors[stock.name], Size(stock.shape)
        if isinstance(tensor, Quantized):
            scale = tensor.scale.expand(tensor.codes.shape[0], 1)
            tensors[stock.name] = with_zero_heads(tensor.codes, shape)
            tensors[f"{stock.name}{_SCALE}"] = with_zero_heads(scale, Size((shape[0], 1))).contiguous()
        else:
            tensors[stock.name] = with_zero_heads(tensor, shape)
    if not architecture.tie_word_embeddings:  # stock classes then look for every matrix by its own name
        for name in TOKEN_MATRICES:
            for end in ("", _SCALE):
                tensors.setdefault(name + end, tensors[architecture.stored_as(name) + end].clone())
    return tensors


def _quantization_config(artifact: Artifact) -> dict[str, Any]:
    """In the terms of compressed-tensors; a head that is tied to an embedding is ignored."""
    weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
    a_token = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    activations = a_token if artifact.scheme.quantizes_activations else None
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "dequantize": True,
        "ignore": ["lm_head"] if artifact.architecture.tie_word_embeddings else [],
        "config_groups": {
            "linear": {"targets": ["Linear"], "weights": weights, "input_activations": activations},
            "embeddings": {"targets": ["Embedding"], "weights": weights, "input_activations": None},
        },
    }
