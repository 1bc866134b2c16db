"""Checkpoints with the oddities of released ones, from `dqbart compress` to the engine: ids are those of `generate`.

The reference is stock `transformers` on the artifact's dequantized weights, with the tokenizer that `transformers` reads
from the artifact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import quant.hf  # noqa: F401  registers the format with transformers
from compress.model.export import export_transformers
from compress.model.export_int8 import export_int8
from compress.model.packed_student import dequantized_student
from dqbart.cli import run_command
from pipelines.compressing.compress import Compress
from quant.artifact import read_artifact
from serving.engine.engine import load_engine
from serving.engine.request import Request
from serving.engine.settings import EngineSettings
from serving.service.models import check_model
from tests.compress.released import CHECKPOINTS, SETTINGS, TEXTS
from tests.serving.engine.test_engine_against_generate import parameters
from tests.test_validated_is_served import run

SOURCES = [*TEXTS[:5], "Hello <mask> world <mask>", "der Hund"]


@pytest.fixture(scope="module", params=CHECKPOINTS)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by the command, without training."""
    folder = tmp_path_factory.mktemp(request.param)
    CHECKPOINTS[request.param](folder / "checkpoint")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"document": text, "summary": text[:20]}) + "\n" for text in SOURCES))
    arguments = ["--task", "summarization", "--train", str(data), "--valid", str(data), "--device", "cpu"]
    made = ["--layers", "2-2", "--bits", "8-8-16", "--max-steps", "0", "--output", str(folder / "artifact")]
    with pytest.raises(SystemExit) as ended:
        run_command(Compress, "compress", [str(folder / "checkpoint"), *arguments, *made])
    assert ended.value.code == 0
    return folder / "artifact"


def generated(folder: Path, model: Any) -> list[list[int]]:
    """The ids of each source, by stock classes."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    settings = {**SETTINGS, "eos_token_id": 2, "pad_token_id": 1, "decoder_start_token_id": 2}
    found = []
    for text in SOURCES:
        inputs = tokenizer(text, return_tensors="pt")
        assert int(inputs["input_ids"].max()) < model.config.vocab_size
        found.append(model.generate(**inputs, **settings)[0].tolist())
    return found


def test_the_engine_gives_what_generate_gives(artifact: Path) -> None:
    read, codec = read_artifact(artifact), check_model("model", artifact, max_rows=16).codec()
    wanted = parameters(max_new_tokens=19, num_beams=3, forced_bos_token_id=0, forced_eos_token_id=2)
    requests = [Request(codec.encode({"source": text}, None, None).source_ids, wanted) for text in SOURCES]
    results = run(load_engine(artifact, EngineSettings(), "pytorch"), requests)
    expected = generated(artifact, dequantized_student(read))
    assert [[2, *result.sequences[0].token_ids] for result in results] == expected
    assert len({tuple(ids) for ids in expected}) > 3


def test_transformers_reads_the_artifact(artifact: Path) -> None:
    model = AutoModelForSeq2SeqLM.from_pretrained(artifact)
    expected = dequantized_student(read_artifact(artifact)).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert generated(artifact, model) == generated(artifact, dequantized_student(read_artifact(artifact)))


@pytest.mark.parametrize("kind", ["plain", "int8"])
def test_other_tools_read_what_is_exported(artifact: Path, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is of the extra dqbart[dev]")
    read = read_artifact(artifact)
    if kind == "plain":
        export_transformers(read, tmp_path, "float32")
    else:
        export_int8(read, tmp_path)
    exported = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert generated(tmp_path, exported) == generated(artifact, dequantized_student(read))
