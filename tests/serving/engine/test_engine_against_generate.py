"""The engine's ids and scores are those of `generate` of the same student in stock `transformers` classes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.engine.engine import Engine
from serving.engine.request import GeneratedSequence, GenerationParameters, Request, Result
from serving.engine.settings import EngineSettings

SCHEMES = ["2-2-8", "4-4-8", "8-8-8", "8-8-16", "2-2-8/matrix", "8-8-8/matrix", "2-8-8"]
SOURCES = [0, 3, 7, 11, 14]
TIE = 5e-5
CLOSE = 5e-4
"""Of log-probabilities: with activations at 16 bits the stock model sums in float32, in another order."""

Sources = list[tuple[int, ...]]


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 18, "decoder_start_token_id": 2, "eos_token_ids": (2,), **changes})


ENDS = (2, *range(60, 100, 4))
"""So many that sequences end by others than the usual one."""
BAD_WORDS = ((2,), (5,), (17,), *((token, token + 1) for token in range(20, 200, 2)), (7, 30, 40), (2, 7, 11))

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
    "greedy-penalized": parameters(repetition_penalty=1.4, forced_bos_token_id=7),
    "beams-4-penalized": parameters(num_beams=4, repetition_penalty=1.4, no_repeat_ngram_size=2, min_new_tokens=4),
    "beams-3-rewarded": parameters(num_beams=3, repetition_penalty=0.8, max_new_tokens=9),
    "beams-4-return-4": parameters(num_beams=4, num_return_sequences=4),
    "beams-5-return-2-all": parameters(
        num_beams=5,
        num_return_sequences=2,
        forced_bos_token_id=7,
        forced_eos_token_id=2,
        length_penalty=0.5,
        early_stopping=True,
        repetition_penalty=1.2,
        max_new_tokens=7,
    ),
    "greedy-ends": parameters(eos_token_ids=ENDS, min_new_tokens=5, forced_eos_token_id=2),
    "greedy-bad-words": parameters(bad_words_ids=BAD_WORDS, encoder_no_repeat_ngram_size=2, max_new_tokens=30),
    "greedy-no-source-tokens": parameters(encoder_no_repeat_ngram_size=1),
    "beams-4-ends": parameters(num_beams=4, num_return_sequences=4, eos_token_ids=ENDS, min_new_tokens=3),
    "beams-3-ends-early": parameters(num_beams=3, eos_token_ids=ENDS, early_stopping=True),
    "beams-4-never": parameters(num_beams=4, early_stopping="never", max_new_tokens=30),
    "beams-2-never-penalty-2": parameters(num_beams=2, early_stopping="never", length_penalty=2.0),
    "beams-3-never-negative-penalty": parameters(num_beams=3, early_stopping="never", length_penalty=-1.0),
    "beams-5-bad-words": parameters(num_beams=5, num_return_sequences=2, bad_words_ids=BAD_WORDS, max_new_tokens=30),
    "beams-4-no-source-ngrams": parameters(num_beams=4, encoder_no_repeat_ngram_size=2, max_new_tokens=30),
    **{
        f"beams-{beams}-everything": parameters(
            num_beams=beams,
            eos_token_ids=ENDS,
            early_stopping="never",
            length_penalty=1.5,
            bad_words_ids=BAD_WORDS,
            encoder_no_repeat_ngram_size=2,
            no_repeat_ngram_size=3,
            repetition_penalty=1.2,
            min_new_tokens=4,
            forced_bos_token_id=7,
            forced_eos_token_id=2,
            max_new_tokens=24,
        )
        for beams in range(1, 7)
    },
    "one-token": parameters(num_beams=4, max_new_tokens=1),
    "other-start": parameters(num_beams=2, decoder_start_token_id=9),
}


@pytest.mark.parametrize("name", BASIC)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_same_ids_for_every_scheme(
    architecture: str, scheme: str, name: str, build_student: Any, build_runner: Any, sources: Sources, run_all: Any
) -> None:
    student = build_student(architecture, scheme)
    compare(student, build_runner(student.artifact), BASIC[name], sources, run_all)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("architecture", ["bart", "mbart"])
def test_same_ids_for_every_parameter(
    architecture: str, name: str, build_student: Any, build_runner: Any, sources: Sources, run_all: Any
) -> None:
    student = build_student(architecture, "2-2-8")
    compare(student, build_runner(student.artifact), PARAMETERS[name], sources, run_all)


@pytest.mark.parametrize("architecture", ["bart", "mbart"])
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_same_ids_for_every_structure(
    architecture: str,
    data: st.DataObject,
    build_structured: Any,
    structures: Any,
    build_runner: Any,
    sources: Sources,
    run_all: Any,
) -> None:
    """Uneven heads, and other bits in some blocks."""
    student = build_structured(architecture, data.draw(st.sampled_from(["2-2-8", "8-4-8/matrix"])), data.draw(structures))
    compare(student, build_runner(student.artifact), BASIC[data.draw(st.sampled_from(sorted(BASIC)))], sources, run_all)


def test_the_students_outputs_vary_and_end(build_student: Any, build_runner: Any, sources: Sources, run_all: Any) -> None:
    """Else the comparisons above would compare little."""
    engine = Engine(build_runner(build_student("mbart", "2-2-8").artifact), EngineSettings())
    results = run_all(engine, [Request(source, parameters(max_new_tokens=40)) for source in sources])
    sequences = [result.sequences[0] for result in results]
    assert len({token for sequence in sequences for token in sequence.token_ids}) > 20
    assert {sequence.finish_reason for sequence in sequences} == {"eos", "length"}


def test_sampling_the_likeliest_is_greedy(build_student: Any, build_runner: Any, sources: Sources, run_all: Any) -> None:
    engine = Engine(build_runner(build_student("bart", "2-2-8").artifact), EngineSettings())
    changes = {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 4, "return_scores": True}
    greedy = [Request(sources[index], parameters(**changes)) for index in SOURCES]
    sampled = [Request(sources[index], parameters(**changes, do_sample=True, top_k=1)) for index in SOURCES]
    expected, results = run_all(engine, greedy), run_all(engine, sampled)
    assert [result.sequences for result in results] == [result.sequences for result in expected]


def test_what_is_drawn_has_the_students_log_probabilities(
    build_student: Any, build_runner: Any, sources: Sources, run_all: Any
) -> None:
    student = build_student("mbart", "2-2-8")
    engine = Engine(build_runner(student.artifact), EngineSettings())
    wanted = parameters(
        do_sample=True, top_p=0.9, repetition_penalty=1.2, num_return_sequences=3, return_scores=True, length_penalty=0.5
    )
    requests = [Request(sources[index], wanted) for index in SOURCES]
    for request, result in zip(requests, run_all(engine, requests), strict=True):
        for sequence in result.sequences:
            check_log_probabilities(student.stock, request.source_ids, sequence, wanted)
            assert sequence.score == pytest.approx(
                sum(sequence.token_log_probabilities) / len(sequence.token_ids) ** 0.5, abs=1e-5
            )


def compare(student: Any, runner: Any, parameters: GenerationParameters, sources: Sources, run_all: Any) -> None:
    engine = Engine(runner, EngineSettings())
    parameters = replace(parameters, return_scores=True)
    chosen = [sources[index] for index in SOURCES]
    for source, result in zip(chosen, run_all(engine, [Request(source, parameters) for source in chosen]), strict=True):
        assert isinstance(result, Result), result
        for sequence, expected in zip(result.sequences, generate(student.stock, source, parameters), strict=True):
            compare_sequences(student.stock, source, sequence, expected, parameters)


def compare_sequences(
    stock: Any,
    source: tuple[int, ...],
    sequence: GeneratedSequence,
    expected: GeneratedSequence,
    parameters: GenerationParameters,
) -> None:
    check_log_probabilities(stock, source, sequence, parameters)
    assert sequence.score == pytest.approx(expected.score, rel=2e-7, abs=TIE)
    if sequence.token_ids == expected.token_ids:
        assert sequence.token_log_probabilities == pytest.approx(expected.token_log_probabilities, abs=CLOSE)
    elif parameters.repetition_penalty == 1.0:
        scores = [score_under(stock, source, each.token_ids, parameters) for each in (sequence, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=TIE), f"{sequence.token_ids} is no tie with {expected.token_ids}"


def check_log_probabilities(
    stock: Any, source: tuple[int, ...], sequence: GeneratedSequence, parameters: GenerationParameters
) -> None:
    expected = log_probabilities(stock, source, sequence.token_ids, parameters)
    assert sequence.token_log_probabilities == pytest.approx(expected, abs=CLOSE)


@cache  # each runner is compared with the same
def generate(stock: Any, source: tuple[int, ...], parameters: GenerationParameters) -> list[GeneratedSequence]:
    """What `generate` returns, with the log-probabilities that it had."""
    with torch.inference_mode():
        output = stock.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.long),
            do_sample=False,
            max_new_tokens=parameters.max_new_tokens,
            min_new_tokens=parameters.min_new_tokens or None,
            num_beams=parameters.num_beams,
            num_return_sequences=parameters.num_return_sequences,
            repetition_penalty=parameters.repetition_penalty,
            decoder_start_token_id=parameters.decoder_start_token_id,
            eos_token_id=list(parameters.eos_token_ids),
            pad_token_id=1,
            no_repeat_ngram_size=parameters.no_repeat_ngram_size,
            encoder_no_repeat_ngram_size=parameters.encoder_no_repeat_ngram_size,
            bad_words_ids=[list(word) for word in parameters.bad_words_ids] or None,
            forced_bos_token_id=parameters.forced_bos_token_id,
            forced_eos_token_id=parameters.forced_eos_token_id,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            **({} if parameters.num_beams == 1 else beam_settings(parameters)),
        )
    sequences = [without_padding(ids[1:].tolist()) for ids in output.sequences]
    if parameters.num_beams == 1:
        each_log_probabilities = [greedy_log_probabilities(output, parameters)]
        lengths = len(sequences[0]) ** parameters.length_penalty
        scores = [sum(each_log_probabilities[0]) / lengths]
    else:
        # Of edited values: with a penalty these are no log-probabilities of the model.
        edited = stock.compute_transition_scores(output.sequences, output.scores, output.beam_indices)
        if parameters.repetition_penalty == 1.0:
            each_log_probabilities = [values[: len(ids)].tolist() for values, ids in zip(edited, sequences, strict=True)]
        else:
            each_log_probabilities = [log_probabilities(stock, source, ids, parameters) for ids in sequences]
        scores = output.sequences_scores.tolist()
    return [
        GeneratedSequence(ids, "eos", score, tuple(values))
        for ids, score, values in zip(sequences, scores, each_log_probabilities, strict=True)
    ]


def without_padding(ids: list[int]) -> tuple[int, ...]:
    while ids[-1] == 1:
        ids = ids[:-1]
    return tuple(ids)


def greedy_log_probabilities(output: Any, parameters: GenerationParameters) -> list[float]:
    """Of unedited logits; in edited ones a forced token has 0 and the others are ruled out."""
    values = []
    for token, logits, edited in zip(output.sequences[0, 1:], output.logits, output.scores, strict=True):
        forced = bool((edited[0] > -torch.inf).sum() == 1)
        values.append(0.0 if forced else float(torch.log_softmax(logits, -1)[0, token]))
    return values


def beam_settings(parameters: GenerationParameters) -> dict[str, Any]:
    return {"length_penalty": parameters.length_penalty, "early_stopping": parameters.early_stopping}


def score_under(stock: Any, source: tuple[int, ...], ids: tuple[int, ...], parameters: GenerationParameters) -> float:
    """The student's own score of a sequence."""
    return sum(log_probabilities(stock, source, ids, parameters)) / len(ids) ** parameters.length_penalty


@cache
def log_probabilities(
    stock: Any, source: tuple[int, ...], ids: tuple[int, ...], parameters: GenerationParameters
) -> tuple[float, ...]:
    """The student's own of each token of a sequence, forced ones counting nothing."""
    decoder_ids = torch.tensor([[parameters.decoder_start_token_id, *ids]])
    with torch.inference_mode():
        logits = stock(input_ids=torch.tensor([source]), decoder_input_ids=decoder_ids[:, :-1]).logits[0]
    chosen = torch.log_softmax(logits, -1).gather(1, decoder_ids[0, 1:, None])[:, 0]
    if parameters.forced_bos_token_id is not None:
        chosen[0] = 0.0
    if parameters.forced_eos_token_id is not None and len(ids) == parameters.max_new_tokens:
        chosen[-1] = 0.0
    return tuple(chosen.tolist())
