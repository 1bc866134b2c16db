"""Artifacts in `transformers`: after `import quant.hf`, `AutoModelForSeq2SeqLM.from_pretrained(ARTIFACT)` works.

A quantizer is registered for `quant_method: dqbart`. The artifact is read and checked by `quant.artifact`, as everywhere, so
that a damaged one is refused with every fault listed; `transformers` alone would warn and go on with random weights. What
comes out is the stock class with plain weights: codes times scale, nothing quantized any more, ready to be trained or saved.
Activations are not quantized then, so that outputs are close to the engine's and not equal to them.

An attention from which heads were removed gets heads of zeros in their place. They add nothing to the output, and a stock
class has no other way to hold fewer; what pruning saved in size and speed is given up.

This is the one module of `quant` that needs `transformers`, and nothing else here imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PretrainedConfig, PreTrainedModel
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from quant.artifact import Artifact, read_artifact
from quant.header import FORMAT
from quant.layout import EMBEDDING, TOKEN_MATRICES
from quant.numerics import Quantized, dequantize


@register_quantization_config(FORMAT)
class DqbartConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """`quantization_config` of an artifact, with its entries as attributes."""

    def __init__(self, quant_method: str = FORMAT, **entries: Any) -> None:
        self.quant_method = quant_method
        self.dequantize = True  # by which transformers forgets the quantization once the weights are loaded
        for name, value in entries.items():
            setattr(self, name, value)


@register_quantizer(FORMAT)
class DqbartQuantizer(HfQuantizer):  # type: ignore[misc]
    """Gives `from_pretrained` an artifact's weights dequantized. Raises ArtifactError for an artifact that is damaged."""

    requires_calibration = True
    """By which transformers refuses to quantize a checkpoint on the fly: that is what `dqbart compress` is for."""

    def update_attn_implementation(self, config: PretrainedConfig) -> PretrainedConfig:
        # The one hook that sees the configuration before the dtype is chosen, by that of the scales where it names none.
        config.dtype = config.dtype or torch.float32
        return config

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        (path,) = kwargs["checkpoint_files"]
        self._artifact = read_artifact(Path(path).parent)
        # Stock classes tie all or nothing; what is one matrix beside a head of its own is tied while it is loaded.
        self._tied = {} if self._artifact.architecture.tie_word_embeddings else _tied_names(self._artifact, model)
        model.all_tied_weights_keys.update(self._tied)

    def update_weight_conversions(self, weight_conversions: list[Any], model: PreTrainedModel) -> list[Any]:
        read = [_Dequantize(self._artifact)]
        return [
            *weight_conversions,
            # Unpacking is done by tables on the CPU.
            WeightConverter(["weight.codes$", "weight.scale$"], "weight", operations=read, force_cpu=True),
            WeightConverter("_proj.bias$", "_proj.bias", operations=read, force_cpu=True),
        ]

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> PreTrainedModel:
        for name in self._tied:
            del model.all_tied_weights_keys[name]
            model.get_submodule(name.removesuffix(".weight")).weight = Parameter(model.get_parameter(name).clone())
        del self._artifact
        model._weight_conversions = None  # what is saved from here on is a plain checkpoint
        return model

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True


class _Dequantize(ConversionOps):  # type: ignore[misc]
    """The artifact's values for a parameter, in its dtype and shape, in place of the bytes that transformers has read."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    def __deepcopy__(self, memo: dict[int, Any]) -> _Dequantize:
        return self  # transformers copies the operation for each parameter, and the whole artifact with it

    def convert(
        self, input_dict: dict[str, Any], full_layer_name: str, model: PreTrainedModel, **kwargs: Any
    ) -> dict[str, Tensor]:
        parameter = model.get_parameter(full_layer_name)
        prefix = "" if full_layer_name in self.artifact.tensors else f"{model.base_model_prefix}."
        tensor = self.artifact.tensors[prefix + full_layer_name]
        values = dequantize(tensor) if isinstance(tensor, Quantized) else tensor
        return {full_layer_name: with_zero_heads(values, parameter.shape).to(parameter.dtype)}


def _tied_names(artifact: Artifact, model: PreTrainedModel) -> dict[str, str]:
    """The model's names of matrices that the artifact has under another name, and that name."""
    prefix = f"{model.base_model_prefix}."
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    names = {name: artifact.architecture.stored_as(name) for name in TOKEN_MATRICES if name != EMBEDDING}
    if EMBEDDING not in known:  # the model without its head, whose names are shorter
        names = {name.removeprefix(prefix): stored.removeprefix(prefix) for name, stored in names.items()}
    return {name: stored for name, stored in names.items() if name != stored and name in known}


def with_zero_heads(values: Tensor, shape: torch.Size) -> Tensor:
    """`values` in the corner of zeros of `shape`; the heads that are left are the first."""
    if values.shape == shape:
        return values
    whole = torch.zeros(shape, dtype=values.dtype)
    whole[tuple(slice(size) for size in values.shape)] = values
    return whole
