"""Compressing, evaluating and inspecting as a user types it, on tiny teachers of every format."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compress.commands.inspect import Inspect
from compress.model.packed_student import dequantized_student
from dqbart.cli import run_command
from pipelines.compressing.compress import Compress
from pipelines.compressing.recipes import RECIPES, flags_of
from pipelines.scoring.evaluate import Evaluate
from quant.artifact import read_artifact, sizes
from quant.numerics import quantize

COMMANDS = {"compress": Compress, "evaluate": Evaluate, "inspect": Inspect}
DIRECTION = ["--source-language", "de_DE", "--target-language", "en_XX"]


def dqbart(name: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(COMMANDS[name], name, list(arguments))
    return int(stopped.value.code or 0)


def compress_arguments(teacher: str, pairs: str, output: Path, *more: str) -> list[str]:
    data = ["--train", pairs, "--valid", pairs, "--valid-examples", "4", "--device", "cpu"]
    return [teacher, "--layers", "1-1", "--bits", "2-2-8", "--output", str(output), *data, *more]


@pytest.mark.parametrize("name", ["mbart50", "mbart-cc25"])
def test_a_translator_from_teacher_to_evaluation(teachers, pairs, tmp_path: Path, name: str, capsys) -> None:
    output = tmp_path / "student"
    training = ["--task", "translation", "--both-directions", "--max-steps", "2", *DIRECTION]
    assert dqbart("compress", *compress_arguments(teachers[name], pairs, output, *training)) == 0
    assert "validated by engine, native; texts sentence by sentence" in " ".join(capsys.readouterr().out.split())
    assert not (output / "training" / "validated").exists()
    evaluation = ["--data", pairs, "--limit", "6", "--num-beams", "2", "--device", "cpu", *DIRECTION]
    assert (
        dqbart(
            "evaluate",
            str(output),
            *evaluation,
            "--check-generate",
            "2",
            "--keep",
            "--hypotheses",
            str(tmp_path / "out.txt"),
        )
        == 0
    )
    assert "generate gives the engine's ids for 2 of 2 examples" in capsys.readouterr().out
    (record,) = json.loads((output / "evaluation.json").read_text())["evaluations"]
    assert (record["examples"], record["decoding"]["num_beams"]) == (6, 2)
    assert set(record["scores"]) == {"BLEU", "chrF"}
    assert (record["decoded_by"], record["read"]) == ("engine, native", "by sentence")
    assert "--num-beams 2" in record["command"]
    assert "--check-generate" not in record["command"]
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 6
    assert "de_DE → en_XX" in (output / "README.md").read_text()
    capsys.readouterr()
    assert dqbart("inspect", str(output)) == 0
    shown = capsys.readouterr().out
    assert "2-2-8" in shown
    assert "1-1 (teacher" in shown
    assert "chrF" in shown
    assert "pairs.jsonl (96 examples)" in shown
    assert "2, best at 2" in shown
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["flags"]["teacher"], manifest["flags"]["train"]) == (name, ["pairs.jsonl"])
    assert str(tmp_path) not in (output / "manifest.json").read_text()
    assert manifest["recipe"] == flags_of("ours", 32)
    assert manifest["flags"]["learning_rate"] == 1e-3
    assert "| steps | 2, best at 2 |" in (output / "README.md").read_text()
    assert list((output / "training" / "tensorboard").iterdir())


def test_a_recipe_is_told_and_recorded_with_what_was_given_otherwise(teachers, pairs, tmp_path: Path, capsys) -> None:
    output = tmp_path / "student"
    training = ["--task", "translation", "--max-steps", "1", *DIRECTION, "--recipe", "tbt", "--learning-rate", "0.001"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, output, *training)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "recipe tbt: --learning-rate 0.0003" in shown
    assert "; but --learning-rate 0.001" in shown
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["recipe"] == RECIPES["tbt"]
    assert (manifest["flags"]["recipe"], manifest["flags"]["learning_rate"]) == ("tbt", 0.001)
    artifact, best = read_artifact(output), load_file(output / "training" / "best.safetensors")
    name = "model.decoder.layers.0.fc1.weight"
    stored, trained = artifact.quantized(name), quantize(best[name], 2, "row", float("inf"), "tbt")
    assert torch.equal(stored.codes, trained.codes)
    assert torch.equal(stored.scale, trained.scale)


def test_a_run_that_time_ends_says_how_far_it_came(teachers, pairs, tmp_path: Path) -> None:
    output = tmp_path / "student"
    training = ["--task", "translation", "--max-minutes", "1e-6", "--minutes-of", "cpu", *DIRECTION]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, output, *training)) == 0
    assert json.loads((output / "manifest.json").read_text())["best"]["step"] == 1


def test_a_student_learns_from_its_own_outputs_where_there_are_no_labels(teachers, pairs, tmp_path: Path, capsys) -> None:
    sources = tmp_path / "sources.jsonl"
    rows = [json.loads(line) for line in Path(pairs).read_text().splitlines()]
    sources.write_text("".join(json.dumps({"source": row["source"]}) + "\n" for row in rows))
    own = ["--task", "translation", *DIRECTION, "--max-steps", "4", "--on-policy-every", "2", "--batch-tokens", "128"]
    weights = ["--kl-weight", "1", "--divergence", "reverse-kl", "--train", str(sources)]
    again = [tmp_path / "one", tmp_path / "two"]
    for output in again:
        arguments = [teachers["mbart50"], "--layers", "1-1", "--output", str(output), "--valid", pairs, "--device", "cpu"]
        assert dqbart("compress", *arguments, *own, *weights, "--on-policy", "1", "--valid-examples", "4") == 0
    one, two = (load_file(output / "model.safetensors") for output in again)
    assert all(torch.equal(two[name], tensor) for name, tensor in one.items()), "the same seed writes the same outputs"
    log = [json.loads(line) for line in (again[0] / "training" / "log.jsonl").read_text().splitlines()]
    assert {"on-policy kl", "on-policy logits", "on-policy total"} <= set(log[0])
    assert "task" not in log[0]
    capsys.readouterr()
    assert dqbart("compress", *arguments, *own, *weights, "--on-policy", "0.5", "--output", str(tmp_path / "three")) == 1
    assert "has no column target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bits", "full"], "the engine writes, which runs packed students"),
        (["--logits-weight", "0"], "kl_weight or logits_weight above 0"),
    ],
)
def test_own_outputs_need_an_engine_and_a_teacher_s_word(teachers, pairs, tmp_path: Path, capsys, flags, message) -> None:
    task = ["--task", "translation", *DIRECTION, "--on-policy", "0.5", "--recipe", "dq-bart"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, tmp_path / "student", *task, *flags)) == 2
    assert message in capsys.readouterr().err


def test_fewer_heads_and_bits_by_block_for_a_ratio(teachers, pairs, tmp_path: Path, capsys) -> None:
    output = tmp_path / "student"
    goals = ["--prune-heads", "0.25", "--target-ratio", "12x", "--measure-batches", "1"]
    training = ["--task", "translation", "--max-steps", "1", *DIRECTION]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, output, *goals, *training)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "scores, (removed)" in shown
    assert "Sensitivity: loss added by one block at fewer bits" in shown
    artifact = read_artifact(output)
    assert sizes(artifact).ratio >= 12
    assert list(artifact.structure.heads.values()) == [1, 1]
    assert artifact.structure.block_bits
    assert "2 of 6 heads removed, other bits in" in shown
    assert "2 of 6 heads removed, other bits in" in (output / "README.md").read_text()


def test_without_training_scales_are_tuned_and_bits_spent_by_what_compensation_leaves(
    teachers, pairs, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "student"
    untrained = ["--task", "translation", "--max-steps", "0", "--tune-steps", "3", "--bf16", "off", *DIRECTION]
    goals = ["--layers", "2-1", "--target-ratio", "9x", "--measure-batches", "1", "--calibration-examples", "16"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, output, *goals, *untrained)) == 0
    assert "Sensitivity: loss added by one block at fewer bits, compensated" in " ".join(capsys.readouterr().out.split())
    assert json.loads((output / "sensitivity.json").read_text())["compensated"]
    manifest = json.loads((output / "manifest.json").read_text())
    assert 0 < manifest["calibration"]["examples"] <= 16  # this teacher has nothing to say of some
    assert manifest["tuning"] == {"steps": 3}
    assert sizes(read_artifact(output)).ratio >= 9
    assert dqbart("inspect", str(output)) == 0
    assert "scales tuned" in capsys.readouterr().out
    as_it_is = tmp_path / "as-it-is"
    plain = [*goals, *untrained, "--tune-scales", "off", "--no-calibrate"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, as_it_is, *plain)) == 0
    assert not {"calibration", "tuning"} & json.loads((as_it_is / "manifest.json").read_text()).keys()


def test_scales_may_be_tuned_before_training(teachers, pairs, tmp_path: Path) -> None:
    """And a resumed run has them, too."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained = [
        "--task",
        "summarization",
        "--tune-scales",
        "on",
        "--tune-steps",
        "2",
        "--bf16",
        "off",
        "--validate-every",
        "1",
    ]
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, whole, *trained, "--max-steps", "2")) == 0
    assert json.loads((whole / "manifest.json").read_text())["tuning"] == {"steps": 2}
    shutil.copytree(whole, parts)
    again = [*trained, "--max-steps", "2", "--resume"]
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, parts, *again)) == 0
    assert json.loads((parts / "manifest.json").read_text())["tuning"] == {"steps": 2}
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, tmp_path / "x", *trained, "--bits", "full")) == 1


