"""The benchmark runs; what it measures is not asserted."""

import pytest
import torch

from benchmarks.engine import SHIPPED, WORKS, alternate, main


def test_every_work_gets_a_ratio(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.engine.WORKS", WORKS[:2])
    main(SHIPPED, new_tokens=2, rounds=1, threads=torch.get_num_threads())
    printed = capsys.readouterr().out
    assert all(str(work) in printed for work in WORKS[:2])
    assert "medians of 1 alternating runs" in printed


def test_the_first_run_does_not_count_and_runs_alternate() -> None:
    order: list[str] = []
    medians = alternate({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert order == list("ababab")
    assert set(medians) == {"a", "b"}
