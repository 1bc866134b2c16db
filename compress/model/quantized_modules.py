"""The quantized student: modules swapped into a stock `transformers` model, which stays unforked.

Each module keeps its full-precision parameter under its stock name and quantizes it on the way. In training, values are
fake-quantized and gradients go straight through. In evaluation, the same codes go through the integer products of
`quant.numerics`, which is the arithmetic of the engine: what is validated here is what is served.

Scales of weights are computed from the weights, as in the paper, or learned (`compress.model.straight_through`). What is
packed are the codes and scales of these modules, so that no second quantization can differ from the trained one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.model.held_codes import HeldCodes
from compress.model.quantized_attention import ATTENTION
from compress.model.straight_through import (
    codes_fault,
    fake_quantize_activation,
    fake_quantize_weight,
    fake_quantize_with_learned_scale,
    initial_clip_values,
    quantize_with_learned_scale,
    within_cells,
)
from quant.activations import ACTIVATIONS, Activation
from quant.artifact import Artifact
from quant.layout import TOKEN_MATRICES, block_of
from quant.numerics import (
    CLIP,
    Quantized,
    Ternary,
    dequantize,
    levels,
    quantize,
    quantize_activation,
    quantized_linear,
)
from quant.scheme import POSITION_BITS, Granularity, Scheme
from quant.structure import UNIFORM, Structure

_ROWS = 2**14
"""Of a matrix, worked on at a time where that saves memory."""
_CLIP_VALUES = ".clip_values"
_TOKEN_MATRICES = (*TOKEN_MATRICES, *(name.removesuffix(".weight") + _CLIP_VALUES for name in TOKEN_MATRICES))


@dataclass(frozen=True)
class WeightScales:
    """Where the scales of weights come from."""

    learned: bool = False
    """Trained with the weights, from the computed ones on."""
    clip: float = CLIP
    """Weights are clipped to ± this before scales are computed (and, learned, before training); 0 is off."""
    ternary: Ternary = "twn"
    """How those of 2 bits are computed."""

    @property
    def bound(self) -> float:
        return self.clip or float("inf")


COMPUTED = WeightScales()
"""The paper's: from the weights, clipped to ±2.5."""


class QuantizedWeight(nn.Module):
    """A full-precision parameter [rows, columns] and, in evaluation, its quantized form, computed once."""

    def __init__(self, weight: Tensor, bits: int, granularity: Granularity, scales: WeightScales) -> None:
        super().__init__()
        assert isinstance(weight, nn.Parameter)
        self.weight = weight
        self.bits = bits
        self.granularity: Granularity = granularity
        self.clip = scales.bound
        self.ternary = scales.ternary
        self.clip_values: nn.Parameter | None = None
        self.held: HeldCodes | None = None
        """What stands for the weight while its codes are not to change."""
        if scales.learned:
            self.learn_scales()
        self._evaluated: Quantized | None = None

    def learn_scales(self) -> None:
        """Make the scales that the weight has now parameters of their own."""
        values = initial_clip_values(self.weight, self.bits, self.granularity, self.clip, self.ternary)
        self.clip_values = nn.Parameter(values)

    def set_codes(self, codes: Tensor, scale: Tensor, latent: Tensor) -> None:
        """Become a weight with learned scales that quantizes to just these codes and this scale.

        `codes` are whole numbers [rows, columns] within the levels of its bits, `scale` is float32 [rows, 1], or [1, 1] with
        one scale for the matrix, exact in float16 and not below `SMALLEST_SCALE`. The full-precision weight becomes `latent`
        [rows, columns], each value moved into the cell that rounds to its code, so that training goes on from there.
        Modules that share this weight are for `set_codes` of this file. Raises ValueError.
        """
        fault = codes_fault(codes, scale, self.bits, self.weight.shape, self.granularity)
        if fault:
            raise ValueError(fault)
        device = self.weight.device
        codes, scale, latent = codes.to(device), scale.float().to(device), latent.to(device)
        with torch.no_grad():
            for start in range(0, len(codes), _ROWS):
                rows = slice(start, start + _ROWS)
                own = scale[rows] if len(scale) > 1 else scale
                self.weight[rows] = within_cells(latent[rows], codes[rows], own, self.bits)
        self.clip_values = nn.Parameter((scale * levels(self.bits)).flatten())
        self._evaluated = None

    def share_scales(self, other: QuantizedWeight) -> None:
        """Have the learned scales of another module of the same weight."""
        self.clip_values = other.clip_values
        self.forget_evaluated()

    def forget_evaluated(self) -> None:
        """Free the quantized form."""
        self._evaluated = None

    def train(self, mode: bool = True) -> QuantizedWeight:
        if mode:
            self._evaluated = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._evaluated = None
        super()._load_from_state_dict(*args, **kwargs)

    def quantize(self) -> Quantized:
        """Codes int8 and scale of the weights as they are now."""
        if self.held is not None:
            return self.held.quantized()
        if self.clip_values is not None:
            return quantize_with_learned_scale(self.weight, self.clip_values, self.bits)
        return quantize(self.weight, self.bits, self.granularity, self.clip, self.ternary)

    def fake_quantize(self) -> Tensor:
        """The values of `quantize`, float32, with a straight-through gradient."""
        if self.held is not None:
            return self.held.values()
        return self._fake_quantize(self.weight, self.clip_values)

    def _fake_quantize(self, weight: Tensor, clip_values: Tensor | None) -> Tensor:
        if clip_values is not None:
            return fake_quantize_with_learned_scale(weight, clip_values, self.bits)
        return fake_quantize_weight(weight, self.bits, self.granularity, self.clip, self.ternary)

    @property
    def quantized(self) -> Quantized:
        """In evaluation: codes (as whole float32 numbers, ready for a product) and scale."""
        if self._evaluated is None or self._evaluated.codes.device != self.weight.device:
            self.freeze(self.quantize())
        assert self._evaluated is not None
        return self._evaluated

    def freeze(self, quantized: Quantized) -> None:
        """Evaluate with these codes and scales, as read from an artifact."""
        device = self.weight.device
        self._evaluated = Quantized(quantized.codes.float().to(device), quantized.scale.to(device))


