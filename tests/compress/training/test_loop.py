"""The loop on a tiny teacher: it learns, it resumes to the same weights, it saves when interrupted."""

import json
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from compress.compression import Compression, Plan, WriteOutputs
from compress.data.dataset import Fields, Languages, load_examples
from compress.model.quantized_modules import COMPUTED, WeightScales
from compress.model.straight_through import initial_clip_values, quantize_with_learned_scale
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.packing import Packing
from compress.scoring.decoding import DecodingSettings
from compress.training.loop import NonFiniteLossError, Trainer, TrainingSettings
from compress.training.losses import LossWeights
from compress.training.on_policy import Ask, OnPolicySettings
from compress.training.run import EXIT_INTERRUPTED
from compress.training.state import ResumeError
from quant.artifact import read_artifact
from quant.scheme import Layers, Scheme

TRAINING = TrainingSettings(
    epochs=1.0,
    max_steps=12,
    learning_rate=3e-3,
    schedule="linear",
    warmup=0.1,
    weight_decay=0.01,
    batch_tokens=200,
    accumulate=2,
    clip_norm=1.0,
    bf16=False,
    seed=3,
    validate_every=6,
    losses=LossWeights(),
)


class Run:
    """A compression of the tiny mBART into `folder`."""

    def __init__(
        self,
        teachers: dict[str, str],
        pairs: str,
        folder: Path,
        training: TrainingSettings = TRAINING,
        scales: WeightScales = COMPUTED,
        write_outputs: WriteOutputs | None = None,
    ) -> None:
        teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
        decoding = DecodingSettings(num_beams=1, max_new_tokens=8)
        self.plan = Plan(Layers(2, 1), "last", Scheme.parse("2-2-8"), training, decoding, 32, scales)
        console = Console(quiet=True)
        self.compression = Compression(teacher, self.plan, folder, torch.device("cpu"), console, write_outputs=write_outputs)
        languages = Languages("de_DE", "en_XX", both=True)
        self.train = load_examples(pairs, "train", "translation", Fields(), languages)
        self.valid = load_examples(pairs, "train", "translation", Fields(), languages, limit=4)

    def __call__(self, resume: bool = False) -> int:
        return self.compression.run(lambda: self.train, lambda: self.valid, resume)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return self.compression.student.state_dict()


def interrupt_while_it_validates(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    validate = run.compression._validate

    def interrupting(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return validate(*arguments)

    monkeypatch.setattr(run.compression, "_validate", interrupting)


def test_training_lowers_the_loss_and_keeps_the_best(teachers, pairs, tmp_path: Path) -> None:
    assert Run(teachers, pairs, tmp_path, replace(TRAINING, max_steps=60, validate_every=30))() == 0
    entries = [json.loads(line) for line in (tmp_path / "training" / "log.jsonl").read_text().splitlines()]
    totals = [entry["total"] for entry in entries if "total" in entry]
    assert totals[-1] < 0.7 * totals[0]
    assert {"task", "logits", "attention", "hidden"} <= set(entries[0])
    assert read_artifact(tmp_path).scheme == Scheme.parse("2-2-8")
    assert (tmp_path / "training" / "best.safetensors").is_file()


@pytest.mark.parametrize("scales", [COMPUTED, WeightScales(learned=True)], ids=["computed", "learned"])
def test_an_interrupted_run_resumes_to_the_same_weights(
    teachers, pairs, tmp_path: Path, monkeypatch, scales: WeightScales
) -> None:
    whole = Run(teachers, pairs, tmp_path / "whole", scales=scales)
    assert whole() == 0

    torch.manual_seed(99)  # what happened before a run must not matter
    interrupted = Run(teachers, pairs, tmp_path / "parts", scales=scales)
    interrupt_while_it_validates(interrupted, monkeypatch)
    assert interrupted() == EXIT_INTERRUPTED

    resumed = Run(teachers, pairs, tmp_path / "parts", scales=scales)
    assert resumed(resume=True) == 0
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())
    packed, resumed_packed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(resumed_packed[name], tensor) for name, tensor in packed.items())


def written(folder: Path, asks: Sequence[Ask], device: torch.device) -> list[list[int]]:
    """Outputs of unequal lengths that depend on the student as it is packed, and on the draws."""
    weights = read_artifact(folder).quantized("model.shared.weight").codes
    student = int(weights.long().remainder(97).sum())
    outputs = []
    for ask in asks:
        draws = random.Random(student + ask.seed)
        length = draws.randint(1, ask.most_tokens)
        outputs.append([ask.example.label_ids[0], *(draws.randint(5, 20) for _ in range(length))][: ask.most_tokens])
    return outputs


