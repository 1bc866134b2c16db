"""What a run is given as its input, as files that every actor can read from any place.

Files and folders of files are read where they are. What cannot be read from the middle, compressed files and data sets of
`datasets`, is copied once into the output's folder, and taken away when the run is done.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.batch.errors import BatchError
from pipelines.batch.files import KINDS, File, Kind, open_file
from pipelines.batch.folder import BAD_ROWS, RECORD

_SAVED = ("state.json", "dataset_dict.json")
"""What `save_to_disk` leaves in a folder, of one split and of several."""


_NAME = re.compile(r"([^:@]+)(?::([^@]+))?(?:@(.+))?")


@dataclass(frozen=True)
class Given:
    """One entry of the input before anything of it was read: a file as it is, a compressed one, or a data set by name."""

    name: str
    path: Path | None
    """None for a data set."""
    kind: Kind

    @property
    def is_copied(self) -> bool:
        return self.path is None or self.path.suffix == ".gz"


def given(inputs: Sequence[str]) -> list[Given]:
    """Every file and data set that is meant, in order. Raises BatchError."""
    found = [each for name in inputs for each in _given(name)]
    if len(kinds := {each.kind for each in found}) > 1:
        raise BatchError(f"the input is of several kinds, {', '.join(sorted(kinds))}: one is read in a run")
    return found


def opened(each: Given, copy: Path, delimiter: str | None) -> File:
    """The file to read, copied into the folder `copy` where it must be. Raises BatchError."""
    if each.path is None:
        return open_file(_copied_data_set(each.name, copy), delimiter)
    return open_file(_unpacked(each.path, copy) if each.is_copied else each.path, delimiter)


def _given(name: str) -> Iterator[Given]:
    path = Path(name)
    if path.is_file():
        yield _file(path)
    elif _is_saved(Path(name.partition("@")[0])):
        yield Given(name, None, "parquet")
    elif path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and _kind(each) and not each.name.startswith("."))
        if all((path / name).is_file() for name in (RECORD, BAD_ROWS)):
            # What another run has written: of that, its parts.
            files = [each for each in files if each.name not in (RECORD, BAD_ROWS)]
        if not files:
            raise BatchError(f"{name} has no file that is read: {', '.join(KINDS)} are, .gz too")
        yield from map(_file, files)
    elif path.is_absolute() or _kind(path) or name.startswith("."):
        raise BatchError(f"{name} does not exist")
    elif _NAME.fullmatch(name):
        yield Given(name, None, "parquet")
    else:
        raise BatchError(f"{name!r} is no file and no hub id: write NAME[:CONFIG][@SPLIT]")


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED)


def _file(path: Path) -> Given:
    kind = _kind(path)
    if kind is None:
        raise BatchError(f"{path} ends in {path.suffix or 'nothing'}: {', '.join(KINDS)} are read, .gz too")
    return Given(str(path), path.absolute(), kind)


def _kind(path: Path) -> Kind | None:
    suffixes = path.suffixes[:-1] if path.suffix == ".gz" else path.suffixes
    return KINDS.get(suffixes[-1]) if suffixes else None


def _unpacked(path: Path, copy: Path) -> Path:
    """Always anew: that of an earlier run may be half a file, or of another one."""
    copy.mkdir(parents=True, exist_ok=True)
    target = copy / path.stem
    try:
        with gzip.open(path) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (OSError, EOFError, zlib.error) as error:
        raise BatchError(f"{path} cannot be read: {error}") from error
    return target


def _copied_data_set(name: str, copy: Path) -> Path:
    import datasets

    datasets.disable_progress_bars()
    match = _NAME.fullmatch(name)
    assert match is not None, name
    path, config, split = match.groups()
    try:
        data = datasets.load_from_disk(path) if _is_saved(Path(path)) else datasets.load_dataset(path, config)
    except Exception as error:  # `datasets` raises its own, pandas', pyarrow's and the hub's errors
        raise BatchError(f"{name} cannot be read: {str(error).strip() or type(error).__name__}") from error
    if isinstance(data, dict):
        if split is None and len(data) > 1:
            raise BatchError(f"{name} has the splits {', '.join(data)}: {name}@SPLIT names one")
        if split is not None and split not in data:
            raise BatchError(f"{path} has no split {split}: it has {', '.join(data)}")
        data = data[split or next(iter(data))]
    elif split is not None:
        raise BatchError(f"{path} is of one split: leave @{split} out")
    copy.mkdir(parents=True, exist_ok=True)
    target = copy / "data.parquet"
    data.to_parquet(os.fspath(target))
    return target