class QuantizedLinear(QuantizedWeight):
    """A linear layer [..., columns] → [..., rows] over quantized weights and, unless off, per-token quantized inputs."""

    def __init__(
        self,
        linear: nn.Linear,
        bits: int,
        granularity: Granularity,
        quantizes_activations: bool,
        scales: WeightScales = COMPUTED,
    ) -> None:
        super().__init__(linear.weight, bits, granularity, scales)
        self.bias = linear.bias
        self.quantizes_activations = quantizes_activations

    def forward(self, tokens: Tensor) -> Tensor:
        if self.training:
            return functional.linear(*self.operands(tokens), self.bias)
        if self.quantizes_activations:
            return quantized_linear(quantize_activation(tokens), self.quantized, self.bias)
        return functional.linear(tokens, dequantize(self.quantized), self.bias)

    def operands(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """In training: what is multiplied, the inputs and the weight, both with straight-through gradients."""
        return fake_quantize_activation(tokens) if self.quantizes_activations else tokens, self.fake_quantize()


class QuantizedEmbedding(QuantizedWeight):
    """Token embeddings with one scale a row, so that only the rows that are looked up need quantizing."""

    def __init__(self, embedding: nn.Embedding, bits: int, scales: WeightScales = COMPUTED) -> None:
        super().__init__(embedding.weight, bits, "row", scales)
        self.padding_idx = embedding.padding_idx
        self.embed_scale = getattr(embedding, "embed_scale", 1.0)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.look_up(input_ids) * self.embed_scale

    def look_up(self, input_ids: Tensor) -> Tensor:
        """Dequantized rows [..., width] of `input_ids`."""
        if self.training:
            if self.held is not None:
                return self.held.rows(input_ids)
            rows = functional.embedding(input_ids, self.weight, self.padding_idx)
            clip_values = None if self.clip_values is None else self.clip_values[input_ids].flatten()
            return self._fake_quantize(rows.flatten(0, -2), clip_values).view_as(rows)
        return self.quantized.codes[input_ids] * self.quantized.scale[input_ids]


class QuantizedPositions(QuantizedEmbedding):
    """Learned positions; called as the stock module is, with ids that only give the shape, or with positions."""

    def __init__(self, embedding: nn.Embedding, scales: WeightScales = COMPUTED) -> None:
        super().__init__(embedding, POSITION_BITS, scales)
        self.padding_idx = None
        self.offset: int = embedding.offset  # type: ignore[assignment]

    def forward(self, input_ids: Tensor, past_key_values_length: int = 0, position_ids: Tensor | None = None) -> Tensor:
        if position_ids is None:
            batch, length = input_ids.shape[:2]
            position_ids = torch.arange(length, device=self.weight.device).expand(batch, -1) + past_key_values_length
        else:
            position_ids = position_ids.unsqueeze(0)
        return self.look_up(position_ids + self.offset)


class ActivationFunction(nn.Module):
    """The activation of a feed-forward block, with the bits of the engine's."""

    def __init__(self, function: Activation) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Tensor) -> Tensor:
        return self.function(values)


