import io
import json
from pathlib import Path

from rich.console import Console

from compress.training.loop import StepReport
from compress.training.progress import TrainingProgress

REPORT = StepReport(20, 100, {"total": 3.5, "task": 1.25, "hidden": 2.25}, 1e-3, 4321.0)


def run(log: Path, terminal: bool) -> str:
    """The text printed by a run of one report and one validation."""
    output = io.StringIO()
    with TrainingProgress(100, 0, log, Console(file=output, force_terminal=terminal, width=90)) as progress:
        progress.report(REPORT)
        with progress.validating(4) as advance:
            advance(4)
        progress.validated(20, {"BLEU": 30.0}, best=True)
    return output.getvalue()


def test_a_terminal_shows_the_bar_every_loss_and_the_throughput(tmp_path: Path) -> None:
    shown = run(tmp_path / "log.jsonl", terminal=True)
    for part in ("20/100", "total 3.500 task 1.250 hidden 2.250", "4,321 tokens/s", "step 20: BLEU 30.00 (best, packed)"):
        assert part in shown


def test_without_a_terminal_there_are_plain_lines(tmp_path: Path) -> None:
    shown = run(tmp_path / "log.jsonl", terminal=False)
    assert "\x1b" not in shown
    assert shown.splitlines()[0].startswith("step 20/100  total 3.500")
    assert shown.splitlines()[1] == "step 20: BLEU 30.00 (best, packed)"


def test_the_log_holds_each_report_as_json(tmp_path: Path) -> None:
    run(tmp_path / "training" / "log.jsonl", terminal=False)
    report, validation = map(json.loads, (tmp_path / "training" / "log.jsonl").read_text().splitlines())
    assert report == {"step": 20, "total": 3.5, "task": 1.25, "hidden": 2.25, "tokens_per_second": 4321}
    assert validation == {"step": 20, "validation": {"BLEU": 30.0}, "best": True}
