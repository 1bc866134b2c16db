"""Heads and bits found before training, end to end on a tiny teacher."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import compress.structuring
from compress.compression import Compression, Plan
from compress.data.dataset import Fields, Languages, load_examples
from compress.model.bit_budget import BudgetError
from compress.model.heads import PruningError, attentions
from compress.model.packed_student import load_student
from compress.model.teacher import load_teacher
from compress.model.told import Told
from compress.scoring.decoding import DecodingSettings
from compress.structuring import StructureGoals
from compress.training.loop import TrainingSettings
from compress.training.losses import LossWeights
from compress.training.run import EXIT_INTERRUPTED
from quant.artifact import read_artifact, sizes
from quant.scheme import Layers, Scheme

TRAINING = TrainingSettings(
    epochs=1.0,
    max_steps=4,
    learning_rate=3e-3,
    schedule="linear",
    warmup=0.1,
    weight_decay=0.0,
    batch_tokens=200,
    accumulate=1,
    clip_norm=1.0,
    bf16=False,
    seed=3,
    validate_every=2,
    losses=LossWeights(),
)
BOTH = StructureGoals(prune_heads=0.2, target_ratio=7.0, measure_batches=2)


class Run:
    """A compression of the tiny mBART into `folder`: 2-1 layers, 4 attentions of 2 heads."""

    def __init__(self, teachers, pairs: str, folder: Path, goals: StructureGoals = BOTH, steps: int = 4) -> None:
        teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
        decoding = DecodingSettings(num_beams=1, max_new_tokens=8)
        training = replace(TRAINING, max_steps=steps)
        plan = Plan(Layers(2, 1), "last", Scheme.parse("2-2-8"), training, decoding, 32, structure=goals)
        self.folder = folder
        self.compression = Compression(teacher, plan, folder, torch.device("cpu"), Console(quiet=True))
        self.examples = load_examples(pairs, "train", "translation", Fields(), Languages("de_DE", "en_XX", both=True))

    def __call__(self, resume: bool = False) -> int:
        return self.compression.run(lambda: self.examples, lambda: self.examples[:2], resume)


def test_the_artifact_has_what_was_found(teachers, pairs, tmp_path: Path) -> None:
    assert Run(teachers, pairs, tmp_path)() == 0
    artifact = read_artifact(tmp_path)
    assert sizes(artifact).ratio >= 7.0
    heads = json.loads((tmp_path / "heads.json").read_text())
    assert sum(len(scores) for scores in heads["scores"].values()) == 8
    assert dict(artifact.structure.heads) == {block: len(kept) for block, kept in heads["kept"].items()}
    assert sum(artifact.structure.heads.values()) == len(artifact.structure.heads) == 2
    sensitivity = json.loads((tmp_path / "sensitivity.json").read_text())
    assert sensitivity["ratio"] == round(sizes(artifact).ratio, 2)
    assert {block: bits for block, bits in sensitivity["bits"].items() if bits != 2} == dict(artifact.structure.block_bits)
    assert artifact.structure.block_bits
    model, _, _ = load_student(tmp_path)
    counts = {block: attention.num_heads for block, attention in attentions(model).items()}
    assert {block: count for block, count in counts.items() if count < 2} == dict(artifact.structure.heads)


def test_a_resumed_run_measures_nothing_and_ends_as_one_never_interrupted(
    teachers, pairs, tmp_path: Path, monkeypatch
) -> None:
    whole = Run(teachers, pairs, tmp_path / "whole")
    assert whole() == 0
    interrupted = Run(teachers, pairs, tmp_path / "parts")
    validate = interrupted.compression._validate

    def interrupting(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return validate(*arguments)

    monkeypatch.setattr(interrupted.compression, "_validate", interrupting)
    assert interrupted() == EXIT_INTERRUPTED

    def measured(*_):
        raise AssertionError("measured again")

    for name in ("score_heads", "measure_sensitivity"):
        monkeypatch.setattr(compress.structuring, name, measured)
    resumed = Run(teachers, pairs, tmp_path / "parts")
    assert resumed(resume=True) == 0
    weights = resumed.compression.student.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.compression.student.state_dict().items())
    packed, resumed_packed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(resumed_packed[name], tensor) for name, tensor in packed.items())
    assert read_artifact(tmp_path / "parts").structure == read_artifact(tmp_path / "whole").structure


def test_heads_alone_leave_bits_to_the_scheme(teachers, pairs, tmp_path: Path) -> None:
    assert Run(teachers, pairs, tmp_path, StructureGoals(prune_heads=0.5), steps=0)() == 0
    structure = read_artifact(tmp_path).structure
    assert (len(structure.heads), dict(structure.block_bits)) == (4, {})
    assert not (tmp_path / "sensitivity.json").exists()


@pytest.mark.parametrize(
    ("goals", "error", "message"),
    [
        (StructureGoals(target_ratio=500.0), BudgetError, "target_ratio is 500x"),
        (StructureGoals(prune_heads=0.9), PruningError, "prune_heads is 0.9"),
    ],
)
def test_what_cannot_be_had_is_refused_before_training(teachers, pairs, tmp_path: Path, goals, error, message: str) -> None:
    with pytest.raises(error, match=message):
        Run(teachers, pairs, tmp_path, goals)()
    assert not (tmp_path / "training").exists()
