"""What an actor does, without one: parts are read, answered by a real engine, and written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from dqbart import load
from pipelines.batch.columns import Columns
from pipelines.batch.errors import BatchError
from pipelines.batch.worker import Job, Worker
from tests.pipelines.batch.asking import TRANSLATED, job_for

WORDS = ("guten", "morgen", "welt", "wie", "geht", "es", "dir")
TEXTS = [" ".join(words) for words in permutations(WORDS, 3)]
QUESTIONS = Columns("question", "context", None, None, (None, None))


def done(job: Job) -> Job:
    """Every part, several at a time, as an actor is given them."""
    worker = Worker(job)
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(worker.work, job.parts))
    finally:
        worker.close()
    return job


def rows_of(job: Job) -> list[dict[str, Any]]:
    paths = sorted(job.folder.path.glob("part-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def bad_rows_of(job: Job) -> list[dict[str, Any]]:
    job.folder.finish(job.parts)
    return [json.loads(line) for line in (job.folder.path / "bad-rows.jsonl").read_text(encoding="utf-8").splitlines()]


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected(artifacts: dict[str, Path]) -> Iterator[list[str]]:
    with load(artifacts["translator"], threads=1, max_batch_rows=8) as model:
        yield [each.text for each in model.translate(TEXTS, source="de", target="en", num_beams=1, max_new_tokens=6)]


@pytest.mark.parametrize(("rows_each", "batch_rows"), [(50, 8), (150, 3)])
def test_outputs_are_those_of_a_program_however_rows_are_cut(
    rows_each: int, batch_rows: int, artifacts: dict[str, Path], expected: list[str], tmp_path: Path
) -> None:
    source = json_lines(tmp_path / "in.jsonl", [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)])
    options: dict[str, Any] = {"rows_each": rows_each, "batch_rows": batch_rows, "truncation": "chunk"}
    job = done(job_for(artifacts["translator"], "translation", source, tmp_path / "out", TRANSLATED, **options))
    rows = rows_of(job)
    assert [(row["row"], row["id"], row["text"]) for row in rows] == [(n, str(n), text) for n, text in enumerate(TEXTS)]
    assert [row["output"] for row in rows] == expected
    assert job.folder.left(job.parts) == []
    assert bad_rows_of(job) == []


def test_bad_rows_are_kept_apart_with_all_that_they_have(artifacts: dict[str, Path], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "guten morgen", "lang": "de"},
        {"text": None, "lang": "de"},
        {"text": "guten morgen", "lang": "xx", "id": 7},
        {"text": "how are you", "lang": "en"},
        {"text": " ", "lang": "de"},
        {"text": "welt " * 60, "lang": "de"},
    ]
    source = json_lines(tmp_path / "in.jsonl", rows)
    source.write_text(source.read_text() + "{\n")
    columns = Columns("text", None, "lang", None, (None, None))
    job = done(job_for(artifacts["translator"], "translation", source, tmp_path / "out", columns))
    assert [row["row"] for row in rows_of(job)] == [0, 3]
    bad = bad_rows_of(job)
    assert [(row["row"], row["code"]) for row in bad] == [
        (1, "no_text"),
        (2, "unknown_language"),
        (4, "empty_text"),
        (5, "too_long"),
        (6, "unreadable"),
    ]
    assert [row.get("input") for row in bad] == [rows[1], rows[2], rows[4], rows[5], None]
    assert bad[-1]["line"] == "{"
    assert "xx" in bad[1]["reason"]
    assert "48 at most" in bad[3]["reason"]


def test_questions_are_answered_from_passages(artifacts: dict[str, Path], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "who wrote it", "context": "she wrote it"},
        {"question": "who wrote it", "context": ["she", "you"]},
    ]
    source = json_lines(tmp_path / "in.jsonl", rows)
    job = job_for(artifacts["answerer"], "question-answering", source, tmp_path / "out", QUESTIONS)
    outputs = [row["output"] for row in rows_of(done(job))]
    with load(artifacts["answerer"], threads=1) as model:
        pairs = [(row["question"], row["context"]) for row in rows]
        assert outputs == [each.text for each in model.answer_each(pairs, num_beams=1, max_new_tokens=6)]


def test_parquet_keeps_columns_and_types_beside_all_outputs(artifacts: dict[str, Path], tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["good morning", None, "how are you"],
            "when": pa.array([1, 2, 3], pa.timestamp("ms", "UTC")),
            "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet")
    parameters = {"num_beams": 3, "num_return_sequences": 2, "return_scores": True, "max_new_tokens": 4}
    options: dict[str, Any] = {"output_format": "parquet", "parameters": parameters, "prefix": "d_"}
    columns = Columns("text", None, None, None, (None, None))
    source = tmp_path / "in.parquet"
    job = done(job_for(artifacts["summarizer"], "summarization", source, tmp_path / "out", columns, **options))
    made = parquet.read_table(tmp_path / "out" / "part-000000.parquet")
    assert made.select(table.column_names).equals(table.take([0, 2]))
    first = made.to_pylist()[0]
    assert first["d_row"] == 0
    assert first["d_output"] == first["d_outputs"][0]["text"]
    assert first["d_score"] == first["d_outputs"][0]["score"] >= first["d_outputs"][1]["score"]
    assert len(first["d_tokens"]) == first["d_generated_tokens"]
    assert bad_rows_of(job)[0]["input"] == {"text": None, "when": "1970-01-01 00:00:00.002000+00:00", "kind": "b"}


def test_csv_has_every_cell_as_it_was(artifacts: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('text,note\nguten morgen,"a ""b"",\nc"\nwelt,007\nmorgen\n')
    job = job_for(
        artifacts["translator"], "translation", tmp_path / "in.csv", tmp_path / "out", TRANSLATED, output_format="csv"
    )
    done(job)
    with (tmp_path / "out" / "part-000000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["note"]) for row in rows] == [("guten morgen", 'a "b",\nc'), ("welt", "007"), ("morgen", "")]
    assert [row["row"] for row in rows] == ["0", "1", "2"]


def test_a_part_that_was_done_elsewhere_is_not_done_again(artifacts: dict[str, Path], tmp_path: Path) -> None:
    source = json_lines(tmp_path / "in.jsonl", [{"text": "welt"}])
    job = job_for(artifacts["translator"], "translation", source, tmp_path / "out", TRANSLATED)
    job.folder.file(job.parts[0]).write_text("of another actor")
    done(job)
    assert job.folder.file(job.parts[0]).read_text() == "of another actor"


def test_an_input_that_changes_under_a_run_is_refused(artifacts: dict[str, Path], tmp_path: Path) -> None:
    source = json_lines(tmp_path / "in.jsonl", [{"text": "welt"}])
    job = job_for(artifacts["translator"], "translation", source, tmp_path / "out", TRANSLATED)
    with pytest.raises(BatchError, match=r"in\.jsonl has changed since the run began"):
        done(replace(job, parts=(replace(job.parts[0], rows=2),)))


def test_what_is_wrong_with_all_rows_is_no_bad_row(artifacts: dict[str, Path], tmp_path: Path) -> None:
    source = json_lines(tmp_path / "in.jsonl", [{"text": "welt"}])
    job = job_for(artifacts["summarizer"], "translation", source, tmp_path / "out", TRANSLATED)
    with pytest.raises(Exception, match="does summarization, not translation"):
        done(job)
    assert job.folder.left(job.parts) == list(job.parts)
