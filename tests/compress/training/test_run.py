"""A run and its folder, while it goes and afterwards: manifest, metrics, what continues."""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import compress.training.run
from compress.data.encoded import Encoded
from compress.manifest import summary
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.training.clock import Clock
from compress.training.group import Alone
from compress.training.loop import Trainer, TrainingSettings
from compress.training.losses import LayerMap, LossWeights
from compress.training.observers import LOG_ONLY, Observation
from compress.training.prometheus import Prometheus
from compress.training.run import EXIT_INTERRUPTED, TrainingRun
from compress.training.state import TrainingState

SETTINGS = TrainingSettings(
    epochs=1.0,
    max_steps=6,
    learning_rate=1e-3,
    schedule="linear",
    warmup=0.1,
    weight_decay=0.0,
    batch_tokens=64,
    accumulate=1,
    clip_norm=1.0,
    bf16=False,
    seed=3,
    validate_every=2,
    losses=LossWeights(logits=0.0, attention=0.0, hidden=0.0),
)
SCORES = {2: 1.0, 4: 3.0, 6: 2.0}
ORIGIN = {"command": "finetune", "seed": 3}


class SecondOfTwo(Alone):
    """Takes every other batch of a step, and leaves showing and writing to the first."""

    rank = 1
    size = 2


class Run:
    """A few steps of a tiny BART; the n-th validation gets the n-th of SCORES."""

    def __init__(
        self, teachers: dict[str, str], folder: Path, observation: Observation = LOG_ONLY, clock: Clock | None = None
    ) -> None:
        self.folder = folder
        torch.manual_seed(0)
        model = load_teacher(teachers["bart"], Told("summarization")).model
        examples = [Encoded([0, 5 + index % 20, 2], [2, 0], [0, 2], False) for index in range(60)]
        self.trainer = Trainer(model, None, LayerMap([], []), examples, SETTINGS, clock=clock)
        self.run = TrainingRun(folder, {"seed": 3}, Console(), observation)
        self.run.origin = ORIGIN
        self.manifests: dict[int, dict[str, object]] = {}

    def __call__(self, resume: bool = False, during: Callable[[], object] = lambda: None) -> int:
        def validate(advance: Callable[[int], None]) -> tuple[dict[str, float], float]:
            during()
            score = SCORES[self.trainer.step]
            return {"BLEU": score}, score

        def keep_best(step: int) -> None:
            self.manifests[step] = dict(self.run.manifest)

        self.run.check(resume)
        return self.run.train(self.trainer, 4, validate, keep_best)

    @property
    def manifest(self) -> dict[str, object]:
        return json.loads((self.folder / "manifest.json").read_text())


def test_the_manifest_knows_the_best_when_it_is_kept_and_the_course_at_the_end(teachers, tmp_path: Path) -> None:
    run = Run(teachers, tmp_path)
    assert run() == 0
    assert {step: manifest["best"] for step, manifest in run.manifests.items()} == {
        2: {"step": 2, "scores": {"BLEU": 1.0}},
        4: {"step": 4, "scores": {"BLEU": 3.0}},
    }
    manifest = run.manifest
    assert (manifest["command"], manifest["steps"], manifest["best"]) == (
        "finetune",
        6,
        {"step": 4, "scores": {"BLEU": 3.0}},
    )
    assert manifest["finished"] >= manifest["started"]
    # Every example has five tokens: three of its source and two of its target.
    assert manifest["tokens"] > 0
    assert manifest["tokens"] % 5 == 0
    assert manifest["tokens_per_second"] > 0


