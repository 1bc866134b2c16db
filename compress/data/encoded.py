"""Examples as token ids: one as lists, a training set as arrays in files that are mapped into memory.

A list of Python's integers takes 36 bytes a token; here it is 4 for a source's and 8 for a target's, of which only those lie
in memory that are read, and once for all processes of a machine.

    ids           int32: of each example its source, its decoder inputs and its labels, one after the other
    starts.npy    int64 [examples]: where each begins in `ids`
    shapes.npy    int32 [examples, 3]: tokens of the source, tokens of the target, whether it was truncated
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from quant.whole_files import whole_folder

_IDS, _STARTS, _SHAPES = "ids", "starts.npy", "shapes.npy"


@dataclass(frozen=True)
class Encoded:
    """An example as ids: source with prefix and suffix; decoder inputs and the labels they predict, of one length."""

    source_ids: list[int]
    decoder_ids: list[int]
    label_ids: list[int]
    truncated: bool


class EncodedFiles(Sequence[Encoded]):
    """What `write_encoded` wrote to a folder, whose files may be removed once it is made."""

    def __init__(self, folder: Path) -> None:
        self._ids = np.memmap(folder / _IDS, dtype=np.int32, mode="r")
        self._starts = np.load(folder / _STARTS, mmap_mode="r", allow_pickle=False)
        self._shapes: NDArray[np.int32] = np.load(folder / _SHAPES, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._shapes)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        source, target, truncated = self._shapes[index].tolist()
        start = int(self._starts[index])
        ids = self._ids[start : start + source + 2 * target].tolist()
        return Encoded(ids[:source], ids[source : source + target], ids[source + target :], bool(truncated))

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of source and target, [examples, 2]."""
        return self._shapes[:, :2]

    @property
    def truncated(self) -> int:
        """How many examples are."""
        return int(self._shapes[:, 2].sum())


def write_encoded(folder: Path, examples: Iterable[Encoded]) -> None:
    """Write a folder that takes the place of one that is there; an example at a time is in memory. Raises WriteError."""
    starts, shapes = array("q", [0]), array("i")
    with whole_folder(folder) as partial:
        with (partial / _IDS).open("wb") as file:
            for example in examples:
                ids = array("i", [*example.source_ids, *example.decoder_ids, *example.label_ids])
                ids.tofile(file)
                starts.append(starts[-1] + len(ids))
                shapes.extend((len(example.source_ids), len(example.label_ids), example.truncated))
        np.save(partial / _STARTS, np.frombuffer(starts, dtype=np.int64)[:-1])
        np.save(partial / _SHAPES, np.frombuffer(shapes, dtype=np.int32).reshape(-1, 3))


def lengths_of(examples: Sequence[Encoded]) -> NDArray[np.int32]:
    """Tokens of source and target, [examples, 2]."""
    if isinstance(examples, EncodedFiles):
        return examples.lengths
    lengths = [(len(example.source_ids), len(example.label_ids)) for example in examples]
    return np.array(lengths, dtype=np.int32).reshape(-1, 2)


def truncated_of(examples: Sequence[Encoded]) -> int:
    """How many examples are truncated."""
    if isinstance(examples, EncodedFiles):
        return examples.truncated
    return sum(example.truncated for example in examples)


def in_chunks(count: int, size: int) -> Iterator[slice]:
    """Slices that go through `count` entries in order, `size` at a time."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
