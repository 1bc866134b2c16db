"""The quantized student: modules swapped into a stock `transformers` model, which stays unforked.

Each module keeps its full-precision parameter under its stock name and quantizes it on the way. In training, values are
fake-quantized and gradients go straight through. In evaluation, the same codes go through the integer products of
`quant.numerics`, which is the arithmetic of the engine: what is validated here is what is served.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from compress.model.straight_through import fake_quantize_activation, fake_quantize_weight, straight_through
from quant.artifact import Artifact
from quant.layout import EMBEDDING, TIED_TO_EMBEDDING
from quant.numerics import (
    Quantized,
    dequantize,
    quantize,
    quantize_activation,
    quantized_attention,
    quantized_linear,
)
from quant.scheme import POSITION_BITS, Granularity, Scheme

ATTENTION = "dqbart_quantized"


class _QuantizedWeight(nn.Module):
    """A full-precision parameter and, in evaluation, its quantized form, computed once."""

    def __init__(self, weight: Tensor, bits: int, granularity: Granularity) -> None:
        super().__init__()
        assert isinstance(weight, nn.Parameter)
        self.weight = weight
        self.bits = bits
        self.granularity: Granularity = granularity
        self._evaluated: Quantized | None = None

    def train(self, mode: bool = True) -> _QuantizedWeight:
        if mode:
            self._evaluated = None
        super().train(mode)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._evaluated = None
        super()._load_from_state_dict(*args, **kwargs)

    @property
    def quantized(self) -> Quantized:
        """Codes (as whole float32 numbers, ready for a product) and scale."""
        if self._evaluated is None or self._evaluated.codes.device != self.weight.device:
            self.freeze(quantize(self.weight, self.bits, self.granularity))
        assert self._evaluated is not None
        return self._evaluated

    def freeze(self, quantized: Quantized) -> None:
        """Evaluate with these codes and scales, as read from an artifact."""
        device = self.weight.device
        self._evaluated = Quantized(quantized.codes.float().to(device), quantized.scale.to(device))


class QuantizedLinear(_QuantizedWeight):
    """A linear layer [..., columns] → [..., rows] over quantized weights and, unless off, per-token quantized inputs."""

    def __init__(self, linear: nn.Linear, bits: int, granularity: Granularity, quantizes_activations: bool) -> None:
        super().__init__(linear.weight, bits, granularity)
        self.bias = linear.bias
        self.quantizes_activations = quantizes_activations

    def forward(self, tokens: Tensor) -> Tensor:
        if self.training:
            inputs = fake_quantize_activation(tokens) if self.quantizes_activations else tokens
            return functional.linear(inputs, fake_quantize_weight(self.weight, self.bits, self.granularity), self.bias)
        if self.quantizes_activations:
            return quantized_linear(quantize_activation(tokens), self.quantized, self.bias)
        return functional.linear(tokens, dequantize(self.quantized), self.bias)


class QuantizedEmbedding(_QuantizedWeight):
    """Token embeddings with one scale a row, so that only the rows that are looked up need quantizing."""

    def __init__(self, embedding: nn.Embedding, bits: int) -> None:
        super().__init__(embedding.weight, bits, "row")
        self.padding_idx = embedding.padding_idx
        self.embed_scale = getattr(embedding, "embed_scale", 1.0)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.look_up(input_ids) * self.embed_scale

    def look_up(self, input_ids: Tensor) -> Tensor:
        """Dequantized rows [..., width] of `input_ids`."""
        if self.training:
            rows = functional.embedding(input_ids, self.weight, self.padding_idx)
            return fake_quantize_weight(rows.flatten(0, -2), self.bits, "row").view_as(rows)
        return self.quantized.codes[input_ids] * self.quantized.scale[input_ids]


class QuantizedPositions(QuantizedEmbedding):
    """Learned positions; called as the stock module is, with ids that only give the shape, or with positions."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__(embedding, POSITION_BITS)
        self.padding_idx = None
        self.offset: int = embedding.offset  # type: ignore[assignment]

    def forward(self, input_ids: Tensor, past_key_values_length: int = 0, position_ids: Tensor | None = None) -> Tensor:
        if position_ids is None:
            batch, length = input_ids.shape[:2]
            position_ids = torch.arange(length, device=self.weight.device).expand(batch, -1) + past_key_values_length
        else:
            position_ids = position_ids.unsqueeze(0)
        return self.look_up(position_ids + self.offset)


def quantize_modules(model: PreTrainedModel, scheme: Scheme) -> None:
    """Swap the quantized modules into a stock BART or mBART model, in place."""
    stacks = (model.model.encoder, model.model.decoder)
    for stack in stacks:
        stack.embed_tokens = QuantizedEmbedding(stack.embed_tokens, scheme.embedding_bits)
        stack.embed_positions = QuantizedPositions(stack.embed_positions)
        for module in list(stack.layers.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    quantized = QuantizedLinear(child, scheme.weight_bits, scheme.granularity, scheme.quantizes_activations)
                    setattr(module, name, quantized)
    model.model.shared = QuantizedEmbedding(model.model.shared, scheme.embedding_bits)
    model.lm_head = QuantizedLinear(model.lm_head, scheme.embedding_bits, "row", scheme.quantizes_activations)
    model.set_attn_implementation(ATTENTION if scheme.quantizes_activations else "eager")
    model.train(model.training)


def freeze_quantized(model: PreTrainedModel, artifact: Artifact) -> None:
    """Make the quantized modules of a model evaluate with the codes and scales of an artifact, as they were stored."""
    for name, module in model.named_modules():
        if isinstance(module, _QuantizedWeight):
            weight = f"{name}.weight"
            module.freeze(artifact.quantized(EMBEDDING if weight in TIED_TO_EMBEDDING else weight))


def full_precision_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The student's full-precision tensors by their stock names, tied copies left out."""
    return {name: tensor for name, tensor in model.state_dict().items() if name not in TIED_TO_EMBEDDING}


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention with Q, K, V and the probabilities quantized per row; the signature is that of `transformers`.

    Takes [batch, heads, length, width], returns [batch, length, heads, width] and, in training, the probabilities
    before quantization, which the attention loss compares with the teacher's.
    """
    if not module.training:
        rows = quantize_activation(query), quantize_activation(key), quantize_activation(value)
        return quantized_attention(*rows, attention_mask, scaling).transpose(1, 2), None
    scores = fake_quantize_activation(query) @ fake_quantize_activation(key).mT * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = torch.softmax(scores.float(), dim=-1)
    # As in evaluation, the probabilities are quantized together with the scale of the value row they will weigh.
    value_codes, value_scale = quantize_activation(value.detach())
    folded = dequantize(quantize_activation(probabilities.detach() * value_scale.mT)) / value_scale.mT
    weights = functional.dropout(straight_through(probabilities, folded), dropout, module.training)
    output = weights @ straight_through(value, value_codes * value_scale)
    return output.transpose(1, 2), probabilities


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
