"""The same comparison with `generate` on a trained translator, where it is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, MBartForConditionalGeneration

from compress.model.quantized_modules import full_precision_weights, quantize_modules
from quant.artifact import write_artifact
from quant.card import Card
from quant.scheme import Scheme
from serving.engine.engine import Finished, load_engine
from serving.engine.request import GenerationParameters, Request
from serving.engine.settings import EngineSettings

SHARED = Path(__file__).parents[4] / "shared"
TEACHER = SHARED / "teachers" / "mbart-de-en"
SENTENCES = SHARED / "data" / "tatoeba_de_en" / "test.jsonl"
CARD = Card(
    task="translation",
    source_template="{source}",
    passage_separator=None,
    normalization=(),
    source_prefix=("{source_language}",),
    source_suffix=("</s>",),
    decoder_start="</s>",
    forced_bos="{target_language}",
    directions=("de_DE>en_XX",),
    clean_up_tokenization_spaces=False,
    max_source_tokens=256,
    teacher="mbart-de-en",
    teacher_layers="6-6",
    teacher_bytes=1,
)


@pytest.mark.skipif(not TEACHER.is_dir(), reason=f"no trained translator in {TEACHER}")
@pytest.mark.parametrize("scheme", ["8-8-8", "2-8-8"])
def test_same_translations_as_generate(tmp_path: Path, scheme: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TEACHER)
    student = MBartForConditionalGeneration.from_pretrained(TEACHER).eval()
    lines = SENTENCES.read_text().splitlines()[:24]
    sources = [tuple(tokenizer(json.loads(line)["source"])["input_ids"]) for line in lines]
    weights = {name: tensor.clone() for name, tensor in full_precision_weights(student).items()}
    write_artifact(tmp_path, weights, student.config.to_dict(), {}, Scheme.parse(scheme), "sha256:0", CARD)
    quantize_modules(student, Scheme.parse(scheme))
    english = tokenizer.convert_tokens_to_ids("en_XX")
    parameters = GenerationParameters(40, 2, (2,), num_beams=4, forced_bos_token_id=english, forced_eos_token_id=2)
    engine = load_engine(tmp_path, EngineSettings(max_batch_rows=96))
    requests = {engine.submit(Request(source, parameters)): source for source in sources}
    while engine.has_work:
        for end in (event for event in engine.step() if isinstance(event, Finished)):
            with torch.inference_mode():
                expected = student.generate(
                    torch.tensor([requests[end.request_id]]),
                    attention_mask=torch.ones(1, len(requests[end.request_id]), dtype=torch.long),
                    num_beams=4,
                    max_length=None,
                    max_new_tokens=40,
                    forced_bos_token_id=english,
                )
            assert not isinstance(end.outcome, Exception)
            assert end.outcome.sequences[0].token_ids == tuple(expected[0, 1:].tolist())
