"""`dqbart finetune` as a user types it: pretrain from a configuration, fine-tune the result, compress that."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, BartForConditionalGeneration

from compress.commands.finetune import Finetune
from compress.model.checkpoint import load_checkpoint
from compress.model.packed_student import load_student
from dqbart.cli import run_command
from pipelines.compressing.compress import Compress
from quant.artifact import is_artifact, read_artifact
from quant.layout import DECODER_EMBEDDING, HEAD, LOGITS_BIAS
from tests.compress.released import CHECKPOINTS

TRAINING = ["--device", "cpu", "--bf16", "off", "--batch-tokens", "256", "--learning-rate", "3e-3"]


def dqbart(command, *arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(command, command.__name__.lower(), list(arguments))
    return int(stopped.value.code or 0)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training" / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def summaries(tmp_path: Path) -> str:
    path = tmp_path / "summaries.jsonl"
    rows = [{"source": f"the {noun} is {how}. it is a {noun}.", "target": noun} for noun in ("hat", "cat") for how in "xyz"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_from_a_configuration_to_a_student(teachers: dict[str, str], summaries: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    shape = json.loads((Path(teachers["bart"]) / "config.json").read_text()) | {"vocab_size": 290, "dropout": 0.0}
    config.write_text(json.dumps(shape))
    data = ["--task", "summarization", "--train", summaries, "--valid", summaries, *TRAINING]
    pretrained, teacher, student = tmp_path / "pretrained", tmp_path / "teacher", tmp_path / "student"
    denoising = ["--objective", "denoising", "--max-steps", "6", "--validate-every", "3", "--dropout", "0"]
    assert dqbart(Finetune, "--from-config", str(config), *data, "--output", str(pretrained), *denoising) == 0
    losses = [entry["validation"]["cross-entropy"] for entry in log(pretrained) if "validation" in entry]
    assert losses[1] < losses[0]
    decoding = ["--num-beams", "1", "--max-new-tokens", "6"]
    assert dqbart(Finetune, str(pretrained), *data, "--output", str(teacher), "--max-steps", "6", *decoding) == 0
    assert "ROUGE-Lsum" in log(teacher)[-1]["validation"]
    assert AutoModelForSeq2SeqLM.from_pretrained(teacher).generation_config.max_length == 7
    valid = ["--task", "summarization", "--train", summaries, "--valid", summaries]
    assert dqbart(Compress, str(teacher), *valid, "--output", str(student), "--max-steps", "0", "--layers", "2-1") == 0
    assert read_artifact(student).card.task == "summarization"


@pytest.mark.parametrize("name", ["embedding-one-short", "untied", "untied-by-an-older-release", "bias"])
def test_checkpoints_as_released_are_trained_twice(summaries: str, tmp_path: Path, name: str) -> None:
    """A teacher of one of them, and a student of the teacher."""
    CHECKPOINTS[name](tmp_path / "checkpoint")
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    data = ["--task", "summarization", "--train", summaries, "--valid", summaries, *TRAINING, "--max-steps", "2"]
    data += ["--num-beams", "1", "--max-new-tokens", "6"]
    assert dqbart(Finetune, str(tmp_path / "checkpoint"), *data, "--output", str(teacher)) == 0
    stock = BartForConditionalGeneration.from_pretrained(teacher)
    ours, _ = load_checkpoint(str(teacher))
    assert all(torch.equal(tensor, stock.state_dict()[name]) for name, tensor in ours.state_dict().items())
    made = [str(teacher), *data, "--layers", "2-1", "--bits", "2-4-8", "--validate-every", "2", "--scales", "learned"]
    assert dqbart(Compress, *made, "--output", str(student)) == 0
    model, text_format, artifact = load_student(student)
    assert (HEAD in artifact.tensors, DECODER_EMBEDDING in artifact.tensors) == ("untied" in name, name == "untied")
    assert (LOGITS_BIAS in artifact.tensors) == (name == "bias")
    assert len(text_format.tokenizer) <= model.config.vocab_size


def test_a_resumed_run_ends_as_one_never_interrupted(teachers: dict[str, str], summaries: str, tmp_path: Path) -> None:
    data = ["--task", "summarization", "--objective", "denoising", "--train", summaries, "--valid", summaries, *TRAINING]
    common = [teachers["bart"], *data, "--max-steps", "4", "--validate-every", "4"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert dqbart(Finetune, *common, "--output", str(whole)) == 0
    assert dqbart(Finetune, *common, "--output", str(whole)) == 1  # an earlier run lies there
    assert dqbart(Finetune, *common, "--output", str(whole), "--resume") == 0
    with pytest.MonkeyPatch.context() as patch:
        from compress.training.loop import Trainer

        one = Trainer._train_step
        patch.setattr(Trainer, "_train_step", lambda self: _interrupting(self, one))
        assert dqbart(Finetune, *common, "--output", str(stopped)) == 130
    assert dqbart(Finetune, *common, "--output", str(stopped), "--resume") == 0
    ours, theirs = (AutoModelForSeq2SeqLM.from_pretrained(folder).state_dict() for folder in (stopped, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _interrupting(trainer, one):
    import os
    import signal

    if trainer.step == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return one(trainer)


def test_what_cannot_be_started_from_is_said(teachers: dict[str, str], summaries: str, tmp_path: Path, capsys) -> None:
    data = ["--task", "summarization", "--train", summaries, "--valid", summaries, "--output", str(tmp_path / "out")]
    assert dqbart(Finetune, *data) == 2
    assert "give either a checkpoint or --from-config" in capsys.readouterr().err
    assert dqbart(Finetune, *data, "--from-config", str(tmp_path / "none.json")) == 1
    assert "none.json does not exist: --from-config names a config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert dqbart(Finetune, *data, "--from-config", str(tmp_path / "config.json")) == 1
    assert "model_type is 't5', supported are bart, mbart" in capsys.readouterr().err


def test_an_artifact_is_trained_on(teachers: dict[str, str], summaries: str, tmp_path: Path) -> None:
    """As the plain checkpoint that it was dequantized to, into a plain one."""
    artifact, trained = tmp_path / "artifact", tmp_path / "trained"
    data = ["--task", "summarization", "--train", summaries, "--valid", summaries, *TRAINING]
    packing = ["--output", str(artifact), "--bits", "8-8-8", "--layers", "3-3", "--prune-heads", "0.25", "--max-steps", "0"]
    assert dqbart(Compress, teachers["bart"], *data, *packing) == 0
    assert dqbart(Finetune, str(artifact), *data, "--max-steps", "2", "--output", str(trained)) == 0
    initial, _ = load_checkpoint(str(trained / "training" / "initial"))
    expected, _ = load_checkpoint(str(artifact))
    assert all(torch.equal(tensor, expected.state_dict()[name]) for name, tensor in initial.state_dict().items())
    assert not is_artifact(trained)
    assert not torch.equal(load_checkpoint(str(trained))[0].model.shared.weight, initial.model.shared.weight)
