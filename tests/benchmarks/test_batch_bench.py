"""The bare engine answers every text; a run of the command is read off its last line and its files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import batch_bench
from benchmarks.batch_bench import Figures
from benchmarks.commands import BenchBatch
from tests.serving.conftest import TEXTS, write_tiny_artifact


@pytest.fixture
def settings(tmp_path: Path) -> BenchBatch:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    translator = write_tiny_artifact(tmp_path / "translator", "translator")
    return BenchBatch(artifact=translator, data=tmp_path / "texts.txt", rows=200, source_language="de", rounds=1)


def test_engine_and_command_are_compared(
    settings: BenchBatch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        output = Path(command[command.index("--output") + 1])
        output.mkdir()
        for part in range(4):
            (output / f"part-{part}.jsonl").touch()
            os.utime(output / f"part-{part}.jsonl", ns=(0, 300_000_000 * part))
        summary = "out: 200 rows with outputs, 9 rows and 8 tokens/s with the start, 2.50 ms of processor time a row\n"
        return subprocess.CompletedProcess(command, 0, stderr=summary)

    monkeypatch.setattr(batch_bench.subprocess, "run", run)
    figures = batch_bench._batch(settings, TEXTS)
    assert figures._replace(ms_with_start=0.0) == Figures(2.5, 6.0, 0.0)
    assert batch_bench.run_bench_batch(settings) == 0
    assert "translator, 200 texts, one thread" in capsys.readouterr().out


def test_a_file_without_texts_is_refused(settings: BenchBatch) -> None:
    settings.data.write_text("\n \n")
    with pytest.raises(SystemExit, match="no line has a text"):
        batch_bench.run_bench_batch(settings)
