"""Pages of memory that pass from sources that end to sources that go on: a busy engine's steps take no new memory.

Each page is mapped by itself, so that memory which is given back is given back at once.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Page = NDArray[np.uint8]
"""Any content. It lives as long as the array."""


class PagePool:
    """The pages that nobody uses now, by their size."""

    def __init__(self) -> None:
        self._pages: dict[int, list[Page]] = {}
        self.spare_bytes = 0
        """Of all of them."""

    def take(self, size: int) -> Page:
        """A page of this many bytes. Raises OSError where there is no memory."""
        if pages := self._pages.get(size):
            self.spare_bytes -= size
            return pages.pop()
        return np.frombuffer(mmap.mmap(-1, size), np.uint8)

    def put(self, pages: Iterable[Page]) -> None:
        """Take back pages."""
        for page in pages:
            self._pages.setdefault(page.nbytes, []).append(page)
            self.spare_bytes += page.nbytes

    def trim(self, most: int) -> None:
        """Give memory back until no more spare bytes are left than these."""
        for size, pages in list(self._pages.items()):
            while pages and self.spare_bytes > most:
                pages.pop()
                self.spare_bytes -= size
            if not pages:
                del self._pages[size]
