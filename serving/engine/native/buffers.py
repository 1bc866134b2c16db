"""Memory for intermediate values, kept from step to step: fresh pages cost more than the arithmetic that is done on them."""

from __future__ import annotations

import torch
from torch import Tensor


class Buffers:
    """Matrices by name; asking for a name again overwrites what it held."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}
        self._views: dict[tuple[str, int, int], Tensor] = {}

    def floats(self, name: str, rows: int, columns: int) -> Tensor:
        """Contiguous float32 [rows, columns] with any content."""
        return self._taken(name, rows, columns, torch.float32)

    def bytes(self, name: str, size: int) -> Tensor:
        """uint8 [1, size] with any content."""
        return self._taken(name, 1, size, torch.uint8)

    def _taken(self, name: str, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        view = self._views.get((name, rows, columns))
        if view is not None:
            return view
        memory = self._memory.get(name)
        if memory is None or memory.numel() < rows * columns:
            memory = self._memory[name] = torch.empty(rows * columns, dtype=dtype)
            self._forget_views(name)
        if len(self._views) > _MOST_VIEWS:
            self._views.clear()
        view = self._views[name, rows, columns] = memory[: rows * columns].view(rows, columns)
        return view

    def _forget_views(self, name: str) -> None:
        self._views = {key: view for key, view in self._views.items() if key[0] != name}


_MOST_VIEWS = 4096
