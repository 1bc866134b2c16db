"""The training examples, encoded once and mapped by every process that trains."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from compress.data.encoded import Encoded, EncodedFiles, write_encoded
from compress.training.group import Group


@contextmanager
def shared_examples(folder: Path, encode: Callable[[], Iterable[Encoded]], group: Group) -> Iterator[EncodedFiles]:
    """What `encode` gives on rank 0, which alone calls it, on all processes. Raises WriteError.

    The folder, which all must see, is gone when rank 0 leaves, and so is the one around it where nothing else is in there.
    What a run that was killed leaves, the next one replaces.
    """
    try:
        group.from_first(lambda: write_encoded(folder, encode()))
        yield EncodedFiles(folder)
    finally:
        if group.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()
