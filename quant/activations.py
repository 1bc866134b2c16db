"""Activation functions of feed-forward blocks by their names in `transformers`: one table for training and every runner.

Each is made of operations that give an element the same bits wherever in a tensor it lies. Not all of PyTorch's do: where
the vector loop of `silu`, `sigmoid` or the tanh form of `gelu` ends before the tensor does, the rest goes through other
code, and a row's bits would depend on its batch. So those three are spelled out here, which moves results by a unit in the
last place. Functions that have weights of their own (`prelu`, `xielu`) are not supported.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]

_LOWEST = -80.0
"""Below it, e^-x nears the end of float32; what is divided by it is as good as zero there."""


def _gelu_tanh(values: Tensor) -> Tensor:
    inner = values + 0.044715 * torch.pow(values, 3.0)
    return 0.5 * values * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * inner))


def _gelu_fast(values: Tensor) -> Tensor:
    return 0.5 * values * (1.0 + torch.tanh(values * 0.7978845608 * (1.0 + 0.044715 * values * values)))


def _sigmoid(values: Tensor) -> Tensor:
    return 1.0 / (1.0 + torch.exp(-values.clamp(min=_LOWEST)))


def _silu(values: Tensor) -> Tensor:
    return values * _sigmoid(values)


def _quick_gelu(values: Tensor) -> Tensor:
    return values * _sigmoid(1.702 * values)


def _squared_relu(values: Tensor) -> Tensor:
    return functional.relu(values).square()


ACTIVATIONS: dict[str, Activation] = {
    "gelu": functional.gelu,
    "gelu_python": functional.gelu,
    "gelu_10": lambda values: functional.gelu(values).clamp(-10, 10),
    "gelu_new": _gelu_tanh,
    "gelu_accurate": _gelu_tanh,
    "gelu_python_tanh": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu_fast": _gelu_fast,
    "quick_gelu": _quick_gelu,
    "silu": _silu,
    "swish": _silu,
    "relu": functional.relu,
    "relu2": _squared_relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "hardswish": functional.hardswish,
    "sigmoid": _sigmoid,
    "tanh": torch.tanh,
    "linear": lambda values: values,
}
"""float32 [..., width] to the same shape; an element depends on nothing but itself."""
