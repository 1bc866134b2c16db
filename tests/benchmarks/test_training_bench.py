from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, BartTokenizer

from benchmarks.commands import BenchTraining
from benchmarks.training_bench import run_bench_training


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *"abcdefghijklmnopqrstuvwxyz"]
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokens),
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        forced_eos_token_id=2,
    )
    BartForConditionalGeneration(config).save_pretrained(folder)
    BartTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[]).save_pretrained(folder)
    return folder


def test_the_ratio_is_of_both_loops(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, figures = tmp_path / "rows.jsonl", tmp_path / "figures.json"
    rows = [{"source": "guten tag", "target": "tag"}, {"source": "ja", "target": "nein"}]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = BenchTraining(
        teacher=str(teacher), task="summarization", train=str(data), layers="1-1", rounds=1, threads=1, json_file=figures
    )
    assert run_bench_training(settings) == 0
    written = json.loads(figures.read_text())
    # Letters, the space, <s> and </s>: 11 and 5 of the first pair, 4 and 6 of the second.
    assert written["tokens"] == 26
    assert written["ratio"] == pytest.approx(written["seconds"]["naive"] / written["seconds"]["dqbart"])
    assert "the naive loop" in capsys.readouterr().out


def test_no_teacher_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = BenchTraining(teacher=str(tmp_path), task="summarization", train="rows.jsonl", rounds=1, threads=1)
    assert run_bench_training(settings) == 1
    assert capsys.readouterr().err.startswith(f"dqbart bench training: error: teacher {tmp_path}")
