"""The engine's ids are those of `generate` of the same student in stock `transformers` classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from serving.engine.engine import Engine
from serving.engine.model import Model
from serving.engine.request import GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings

SCHEMES = ["2-2-8", "4-4-8", "8-8-8", "8-8-16", "2-2-8/matrix", "8-8-8/matrix", "2-8-8"]
SOURCES = [0, 3, 7, 11, 14]
TIE = 1e-4

Sources = list[tuple[int, ...]]


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 18, "decoder_start_token_id": 2, "eos_token_id": 2, **changes})


BASIC = {
    "greedy": parameters(),
    "beams": parameters(num_beams=4),
}
PARAMETERS = {
    "greedy-constrained": parameters(no_repeat_ngram_size=2, min_new_tokens=6, forced_bos_token_id=7, forced_eos_token_id=2),
    "beams-2-penalty-0": parameters(num_beams=2, length_penalty=0.0),
    "beams-3-penalty-half": parameters(num_beams=3, length_penalty=0.5),
    "beams-4-penalty-2": parameters(num_beams=4, length_penalty=2.0),
    "beams-5-negative-penalty": parameters(num_beams=5, length_penalty=-1.0),
    "beams-6-early": parameters(num_beams=6, early_stopping=True),
    "beams-4-early-penalty-2": parameters(num_beams=4, early_stopping=True, length_penalty=2.0),
    "beams-4-min": parameters(num_beams=4, min_new_tokens=10),
    "beams-4-fixed-length": parameters(num_beams=4, min_new_tokens=9, max_new_tokens=9),
    "beams-4-no-repeat-1": parameters(num_beams=4, no_repeat_ngram_size=1),
    "beams-4-no-repeat-3": parameters(num_beams=4, no_repeat_ngram_size=3, max_new_tokens=40),
    "beams-4-forced-bos": parameters(num_beams=4, forced_bos_token_id=11),
    "beams-4-forced-eos": parameters(num_beams=4, forced_eos_token_id=2, max_new_tokens=6),
    "beams-4-all": parameters(
        num_beams=4,
        no_repeat_ngram_size=2,
        min_new_tokens=4,
        forced_bos_token_id=7,
        forced_eos_token_id=2,
        length_penalty=1.5,
        early_stopping=True,
    ),
    "one-token": parameters(num_beams=4, max_new_tokens=1),
    "other-start": parameters(num_beams=2, decoder_start_token_id=9),
}


@pytest.mark.parametrize("name", BASIC)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_same_ids_for_every_scheme(
    architecture: str, scheme: str, name: str, build_student: Any, sources: Sources, run_all: Any
) -> None:
    compare(build_student(architecture, scheme), BASIC[name], sources, run_all)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_same_ids_for_every_parameter(
    architecture: str, name: str, build_student: Any, sources: Sources, run_all: Any
) -> None:
    compare(build_student(architecture, "2-2-8"), PARAMETERS[name], sources, run_all)


def test_the_students_outputs_vary_and_end(build_student: Any, sources: Sources, run_all: Any) -> None:
    """Else the comparisons above would compare little."""
    engine = Engine(Model(build_student("mbart", "2-2-8").artifact), EngineSettings())
    results = run_all(engine, [Request(source, parameters(max_new_tokens=40)) for source in sources])
    assert len({token for result in results for token in result.token_ids}) > 20
    assert {result.finish_reason for result in results} == {"eos", "length"}


def compare(student: Any, parameters: GenerationParameters, sources: Sources, run_all: Any) -> None:
    engine = Engine(Model(student.artifact), EngineSettings())
    chosen = [sources[index] for index in SOURCES]
    for source, result in zip(chosen, run_all(engine, [Request(source, parameters) for source in chosen]), strict=True):
        assert isinstance(result, Result), result
        ids, score = generate(student.stock, source, parameters)
        if result.token_ids == ids:
            assert score is None or result.score == pytest.approx(score, abs=1e-5)
        else:
            scores = [score_under(student.stock, source, each, parameters) for each in (result.token_ids, ids)]
            assert scores[0] == pytest.approx(scores[1], abs=TIE), f"{result.token_ids} is no tie with {ids}"


def generate(stock: Any, source: tuple[int, ...], parameters: GenerationParameters) -> tuple[tuple[int, ...], float | None]:
    with torch.inference_mode():
        output = stock.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            do_sample=False,
            max_new_tokens=parameters.max_new_tokens,
            min_new_tokens=parameters.min_new_tokens or None,
            num_beams=parameters.num_beams,
            decoder_start_token_id=parameters.decoder_start_token_id,
            eos_token_id=parameters.eos_token_id,
            pad_token_id=1,
            no_repeat_ngram_size=parameters.no_repeat_ngram_size,
            forced_bos_token_id=parameters.forced_bos_token_id,
            forced_eos_token_id=parameters.forced_eos_token_id,
            return_dict_in_generate=True,
            output_scores=True,
            **({} if parameters.num_beams == 1 else beam_settings(parameters)),
        )
    score = None if parameters.num_beams == 1 else float(output.sequences_scores[0])
    return tuple(output.sequences[0, 1:].tolist()), score


def beam_settings(parameters: GenerationParameters) -> dict[str, Any]:
    return {"length_penalty": parameters.length_penalty, "early_stopping": parameters.early_stopping}


def score_under(stock: Any, source: tuple[int, ...], ids: tuple[int, ...], parameters: GenerationParameters) -> float:
    """The student's own score of a sequence, forced tokens counting nothing."""
    decoder_ids = torch.tensor([[parameters.decoder_start_token_id, *ids]])
    with torch.inference_mode():
        logits = stock(input_ids=torch.tensor([source]), decoder_input_ids=decoder_ids[:, :-1]).logits[0]
    chosen = torch.log_softmax(logits, -1).gather(1, decoder_ids[0, 1:, None])[:, 0]
    if parameters.forced_bos_token_id is not None:
        chosen[0] = 0.0
    if parameters.forced_eos_token_id is not None and len(ids) == parameters.max_new_tokens:
        chosen[-1] = 0.0
    return float(chosen.sum() / len(ids) ** parameters.length_penalty)
