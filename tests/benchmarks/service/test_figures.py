"""What is made of the outcomes: claims, tables, JSON, plots."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.service.figures import ENGINE, Claim, Figures, Point, Rounds
from benchmarks.service.load import Outcome
from benchmarks.service.machine import busy, machine_facts
from benchmarks.service.plot import write_latency_plot
from benchmarks.service.process_tree import Sample
from benchmarks.service.soak_plot import write_soak_plot
from benchmarks.service.tables import claims_table, facts_line, load_table, rates_table


def outcome(*milliseconds: float, seconds: float = 1.0, **codes: int) -> Outcome:
    return Outcome(tuple(each / 1e3 for each in milliseconds), {"ok": len(milliseconds), **codes}, seconds, 0.25)


ROUNDS = Rounds((outcome(10, 20, 30), outcome(40, full=2), outcome(50, 60, full=1)))
POINTS = [Point("http", 5.0, outcome(5, 6, 7)), Point("grpc", 5.0, outcome(4, 5, 6)), Point("grpc", 9.0, outcome(90))]
CLAIMS = [
    Claim("added", "http", 10.0, 15.0, 5.0, "<=", 6.0),
    Claim("share", "http", 100.0, 80.0, 0.8, ">=", 0.85),
    Claim("carried", "grpc", None, 500.0, 500.0, ">=", 500.0),
]
FIGURES = Figures("m", {ENGINE: ROUNDS}, {ENGINE: ROUNDS, "http": ROUNDS}, {}, POINTS, CLAIMS)


def test_rounds() -> None:
    assert ROUNDS.median == 0.03
    assert ROUNDS.throughput == 2
    assert ROUNDS.failures == {"full": 3}
    assert ROUNDS.sender_share == 0.25


def test_claims() -> None:
    assert [claim.met for claim in CLAIMS] == [True, False, True]


def test_tables_show_figures_and_verdicts() -> None:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        console.print(claims_table(CLAIMS), load_table(FIGURES), rates_table(POINTS))
    printed = captured.get()
    for expected in ("missed", "<= 6", "0.80", "3 full", "p99, ms", "25%"):
        assert expected in printed


def test_json_has_it_all() -> None:
    entries = json.loads(json.dumps(FIGURES.as_json()))
    assert [claim["met"] for claim in entries["claims"]] == [True, False, True]
    assert entries["many_at_a_time"]["http"]["p50"] == 0.03
    assert [point["rate"] for point in entries["rates"]] == [5.0, 5.0, 9.0]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_plots(tmp_path: Path, suffix: str) -> None:
    latencies, soak = tmp_path / f"latencies{suffix}", tmp_path / f"soak{suffix}"
    write_latency_plot(latencies, POINTS, "m")
    write_soak_plot(soak, [Sample(1.0, 1 << 30, 100, 5), Sample(61.0, 1 << 30, 100, 5)])
    if suffix == ".svg":
        assert "gRPC, p99" in latencies.read_text()
        assert "open files" in soak.read_text()
    assert latencies.stat().st_size
    assert soak.stat().st_size


@pytest.mark.parametrize(("load", "said"), [(0.0, None), (9.5, "load 9.5 on ")])
def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch, load: float, said: str | None) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    warning = busy()
    assert warning is None if said is None else said in (warning or "")


def test_facts_are_there() -> None:
    line = facts_line(machine_facts())
    for expected in ("processor ", "cores ", "torch ", "load before "):
        assert expected in line