def test_an_artifact_teaches_as_its_teacher_does(teachers, pairs, tmp_path: Path, capsys) -> None:
    """And what its card says need not be said again."""
    packed, of_packed, of_float = (tmp_path / name for name in ("packed", "of-packed", "of-float"))
    told = ["--task", "translation", "--both-directions", "--max-source-tokens", "40", *DIRECTION]
    whole = ["--layers", "3-3", "--bits", "8-8-8", "--max-steps", "0", "--no-calibrate"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, packed, *told, *whole)) == 0
    training = ["--max-steps", "2", "--learning-rate", "3e-5", "--bf16", "off", "--layers", "2-1", "--bits", "4-8-8"]
    assert dqbart("compress", *compress_arguments(teachers["mbart50"], pairs, of_float, *told, *training)) == 0
    directions = ["--both-directions", *DIRECTION]
    assert dqbart("compress", *compress_arguments(str(packed), pairs, of_packed, *directions, *training)) == 0
    ours, theirs = read_artifact(of_packed), read_artifact(of_float)
    assert ours.card == replace(theirs.card, teacher="packed")
    assert ours.generation_config == theirs.generation_config
    # Whole codes differ here and there, where a weight that was rounded to 8 bits falls to the other side at 4.
    for name, tensor in dequantized_student(theirs).state_dict().items():
        difference = dequantized_student(ours).state_dict()[name] - tensor
        assert difference.square().mean() <= 0.01 * tensor.square().mean() + 1e-6, name
    manifest = json.loads((of_packed / "manifest.json").read_text())
    assert manifest["teacher"]["name"] == "packed"
    capsys.readouterr()
    other = ["--task", "summarization", "--max-source-tokens", "41", *training]
    assert dqbart("compress", *compress_arguments(str(packed), pairs, tmp_path / "x", *directions, *other)) == 1
    said = capsys.readouterr().err
    assert f"--task is summarization, but {packed} was made for translation" in said
    assert f"--max-source-tokens is 41, but {packed} was made with 40" in said


