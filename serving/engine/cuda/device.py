"""What differs between a GPU and the CPU on which the same code is tested: three things, all here.

- The int8 product: bitsandbytes' on a GPU (cuBLASLt on its int8 units), `torch._int_mm` on the CPU, which is also what
  bitsandbytes calls there. Both are exact.
- The decode step: on a GPU it is captured once for every shape of batch in a CUDA graph and replayed, because a small
  model's step is hundreds of small kernels whose launches would take longer than they do. On the CPU it is called.
- Uploads: on a GPU from pinned memory, so that they wait for nothing.

None of the three has run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]
"""int8 [tokens, columns] by int8 [rows, columns] to int32 [tokens, rows]."""

_OLDEST_CAPABILITY = (7, 5)
"""The first NVIDIA GPUs with int8 matrix units."""
_WARM_UPS = 2
"""Runs before a capture, in which libraries set up what they may not set up in one."""


class Availability(NamedTuple):
    available: bool
    reason: str
    """Why not; empty when it is."""


class UnsupportedModel(ValueError):
    """An artifact whose model asks for something that the device does not compute alike in every batch."""


class InexactDevice(RuntimeError):
    """A device whose products of whole numbers are not exact: no promise of equal outputs would hold there."""


def available() -> Availability:
    """Whether this machine can run the model on a GPU."""
    if not torch.cuda.is_available():
        return Availability(False, "torch finds no CUDA device")
    capability = torch.cuda.get_device_capability()
    if capability < _OLDEST_CAPABILITY:
        needed = ".".join(map(str, _OLDEST_CAPABILITY))
        return Availability(False, f"the GPU's compute capability is {capability[0]}.{capability[1]}, {needed} is needed")
    if find_spec("bitsandbytes") is None:
        return Availability(False, "bitsandbytes is not installed: pip install 'dqbart[gpu]'")
    return Availability(True, "")


def int8_product(device: torch.device) -> Product:
    """The exact int8 product of a device, `cuda` or `cpu`."""
    if device.type == "cuda":
        from bitsandbytes.functional import int8_linear_matmul

        return int8_linear_matmul  # type: ignore[no-any-return]
    return lambda tokens, weight: torch._int_mm(tokens, weight.mT)


def require_exact_products(device: torch.device) -> None:
    """Turn TF32 off in this process and try both kinds of product on their largest sums. Raises InexactDevice.

    Attention multiplies codes as float32. TF32 keeps ten bits of a factor and so would hold codes, but what it adds in is
    not promised; with whole float32 products there is nothing to trust.
    """
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    codes = torch.full((32, 1024), 127, dtype=torch.int8, device=device)
    codes[:, 0] = torch.arange(32, dtype=torch.int8)
    expected = (codes.double() @ codes.double().mT).float()
    for name, products in (("int8", int8_product(device)(codes, codes)), ("float32", codes.float() @ codes.float().mT)):
        if not torch.equal(products.float(), expected):
            raise InexactDevice(f"{name} products of whole numbers on {device} are not exact")


class Steps:
    """Runs steps: functions without arguments that read and write tensors which stay where they are."""

    def __init__(self, device: torch.device) -> None:
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] | None = {} if device.type == "cuda" else None
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def run(self, shape: Hashable, step: Callable[[], object]) -> None:
        """Run a step; on a GPU the graph of the first one of its shape. Run twice, a step must do what it does once."""
        if self._graphs is None:
            step()
            return
        if shape not in self._graphs:
            self._graphs[shape] = self._captured(step)
        self._graphs[shape].replay()

    def wait(self) -> None:
        """Until everything that was started has ended."""
        if self._graphs is not None:
            torch.cuda.current_stream().synchronize()

    def _captured(self, step: Callable[[], object]) -> torch.cuda.CUDAGraph:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Graphs may share memory for what lives within a step, as one runs at a time and none reads what another left.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()
        return graph


class Staging:
    """Whole numbers on their way to the device; one upload between two moments at which the device has been waited for."""

    def __init__(self, device: torch.device, capacity: int = 1024) -> None:
        self._device = device
        self._allocate(capacity)

    def upload(self, numbers: Sequence[int] | Tensor) -> Tensor:
        """int64 [len(numbers)] on the device, overwritten by the next upload; at the same place until the capacity grows."""
        count = len(numbers)
        if count > len(self._here):
            self._allocate(2 * count)
        self._here[:count] = torch.as_tensor(numbers, dtype=torch.int64)
        return self._there[:count].copy_(self._here[:count], non_blocking=True)

    def _allocate(self, capacity: int) -> None:
        self._here = torch.zeros(capacity, dtype=torch.int64, pin_memory=self._device.type == "cuda")
        self._there = torch.zeros(capacity, dtype=torch.int64, device=self._device)
