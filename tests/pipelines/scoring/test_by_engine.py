"""The engine and `generate` behind one protocol: the same outputs of the same examples."""

from pathlib import Path

import pytest
import torch

from compress.data.text_format import Example
from compress.model.told import Told
from compress.scoring.decoder import Decoded
from compress.scoring.decoding import DecodingSettings, search_settings
from pipelines.scoring.by_engine import engine_decoder
from pipelines.scoring.check_generate import CheckError, check, generate_decoder, sample
from pipelines.scoring.scored_model import ScoredArtifact
from pipelines.scoring.validation import by_itself
from quant.artifact import open_artifact
from quant.generation import GenerationSettings

MODELS = Path(__file__).parents[3] / "models"
CPU = torch.device("cpu")
DE_EN, EN_DE = ("de_DE", "en_XX"), ("en_XX", "de_DE")
PASSAGES = ("A cold is an infection of the nose.", "Rest and warm drinks help.")
EXAMPLES = {
    "mbart-de-en-2-4-8": [
        Example({"source": "Guten Morgen!\n\n  1. Wo ist der Bahnhof? Ich weiß es nicht."}, "-", *DE_EN),
        Example({"source": "Where is the station?"}, "-", *EN_DE),
        Example({"source": "12 345 😀"}, "-", *DE_EN),
        Example({"source": "Wo ist der Bahnhof?"}, "-", *DE_EN),
    ],
    "acl-scitldr-2-4-8": [Example({"source": "We make translation models smaller. " * times}, "-") for times in (1, 90)],
    "medquad-fairytale-qa-2-4-8": [
        Example({"question": "What is a cold?", "context": PASSAGES}, "-"),
        Example({"question": "Who? " * 300, "context": "Nobody."}, "-"),
        Example({"question": "What helps?", "context": PASSAGES[1] * 120}, "-"),
    ],
}
COUNTS = {"mbart-de-en-2-4-8": (0, 0), "acl-scitldr-2-4-8": (1, 0), "medquad-fairytale-qa-2-4-8": (1, 1)}
"""Examples that are truncated, and that are refused."""
SHORT = DecodingSettings(num_beams=2, max_new_tokens=12)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_engine_and_generate_write_the_same(name: str) -> None:
    folder, examples, threads = MODELS / name, EXAMPLES[name], torch.get_num_threads()
    plain = generate_decoder(folder, SHORT, None, 2048)
    told: dict[str, list[int]] = {"engine": [], "generate": []}
    with engine_decoder(folder, CPU, SHORT.over_artifact(open_artifact(folder))) as engine:
        decoded = engine.decode(examples, told["engine"].append)
        checked = check(engine, plain, examples, 3, lambda _: None)
    assert decoded == plain.decode(examples, told["generate"].append)
    assert (decoded.truncated, decoded.refused) == COUNTS[name]
    assert {by: sum(counts) for by, counts in told.items()} == dict.fromkeys(told, len(examples))
    assert (checked.equal, checked.first) == (min(3, len(examples)), None)
    assert (
        engine.settings
        == plain.settings
        == {"num_beams": 2, "max_length": 13}
        | ({"no_repeat_ngram_size": 3} if "no_repeat_ngram_size" in engine.settings else {})
    )
    assert engine.reading == plain.reading
    assert torch.get_num_threads() == threads


def test_a_translation_is_read_as_the_service_reads_it() -> None:
    folder = MODELS / "mbart-de-en-2-4-8"
    with engine_decoder(folder, CPU, GenerationSettings.of(open_artifact(folder))) as engine:
        outputs = engine.decode(EXAMPLES[folder.name], lambda _: None).outputs
    assert outputs == [
        "Good morning!\n\n  1. Where is the station? I don't know.",
        "Wo ist der Bahnhof?",
        "12 345 😀",
        "Where is the station?",
    ]


def test_a_student_decodes_with_its_own_modules_what_its_artifact_does() -> None:
    folder = MODELS / "mbart-de-en-2-4-8"
    from compress.model.packed_student import load_student

    examples = EXAMPLES[folder.name]
    itself = by_itself(folder, load_student(folder)[0], 512)
    with engine_decoder(folder, CPU, GenerationSettings.of(open_artifact(folder)), "none") as engine:
        assert engine.decode(examples, lambda _: None) == itself.decode(examples, lambda _: None)
    assert (engine.decoded_by, itself.decoded_by) == ("engine, native", "generate, cpu")


def test_the_first_example_that_differs_is_told() -> None:
    folder = MODELS / "mbart-de-en-2-4-8"
    examples = EXAMPLES[folder.name]
    shorter = generate_decoder(folder, DecodingSettings(num_beams=2, max_new_tokens=3), None, 512)
    with engine_decoder(folder, CPU, SHORT.over_artifact(open_artifact(folder))) as engine:
        found = check(engine, shorter, examples, 2, lambda _: None)
    assert (found.examples, found.equal) == (2, 1)
    assert str(found).startswith(
        "generate gives the engine's ids for 1 of 2 examples; the first that differs is example 1, "
    )
    assert "'Guten Morgen!\\n\\n  1. Wo ist" in str(found)


def test_draws_are_not_compared() -> None:
    with pytest.raises(CheckError, match="do_sample is on"):
        generate_decoder(MODELS / "mbart-de-en-2-4-8", DecodingSettings(num_beams=1), {"do_sample": True}, 512)


def test_a_sample_is_spread_over_all() -> None:
    assert sample(10, 3) == [0, 3, 6]
    assert sample(2, 5) == [0, 1]
    assert sample(5, 0) == []


def test_an_artifact_searches_by_the_settings_of_another() -> None:
    model = ScoredArtifact(MODELS / "mbart-de-en-2-4-8", Told(None, DE_EN))
    of_other = search_settings(GenerationSettings.of(open_artifact(MODELS / "medquad-fairytale-qa-2-4-8")))
    with model.decoder(CPU, DecodingSettings(max_new_tokens=9), of_other) as decoder:
        assert decoder.settings["max_length"] == 10
        assert decoder.settings.get("no_repeat_ngram_size", 0) == of_other["no_repeat_ngram_size"]
        assert isinstance(decoder.decode([], lambda _: None), Decoded)
