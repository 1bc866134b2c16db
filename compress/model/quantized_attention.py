"""Attention of the quantized student, registered with `transformers` under a name of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from compress.model.straight_through import fake_quantize_activation, straight_through
from quant.numerics import quantize_activation, quantized_attention

ATTENTION = "dqbart_quantized"


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
    probabilities = torch.softmax(scores, dim=-1, dtype=torch.float32)
    # As in evaluation, the probabilities are quantized together with the scale of the value row they will weigh.
    value_codes, value_scale = quantize_activation(value)
    codes, scale = quantize_activation(probabilities.detach() * value_scale.mT)
    folded = codes.mul_(scale).div_(value_scale.mT)
    weights = functional.dropout(straight_through(probabilities, folded), dropout, module.training)
    output = weights @ straight_through(value, value_codes.mul_(value_scale))
    return output.transpose(1, 2), probabilities


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
