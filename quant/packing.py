"""Codes to bytes and back, exactly.

8-bit codes are their own bytes. 4-bit codes go two a byte, the first in the low half, offset by 8. Ternary codes go five a
byte as digits of base 3 (3^5 = 243), the first the least significant: 1.6 bits a weight, where the entropy of ternary
weights is about 1.56. Codes run through the whole matrix, row after row; only the last byte is padded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRITS_PER_BYTE = 5
TRIT_BYTES = 3**TRITS_PER_BYTE
PER_BYTE = {8: 1, 4: 2, 2: TRITS_PER_BYTE}
"""Codes of so many bits."""


class PackingError(ValueError):
    """Bytes that no packing of ours produces, or codes out of range."""


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` take."""
    return math.ceil(count / PER_BYTE[bits])


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack int8 codes of any shape to a uint8 vector. Raises PackingError for a code out of range."""
    levels = 1 if bits == 2 else 2 ** (bits - 1) - 1
    if codes.numel() and int(codes.int().abs().amax()) > levels:
        raise PackingError(f"codes reach {int(codes.int().abs().amax())}, {bits} bits hold -{levels} to {levels}")
    flat = codes.reshape(-1)
    if bits == 8:
        return flat.to(torch.int8).view(torch.uint8).clone()
    if bits == 4:
        digits = _padded(flat + 8, 2, fill=8).to(torch.uint8).view(packed_bytes(flat.numel(), bits), 2)
        return digits[:, 0] | (digits[:, 1] << 4)
    digits = _padded(flat + 1, TRITS_PER_BYTE, fill=1).to(torch.int16)
    digits = digits.view(packed_bytes(flat.numel(), bits), TRITS_PER_BYTE)
    powers = torch.tensor([3**position for position in range(TRITS_PER_BYTE)], dtype=torch.int16)
    return (digits * powers).sum(1).to(torch.uint8)


def check_packed(packed: Tensor, bits: int, shape: tuple[int, ...]) -> None:
    """Raises PackingError where a uint8 vector is no packing of codes of `shape`: foreign bytes, or a wrong length."""
    count = math.prod(shape)
    if packed.numel() != packed_bytes(count, bits):
        raise PackingError(f"{packed.numel()} bytes, {packed_bytes(count, bits)} expected for {list(shape)} at {bits} bits")
    if not count:
        return
    if bits == 8:
        if int(packed.view(torch.int8).amin()) < -127:
            raise PackingError("byte 128 is no 8-bit code")
    elif bits == 4:
        if not bool((packed & 15).all() and (packed >> 4).all()):
            raise PackingError("half-byte 0 is no 4-bit code")
    elif int(packed.amax()) >= TRIT_BYTES:
        raise PackingError(f"byte {int(packed.amax())} is no five ternary digits")
    per_byte = PER_BYTE[bits]
    if bool(_digits(packed[-1:], bits)[count - per_byte * (packed.numel() - 1) :].any()):
        raise PackingError("the padding of the last byte is not zero")


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Unpack a uint8 vector to int8 codes of `shape`. Raises PackingError for foreign bytes or a wrong length."""
    check_packed(packed, bits, shape)
    return _digits(packed, bits)[: math.prod(shape)].reshape(shape).clone()


def _digits(packed: Tensor, bits: int) -> Tensor:
    """All codes, those of the padding too."""
    if bits == 8:
        return packed.view(torch.int8)
    if bits == 4:
        return torch.stack((packed & 15, packed >> 4), 1).view(-1).to(torch.int8) - 8
    return _TRITS[packed.int()].view(-1)


def _padded(values: Tensor, multiple: int, fill: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, -values.numel() % multiple), value=fill)


# [243, 5]: the five digits of each byte, offset to -1, 0, 1.
_TRITS = torch.stack(
    [torch.arange(TRIT_BYTES).div(3**position, rounding_mode="floor") % 3 - 1 for position in range(TRITS_PER_BYTE)], 1
).to(torch.int8)
