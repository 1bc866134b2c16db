"""What `compress` validates is what `serving` serves: the same ids from a text, the same ids and text from a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.data.text_format import Example
from compress.model.packed_student import load_student
from compress.scoring.decoding import DecodingSettings, generate
from serving.engine.engine import Engine, Finished, load_engine
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings
from serving.service.text import TextCodec

MODELS = Path(__file__).parents[1] / "models"
GERMAN = [
    "Guten Morgen!",
    "Ich habe gestern   zwei\tBücher gelesen, eines davon auf Englisch.",
    "Wo ist der Bahnhof?",
    "Maria sagte, dass sie – trotz des Regens – kommen würde; 3,5 km zu Fuß.",
    "😀 你好 ñandú",
    "x" * 60,
]
ENGLISH = ["Where is the station?", "I don't know what you're talking about.", "“Quoted”, isn't it?"]
ABSTRACT = """We present a method that makes translation models smaller. A student with fewer layers learns from its teacher,
while its weights are quantized to two bits. Experiments on two corpora show that it loses little quality."""
PASSAGE = """A cold is an infection of the nose and the throat. It is caused by a virus. Rest and warm drinks help.
How is a cold treated? There is no cure for a cold. Most people are well again after a week."""
EXAMPLES = {
    "mbart-de-en-2-4-8": [Example({"source": text}, "-", "de_DE", "en_XX") for text in GERMAN]
    + [Example({"source": text}, "-", "en_XX", "de_DE") for text in ENGLISH],
    "acl-scitldr-2-4-8": [Example({"source": text}, "-") for text in (ABSTRACT, ABSTRACT[:90], "😀 你好 ñandú")],
    "medquad-fairytale-qa-2-4-8": [
        Example({"question": question, "context": PASSAGE}, "-")
        for question in ("What is a cold?", "What are the treatments for colds?", "Who?")
    ]
    + [Example({"question": "What is a cold?", "context": tuple(PASSAGE.splitlines())}, "-")],
}


def test_every_shipped_model_is_tried() -> None:
    assert {config.parent.name for config in MODELS.glob("*/config.json")} == set(EXAMPLES)


def run(engine: Engine, requests: list[Request]) -> list[Result]:
    """All requests in one batch, results in their order."""
    ids = [engine.submit(request) for request in requests]
    ended: dict[int, Result] = {}
    while engine.has_work:
        for end in engine.step():
            assert isinstance(end, Finished)
            assert isinstance(end.outcome, Result)
            ended[end.request_id] = end.outcome
    return [ended[request_id] for request_id in ids]


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_shipped_model_gives_the_same_text_to_both_halves(name: str, num_beams: int) -> None:
    folder, examples = MODELS / name, EXAMPLES[name]
    model, text_format, artifact = load_student(folder)
    encoded = text_format.encode(examples, max_target_tokens=128)
    hypotheses = generate(model, text_format, examples, encoded, DecodingSettings(num_beams=num_beams), batch_tokens=512)

    codec = TextCodec(folder, artifact.card, artifact.architecture.vocab_size)
    requests = []
    for example, ids in zip(examples, encoded, strict=True):
        source = codec.encode(example.texts, example.source_language, example.target_language)
        assert list(source.source_ids) == ids.source_ids
        parameters = GenerationParameters(
            max_new_tokens=artifact.generation_config["max_length"] - 1,
            decoder_start_token_id=source.decoder_start_token_id,
            eos_token_ids=(artifact.architecture.eos_token_id,),
            num_beams=num_beams,
            no_repeat_ngram_size=artifact.generation_config.get("no_repeat_ngram_size", 0),
            forced_bos_token_id=source.forced_bos_token_id,
            forced_eos_token_id=artifact.generation_config["forced_eos_token_id"],
        )
        requests.append(Request(source.source_ids, parameters))
    results = run(load_engine(folder, EngineSettings()), requests)
    assert [codec.decode(result.sequences[0].token_ids) for result in results] == hypotheses


def test_the_shipped_translator_translates() -> None:
    model, text_format, _ = load_student(MODELS / "mbart-de-en-2-4-8")
    examples = EXAMPLES["mbart-de-en-2-4-8"][2:3]
    encoded = text_format.encode(examples, max_target_tokens=128)
    assert generate(model, text_format, examples, encoded, DecodingSettings(), batch_tokens=512) == ["Where is the station?"]