def test_a_student_of_a_pruned_artifact_has_as_few_heads(teachers, pairs, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    whole = ["--task", "summarization", "--layers", "3-3", "--bits", "8-8-8", "--max-steps", "0", "--prune-heads", "0.1"]
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, first, *whole)) == 0
    heads = read_artifact(first).structure.heads
    assert len(heads) == 2
    same = ["--layers", "3-3", "--max-steps", "1"]
    assert dqbart("compress", *compress_arguments(str(first), pairs, second, *same)) == 0
    assert read_artifact(second).structure.heads == heads
    fewer = ["--layers", "3-3", "--max-steps", "0", "--prune-heads", "0.3"]
    assert dqbart("compress", *compress_arguments(str(first), pairs, third, *fewer)) == 0
    assert len(read_artifact(third).structure.heads) == 5
    assert heads.items() <= read_artifact(third).structure.heads.items()


@pytest.mark.parametrize(("task", "metric"), [("summarization", "ROUGE-Lsum"), ("question-answering", "ROUGE-L")])
def test_bart_tasks_pack_and_evaluate_beside_their_teacher(teachers, tmp_path: Path, task: str, metric: str) -> None:
    rows = [{"source": "guten tag", "question": "was", "context": "guten tag", "answer": "tag", "target": "tag"}] * 3
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output, records = tmp_path / "student", tmp_path / "evaluations.json"
    arguments = compress_arguments(teachers["bart"], str(data), output, "--task", task, "--max-steps", "0")
    assert dqbart("compress", *arguments) == 0
    shared = ["--task", task, "--data", str(data), "--device", "cpu", "--output", str(records)]
    for model in (teachers["bart"], str(output)):
        assert dqbart("evaluate", model, *shared) == 0
    evaluations = json.loads(records.read_text())["evaluations"]
    assert [entry["model"] for entry in evaluations] == ["bart", "student"]
    assert evaluations[0]["decoding"] == evaluations[1]["decoding"]
    assert all(metric in entry["scores"] for entry in evaluations)