def test_the_speed_is_that_of_the_steps_wherever_it_is_shown(teachers, tmp_path: Path, capsys, monkeypatch) -> None:
    """Three validations and savings lie between the start and the one report, and take nearly all of the time."""
    now = 0.0

    def passing(seconds: float, done: Callable[..., object] = lambda: None) -> Callable[..., object]:
        def after(*arguments: object) -> object:
            nonlocal now
            now += seconds
            return done(*arguments)

        return after

    run = Run(teachers, tmp_path, Observation(tensorboard=True, metrics_port=0), Clock(lambda: now))
    monkeypatch.setattr(run.trainer, "_train_step", passing(2.0, run.trainer._train_step))
    monkeypatch.setattr(TrainingState, "save", passing(500.0, TrainingState.save))
    scraped: list[str] = []
    last = Prometheus.close

    def scrape(metrics: Prometheus) -> None:
        with urllib.request.urlopen(f"http://localhost:{metrics.port}/metrics") as answer:
            scraped.append(answer.read().decode())
        last(metrics)

    monkeypatch.setattr(Prometheus, "close", scrape)
    assert run(during=passing(1_000.0)) == 0

    manifest = run.manifest
    assert manifest["seconds"] == 12.0
    speed = manifest["tokens"] / 12
    assert manifest["tokens_per_second"] == round(speed)
    entries = [json.loads(line) for line in (tmp_path / "training" / "log.jsonl").read_text().splitlines()]
    assert [entry["tokens_per_second"] for entry in entries if "total" in entry] == [round(speed)]
    assert f"{speed:,.0f} tokens/s" in capsys.readouterr().out
    events = EventAccumulator(str(tmp_path / "training" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("tokens_per_second")] == [pytest.approx(speed)]
    assert float(re.findall(r"^dqbart_training_tokens_per_second ([\d.]+)$", scraped[0], re.M)[0]) == pytest.approx(speed)
    shown = {"train": {"examples": 60}, "valid": {"examples": 4}, "flags": {}, "device": "cpu", "versions": {}}
    assert summary({**manifest, **shown})["trained in"] == f"0.2 min at {round(speed):,} tokens/s (cpu)"


def test_an_interrupted_run_has_no_end_until_it_is_resumed(teachers, tmp_path: Path) -> None:
    first = Run(teachers, tmp_path)
    assert first(during=lambda: os.kill(os.getpid(), signal.SIGINT)) == EXIT_INTERRUPTED
    assert (first.manifest["finished"], first.manifest["steps"]) == (None, 2)
    second = Run(teachers, tmp_path)
    assert second(resume=True) == 0
    assert second.manifest["started"] == first.manifest["started"]
    assert second.manifest["finished"] is not None
    assert second.manifest["best"] == {"step": 4, "scores": {"BLEU": 3.0}}


def test_what_auto_chose_is_kept_by_a_resumed_run(teachers, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    answers = iter([True])
    monkeypatch.setattr(compress.training.run, "faster_at_bf16", lambda trainer, tell: next(answers))
    first, second = Run(teachers, tmp_path), Run(teachers, tmp_path)
    for run in (first, second):
        run.trainer.settings = replace(SETTINGS, bf16="auto")
    assert first(during=lambda: os.kill(os.getpid(), signal.SIGINT)) == EXIT_INTERRUPTED
    assert second(resume=True) == 0
    assert first.trainer.bf16
    assert second.trainer.bf16


def test_metrics_are_there_while_a_run_goes_and_no_longer(teachers, tmp_path: Path, capsys) -> None:
    run = Run(teachers, tmp_path, Observation(tensorboard=False, metrics_port=0))
    scraped: list[str] = []

    def scrape() -> None:
        if not scraped:
            scraped.append(re.findall(r"http\S+", capsys.readouterr().out)[0])
        with urllib.request.urlopen(scraped[0]) as answer:
            scraped.append(answer.read().decode())

    assert run(during=scrape) == 0
    # The second validation follows the first, and the third the report of the last step.
    assert 'dqbart_training_validation_score{metric="BLEU"} 1.0' in scraped[2]
    assert "dqbart_training_step 6.0" in scraped[3]
    assert 'dqbart_training_loss{term="task"}' in scraped[3]
    with pytest.raises(urllib.error.URLError):
        scrape()


def test_another_process_than_the_first_shows_and_writes_nothing(teachers, tmp_path: Path, capsys) -> None:
    run = Run(teachers, tmp_path, Observation(metrics_port=0))
    run.trainer.group, run.trainer.settings = SecondOfTwo(), replace(SETTINGS, accumulate=2)
    assert run() == 0
    assert not list(tmp_path.iterdir())
    assert "metrics" not in capsys.readouterr().out
