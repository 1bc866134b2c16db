from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.structure import UNIFORM, Structure, StructureError


@given(st.dictionaries(st.text(), st.sampled_from([2, 4, 8])), st.dictionaries(st.text(), st.integers(1, 64)))
def test_what_is_written_is_read(block_bits: dict[str, int], heads: dict[str, int]) -> None:
    structure = Structure(block_bits, heads)
    assert Structure.from_dict(json.loads(json.dumps(structure.to_dict()))) == structure


def test_maps_that_are_empty_are_not_written() -> None:
    assert UNIFORM.to_dict() == {}
    assert Structure(heads={"decoder.layers.0.self_attn": 3}).to_dict() == {"heads": {"decoder.layers.0.self_attn": 3}}


def test_entries_beside_the_maps_are_left_alone() -> None:
    assert Structure.from_dict({"scheme": "2-2-8", "heads": {"a": 1}}) == Structure(heads={"a": 1})


def test_every_fault_is_listed() -> None:
    with pytest.raises(StructureError) as caught:
        Structure({"a": 3, "b": True, "c": 8.0}, {"d": 0, "e": -1, "f": "2"})  # type: ignore[dict-item]
    assert str(caught.value).split("; ") == [
        "block_bits of a is 3, 2, 4 and 8 are accepted",
        "block_bits of b is True, 2, 4 and 8 are accepted",
        "block_bits of c is 8.0, 2, 4 and 8 are accepted",
        "heads of d is 0, a whole number from 1 is expected",
        "heads of e is -1, a whole number from 1 is expected",
        "heads of f is '2', a whole number from 1 is expected",
    ]


@pytest.mark.parametrize("value", [None, [], 3, "a"])
def test_maps_that_are_none(value: Any) -> None:
    with pytest.raises(StructureError, match="block_bits is no JSON object of block to number"):
        Structure.from_dict({"block_bits": value})