def test_an_evaluation_that_is_repeated_replaces_the_older_one(teachers, pairs, tmp_path: Path) -> None:
    output = tmp_path / "student"
    assert (
        dqbart(
            "compress", *compress_arguments(teachers["bart"], pairs, output, "--task", "summarization", "--max-steps", "0")
        )
        == 0
    )
    for _ in range(2):
        assert dqbart("evaluate", str(output), "--data", pairs, "--limit", "2", "--device", "cpu", "--keep") == 0
    assert len(json.loads((output / "evaluation.json").read_text())["evaluations"]) == 1


def test_an_evaluation_leaves_everything_as_it_is_unless_it_is_to_be_kept(
    teachers, pairs, tmp_path: Path, monkeypatch, capsys
) -> None:
    output, here = tmp_path / "student", tmp_path / "here"
    packing = ["--task", "summarization", "--max-steps", "0"]
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, output, *packing)) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    here.mkdir()
    monkeypatch.chdir(here)
    shared = ["--data", pairs, "--limit", "2", "--device", "cpu"]
    capsys.readouterr()
    assert dqbart("evaluate", str(output), *shared) == 0
    shown = capsys.readouterr().out
    assert "ROUGE-Lsum" in shown
    assert "kept in" not in shown
    assert dqbart("evaluate", teachers["bart"], "--task", "summarization", *shared) == 0
    assert {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()} == before
    assert list(here.iterdir()) == []
    assert dqbart("evaluate", teachers["bart"], "--task", "summarization", *shared, "--keep", "--check-generate", "1") == 1
    told = capsys.readouterr().err
    assert "--keep is for artifacts" in told
    assert "--check-generate is for artifacts" in told


def test_scores_of_zero_are_told_in_training_and_evaluation(teachers, tmp_path: Path, capsys) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"source": "ab", "target": "zzz"}\n')
    output = tmp_path / "student"
    training = ["--task", "summarization", "--max-steps", "1", "--no-repeat-ngram-size", "1"]
    assert dqbart("compress", *compress_arguments(teachers["bart"], str(data), output, *training)) == 0
    told = "of 0 although 1 of 1 outputs are not empty"
    assert told in capsys.readouterr().out
    assert dqbart("evaluate", str(output), "--data", str(data), "--device", "cpu") == 0
    assert told in capsys.readouterr().out


