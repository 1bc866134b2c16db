"""The runner on a CUDA device: the reference's forward passes over caches in fixed slots, in steps of fixed shapes.

A decode step is one function of tensors that stay where they are. Rows, sources, beams and both lengths of keys are padded
to powers of two, so that few shapes occur; each is captured when it first occurs and replayed from then on (`device.Steps`).
What fills a shape is computed and dropped, and no row reads another: outputs depend on the request alone, as everywhere.
Which slots a step reads, and where its rows stand, is uploaded; beams are reordered by naming other slots, with copies on
the device where one is continued twice. The one moment at which the host waits in a step is the download of candidates.

It has not run on a GPU. With the device "cpu" the same code has the bits of the reference runner. On a GPU it cannot have
them to the last: layer norms, softmax and GELU round in other ways there, and PyTorch multiplies by 1/127 where the CPU
divides. What must hold there is that a request has the same bits in any batch. By their sources, PyTorch's softmax kernels
add up a row in an order that depends neither on its batch nor, up to 1,024 keys, on its padding; it has to be shown on one.

What it gave up: selection of candidates is not captured (its edits have any number); encoding neither (its lengths vary and
its kernels are larger); a first occurrence of a shape costs its capture; each row claims a whole slot of either kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from quant.artifact import Artifact
from quant.layout import Architecture
from quant.numerics import Quantized
from serving.engine.cuda.candidates import select_candidates
from serving.engine.cuda.device import Staging, Steps, UnsupportedModel, int8_product, require_exact_products
from serving.engine.cuda.int8_linear import DeviceArithmetic, aligned
from serving.engine.cuda.slot_cache import PlacedGroups, SlotCache
from serving.engine.pytorch.arithmetic import Arithmetic, FloatArithmetic
from serving.engine.pytorch.encoding import Encoding
from serving.engine.pytorch.model import Model
from serving.engine.runner import Candidates, Source, Wanted

MOST_POSITIONS = 1024
"""Beyond it, softmax kernels on a GPU add up a row in an order that depends on its padding."""
_SHORTEST = 16
"""Of the padded lengths of keys."""


class Shape(NamedTuple):
    """Of a decode step, each a power of two."""

    rows: int
    sources: int
    widest: int
    """Rows of a source."""
    own: int
    """Positions read of each row."""
    cross: int
    """Positions read of each source."""


@dataclass
class _Running:
    """A source in the batch."""

    slot: int
    tokens: int
    rows: list[int]
    """The slot of each of its rows."""
    positions: int = 0
    """Decoder positions that its rows have."""


class CudaRunner:
    """Encodes, decodes and keeps the caches of one batch; used by one thread.

    Raises UnsupportedModel, InexactDevice, and ValueError where `max_cache_bytes` holds not one row.
    """

    _batch: list[_Running]
    _joining: list[_Running]
    """Of what is being encoded."""
    _encoding: Encoding | None
    _pending: dict[int, int]
    """Slots of rows that the next step copies first: target to origin."""

    def __init__(self, artifact: Artifact, max_rows: int, max_cache_bytes: int | None = None, device: str = "cuda") -> None:
        architecture = artifact.architecture
        if architecture.max_position_embeddings > MOST_POSITIONS:
            positions = architecture.max_position_embeddings
            raise UnsupportedModel(
                f"max_position_embeddings is {positions}, at most {MOST_POSITIONS} are supported on {device}"
            )
        self._device = torch.empty(0, device=device).device
        require_exact_products(self._device)
        quantized = artifact.scheme.quantizes_activations
        arithmetic: Arithmetic = DeviceArithmetic(int8_product(self._device)) if quantized else FloatArithmetic()
        self._model = Model(_moved(artifact, self._device), arithmetic)
        self._positions = _power_of_two(architecture.max_position_embeddings, _SHORTEST)
        slots = self._slots(max_rows, max_cache_bytes)
        self._own, self._cross = (
            self._new_cache(heads, slots) for heads in (self._model.own_heads, self._model.cross_heads)
        )
        shape = _power_of_two(slots), aligned(architecture.vocab_size)
        self._logits = torch.full(shape, -torch.inf, device=self._device)
        self._steps = Steps(self._device)
        # Of a fixed capacity, as captured steps read them where they are.
        self._inputs = Staging(self._device, 6 * shape[0])
        self._copies, self._edits = Staging(self._device), Staging(self._device)
        self._slot_count = slots
        self.clear()

    @property
    def architecture(self) -> Architecture:
        return self._model.architecture

    @property
    def rows(self) -> int:
        return sum(len(source.rows) for source in self._batch)

    @property
    def page_positions(self) -> int:
        return self._positions

    def cache_bytes(self, source: Source, positions: int) -> int:
        """Slots are as long as the longest sequence, so that nothing grows."""
        return source.rows * self._row_bytes()

    spare_bytes = 0

    def trim(self, most: int) -> None:
        """Nothing is kept but the slots, which are there from the start."""

    @torch.inference_mode()
    def begin(self, sources: Sequence[Source]) -> None:
        if len(sources) > len(self._free_rows):
            raise RuntimeError(f"{len(sources)} sources are to be encoded, {len(self._free_rows)} rows are free")
        self._encoding = Encoding(self._model, [source.token_ids for source in sources], self._device)
        self._joining = [
            _Running(self._free_sources.pop(), len(source.token_ids), [self._free_rows.pop()]) for source in sources
        ]

    @torch.inference_mode()
    def encode(self, layers: int) -> bool:
        encoding = self._encoding
        if encoding is None:
            raise RuntimeError("nothing is being encoded")
        if not encoding.run(layers):
            return False
        slots = torch.tensor([source.slot for source in self._joining], device=self._device)
        padded = encoding.hidden.shape[1]
        self._model.write_cross(encoding.hidden, self._cross.entries(slots, encoding.lengths, padded))
        self._batch += self._joining
        self._encoding, self._joining = None, []
        return True

    def abandon(self) -> None:
        self._release(self._joining)
        self._encoding, self._joining = None, []

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        for source in self._batch:
            source.positions += 1
        shape = self._shape()
        if self._pending:
            count = len(self._pending)
            copies = self._copies.upload([*self._pending.values(), *self._pending.keys()])
            self._own.copy(copies[:count], copies[count:], shape.own)
            self._pending.clear()
        sizes = [shape.rows] * 4 + [shape.sources] * 2
        inputs = torch.split(self._inputs.upload(self._numbers(tokens, shape)), sizes)
        self._steps.run(shape, lambda: self._step(shape, *inputs))
        logits = self._logits[: len(tokens)]
        return select_candidates(logits, [len(source.rows) for source in self._batch], wanted, self._edits)

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        for source, rows in zip(self._batch, parents, strict=True):
            for row, slot in enumerate(source.rows):
                if row not in rows:
                    self._free_rows.append(slot)
        for source, rows in zip(self._batch, parents, strict=True):
            slots = [source.rows[row] for row in rows]
            source.rows = [self._copied(slot) if slot in slots[:place] else slot for place, slot in enumerate(slots)]
        self._release([source for source in self._batch if not source.rows])
        self._batch = [source for source in self._batch if source.rows]

    def clear(self) -> None:
        # Staged numbers are not overwritten while a step that failed may still read them.
        self._steps.wait()
        self._free_rows = list(range(self._slot_count))
        self._free_sources = list(range(self._slot_count))
        self._batch, self._joining, self._encoding, self._pending = [], [], None, {}

    def _step(
        self,
        shape: Shape,
        tokens: Tensor,
        rows: Tensor,
        positions: Tensor,
        places: Tensor,
        sources: Tensor,
        source_lengths: Tensor,
    ) -> None:
        """Logits of one decode step; all but `shape` is on the device. Run again with the same inputs, it does the same."""
        own = self._own.entries(rows, positions, shape.own)
        cross = self._cross.entries(sources, source_lengths, shape.cross)
        groups = PlacedGroups(places, shape.sources, shape.widest)
        self._logits[: shape.rows, : self.architecture.vocab_size] = self._model.decode(tokens, own, cross, groups)

    def _shape(self) -> Shape:
        return Shape(
            rows=_power_of_two(self.rows),
            sources=_power_of_two(len(self._batch)),
            widest=_power_of_two(max(len(source.rows) for source in self._batch)),
            own=_power_of_two(max(source.positions for source in self._batch), _SHORTEST),
            cross=_power_of_two(max(source.tokens for source in self._batch), _SHORTEST),
        )

    def _numbers(self, tokens: Sequence[int], shape: Shape) -> list[int]:
        """The inputs of a step one after another, filled up with rows and sources that touch nothing but the spare slots."""
        places = [
            (slot, source.positions, number * shape.widest + row)
            for number, source in enumerate(self._batch)
            for row, slot in enumerate(source.rows)
        ]
        sources = [(source.slot, source.tokens) for source in self._batch]
        places += [(self._own.spare, 1, shape.sources * shape.widest)] * (shape.rows - len(places))
        sources += [(self._cross.spare, 1)] * (shape.sources - len(sources))
        columns = zip(*places, strict=True), zip(*sources, strict=True)
        return [*tokens, *[0] * (shape.rows - len(tokens)), *chain.from_iterable(chain(*columns))]

    def _copied(self, slot: int) -> int:
        """A slot that will hold what this one does."""
        if not self._free_rows:
            raise RuntimeError(f"all {self._slot_count} rows are taken")
        target = self._free_rows.pop()
        # A copy to a slot that is freed before it happens does no harm: whoever takes the slot reads what it has written.
        self._pending[target] = self._pending.get(slot, slot)
        return target

    def _release(self, sources: Sequence[_Running]) -> None:
        """Take back the slots of sources and of the rows that they still have."""
        for source in sources:
            self._free_sources.append(source.slot)
            self._free_rows += source.rows

    def _slots(self, max_rows: int, max_cache_bytes: int | None) -> int:
        """How many rows the caches are made for."""
        if max_cache_bytes is None:
            return max_rows
        if max_cache_bytes < self._row_bytes():
            raise ValueError(f"max_cache_bytes is {max_cache_bytes}, one row of this model takes {self._row_bytes()}")
        return min(max_rows, max_cache_bytes // self._row_bytes())

    def _row_bytes(self) -> int:
        """Of a slot of either kind: a row that is alone with its source takes both."""
        code_bytes = self._model.head_width * self._model.arithmetic.cache_dtype.itemsize
        heads = sum(self._model.own_heads) + sum(self._model.cross_heads)
        return 2 * heads * self._positions * (code_bytes + torch.float32.itemsize)

    def _new_cache(self, heads: Sequence[int], slots: int) -> SlotCache:
        dtype = self._model.arithmetic.cache_dtype
        return SlotCache(heads, slots, self._positions, self._model.head_width, dtype, self._device)


def _moved(artifact: Artifact, device: torch.device) -> Artifact:
    """The artifact with its tensors on a device."""
    tensors = {
        name: Quantized(tensor.codes.to(device), tensor.scale.to(device))
        if isinstance(tensor, Quantized)
        else tensor.to(device)
        for name, tensor in artifact.tensors.items()
    }
    return replace(artifact, tensors=tensors)


def _power_of_two(size: int, least: int = 1) -> int:
    """The smallest power of two that is at least `size` and `least`."""
    return max(least, 1 << (size - 1).bit_length())
