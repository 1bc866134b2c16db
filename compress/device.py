"""Where models run offline."""

from __future__ import annotations

import torch

from compress.errors import CompressError
from quant.processors import available_threads


class DeviceError(CompressError):
    """A device that is not there."""


def pick_device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:N`; `auto` is cuda where there is one. Raises DeviceError.

    PyTorch's threads, as many as the machine has processors, become no more than this process can keep busy.
    """
    torch.set_num_threads(min(torch.get_num_threads(), available_threads()))
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device is {name!r}, but PyTorch finds no CUDA device here")
    return torch.device(name)
