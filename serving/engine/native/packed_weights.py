"""Weights that lie packed in one piece of memory, and how an artifact's file is packed into it, piece by piece."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.faults import ArtifactError
from quant.layout import TensorLayout
from quant.numerics import Quantized
from quant.packing import PER_BYTE, packed_bytes
from quant.stored_tensors import StoredTensors
from serving.engine.native.library import kernels
from serving.engine.native.linear import PackedLinear, panels_shape
from serving.engine.native.packed_layout import Matrix, PackedLayout

PIECE = 1 << 20
"""Stored bytes that are read and packed at a time."""


class Memory:
    """Bytes that are mapped, from an offset on; they stay while anything that `view` gave is in use."""

    def __init__(self, mapped: mmap.mmap, offset: int = 0) -> None:
        self._bytes = np.frombuffer(mapped, np.uint8)  # which keeps the mapping, also one that is read only
        self._address = self._bytes.ctypes.data + offset
        self.size = len(self._bytes) - offset

    @classmethod
    def of_own(cls, size: int) -> Memory:
        """Of this process alone. Raises OSError."""
        return cls(mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def view(self, place: int, dtype: torch.dtype, *shape: int) -> Tensor:
        """A tensor over it. One over memory that is read only must not be written to."""
        count = int(np.prod(shape))
        # By address: torch warns of buffers that are read only, and takes none of them without.
        array = (ctypes.c_uint8 * (count * dtype.itemsize)).from_address(self._address + place)
        array.keeps = self._bytes  # type: ignore[attr-defined]
        return torch.frombuffer(array, dtype=dtype, count=count).view(shape)


class PackedWeights:
    """Weights of a model over memory of its layout (see weights.py)."""

    def __init__(self, artifact: Artifact, layout: PackedLayout, memory: Memory) -> None:
        self._architecture = artifact.architecture
        self._layout = layout
        self._memory = memory

    def linear(self, *names: str) -> PackedLinear:
        matrix = self._layout.matrices[f"{names[0]}.weight"]
        assert [weight.name for weight in matrix.weights] == [f"{name}.weight" for name in names], f"{names} lie apart"
        return self._over(matrix)

    def token_matrix(self, name: str) -> PackedLinear:
        return self._over(self._layout.matrices[self._architecture.stored_as(name)])

    def positions(self, name: str) -> Quantized:
        shape = self._layout.positions[name].shape
        scale = self._view(f"{name}.scale", torch.float32, shape[0])
        return Quantized(self._view(f"{name}.codes", torch.int8, *shape), scale)

    def tensor(self, name: str) -> Tensor:
        return self._view(name, torch.float32, *self._layout.floats[name].shape)

    def _over(self, matrix: Matrix) -> PackedLinear:
        rows, columns, bits = matrix.rows, matrix.columns, matrix.bits
        codes = self._view(f"{matrix.name}.codes", torch.uint8, *panels_shape(rows, columns, bits))
        scale = self._view(f"{matrix.name}.scale", torch.float32, matrix.padded_rows)
        bias = self._view(f"{matrix.name}.bias", torch.float32, matrix.padded_rows) if matrix.biases else None
        return PackedLinear.over(rows, columns, bits, codes, scale, bias)

    def _view(self, name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        return self._memory.view(self._layout.places[name], dtype, *shape)


def pack_into(memory: Memory, tensors: StoredTensors, layout: PackedLayout) -> None:
    """Pack an artifact's tensors. Raises ArtifactError for what they hold, and for a file that is written meanwhile."""
    assert memory.size >= layout.size, f"{memory.size} bytes for a layout of {layout.size}"
    state, packing = tensors.file.state(), _Packing(memory, tensors, layout)
    # Threads that end, of which reading and packing hold no lock of Python's.
    with ThreadPoolExecutor(torch.get_num_threads(), "dqbart-packing") as threads:
        for done in [threads.submit(work) for work in packing.works()]:
            done.result()
    tensors.file.expect(state)


