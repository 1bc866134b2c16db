"""Keep freed memory in the process while training on CPU.

Every step allocates and frees the same large tensors. glibc gives each back to the kernel, which clears its pages again
for the next step: for a model of 13 M parameters that took 40 % of the time.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # parameters of mallopt(3)


def keep_freed_memory() -> None:
    """From now on, freed memory stays with this process. Does nothing where the C library is not glibc."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_MAX, 0)  # large blocks come from the heap, too
    mallopt(_TRIM_THRESHOLD, -1)  # which never shrinks
    mallopt(_TOP_PAD, 2**26)  # and grows in large steps
