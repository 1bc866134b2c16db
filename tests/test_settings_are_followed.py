"""What `transformers` generates with a checkpoint's own tokenizer and settings, the service generates with the artifact.

The reference is stock `generate` on the artifact's dequantized weights; with activations left as they are, ids are equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

from compress.data.text_format import Example
from compress.model.packed_student import dequantized_student, load_student
from compress.scoring.decoding import DecodingSettings, generate
from dqbart.cli import run_command
from pipelines.compressing.compress import Compress
from quant.artifact import read_artifact
from serving.engine.engine import load_engine
from serving.engine.request import Request
from serving.engine.settings import EngineSettings
from serving.service.models import check_model
from serving.service.requests import GenerationParameters
from tests.checkpoints import SETTINGS, TEXTS, bart, bert, edit, mbart
from tests.test_validated_is_served import run

SOURCES = [*TEXTS[:3], "Zwölf Wörter, 3,5 km!"]
MBART = {"max_length": 20, "num_beams": 3, "early_stopping": True}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in SETTINGS.items() if name not in names}


def settings_in_config(folder: Path) -> None:
    bart(folder, SETTINGS)
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", **SETTINGS)


def settings_in_both(folder: Path) -> None:
    """`generate` then reads those of generation_config.json alone."""
    bart(folder, without("min_length", "length_penalty"))
    edit(folder / "config.json", forced_bos_token_id=9, num_beams=1, max_length=9, min_length=15, length_penalty=0.5)


CASES: dict[str, Callable[[Path], object]] = {
    "plain": lambda folder: bart(folder, SETTINGS),
    "no_forced_bos": lambda folder: bart(folder, without("forced_bos_token_id")),
    "forced_bos_9": lambda folder: bart(folder, {**SETTINGS, "forced_bos_token_id": 9}),
    "settings_in_config": settings_in_config,
    "settings_in_both": settings_in_both,
    "new_tokens": lambda folder: bart(folder, {**SETTINGS, "max_new_tokens": 11, "min_new_tokens": 5}),
    "encoder_ngram": lambda folder: bart(folder, {**SETTINGS, "encoder_no_repeat_ngram_size": 2}),
    "never": lambda folder: bart(folder, {**SETTINGS, "early_stopping": "never"}),
    "bad_words": lambda folder: bart(folder, {**SETTINGS, "bad_words_ids": [[20], [30, 31], [2]]}),
    "several_ends": lambda folder: bart(folder, {**without("min_length"), "eos_token_id": [2, 40, 41, 42]}),
    "another_start": lambda folder: bart(folder, {**SETTINGS, "decoder_start_token_id": 12}),
    "greedy_penalty": lambda folder: bart(folder, {"max_length": 16, "repetition_penalty": 1.5}),
    "mbart50": lambda folder: mbart(folder, "MBart50Tokenizer", MBART),
    "mbart_cc25": lambda folder: mbart(folder, "MBartTokenizer", MBART),
    "bert": lambda folder: bert(folder, {"max_length": 16, "num_beams": 2}),
}


def compressed(checkpoint: Path, folder: Path, *flags: str, task: str = "summarization") -> Path:
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"source": text, "target": text}) + "\n" for text in SOURCES))
    arguments = [str(checkpoint), "--task", task, "--train", str(data), "--valid", str(data), "--layers", "2-2"]
    output = folder / "student"
    with pytest.raises(SystemExit) as stopped:
        run_command(
            Compress,
            "compress",
            [*arguments, "--bits", "8-8-16", "--max-steps", "0", "--output", str(output), *flags],
        )
    assert stopped.value.code == 0
    return output


def served(artifact: Path, *languages: str) -> tuple[list[list[int]], list[str]]:
    """Ids and texts, through the service's own reading of the artifact."""
    checked = check_model("model", artifact, 64)
    codec = checked.codec()
    requests = []
    for text in SOURCES:
        source = codec.encode({"source": text}, *(languages or (None, None)))
        requests.append(Request(source.source_ids, checked.defaults.resolve(GenerationParameters(), source, 64)))
    results = run(load_engine(artifact, EngineSettings()), requests)
    sequences = [list(result.sequences[0].token_ids) for result in results]
    return sequences, [codec.decode(ids) for ids in sequences]


