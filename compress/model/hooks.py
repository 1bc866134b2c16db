"""Hooks of modules that last for a block of code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Removes the hooks at the end, whatever ends it."""
    kept = list(handles)
    try:
        yield
    finally:
        for handle in kept:
            handle.remove()
