"""The tensors of a weights file, each read and checked when it is asked for: nothing is kept.

What reads a model by pieces, or only checks it, needs no memory for the whole. The file is opened once: one that takes its
place does not matter, and one that was written over is told by its times.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quant.faults import ArtifactError, memory_faults
from quant.layout import TensorLayout
from quant.numerics import Quantized
from quant.packing import PER_BYTE, PackingError, check_packed, packed_bytes, unpack

PIECE = 1 << 22
"""Bytes that are read together where a file is looked through."""


class OpenFile:
    """A file to read at places. Closed when nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._path = path

    def state(self) -> tuple[int, int, int, int]:
        """Inode, size and times: with other content it is another."""
        stat = os.fstat(self._descriptor)
        return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns

    def read_into(self, place: int, buffer: Any) -> None:
        """Fill a writable buffer of bytes from `place` on. Raises ArtifactError."""
        view = memoryview(buffer).cast("B")
        while view:
            try:
                count = os.preadv(self._descriptor, [view], place)
            except OSError as error:
                raise ArtifactError(f"{self._path} cannot be read: {error.strerror}") from error
            if not count:
                raise ArtifactError(f"{self._path} was cut off while it was read")
            view, place = view[count:], place + count

    def digest(self) -> str:
        """sha256 of all bytes. Raises ArtifactError, also when the file is written meanwhile."""
        state, hashed, place = self.state(), hashlib.sha256(), 0
        buffer = memoryview(bytearray(PIECE))
        while left := min(PIECE, state[1] - place):
            self.read_into(place, buffer[:left])
            hashed.update(buffer[:left])
            place += left
        self.expect(state)
        return hashed.hexdigest()

    def expect(self, state: tuple[int, int, int, int]) -> None:
        """Raises ArtifactError when the file is not in that state any more."""
        if self.state() != state:
            raise ArtifactError(f"{self._path} was written while it was read")


class StoredTensors(Mapping[str, "Quantized | Tensor"]):
    """Tensors by name; access raises ArtifactError for what is no code, no scale or no number."""

    def __init__(self, path: Path, file: OpenFile, layout: Iterable[TensorLayout], places: Mapping[str, int]) -> None:
        """`layout` and `places` (stored name to where its bytes begin) are those that the file was found to have."""
        self.path = path
        self.file = file
        self._layout = {tensor.name: tensor for tensor in layout}
        self._places = places

    def __getitem__(self, name: str) -> Quantized | Tensor:
        tensor = self._layout[name]
        with memory_faults(self.path):
            if tensor.bits is None:
                return self._floats(tensor)
            scale = self.scale(name)
            try:
                return Quantized(unpack(self._codes(tensor), tensor.bits, tensor.shape), scale)
            except PackingError as error:
                raise self._foreign(tensor, error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout)

    def __len__(self) -> int:
        return len(self._layout)

    def layout(self, name: str) -> TensorLayout:
        return self._layout[name]

    def codes_place(self, name: str) -> int:
        """Where in `file` the packed codes of a matrix begin."""
        return self._places[f"{name}.codes"]

    def scale(self, name: str) -> Tensor:
        """Of a matrix, float32. Raises ArtifactError."""
        stored = f"{name}.scale"
        scale = self._read(stored, self._layout[name].scale_shape, torch.float16).float()
        if not bool(scale.isfinite().all() and (scale >= 0).all()):
            raise ArtifactError(f"{self.path}: {stored} holds a negative or non-finite value")
        return scale

    def check(self, names: Sequence[str] | None = None) -> None:
        """Read all tensors, or these, for their faults alone. Raises ArtifactError for the first."""
        with memory_faults(self.path):
            for tensor in self._layout.values() if names is None else [self._layout[name] for name in names]:
                if tensor.bits is None:
                    self._floats(tensor)
                    continue
                self.scale(tensor.name)
                try:
                    check_packed(self._codes(tensor), tensor.bits, tensor.shape)
                except PackingError as error:
                    raise self._foreign(tensor, error) from error

    def check_padding(self, name: str) -> None:
        """Of the last byte of a matrix, whose other codes are checked elsewhere. Raises ArtifactError."""
        tensor = self._layout[name]
        assert tensor.bits is not None, f"{name} is stored in floating point"
        whole = packed_bytes(tensor.count, tensor.bits) - 1
        last = torch.empty(1, dtype=torch.uint8, device="cpu")
        self.file.read_into(self.codes_place(name) + whole, last.numpy())
        try:
            check_packed(last, tensor.bits, (tensor.count - whole * PER_BYTE[tensor.bits],))
        except PackingError as error:
            raise self._foreign(tensor, error) from error

    def _floats(self, tensor: TensorLayout) -> Tensor:
        values = self._read(tensor.name, tensor.shape, torch.float32)
        if not bool(values.isfinite().all()):
            raise ArtifactError(f"{self.path}: {tensor.name} holds NaN or infinity")
        return values

    def _codes(self, tensor: TensorLayout) -> Tensor:
        stored = f"{tensor.name}.codes"
        return self._read(stored, tensor.stored()[stored][1], torch.uint8)

    def _read(self, stored: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        # `transformers` has a model read while tensors are made without memory, unless they say where.
        values = torch.empty(shape, dtype=dtype, device="cpu")
        if values.numel():
            self.file.read_into(self._places[stored], values.view(-1).view(torch.uint8).numpy())
        return values

    def _foreign(self, tensor: TensorLayout, error: PackingError) -> ArtifactError:
        return ArtifactError(f"{self.path}: {tensor.name}.codes: {error}")