def validated(artifact: Path) -> list[str]:
    """The texts that a validation scores."""
    model, text_format, _ = load_student(artifact)
    examples = [Example({"source": text}, "-") for text in SOURCES]
    return generate(model, text_format, examples, text_format.encode(examples, 64), DecodingSettings(), batch_tokens=1)


def generated(checkpoint: Path, artifact: Path, source_language: str | None = None, **options: Any) -> Any:
    """The same by `transformers` alone, but for the weights."""
    model: PreTrainedModel = dequantized_student(read_artifact(artifact))
    model.generation_config = AutoModelForSeq2SeqLM.from_pretrained(checkpoint).generation_config
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if source_language:
        tokenizer.src_lang = source_language
    sequences = []
    for text in SOURCES:
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        sequences.append(model.generate(**inputs, **options)[0, 1:].tolist())
    return sequences, [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in sequences]


@pytest.mark.parametrize("name", CASES)
def test_the_service_generates_as_transformers_does(tmp_path: Path, name: str) -> None:
    CASES[name](tmp_path / "checkpoint")
    artifact = compressed(tmp_path / "checkpoint", tmp_path)
    sequences, texts = generated(tmp_path / "checkpoint", artifact)
    assert served(artifact) == (sequences, texts)
    assert validated(artifact) == texts


@pytest.mark.parametrize("name", ["mbart50", "mbart_cc25"])
def test_languages_that_are_named_override_the_settings(tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / "checkpoint"
    CASES[name](checkpoint)
    flags = ["--source-language", "de_DE", "--target-language", "en_XX"]
    artifact = compressed(checkpoint, tmp_path, *flags, task="translation")
    target = AutoTokenizer.from_pretrained(checkpoint).convert_tokens_to_ids("en_XX")
    option = "forced_bos_token_id" if name == "mbart50" else "decoder_start_token_id"
    assert served(artifact, "de_DE", "en_XX") == generated(checkpoint, artifact, "de_DE", **{option: target})


@pytest.mark.parametrize("name", ["mbart50", "mbart_cc25"])
@pytest.mark.parametrize(
    "flags", [["--source-language", "en_XX"], ["--source-language", "en_XX", "--target-language", "en_XX"]]
)
def test_summaries_in_one_language(tmp_path: Path, name: str, flags: list[str]) -> None:
    """The client names none: the card has it."""
    checkpoint = tmp_path / "checkpoint"
    CASES[name](checkpoint)
    artifact = compressed(checkpoint, tmp_path, *flags)
    target = AutoTokenizer.from_pretrained(checkpoint).convert_tokens_to_ids("en_XX")
    option = "forced_bos_token_id" if name == "mbart50" else "decoder_start_token_id"
    assert served(artifact) == generated(checkpoint, artifact, "en_XX", **{option: target})
    assert check_model("model", artifact, 64).card.languages == ()


@pytest.mark.parametrize(
    ("flags", "longest"), [([], 63), (["--max-target-tokens", "30"], 30), (["--max-new-tokens", "9"], 9)]
)
def test_one_length_where_the_checkpoint_says_none(tmp_path: Path, flags: list[str], longest: int) -> None:
    checkpoint = bart(tmp_path / "checkpoint", {"forced_bos_token_id": 0})
    artifact = compressed(checkpoint, tmp_path, *flags)
    model, _, _ = load_student(artifact)
    assert DecodingSettings().over(model).max_new_tokens == longest
    assert check_model("model", artifact, 64).defaults.max_new_tokens == longest
    assert served(artifact) == generated(checkpoint, artifact, max_length=longest + 1)


def test_texts_lose_spaces_as_the_tokenizer_says(tmp_path: Path) -> None:
    checkpoint = bert(tmp_path / "checkpoint", {"max_length": 30, "num_beams": 2}, clean_up_tokenization_spaces=True)
    artifact = compressed(checkpoint, tmp_path)
    assert check_model("model", artifact, 64).card.clean_up_tokenization_spaces
    ids, _ = served(artifact)
    _, text_format, _ = load_student(artifact)
    assert served(artifact) == generated(checkpoint, artifact)
    codec, spelled = check_model("model", artifact, 64).codec(), text_format.tokenizer("der hund , was ' t it ! ?")
    assert codec.decode(spelled["input_ids"]) == text_format.decode(spelled["input_ids"]) == "der hund, was't it!?"
    assert ids