def test_a_run_on_its_own_outputs_resumes_to_the_same_weights(teachers, pairs, tmp_path: Path, monkeypatch) -> None:
    """It is interrupted after step 6; outputs are written at steps 0, 4 and 8."""
    training = replace(TRAINING, on_policy=OnPolicySettings(0.5, 4))
    whole = Run(teachers, pairs, tmp_path / "whole", training, write_outputs=written)
    assert whole() == 0
    interrupted = Run(teachers, pairs, tmp_path / "parts", training, write_outputs=written)
    interrupt_while_it_validates(interrupted, monkeypatch)
    assert interrupted() == EXIT_INTERRUPTED
    resumed = Run(teachers, pairs, tmp_path / "parts", training, write_outputs=written)
    assert resumed(resume=True) == 0
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())
    entries = [json.loads(line) for line in (tmp_path / "whole" / "training" / "log.jsonl").read_text().splitlines()]
    assert {"task", "total", "on-policy total", "on-policy logits"} <= set(entries[-2])
    assert "on-policy task" not in entries[-2], "what the student writes is no label"
    assert not (tmp_path / "whole" / "training" / "writing").exists()
    with pytest.raises(ResumeError, match=r"training\.on_policy\.share was 0\.5, is 0\.25$"):
        Run(teachers, pairs, tmp_path / "parts", replace(TRAINING, on_policy=OnPolicySettings(0.25, 4)))(resume=True)


def test_learned_scales_move_and_the_best_of_them_are_packed(teachers, pairs, tmp_path: Path) -> None:
    run = Run(teachers, pairs, tmp_path, scales=WeightScales(learned=True))
    name = "model.encoder.layers.0.fc1"
    before = initial_clip_values(run.weights[f"{name}.weight"], 2, "row")
    assert run() == 0
    best, artifact = load_file(tmp_path / "training" / "best.safetensors"), read_artifact(tmp_path)
    assert not torch.equal(best[f"{name}.clip_values"], before)
    quantized = quantize_with_learned_scale(best[f"{name}.weight"], best[f"{name}.clip_values"], 2)
    assert torch.equal(artifact.quantized(f"{name}.weight").codes, quantized.codes)
    assert torch.equal(artifact.quantized(f"{name}.weight").scale, quantized.scale)


def test_resuming_with_other_settings_says_which(teachers, pairs, tmp_path: Path) -> None:
    Run(teachers, pairs, tmp_path)()
    with pytest.raises(ResumeError, match=r"training\.seed was 3, is 4$"):
        Run(teachers, pairs, tmp_path, replace(TRAINING, seed=4))(resume=True)


def test_an_earlier_run_is_not_overwritten(teachers, pairs, tmp_path: Path) -> None:
    Run(teachers, pairs, tmp_path)()
    with pytest.raises(ResumeError, match="holds an earlier run: --resume continues it"):
        Run(teachers, pairs, tmp_path)()


def test_resuming_nothing_is_an_error(teachers, pairs, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="nothing to resume"):
        Run(teachers, pairs, tmp_path)(resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(teachers, pairs, tmp_path: Path, monkeypatch) -> None:
    run = Run(teachers, pairs, tmp_path)
    monkeypatch.setattr(Packing, "check", lambda _: None)  # which would refuse such weights before the first step
    with torch.no_grad():
        run.compression.student.model.encoder.layernorm_embedding.weight.fill_(torch.inf)
    kept = tmp_path / "training" / "bad_batch"
    with pytest.raises(NonFiniteLossError, match=rf"step 1: .*'total': nan.* kept in {kept}"):
        run()
    assert {path.name for path in kept.iterdir()} == {f"{n}.{kind}" for n in (0, 1) for kind in ("json", "safetensors")}
    assert json.loads((kept / "0.json").read_text())["losses"]["total"] == "nan"
    assert not (tmp_path / "training" / "last").exists()


def test_no_steps_only_packs(teachers, pairs, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"evaluations": []}')
    assert Run(teachers, pairs, tmp_path, replace(TRAINING, max_steps=0))() == 0
    assert read_artifact(tmp_path).architecture.layers == Layers(2, 1)
    assert not (tmp_path / "training").exists()
    assert not (tmp_path / "evaluation.json").exists(), "scores of other weights were kept"


def test_a_tried_step_changes_nothing(teachers, pairs, tmp_path: Path, monkeypatch) -> None:
    whole = Run(teachers, pairs, tmp_path / "whole")
    assert whole() == 0
    tried = Run(teachers, pairs, tmp_path / "tried")
    train = Trainer.train

    def after_trying(trainer: Trainer, *arguments, **settings) -> bool:
        trainer.try_step(bf16=True)
        trainer.try_step(bf16=False)
        return train(trainer, *arguments, **settings)

    monkeypatch.setattr(Trainer, "train", after_trying)
    assert tried() == 0
    assert all(torch.equal(tried.weights[name], tensor) for name, tensor in whole.weights.items())
