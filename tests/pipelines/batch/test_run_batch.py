"""The command: what is refused before Ray starts, and a run that is killed and continued."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dqbart import load
from dqbart.cli import read_settings
from pipelines.batch import run_batch as module
from pipelines.batch.commands import Batch
from pipelines.batch.run_batch import EXIT_BAD_ROWS, EXIT_INTERRUPTED, run_batch

PATIENCE = 300
ROOT = Path(__file__).parents[3]
WORDS = ("guten", "morgen", "welt", "wie", "geht", "es", "dir", "how", "are", "you")
TEXTS = [f"{one} {other} {third}" for one in WORDS for other in WORDS for third in WORDS]


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return json_lines(tmp_path / "in.jsonl", [{"text": "guten morgen"}])


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every part had been done before: nothing is started."""
    monkeypatch.setattr(module, "_do", lambda *_: pytest.fail("Ray would be started"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            ["--source-language", "de", "--text-column", "body"],
            "the input has no column body: it has text; --text-column names another",
        ),
        (["--source-language", "fr"], "source_language = 'fr' is unknown to the model; it has de_DE"),
        ([], "source_language is required"),
        (["--source-language-column", "text", "--target-language", "fr"], "target_language = 'fr' is unknown"),
        (["--source-language", "de", "--num-beams", "70"], "num_beams = 70: 64 at most"),
        (["--source-language", "de", "--max-new-tokens", "900"], "max_new_tokens = 900: the model generates 63 at most"),
        (["--source-language", "de", "--prefix", "", "--output", "{tmp}"], "has in.jsonl, and no run.json"),
        (["--source-language-column", "lang"], "the input has no column lang"),
    ],
)
def test_faults_are_told_before_ray_starts(
    arguments: list[str], fault: str, artifacts: dict[str, Path], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(artifacts["translator"]), str(source), "--output", str(source.with_name("out")), *arguments]
    given = [each.replace("{tmp}", str(source.parent)) for each in given]
    assert run_batch(read_settings(Batch, "batch", given)) == 1
    assert fault in capsys.readouterr().err


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["{model}", "{tmp}/none.jsonl"], "none.jsonl does not exist"),
        (["{tmp}", "{tmp}/in.jsonl"], "config.json is missing"),
        (["{model}", "{tmp}/in.jsonl", "{tmp}/b.txt"], "the input is of several kinds, jsonl, text"),
        (["{model}", "{tmp}/empty"], "empty has no file that is read: .parquet"),
        (["{model}", ":c@d"], "':c@d' is no file and no hub id"),
    ],
)
def test_inputs_and_models_that_are_none(
    given: list[str], fault: str, artifacts: dict[str, Path], source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.parent / "b.txt").write_text("x")
    (source.parent / "empty").mkdir()
    values = {"model": artifacts["summarizer"], "tmp": source.parent}
    arguments = [each.format(**values) for each in given]
    assert run_batch(read_settings(Batch, "batch", [*arguments, "--output", str(source.with_name("out"))])) == 1
    assert fault in capsys.readouterr().err


def test_a_killed_run_goes_on_and_every_row_is_there_once(artifacts: dict[str, Path], tmp_path: Path) -> None:
    texts = [f"{text} {other}" for other in WORDS for text in TEXTS]
    rows: list[dict[str, Any]] = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    rows[777]["text"] = None
    source, output = json_lines(tmp_path / "in.jsonl", rows), tmp_path / "out"
    command = [sys.executable, "-m", "dqbart", "batch", str(artifacts["translator"]), str(source), "--output", str(output)]
    command += ["--source-language", "de", "--rows-per-file", "50", "--max-new-tokens", "4", "--num-beams", "1"]
    command += ["--concurrency", "2", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}

    first = subprocess.Popen([*command, "--metrics-port", "0"], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    port = next(found[1] for line in first.stderr if (found := re.fullmatch(r"metrics on port (\d+)\n", line)))
    deadline = time.monotonic() + PATIENCE
    while len(before := sorted(output.glob("part-*.jsonl"))) < 4:
        assert time.monotonic() < deadline
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.02)
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as page:
        assert "dqbart_batch_input_rows 10000.0" in page.read().decode()
    first.kill()
    first.wait()
    first.stderr.close()
    kept = {path: path.stat().st_mtime_ns for path in before}
    assert len(kept) < len(rows) / 50

    second = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == EXIT_BAD_ROWS, second.stderr
    assert re.search(r"10,000 rows in 200 parts, \d+ of them done before", second.stderr)
    assert "1 rows without: 1 no_text" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == kept
    made = [json.loads(line) for path in sorted(output.glob("part-*")) for line in path.read_text().splitlines()]
    (bad,) = [json.loads(line) for line in (output / "bad-rows.jsonl").read_text().splitlines()]
    assert (bad["row"], bad["input"]) == (777, rows[777])
    assert [(row["row"], row["id"]) for row in made] == [(n, str(n)) for n in range(len(rows)) if n != 777]
    with load(artifacts["translator"], threads=1) as model:
        chosen = made[::100]
        results = model.translate([row["text"] for row in chosen], source="de", max_new_tokens=4, num_beams=1)
        assert [row["output"] for row in chosen] == [each.text for each in results]
    assert sorted(each.name for each in (output / ".work").iterdir()) == ["done", "lock"]


def test_a_run_that_is_asked_to_end_says_how_to_go_on(artifacts: dict[str, Path], tmp_path: Path) -> None:
    source, output = json_lines(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS * 10]), tmp_path / "out"
    command = [sys.executable, "-m", "dqbart", "batch", str(artifacts["translator"]), str(source), "--output", str(output)]
    command += ["--source-language", "de", "--rows-per-file", "50", "--concurrency", "1", "--threads", "1"]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while not any(output.glob("part-*.jsonl")):
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.02)
    run.terminate()
    _, said = run.communicate()
    assert run.returncode == EXIT_INTERRUPTED, said
    assert said.splitlines()[-1] == f"interrupted; the same command continues {output}"
    assert "SIGTERM" not in said
