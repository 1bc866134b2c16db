from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quant.packing import PackingError, pack, packed_bytes, unpack

LEVELS = {2: 1, 4: 7, 8: 127}
PER_BYTE = {2: 5, 4: 2, 8: 1}

shapes = st.lists(st.integers(0, 13), min_size=1, max_size=3).map(tuple)


@given(st.sampled_from((2, 4, 8)), shapes, st.integers(0, 2**32))
def test_codes_come_back_exactly(bits: int, shape: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-LEVELS[bits], LEVELS[bits] + 1, shape, generator=generator, dtype=torch.int8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (packed_bytes(codes.numel(), bits),)
    assert torch.equal(unpack(packed, bits, shape), codes)


@given(st.sampled_from((2, 4, 8)), st.binary(min_size=1, max_size=8), st.integers(0, 4))
def test_bytes_are_the_packing_of_what_they_unpack_to_or_an_error(bits: int, content: bytes, short: int) -> None:
    count = len(content) * PER_BYTE[bits] - short % PER_BYTE[bits]
    packed = torch.tensor(list(content), dtype=torch.uint8)
    try:
        codes = unpack(packed, bits, (count,))
    except PackingError:
        return
    assert torch.equal(pack(codes, bits), packed)


@pytest.mark.parametrize(
    ("bits", "codes", "expected"),
    [
        (8, [0, 1, -1, 127, -127], [0, 1, 255, 127, 129]),
        # low half first, offset 8: 1 + 8 = 9, -7 + 8 = 1 → 0x19; 7 + 8 = 15 beside the padding's 0 + 8 → 0x8f
        (4, [1, -7, 7, 0, 7], [0x19, 0x8F, 0x8F]),
        # offset 1: 2·1 + 0·3 + 1·9 + 2·27 + 0·81 = 65; all -1 → 0; all 1 → 242; 2 + 1·(3 + 9 + 27 + 81) = 122
        (2, [1, -1, 0, 1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1], [65, 0, 242, 122]),
    ],
)
def test_bytes_worked_by_hand(bits: int, codes: list[int], expected: list[int]) -> None:
    packed = torch.tensor(expected, dtype=torch.uint8)
    assert torch.equal(pack(torch.tensor(codes, dtype=torch.int8), bits), packed)
    assert unpack(packed, bits, (len(codes),)).tolist() == codes


@pytest.mark.parametrize(("bits", "code"), [(8, -128), (4, 8), (4, -8), (2, 2), (2, -2)])
def test_a_code_out_of_range_is_not_packed(bits: int, code: int) -> None:
    levels = LEVELS[bits]
    with pytest.raises(PackingError, match=f"codes reach {abs(code)}, {bits} bits hold -{levels} to {levels}"):
        pack(torch.tensor([0, code], dtype=torch.int8), bits)


@pytest.mark.parametrize(
    ("bits", "content", "count", "message"),
    [
        (8, [128], 1, "byte 128 is no 8-bit code"),
        (4, [0x10], 2, "half-byte 0 is no 4-bit code"),
        (4, [0x99], 1, "padding of the last byte"),
        (2, [243], 5, "byte 243 is no five ternary digits"),
        (2, [121 + 81], 4, "padding of the last byte"),
        (2, [121, 121], 5, r"2 bytes, 1 expected for \[5\] at 2 bits"),
        (8, [], 1, r"0 bytes, 1 expected for \[1\] at 8 bits"),
    ],
)
def test_bytes_that_we_never_write(bits: int, content: list[int], count: int, message: str) -> None:
    with pytest.raises(PackingError, match=message):
        unpack(torch.tensor(content, dtype=torch.uint8), bits, (count,))