def quantize_modules(
    model: PreTrainedModel, scheme: Scheme, structure: Structure = UNIFORM, scales: WeightScales = COMPUTED
) -> None:
    """Swap the quantized modules into a stock BART or mBART model, in place.

    Bits are the scheme's, in the blocks that `structure` names the block's. Pruned attentions already have the heads left
    (`compress.model.heads`).
    """
    activation = ACTIVATIONS[model.config.activation_function]
    embed = QuantizedEmbedding(model.model.shared, scheme.embedding_bits, scales)

    def tied(module: QuantizedWeight) -> QuantizedWeight:
        """With the clip values of the embedding, where it is that matrix."""
        if module.weight is embed.weight:
            module.clip_values = embed.clip_values
        elif scales.learned:
            module.learn_scales()
        return module

    without = replace(scales, learned=False)
    for stack in (model.model.encoder, model.model.decoder):
        stack.embed_tokens = tied(QuantizedEmbedding(stack.embed_tokens, scheme.embedding_bits, without))
        stack.embed_positions = QuantizedPositions(stack.embed_positions, scales)
        for layer in stack.layers:
            layer.activation_fn = ActivationFunction(activation)
    for name, module in list(model.named_modules()):
        block = block_of(name)
        if block is not None and isinstance(module, nn.Linear):
            bits = structure.block_bits.get(block, scheme.weight_bits)
            quantized = QuantizedLinear(module, bits, scheme.granularity, scheme.quantizes_activations, scales)
            model.set_submodule(name, quantized)
    model.model.shared = embed
    model.lm_head = tied(QuantizedLinear(model.lm_head, scheme.embedding_bits, "row", scheme.quantizes_activations, without))
    model.set_attn_implementation(ATTENTION if scheme.quantizes_activations else "eager")
    model.train(model.training)


def freeze_quantized(model: PreTrainedModel, artifact: Artifact) -> None:
    """Make the quantized modules of a model evaluate with the codes and scales of an artifact, as they were stored."""
    for name, module in quantized_weights(model).items():
        stored = artifact.architecture.stored_as(name) if name in TOKEN_MATRICES else name
        module.freeze(artifact.quantized(stored))


def quantized_weights(model: PreTrainedModel) -> dict[str, QuantizedWeight]:
    """The quantized modules by the stock names of their weights."""
    return {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, QuantizedWeight)}


def set_codes(model: PreTrainedModel, name: str, codes: Tensor, scale: Tensor, latent: Tensor) -> None:
    """`QuantizedWeight.set_codes` of the module with the weight `name`, and of all whose weight is the same matrix."""
    quantized_weights(model)[name].set_codes(codes, scale, latent)
    share_scales(model, name)


def share_scales(model: PreTrainedModel, name: str) -> None:
    """Have all whose weight is the same matrix as `name` use its learned scales."""
    modules = quantized_weights(model)
    module = modules[name]
    for other in modules.values():
        if other is not module and other.weight is module.weight:
            other.share_scales(module)


def forget_evaluated(module: nn.Module) -> None:
    """Free what quantized modules keep for evaluation; it is computed anew when it is asked for."""
    for each in module.modules():
        if isinstance(each, QuantizedWeight):
            each.forget_evaluated()


def full_precision_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The student's full-precision tensors by their stock names, and learned clip values; tied copies are left out."""
    own = dict(model.named_parameters())  # which has a parameter of several names under the first
    return {name: tensor for name, tensor in model.state_dict().items() if name in own or name not in _TOKEN_MATRICES}


def packable_weights(model: PreTrainedModel) -> dict[str, Tensor | Quantized]:
    """What `quant.artifact.write_artifact` takes: codes and scales of quantized weights, the rest in full precision."""
    modules = quantized_weights(model)
    return {
        name: modules[name].quantize() if name in modules else tensor
        for name, tensor in full_precision_weights(model).items()
        if not name.endswith(_CLIP_VALUES)
    }
