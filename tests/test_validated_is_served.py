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
from serving.text import TextCodec

SHIPPED = Path(__file__).parents[1] / "models" / "mbart-de-en-2-2-8"
GERMAN = [
    "Guten Morgen!",
    "Ich habe gestern   zwei\tBücher gelesen, eines davon auf Englisch.",
    "Wo ist der Bahnhof?",
    "Maria sagte, dass sie – trotz des Regens – kommen würde; 3,5 km zu Fuß.",
    "😀 你好 ñandú",
    "x" * 60,
]
ENGLISH = ["Where is the station?", "I don't know what you're talking about.", "“Quoted”, isn't it?"]
EXAMPLES = [Example({"source": text}, "-", "de_DE", "en_XX") for text in GERMAN] + [
    Example({"source": text}, "-", "en_XX", "de_DE") for text in ENGLISH
]


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
def test_the_shipped_model_gives_the_same_text_to_both_halves(num_beams: int) -> None:
    model, text_format, artifact = load_student(SHIPPED)
    encoded = text_format.encode(EXAMPLES, max_target_tokens=128)
    hypotheses = generate(model, text_format, EXAMPLES, encoded, DecodingSettings(num_beams=num_beams), batch_tokens=512)

    codec = TextCodec(SHIPPED, artifact.card, artifact.architecture.vocab_size)
    requests = []
    for example, ids in zip(EXAMPLES, encoded, strict=True):
        source = codec.encode(example.texts, example.source_language, example.target_language)
        assert list(source.source_ids) == ids.source_ids
        parameters = GenerationParameters(
            max_new_tokens=artifact.generation_config["max_length"] - 1,
            decoder_start_token_id=source.decoder_start_token_id,
            eos_token_id=artifact.architecture.eos_token_id,
            num_beams=num_beams,
            forced_bos_token_id=source.forced_bos_token_id,
            forced_eos_token_id=artifact.generation_config["forced_eos_token_id"],
        )
        requests.append(Request(source.source_ids, parameters))
    results = run(load_engine(SHIPPED, EngineSettings()), requests)
    assert [codec.decode(result.sequences[0].token_ids) for result in results] == hypotheses
    assert hypotheses[2] == "Where is the station?"
