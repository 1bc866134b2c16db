"""One linear layer of the student, fitted: to its inputs as the engine quantizes them, and to outputs that are wanted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.calibration.regression import Regression
from compress.calibration.solver import solve
from compress.model.quantized_modules import QuantizedLinear
from quant.numerics import Quantized, dequantize, quantize_activation, quantized_linear


class Inputs:
    """What a linear layer is given, as it computes with it; quantized, it takes a byte a number."""

    def __init__(self, layer: nn.Module, values: Tensor) -> None:
        self._values: Tensor | Quantized = values
        if isinstance(layer, QuantizedLinear) and layer.quantizes_activations:
            codes, scale = quantize_activation(values)
            self._values = Quantized(codes.to(torch.int8), scale)

    @property
    def values(self) -> Tensor:
        """Float32 [..., columns]."""
        return self._values if isinstance(self._values, Tensor) else dequantize(self._values)

    def through(self, layer: Any) -> Tensor:
        """What the layer makes of them."""
        if isinstance(self._values, Tensor):
            output: Tensor = layer(self._values)
            return output
        codes, scale = self._values
        return quantized_linear(Quantized(codes.float(), scale), layer.quantized, layer.bias)


def fit(layer: Any, regression: Regression) -> None:
    """Give a linear layer the codes, scales and bias that come nearest to the outputs of a regression.

    One that is not quantized gets its weights.
    """
    with torch.no_grad():
        weight = regression.target(layer.weight)
        if isinstance(layer, QuantizedLinear):
            quantized = solve(weight, regression.moment, layer.bits, layer.granularity)
            layer.set_codes(quantized.codes, quantized.scale, weight)
            weight = dequantize(quantized)
        else:
            layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(regression.bias(weight))