def test_another_setting_is_named_where_a_run_is_resumed(teachers, pairs, tmp_path: Path, capsys) -> None:
    arguments = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "1")
    assert dqbart("compress", *arguments) == 0
    assert dqbart("compress", *arguments, "--resume", "--learning-rate", "0.5", "--num-beams", "3") == 1
    error = capsys.readouterr().err
    assert "training.learning_rate was 0.001, is 0.5" in error
    assert "decoding.num_beams was None, is 3" in error
    assert "warmup" not in error


def test_wrong_files_and_flags_are_told_before_anything_heavy_is_imported(pairs, tmp_path: Path) -> None:
    """All at once, and by every command that loads models."""
    missing = str(tmp_path / "none.jsonl")
    folder = str(tmp_path)
    data = ["--task", "translation", "--train", missing, "--valid", pairs, "--source-field", "quelle"]
    commands = {
        "compress": [folder, *data, "--output", str(tmp_path / "x"), "--source-template", "{text}"],
        "finetune": [folder, *data, "--output", str(tmp_path / "x"), "--both-directions"],
        "evaluate": [folder, "--task", "translation", "--data", missing],
        "compare": [folder, folder, "--task", "translation", "--data", missing],
        "pseudo-label": [folder, "--task", "translation", "--source", missing, "--output", str(tmp_path / "y.jsonl")],
        "export": [folder, pairs],
        "inspect": [folder],
    }
    program = """
import sys
from dqbart import cli
for name, arguments in {commands!r}.items():
    sys.argv = ["dqbart", name, *arguments]
    try:
        cli.main()
    except SystemExit as stopped:
        print(name, stopped.code, sorted({{"torch", "transformers", "datasets"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program.format(commands=commands)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [f"{name} 1 []" for name in commands]
    told = done.stderr.splitlines()
    assert f"dqbart compress: error: {folder} is no model: the folder has no config.json" in told
    assert f"dqbart compress: error: {missing} does not exist" in told
    assert f"dqbart compress: error: {pairs} has no column quelle: it has source, target" in done.stderr
    assert "dqbart compress: error: source_template is '{text}', it must use {source}" in done.stderr
    assert "dqbart finetune: error: --both-directions needs --source-language and --target-language" in told
    assert f"dqbart export: error: output {pairs} is a file: name a new or an empty folder" in told
    assert f"dqbart inspect: error: {folder} is no artifact: it has no config.json" in told
    for name in ("finetune", "evaluate", "compare", "pseudo-label"):
        assert f"dqbart {name}: error: {missing} does not exist" in told


def test_figures_that_cannot_be_written_are_shown_all_the_same(teachers, pairs, tmp_path: Path, capsys) -> None:
    output = tmp_path / "no-such-folder" / "evaluation.json"
    shared = ["--task", "summarization", "--data", pairs, "--limit", "2", "--device", "cpu"]
    assert dqbart("evaluate", teachers["bart"], *shared, "--output", str(output)) == 1
    captured = capsys.readouterr()
    assert "ROUGE-Lsum" in captured.out
    assert "dqbart evaluate: error:" in captured.err
    assert str(output) in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "3-2-8"], "2, 4 or 8"),
        (["--layers", "six"], "write E-D like 6-3"),
        (["--accumulate", "0"], "accumulate"),
        (["--accumulate", "3", "--workers", "2"], "accumulate = 3, workers = 2: accumulate must be a multiple of workers"),
        (["--scales", "guessed"], "'computed' or 'learned'"),
        (["--clip", "-1"], "clip"),
        (["--temperature", "0"], "temperature"),
        (["--prune-heads", "1"], "prune_heads = '1': should be less than 1"),
        (["--target-ratio", "small"], "valid number"),
        (["--target-ratio", "1x"], "greater than 1"),
        (["--bits", "full", "--prune-heads", "0.1"], "neither prune_heads nor target_ratio"),
        (["--task", "poetry"], "translation"),
        (["--metrics-port", "70000"], "metrics_port"),
        (["--device", "tpu"], "device = 'tpu': cpu, cuda and auto are accepted"),
        (["--encoding", "utf-9"], "encoding = 'utf-9': no encoding that Python knows"),
        (["--delimiter", "tabs"], "delimiter = 'tabs': a single character or one of comma, semicolon, tab, pipe"),
    ],
)
def test_bad_flags_name_what_is_accepted(teachers, pairs, tmp_path: Path, capsys, arguments, message: str) -> None:
    given = compress_arguments(teachers["bart"], pairs, tmp_path / "x", "--task", "summarization", *arguments)
    assert dqbart("compress", *given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "summarization", "--layers", "4-1"], "4 layers cannot be made from 3 teacher layers"),
        (["--task", "question-answering"], "no column question, context, answer"),
        (["--task", "translation", "--both-directions"], "--source-language and --target-language"),
        (["--task", "summarization", "--source-template", "summarize: {text}"], "it must use {source}"),
        (["--task", "summarization", "--passage-separator", " "], "for summarization null is expected"),
        (["--task", "summarization", "--target-ratio", "99x"], "x smaller, which is the most"),
    ],
)
def test_bad_input_is_one_line_not_a_traceback(teachers, pairs, tmp_path: Path, capsys, arguments, message: str) -> None:
    assert dqbart("compress", *compress_arguments(teachers["bart"], pairs, tmp_path / "x", *arguments)) == 1
    error = capsys.readouterr().err
    assert error.startswith("dqbart compress: error: ") or "dqbart compress: error: " in error
    assert message in error


def test_what_the_kernels_cannot_run_is_validated_by_the_engine_all_the_same(
    teachers, pairs, tmp_path: Path, capsys
) -> None:
    given = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "1")
    assert dqbart("compress", *given, "--bits", "8-8-16") == 0
    assert "validated by engine, pytorch; texts whole" in capsys.readouterr().out


def test_flags_of_scales_and_of_the_divergence_reach_the_training(teachers, pairs, tmp_path: Path) -> None:
    flags = ["--scales", "learned", "--clip", "1.5", "--kl-weight", "0.5", "--temperature", "2", "--logits-weight", "0"]
    given = compress_arguments(teachers["bart"], pairs, tmp_path, "--task", "summarization", "--max-steps", "1", *flags)
    assert dqbart("compress", *given) == 0
    plan = json.loads((tmp_path / "training" / "last" / "state.json").read_text())["plan"]
    assert plan["scales"] == {"learned": True, "clip": 1.5, "ternary": "twn"}
    weights = plan["training"]["losses"]
    assert (weights["kl"], weights["temperature"], weights["logits"]) == (0.5, 2.0, 0.0)
    log = (tmp_path / "training" / "log.jsonl").read_text().splitlines()
    assert "kl" in json.loads(log[0])


def test_inspecting_a_teacher_says_what_is_missing(teachers, capsys) -> None:
    assert dqbart("inspect", teachers["bart"]) == 1
    assert "dqbart inspect: error:" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_run_continues(teachers, pairs, tmp_path: Path) -> None:
    arguments = compress_arguments(teachers["mbart50"], pairs, tmp_path, "--task", "translation", *DIRECTION)
    command = [sys.executable, "-m", "dqbart", "compress", *arguments, "--batch-tokens", "100", "--validate-every", "5"]
    root = Path(__file__).parents[3]
    process = subprocess.Popen([*command, "--max-steps", "100000"], cwd=root, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "training" / "log.jsonl"
    while not log.exists():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert "continue with --resume" in output
    saved = json.loads((tmp_path / "training" / "last" / "state.json").read_text())
    assert saved["step"] > 0


def test_a_student_in_full_precision_trained_on_two_files_is_a_plain_checkpoint(
    teachers, pairs, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "student"
    arguments = compress_arguments(teachers["bart"], pairs, output, "--task", "summarization", "--max-steps", "1")
    assert dqbart("compress", *arguments, "--train", pairs, "--bits", "full") == 0
    assert "train: 96 examples" in capsys.readouterr().out
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    evaluation = ["--task", "summarization", "--data", pairs, "--limit", "2", "--device", "cpu"]
    assert dqbart("evaluate", str(output), *evaluation, "--output", str(tmp_path / "scores.json")) == 0
