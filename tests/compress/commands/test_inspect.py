"""What `dqbart inspect` says of a model with other bits and fewer heads in some blocks."""

from pathlib import Path

import pytest

from compress.commands.inspect import Inspect
from compress.commands.run_inspect import run_inspect
from compress.model.heads import resize_heads
from compress.model.quantized_modules import full_precision_weights
from compress.model.teacher import load_teacher
from compress.model.told import Told
from dqbart.cli import run_command
from quant.artifact import WEIGHTS_FILE, write_artifact
from quant.scheme import Scheme
from quant.structure import Structure


def test_a_structure_is_shown(
    teachers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 3-3 layers with 2 heads: 18 in all, of which 2 are removed."""
    structure = Structure(
        {"encoder.layers.0.self_attn": 8, "decoder.layers.2.feed_forward": 8, "decoder.layers.1.self_attn": 4},
        {"encoder.layers.1.self_attn": 1, "decoder.layers.0.encoder_attn": 1},
    )
    teacher = load_teacher(teachers["bart"], Told("summarization"))
    resize_heads(teacher.model, structure.heads)
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    weights, card = full_precision_weights(teacher.model), teacher.text_format.card
    write_artifact(tmp_path, weights, config, {}, Scheme.parse("2-2-8"), teacher.digest, card, structure)
    monkeypatch.setenv("COLUMNS", "160")
    assert run_inspect(Inspect(model=tmp_path)) == 0
    shown = capsys.readouterr().out
    for text in (
        "4: decoder.layers.1.self_attn ",
        "8: encoder.layers.0.self_attn, decoder.layers.2.feed_forward ",
        "2 of 18 removed, left in ",
        "1: encoder.layers.1.self_attn, decoder.layers.0.encoder_attn ",
    ):
        assert text in shown
    # Parts and the header add up to the file: footprints are of the structure.
    parts = [line for line in shown.splitlines() if line.count("│") == 4 and "part" not in line]
    counts = [int(line.split("│")[2].strip().replace(",", "")) for line in parts if line.split("│")[2].strip()[:1].isdigit()]
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    assert sum(counts) == len(content)
    assert counts[-1] == 8 + int.from_bytes(content[:8], "little")


def test_how_it_decodes_is_shown(
    teachers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = load_teacher(teachers["mbart50"], Told("translation", ("de_DE", "en_XX")))
    config = {key: value for key, value in teacher.model.config.to_dict().items() if value is not None}
    generation = {"num_beams": 4, "max_length": 49, "early_stopping": "never", "temperature": 0.5, "min_length": 3}
    weights, card = full_precision_weights(teacher.model), teacher.text_format.card
    write_artifact(tmp_path, weights, config, generation, Scheme.parse("2-2-8"), teacher.digest, card)
    monkeypatch.setenv("COLUMNS", "160")
    assert run_inspect(Inspect(model=tmp_path)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "outputs begin with │ </s> {target_language}" in shown
    assert "decoding │ num_beams 4, early_stopping never, min_new_tokens 2, max_new_tokens 48" in shown
    (tmp_path / "generation_config.json").write_text('{"typical_p": 0.5}')
    assert run_inspect(Inspect(model=tmp_path)) == 0
    assert "cannot be served: typical_p = 0.5 is not supported" in " ".join(capsys.readouterr().out.split())


def test_a_teacher_is_no_artifact(teachers: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command(Inspect, "inspect", [teachers["bart"]])
    assert stopped.value.code
    assert "is no artifact: its config.json has no quantization_config" in capsys.readouterr().err
