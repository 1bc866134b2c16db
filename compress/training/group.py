"""The processes that train one student together, as the loop sees them: one, or several that average their gradients.

Each process holds the whole student and takes its share of the batches of every optimizer step. All average the same
tensors in the same order and get the same bits back, so that their students stay equal without ever being compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, distributed

from compress.training.interruption import interruptible

Found = TypeVar("Found")


class Group(Protocol):
    """Where this process stands among those that train together; rank 0 validates, saves and reports."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the group, in place; every process calls it with the same shapes."""

    def from_first(self, find: Callable[[], Found]) -> Found:
        """What `find` returns on rank 0, on every process; it is called there only."""

    def interruptible(self) -> AbstractContextManager[Callable[[], bool]]:
        """Gives what says, between two steps, whether to save and stop; all processes get the same answer."""


class Alone:
    """One process."""

    rank = 0
    size = 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        pass

    def from_first(self, find: Callable[[], Found]) -> Found:
        return find()

    def interruptible(self) -> AbstractContextManager[Callable[[], bool]]:
        return interruptible()


class ProcessGroup:
    """The processes of `torch.distributed`'s default group. A signal reaches only who started them: it leaves a file."""

    def __init__(self, stop: Path, device: torch.device) -> None:
        """`stop` is the file that asks to save and stop; `device` is where small tensors of the group's own lie."""
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._stop = stop
        self._device = device

    def average(self, tensors: Sequence[Tensor]) -> None:
        # Sums, as gloo has no mean; all under way at once.
        works = [distributed.all_reduce(tensor, async_op=True) for tensor in tensors]
        for work, tensor in zip(works, tensors, strict=True):
            work.wait()
            tensor /= self.size

    def from_first(self, find: Callable[[], Found]) -> Found:
        content = [find() if self.rank == 0 else None]
        distributed.broadcast_object_list(content, src=0, device=self._device)
        return cast(Found, content[0])

    @contextmanager
    def interruptible(self) -> Iterator[Callable[[], bool]]:
        def interrupted() -> bool:
            # The file may appear between the looks of two processes: rank 0's look counts.
            seen = torch.tensor([float(self.rank == 0 and self._stop.exists())], device=self._device)
            distributed.broadcast(seen, src=0)
            return bool(seen)

        yield interrupted
