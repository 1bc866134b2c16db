from __future__ import annotations

import torch

from quant.numerics import Quantized
from serving.engine.padding import padded_length
from serving.engine.pytorch.cache import BeamGroups, KeyValueCache, key_mask


def new_cache() -> KeyValueCache:
    """One layer, one head, codes of width 1."""
    return KeyValueCache(heads=[1], width=1, dtype=torch.int8)


def step(cache: KeyValueCache, *codes: int) -> None:
    """Append one position whose key code is given, and whose value code and scales follow from it."""
    keys = torch.tensor(codes, dtype=torch.float32).view(-1, 1, 1)
    cache.extend()
    cache.write_last(0, Quantized(keys, keys / 2), Quantized(-keys, keys / 4))


def contents(cache: KeyValueCache) -> list[list[int]]:
    """Key codes of each entry, after checking that everything else moved along."""
    keys, values = cache.layer(0)
    assert torch.equal(keys.codes, -values.codes)
    assert torch.equal(keys.scale, keys.codes / 2)
    assert torch.equal(values.scale, keys.codes / 4)
    return [entry[0, :length, 0].tolist() for entry, length in zip(keys.codes, cache.lengths.tolist(), strict=True)]


def test_entries_of_different_age() -> None:
    cache = new_cache()
    cache.join([0, 0])
    step(cache, 1, 2)
    cache.join([0])
    step(cache, 3, 4, 5)
    assert contents(cache) == [[1, 3], [2, 4], [5]]
    assert cache.padded == 16


def test_select_reorders_repeats_and_drops() -> None:
    cache = new_cache()
    cache.join([0, 0, 0])
    step(cache, 1, 2, 3)
    cache.select([2, 0, 0])
    step(cache, 4, 5, 6)
    assert contents(cache) == [[3, 4], [1, 5], [1, 6]]
    cache.select([])
    assert cache.entries == 0


def test_grows_by_blocks_and_shrinks_when_the_longest_leaves() -> None:
    cache = new_cache()
    cache.join([0])
    for position in range(17):
        step(cache, position + 1)
    assert cache.padded == 32
    cache.join([0])
    step(cache, 18, 1)
    assert contents(cache) == [list(range(1, 19)), [1]]
    cache.select([1])
    assert cache.padded == 16
    assert contents(cache) == [[1]]


def test_joined_entries_are_written_behind_those_there() -> None:
    cache = new_cache()
    cache.join([2])
    first = torch.tensor([1.0, 2.0]).view(1, 1, 2, 1)
    cache.write_joined(0, Quantized(first, first / 2), Quantized(-first, first / 4))
    cache.join([17, 1])
    second = torch.arange(1.0, 35.0).view(2, 1, 17, 1)
    cache.write_joined(0, Quantized(second, second / 2), Quantized(-second, second / 4))
    assert contents(cache) == [[1, 2], list(range(1, 18)), [18]]
    assert cache.padded == 32


def test_layers_of_unequal_heads_lie_apart() -> None:
    cache = KeyValueCache(heads=[1, 3], width=1, dtype=torch.int8)
    cache.join([0, 0])
    cache.extend()
    for layer, first in ((0, [[1], [2]]), (1, [[3, 4, 5], [6, 7, 8]])):
        keys = torch.tensor(first, dtype=torch.float32).unsqueeze(2)
        cache.write_last(layer, Quantized(keys, keys), Quantized(-keys, keys))
    cache.select([1, 0])
    assert [cache.layer(layer)[0].codes[:, :, 0, 0].tolist() for layer in (0, 1)] == [[[2], [1]], [[6, 7, 8], [3, 4, 5]]]


def test_padded_lengths() -> None:
    assert [padded_length(length) for length in (1, 15, 16, 17, 33)] == [16, 16, 16, 32, 48]


def test_the_mask_drops_what_is_beyond_a_length() -> None:
    mask = key_mask(torch.tensor([1, 16]), 16)
    assert mask.shape == (2, 1, 1, 16)
    assert mask[0, 0, 0].tolist() == [0.0] + [torch.finfo(torch.float32).min] * 15
    assert not mask[1].any()


def test_groups_of_unequal_beams_are_filled_with_zeros() -> None:
    rows = torch.arange(1.0, 9.0).view(4, 1, 2)
    groups = BeamGroups([1, 3])
    assert groups.grouped(rows).tolist() == [[[[1, 2], [0, 0], [0, 0]]], [[[3, 4], [5, 6], [7, 8]]]]
    assert torch.equal(groups.ungrouped(groups.grouped(rows)), rows)


def test_groups_of_equal_beams() -> None:
    rows = torch.randn(6, 4, 8)
    groups = BeamGroups([2, 2, 2])
    assert groups.grouped(rows).shape == (3, 4, 2, 8)
    assert torch.equal(groups.grouped(rows)[1, :, 0], rows[2])
    assert torch.equal(groups.ungrouped(groups.grouped(rows)), rows)
