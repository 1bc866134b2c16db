"""The built kernels, loaded with ctypes: calls take addresses, and release the interpreter's lock."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from serving.engine.native.team import team

BUILT = "_kernels_{}.*so"
"""The file of an instruction set, built beside this module where there was a compiler (see pyproject.toml)."""
INSTRUCTION_SETS = ("avx512", "avx2")
"""Those that kernels are built for, the fastest first."""


class UnavailableError(RuntimeError):
    """The kernels cannot be used here; the message says why."""


class DqLinear(ctypes.Structure):
    """A linear layer as kernels/linear.h declares it."""

    _fields_ = (
        ("rows", c_int64),
        ("columns", c_int64),
        ("bits", c_int64),
        ("codes", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
    )


WANTED = np.dtype(
    [
        *((name, np.int64) for name in ("count", "log_probabilities", "normalizer", "penalized_count", "banned_count")),
        ("repetition_penalty", np.float64),
        ("penalized", np.uint64),
        ("banned", np.uint64),
    ]
)
"""What is wanted of a row of logits, as kernels/candidates.h declares it (DqWanted)."""

DRAWS = np.dtype([("numbers", np.uint64), ("divisor", np.float64), ("top_p", np.float64), ("top_k", np.int64)])
"""How a row is drawn from, as kernels/draws.cpp declares it (DqDraws)."""

_SIGNATURES: dict[str, list[type[ctypes._SimpleCData[Any]]]] = {
    "dq_linear": [c_void_p, c_void_p, c_int64, c_void_p, c_void_p],
    "dq_quantize": [c_void_p, c_int64, c_int64, c_void_p],
    "dq_linear_of_codes": [c_void_p, c_void_p, c_int64, c_void_p],
    "dq_normalize": [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_float, c_void_p],
    "dq_embed": [c_void_p, c_void_p, c_void_p, c_int64, c_float, c_void_p, c_void_p, c_void_p],
    "dq_write_keys": [c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_int64],
    "dq_attend": [*(c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int64, c_float, c_void_p)],
    "dq_own_attend": [c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_float, c_void_p],
    "dq_head": [c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
    "dq_select": [c_void_p, c_int64, c_int64, c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
    "dq_draw": [c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
}
_PACKING: dict[str, list[type[ctypes._SimpleCData[Any]]]] = {
    "dq_pack": [c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64, c_void_p],
    "dq_pack_codes": [c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p],
}
_SIZES: dict[str, list[type[ctypes._SimpleCData[Any]]]] = {
    "dq_block_bytes": [c_int64, c_int64, c_int64],
    "dq_code_bytes": [c_int64, c_int64],
    "dq_record_bytes": [c_int64, c_int64],
    "dq_page_positions": [],
}


@cache
def kernels() -> ctypes.CDLL:
    """The library for the best instruction set that this CPU has, its functions declared. Raises UnavailableError.

    Its `instruction_set` is one of INSTRUCTION_SETS.
    """
    built = [library for name in INSTRUCTION_SETS if (library := built_for(name)) is not None]
    if not built:
        raise UnavailableError("they were not built: installing the package needs g++ for that")
    for library in built:
        if library.dq_supported():
            return library
    raise UnavailableError("this CPU has neither AVX-512 VNNI nor AVX2")


def built_for(name: str) -> ctypes.CDLL | None:
    """The library for an instruction set, whether or not this CPU has it; None if not built. Raises UnavailableError."""
    files = sorted(Path(__file__).parent.glob(BUILT.format(name)))
    if not files:
        return None
    if team() is None:
        raise UnavailableError("the library of their threads was not built, or cannot be loaded")
    try:
        library = ctypes.CDLL(str(files[0]))
    except OSError as error:
        raise UnavailableError(f"{files[0].name} cannot be loaded: {error}") from error
    library.instruction_set = name  # type: ignore[attr-defined]
    for function_name, arguments in _SIGNATURES.items():
        function = getattr(library, function_name)
        function.argtypes, function.restype = arguments, _done
    for function_name, arguments in _PACKING.items():
        function = getattr(library, function_name)
        function.argtypes, function.restype = arguments, _packed
    for function_name, arguments in _SIZES.items():
        function = getattr(library, function_name)
        function.argtypes, function.restype = arguments, c_int64
    library.dq_follow_torch(c_int64(16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8))
    return library


def _done(answer: int) -> None:
    """Of a kernel: what went wrong, as kernels/team.h numbers it."""
    if answer:
        raise MemoryError("there is no memory for what a kernel works with")


def _packed(answer: int) -> bool:
    """Of packing: whether all codes were of quant/packing.py; kernels/pack.cpp numbers what went wrong."""
    if answer == 1:
        raise MemoryError("there is no memory for what packing works with")
    return not answer