class _Packing:
    """The work, in pieces that may be done in any order and side by side."""

    def __init__(self, memory: Memory, tensors: StoredTensors, layout: PackedLayout) -> None:
        self._memory = memory
        self._tensors = tensors
        self._layout = layout
        self._of_thread = threading.local()

    def works(self) -> Iterator[Callable[[], None]]:
        for matrix in self._layout.matrices.values():
            first = 0
            for weight in matrix.weights:
                yield from self._pieces(matrix, weight, first)
                first += weight.shape[0]
            yield partial(self._rest, matrix)
        for tensor in self._layout.positions.values():
            yield partial(self._positions, tensor)
        for tensor in self._layout.floats.values():
            yield partial(self._floats, tensor)

    def _pieces(self, matrix: Matrix, weight: TensorLayout, first: int) -> Iterator[Callable[[], None]]:
        rows = weight.shape[0]
        together = max(1, PIECE * rows // packed_bytes(weight.count, matrix.bits))
        for begin in range(0, rows, together):
            yield partial(self._codes, matrix, weight, first, begin, min(rows, begin + together))

    def _codes(self, matrix: Matrix, weight: TensorLayout, first: int, begin: int, end: int) -> None:
        """Rows `begin` to `end` of a matrix whose first one is row `first` of those it is packed with."""
        columns, bits = matrix.columns, matrix.bits
        byte, in_byte = divmod(begin * columns, PER_BYTE[bits])
        stored = self._buffer(packed_bytes(end * columns, bits) - byte)
        self._tensors.file.read_into(self._tensors.codes_place(weight.name) + byte, stored)
        panels = self._place(matrix, "codes", torch.uint8, panels_shape(matrix.rows, columns, bits))
        if not kernels().dq_pack(stored.ctypes.data, in_byte, first + begin, end - begin, columns, bits, panels.data_ptr()):
            self._tensors.check([weight.name])
            raise ArtifactError(f"{self._tensors.path}: {weight.name} was written while it was read")

    def _rest(self, matrix: Matrix) -> None:
        """Scales and biases, the padding of the last byte and of the last panel."""
        shape = panels_shape(matrix.rows, matrix.columns, matrix.bits)
        panels = self._place(matrix, "codes", torch.uint8, shape)
        missing = matrix.padded_rows - matrix.rows
        kernels().dq_pack_codes(None, matrix.rows, missing, matrix.columns, matrix.bits, panels.data_ptr())
        scale = self._place(matrix, "scale", torch.float32, (matrix.padded_rows,))
        bias = self._place(matrix, "bias", torch.float32, (matrix.padded_rows,)) if matrix.biases else None
        first = 0
        for weight in matrix.weights:
            self._tensors.check_padding(weight.name)
            end = first + weight.shape[0]
            scale[first:end] = self._tensors.scale(weight.name)[:, 0]
            first = end
        scale[matrix.rows :] = 0.0
        if bias is not None:
            values = [self._float(name).view(-1) for name in matrix.biases]
            torch.cat([*values, torch.zeros(missing)], out=bias)

    def _positions(self, tensor: TensorLayout) -> None:
        codes, scale = self._quantized(tensor.name)
        self._memory.view(self._layout.places[f"{tensor.name}.codes"], torch.int8, *tensor.shape).copy_(codes)
        place = self._layout.places[f"{tensor.name}.scale"]
        self._memory.view(place, torch.float32, tensor.shape[0]).copy_(scale[:, 0])

    def _floats(self, tensor: TensorLayout) -> None:
        self._memory.view(self._layout.places[tensor.name], torch.float32, *tensor.shape).copy_(self._float(tensor.name))

    def _float(self, name: str) -> Tensor:
        values = self._tensors[name]
        assert isinstance(values, Tensor), f"{name} is quantized"
        return values

    def _quantized(self, name: str) -> Quantized:
        values = self._tensors[name]
        assert isinstance(values, Quantized), f"{name} is stored in floating point"
        return values

    def _place(self, matrix: Matrix, what: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        return self._memory.view(self._layout.places[f"{matrix.name}.{what}"], dtype, *shape)

    def _buffer(self, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Of this thread, for what is read at a time."""
        buffer = getattr(self._of_thread, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._of_thread.buffer = np.empty(size, np.uint8)
        return buffer[:size]
