from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import search_bench
from benchmarks.commands import BenchSearch
from benchmarks.search_bench import run_bench_search


def test_each_search_and_draw_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_bench, "LENGTHS", (1, 5))
    monkeypatch.setattr(search_bench, "BART_BASE", search_bench.SMALL)
    monkeypatch.setattr(search_bench, "STEPS", 2)
    figures = tmp_path / "figures.json"
    assert run_bench_search(BenchSearch(requests=2, runner="pytorch", json_file=figures)) == 0
    written = json.loads(figures.read_text())
    assert {name: len(seconds) for name, seconds in written["searches"].items()} == dict.fromkeys(search_bench.SEARCHES, 2)
    assert written["draws"].keys() == search_bench.DRAWS.keys()
    assert all(seconds > 0 for seconds in written["draws"].values())
    assert "1.00x" in capsys.readouterr().out
