"""Where models run offline."""

from __future__ import annotations

import torch

from compress.errors import CompressError


class DeviceError(CompressError):
    """A device that is not there."""


def pick_device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`; `auto` is cuda where there is one. Raises DeviceError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device is {name!r}, but PyTorch finds no CUDA device here")
    return torch.device(name)
