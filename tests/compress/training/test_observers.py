import json
from pathlib import Path

from rich.console import Console

from compress.training.loop import StepReport
from compress.training.observers import LOG_ONLY, LogFile, Observation, observers

REPORT = StepReport(20, 100, {"total": 3.5, "task": 1.25}, 1e-3, 43_214, 10.0)


def test_the_log_holds_each_report_and_validation_as_json(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "training" / "log.jsonl")
    log.report(REPORT)
    log.validated(20, {"BLEU": 30.00049}, best=True)
    lines = (tmp_path / "training" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 20, "total": 3.5, "task": 1.25, "learning_rate": 1e-3, "tokens_per_second": 4321},
        {"step": 20, "validation": {"BLEU": 30.0}, "best": True},
    ]


def test_what_is_not_asked_for_is_not_there(tmp_path: Path) -> None:
    assert [type(observer).__name__ for observer in observers(tmp_path, 0, 1, LOG_ONLY, Console(quiet=True))] == ["LogFile"]
    assert not (tmp_path / "tensorboard").exists()


def test_what_is_asked_for_is_told_of(tmp_path: Path, capsys) -> None:
    watching = observers(tmp_path, 0, 100, Observation(tensorboard=True, metrics_port=0), Console())
    for observer in watching:
        observer.report(REPORT)
        observer.close()
    assert [type(observer).__name__ for observer in watching] == ["Prometheus", "TensorBoard", "LogFile"]
    assert "metrics: http://localhost:" in capsys.readouterr().out
    assert list((tmp_path / "tensorboard").iterdir())
