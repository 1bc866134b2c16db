"""What runs in an actor: a model, and the parts that it is given, several at a time.

Each part is read, answered and written on a thread of its own, and all ask one engine: while the last rows of one part are
decoded, those of the next are there already, so that the batch stays full from the first part to the last.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from threading import Lock
from time import process_time
from typing import TYPE_CHECKING, Any, Literal

from pipelines.batch.columns import Asked, BadRowError, Columns, cells, output_schema
from pipelines.batch.commands import OutputFormat
from pipelines.batch.errors import BatchError
from pipelines.batch.files import File, Record, Unreadable, read, read_parquet
from pipelines.batch.folder import Folder
from pipelines.batch.parts import Part
from pipelines.batch.writing import write
from quant.card import Task
from quant.errors import Error

if TYPE_CHECKING:
    import pyarrow

    from serving.engine.settings import RunnerName
    from serving.service.results import Result

PARTS_AT_A_TIME = 3
"""Of an actor. One is enough to keep an engine busy but for its end; two more are read and written meanwhile."""

_LOST = ("unavailable", "overloaded", "timeout")
"""Codes of errors that say nothing of what was asked."""


@dataclass(frozen=True)
class Job:
    """All that an actor is told."""

    model: Path
    task: Task
    files: tuple[File, ...]
    parts: tuple[Part, ...]
    folder: Folder
    output_format: OutputFormat
    columns: Columns
    schema: pyarrow.Schema | None
    prefix: str
    parameters: Mapping[str, Any]
    truncation: str
    threads: int
    batch_rows: int
    runner: Literal["auto", "cpu", "cuda"]

    @property
    def scored(self) -> bool:
        return bool(self.parameters.get("return_scores"))

    @property
    def several(self) -> bool:
        return bool(self.parameters.get("num_return_sequences", 1) > 1)


@dataclass
class Done:
    """What came of a part."""

    part: int
    rows: int
    bad_rows: int = 0
    source_tokens: int = 0
    generated_tokens: int = 0
    cpu_seconds: float = 0.0
    """Processor time of the actor since its part before, or since its model was loaded."""

    def count(self, result: Result) -> None:
        self.source_tokens += result.source_tokens
        self.generated_tokens += result.generated_tokens

    def add(self, other: Done) -> None:
        """What came of another part."""
        for name in ("rows", "bad_rows", "source_tokens", "generated_tokens", "cpu_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class _Rows:
    """Of a part: what is asked about, and how all of a row is had."""

    records: Sequence[Record]
    table: pyarrow.Table | None = field(default=None)

    def whole(self, index: int) -> Mapping[str, Any] | None:
        """None for one that cannot be read."""
        if self.table is not None:
            row: Mapping[str, Any] = self.table.slice(index, 1).to_pylist()[0]
            return row
        record = self.records[index]
        return None if isinstance(record, Unreadable) else record

    def taken(self, indices: Sequence[int]) -> pyarrow.Table | list[Mapping[str, Any]]:
        if self.table is not None:
            return self.table.take(indices)
        return [record for index in indices if not isinstance(record := self.records[index], Unreadable)]


class Worker:
    """An actor's own; parts come to it on several threads."""

    def __init__(self, job: Job) -> None:
        """Loads the model. Raises what loading raises."""
        from dqbart import load
        from serving.engine.runners import reason_against

        runner: RunnerName = "pytorch" if reason_against("native") else "native"
        if job.runner != "cpu":
            runner = job.runner
        self._job = job
        self._new = output_schema(job.prefix, job.scored, job.several)
        self._model = load(job.model, threads=job.threads, runner=runner, max_batch_rows=job.batch_rows)
        self._lock = Lock()
        self._counted_seconds = process_time()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[float]]:
        """Ray Data's: a part by its number, and what came of it, both as columns of one row."""
        try:
            done = self.work(self._job.parts[int(batch["part"][0])])
        except Error as error:
            if getattr(error, "code", None) in _LOST:
                os._exit(1)  # the engine has come to its end: Ray starts another process, which takes the part over
            raise
        with self._lock:
            before, self._counted_seconds = self._counted_seconds, process_time()
            done.cpu_seconds = self._counted_seconds - before
        return {name: [value] for name, value in vars(done).items()}

    def close(self) -> None:
        """Of use where the process goes on, as that of an actor does not."""
        self._model.close()

    def work(self, part: Part) -> Done:
        """Read, answer and write a part. Raises BatchError for what is wrong with all rows."""
        job, done = self._job, Done(part.number, part.rows)
        if job.folder.file(part).exists():  # written by an actor of which nobody heard any more
            return done
        job.folder.attempt(part)
        rows = self._read(part)
        if len(rows.records) != part.rows:
            raise BatchError(f"{job.files[part.file].path} has changed since the run began")
        good: list[int] = []
        new: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for index, outcome in enumerate(self._outcomes(rows.records)):
            number = part.first_row + index
            if isinstance(outcome, Exception):
                bad.append(self._bad_row(part, number, outcome, rows, index))
                continue
            done.count(outcome)
            good.append(index)
            new.append(cells(job.prefix, number, outcome, job.scored, job.several))
        done.bad_rows = len(bad)
        with job.folder.written(part, bad) as path:
            write(path, job.output_format, rows.taken(good), new, job.schema, self._new)
        return done

    def _read(self, part: Part) -> _Rows:
        file = self._job.files[part.file]
        if file.kind != "parquet":
            return _Rows(read(file, part.start, part.end))
        table = read_parquet(file, part.start, part.end)
        return _Rows(table.select(self._job.columns.needed).to_pylist(), table)

    def _outcomes(self, records: Sequence[Record]) -> Iterator[Result | Exception]:
        """Of each row its result, or what is wrong with it."""
        asked = [self._asked(record) for record in records]
        found: dict[int, Result | Exception] = {
            index: each for index, each in enumerate(asked) if isinstance(each, Exception)
        }
        by_languages = sorted(
            ((each, index) for index, each in enumerate(asked) if isinstance(each, Asked)),
            key=lambda pair: tuple(map(str, _languages(pair[0]))),
        )
        for (source, target), pairs in groupby(by_languages, lambda pair: _languages(pair[0])):
            given = list(pairs)
            results = self._answers([each for each, _ in given], source, target)
            for (_, index), outcome in zip(given, results, strict=True):
                found[index] = outcome
        return (found[index] for index in range(len(records)))

    def _asked(self, record: Record) -> Asked | BadRowError:
        try:
            return self._job.columns.asked(record)
        except BadRowError as error:
            return error

    def _answers(self, asked: Sequence[Asked], source: str | None, target: str | None) -> Iterable[Result | Exception]:
        options = {"truncation": self._job.truncation, "on_error": "return", **self._job.parameters}
        try:
            match self._job.task:
                case "translation":
                    texts = [each.text for each in asked]
                    outcomes = self._model.translate_each(texts, source=source, target=target, **options)
                case "summarization":
                    outcomes = self._model.summarize_each([each.text for each in asked], **options)
                case "question-answering":
                    outcomes = self._model.answer_each([(each.text, each.context) for each in asked], **options)
            return list(outcomes)
        except Error as error:
            if getattr(error, "code", None) != "unknown_language":
                raise
            return [error] * len(asked)

    def _bad_row(self, part: Part, number: int, fault: Exception, rows: _Rows, index: int) -> dict[str, Any]:
        record = rows.records[index]
        given = {"line": record.line} if isinstance(record, Unreadable) else {"input": rows.whole(index)}
        return {
            "row": number,
            "file": self._job.files[part.file].path.name,
            "code": str(getattr(fault, "code", "internal")),
            "reason": str(fault),
            **given,
        }


def _languages(asked: Asked) -> tuple[str | None, str | None]:
    return asked.source_language, asked.target_language
