from __future__ import annotations

import torch

from quant.numerics import Quantized
from serving.engine.cuda.slot_cache import PlacedGroups, SlotCache
from serving.engine.pytorch.cache import BeamGroups

CPU = torch.device("cpu")


def new_cache(slots: int) -> SlotCache:
    """Two layers, one head, codes of width 1."""
    return SlotCache([1, 1], slots, positions=16, width=1, dtype=torch.int8, device=CPU)


def write(cache: SlotCache, slots: list[int], positions: list[int], codes: list[float]) -> None:
    """Write a position of each slot whose key code is given, and whose value code and scales follow from it."""
    keys = torch.tensor(codes).view(-1, 1, 1)
    for layer in (0, 1):
        entries = cache.entries(torch.tensor(slots), torch.tensor(positions), padded=16)
        entries.write_last(layer, Quantized(keys, keys / 2), Quantized(-keys, keys / 4))


def contents(cache: SlotCache, slots: list[int], padded: int) -> list[list[int]]:
    """Key codes of slots, after checking that everything else moved along."""
    entries = cache.entries(torch.tensor(slots), torch.tensor([padded] * len(slots)), padded)
    for layer in (0, 1):
        keys, values = entries.layer(layer)
        assert torch.equal(keys.codes, -values.codes)
        assert torch.equal(keys.scale, keys.codes / 2)
        assert torch.equal(values.scale, keys.codes / 4)
    return [entry[0, :, 0].tolist() for entry in keys.codes]


def test_slots_are_written_and_read_where_they_are() -> None:
    cache = new_cache(slots=4)
    write(cache, [3, 0], [1, 2], [5, 6])
    assert contents(cache, [0, 3, 1], padded=3) == [[0, 6, 0], [5, 0, 0], [0, 0, 0]]


def test_copies_happen_at_the_same_moment() -> None:
    cache = new_cache(slots=3)
    write(cache, [0, 1, 2], [1, 1, 1], [1, 2, 3])
    write(cache, [0, 1, 2], [2, 2, 2], [4, 5, 6])
    cache.copy(torch.tensor([0, 1]), torch.tensor([1, 2]), positions=2)
    assert contents(cache, [0, 1, 2], padded=2) == [[1, 4], [1, 4], [2, 5]]


def test_joined_entries() -> None:
    cache = new_cache(slots=3)
    keys = torch.arange(1.0, 5.0).view(2, 1, 2, 1)
    for layer in (0, 1):
        entries = cache.entries(torch.tensor([2, 0]), torch.tensor([2, 1]), padded=2)
        entries.write_joined(layer, Quantized(keys, keys / 2), Quantized(-keys, keys / 4))
    assert contents(cache, [0, 1, 2], padded=3) == [[3, 4, 0], [0, 0, 0], [1, 2, 0]]


def test_the_spare_slot_is_no_entrys() -> None:
    cache = new_cache(slots=2)
    write(cache, [cache.spare, cache.spare], [1, 1], [7, 7])
    assert contents(cache, [0, 1], padded=16) == [[0] * 16] * 2


def test_groups_are_those_of_the_reference_whatever_fills_the_shape() -> None:
    """Beams 1 and 3 make places 0, 4, 5, 6 of two sources with four beams; two rows are there to fill the shape."""
    rows = torch.randn(6, 2, 8)
    placed, reference = PlacedGroups(torch.tensor([0, 4, 5, 6, 8, 8]), sources=2, widest=4), BeamGroups([1, 3])
    groups = placed.grouped(rows)
    assert torch.equal(groups[:, :, :3], reference.grouped(rows[:4]))
    assert not groups[:, :, 3].any()
    assert torch.equal(placed.ungrouped(groups)[:4], rows[:4])
