"""The output's folder: a file for each part, what could not be answered, and what all of it was made with.

OUTPUT/part-000000.parquet    rows with their outputs; there whole or not at all
OUTPUT/bad-rows.jsonl         rows without an output and why, once the run is done
OUTPUT/run.json               settings, model and input: a run that differs is refused
OUTPUT/.work/                 of a run that is not done: bad rows by part, copies of the input, attempts
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.batch.errors import BatchError
from pipelines.batch.parts import Part

RECORD = "run.json"
BAD_ROWS = "bad-rows.jsonl"
WORK = ".work"
_MOST_ATTEMPTS = 3
_PARTIAL = ".partial"


class Folder:
    """Of one run; what it says of parts is the same on every machine that has the folder."""

    def __init__(self, path: Path, ending: str) -> None:
        """`ending` is that of the parts' files."""
        self.path, self._ending = path, ending

    @property
    def copies(self) -> Path:
        """Of those of the input that cannot be read where they are."""
        return self.path / WORK / "input"

    def check(self, made_with: Mapping[str, Any] | None = None) -> bool:
        """Whether there is a run to continue. Raises BatchError for one that was made otherwise, and for strange files.

        Without `made_with`, which takes a look through the whole input, for the latter alone.
        """
        record = self.path / RECORD
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise BatchError(f"output = {str(self.path)!r}: is no folder")
        if not record.exists():
            if strange := sorted(each.name for each in self.path.iterdir() if each.name != WORK):
                raise BatchError(
                    f"output = {str(self.path)!r}: has {strange[0]}, and no {RECORD} that says what it was made with: "
                    "choose another folder"
                )
            return False
        if made_with is None:
            return True
        try:
            saved = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BatchError(f"{record} does not say what the files beside it were made with: {error}") from error
        wanted = json.loads(json.dumps(made_with))
        differing = [key for key in {**saved, **wanted} if saved.get(key) != wanted.get(key)]
        if differing:
            faults = "; ".join(_difference(key, saved.get(key), wanted.get(key)) for key in differing)
            raise BatchError(
                f"output = {str(self.path)!r}: was made otherwise: {faults}. Remove it, or choose another folder"
            )
        return True

    def begin(self, made_with: Mapping[str, Any]) -> None:
        """Write the record, and take away what an earlier run left half done."""
        (self.path / WORK).mkdir(parents=True, exist_ok=True)
        _write(self.path / RECORD, json.dumps(made_with, indent=2, ensure_ascii=False, default=str) + "\n")
        for folder in (self.path, self.path / WORK):
            for left in folder.glob(f"*{_PARTIAL}"):
                left.unlink(missing_ok=True)
        for left in (self.path / WORK).glob("*.attempts"):
            left.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else works on the folder during the block. Raises BatchError where somebody does."""
        (self.path / WORK).mkdir(parents=True, exist_ok=True)
        with (self.path / WORK / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BatchError(f"output = {str(self.path)!r}: another run is at work on it") from None
            except OSError:
                pass  # a file system without locks: parts are written whole, whoever writes them
            yield

    def file(self, part: Part) -> Path:
        return self.path / f"{part.name}{self._ending}"

    def left(self, parts: Sequence[Part]) -> list[Part]:
        """Those that are still to be done."""
        there = set(os.listdir(self.path))
        return [part for part in parts if f"{part.name}{self._ending}" not in there]

    def attempt(self, part: Part) -> None:
        """Note that somebody begins with a part. Raises BatchError for one at which several have died."""
        path = self.path / WORK / f"{part.name}.attempts"
        with path.open("ab") as file:
            file.write(b".")
            attempts = file.tell()
        if attempts > _MOST_ATTEMPTS:
            raise BatchError(
                f"rows {part.first_row} to {part.first_row + part.rows - 1} ended the process that answered them "
                f"{_MOST_ATTEMPTS} times: is the memory large enough for --batch-rows and --concurrency?"
            )

    @contextmanager
    def written(self, part: Part, bad_rows: Sequence[Mapping[str, Any]]) -> Iterator[Path]:
        """Where to write the file of a part; at the end of the block the part is done. Two may do the same at a time."""
        partial = self.path / f"{part.name}-{uuid.uuid4().hex}{self._ending}{_PARTIAL}"
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            if bad_rows:
                lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in bad_rows)
                _write(self._bad(part), "".join(lines))
            os.replace(partial, self.file(part))
        finally:
            partial.unlink(missing_ok=True)
        (self.path / WORK / f"{part.name}.attempts").unlink(missing_ok=True)

    def finish(self, parts: Sequence[Part]) -> Counter[str]:
        """Bring the bad rows together, and take away what only a run needs. How many there are of each kind."""
        target, work = self.path / BAD_ROWS, self.path / WORK
        if not (work / "done").exists():
            partial = work / f"{BAD_ROWS}{_PARTIAL}"
            with partial.open("wb") as file:
                for part in parts:
                    if self._bad(part).exists():
                        file.write(self._bad(part).read_bytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
            (work / "done").touch()  # from here on the parts' own may go
        for each in work.glob(f"*.{BAD_ROWS}"):
            each.unlink()
        shutil.rmtree(self.copies, ignore_errors=True)
        with target.open(encoding="utf-8") as file:
            return Counter(json.loads(line)["code"] for line in file)

    def _bad(self, part: Part) -> Path:
        return self.path / WORK / f"{part.name}.{BAD_ROWS}"


def _difference(key: str, was: Any, now: Any) -> str:
    if key == "input":
        return "the input has changed"
    if key == "model":
        return "the model is another one"
    return f"{key} was {was}, is {now}"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}-{uuid.uuid4().hex}{_PARTIAL}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
