"""Where a model departs from its scheme and its configuration: other bits in some blocks, fewer heads in some attentions.

A block is one attention or one feed-forward network: `encoder.layers.0.self_attn`, `decoder.layers.1.encoder_attn`,
`decoder.layers.1.feed_forward`. Every matrix of a block has the same bits, and the projections of an attention the same
heads, because the engine multiplies by them together. A pruned attention has fewer heads of the same width.

Most models depart in nothing. Then both maps are empty and neither is written, so that such an artifact is what it was
before there were structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quant.scheme import WEIGHT_BITS


class StructureError(ValueError):
    """A structure that no model has. The message lists every fault."""


@dataclass(frozen=True)
class Structure:
    """Weight bits and heads of the blocks that differ from the rest, by the names of blocks.

    Raises StructureError for bits other than 2, 4 and 8, and for fewer heads than one. Whether a model has such blocks, and
    that many heads, is for `quant.layout.structure_faults` to say.
    """

    block_bits: Mapping[str, int] = field(default_factory=dict)
    """Bits of a block's weights, instead of the scheme's."""
    heads: Mapping[str, int] = field(default_factory=dict)
    """Heads left in an attention, instead of the configuration's."""

    def __post_init__(self) -> None:
        faults = [
            f"block_bits of {block} is {bits!r}, 2, 4 and 8 are accepted"
            for block, bits in self.block_bits.items()
            if not _whole(bits) or bits not in WEIGHT_BITS
        ]
        faults += [
            f"heads of {block} is {heads!r}, a whole number from 1 is expected"
            for block, heads in self.heads.items()
            if not _whole(heads) or heads < 1
        ]
        if faults:
            raise StructureError("; ".join(faults))

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Structure:
        """Read what `to_dict` gives; other entries are left alone. Raises StructureError."""
        maps = {name: entries[name] for name in ("block_bits", "heads") if name in entries}
        faults = [
            f"{name} is no JSON object of block to number" for name, value in maps.items() if not isinstance(value, dict)
        ]
        if faults:
            raise StructureError("; ".join(faults))
        return cls(**maps)

    def to_dict(self) -> dict[str, dict[str, int]]:
        """The maps that are not empty."""
        maps = {"block_bits": dict(self.block_bits), "heads": dict(self.heads)}
        return {name: value for name, value in maps.items() if value}


UNIFORM = Structure()
"""A model that departs in nothing."""


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
