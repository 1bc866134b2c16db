"""Beam search beside the functions that `generate` is made of, to the last bit, and by hand.

The model is a table of logits by position and last token, so that a search of many steps costs next to nothing.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    GenerationMixin,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from serving.engine.beam_search import RULED_OUT, BeamSearch
from serving.engine.native.beam_search import NativeBeamSearch, library
from serving.engine.pytorch.candidates import select_candidates
from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.search import Search
from tests.serving.engine.lists import candidates

EOS, START = 0, 4

Kind = type[BeamSearch] | type[NativeBeamSearch]


@pytest.fixture(params=[BeamSearch, NativeBeamSearch])
def beam_search(request: pytest.FixtureRequest) -> Kind:
    """The reference, and native code where there is a compiler."""
    if request.param is NativeBeamSearch and library() is None:
        pytest.skip("it is not built")
    return request.param  # type: ignore[no-any-return]


def parameters(**changes: Any) -> GenerationParameters:
    given = {"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_ids": (EOS,), "return_scores": True, **changes}
    return GenerationParameters(**given)


def advance(search: Search, *rows: list[float]) -> list[int]:
    """Feed probabilities of the five tokens; they need not add up to 1."""
    return search.advance(select_candidates(torch.tensor(rows).log(), [len(rows)], [search.wanted()])[0])


def test_beams_find_what_greedy_misses(beam_search: Kind) -> None:
    """1 then eos has 0.6 * 0.4 = 0.24; 2 then eos 0.4 * 0.9 = 0.36, though 1 is the likelier start."""
    search = beam_search(parameters(num_beams=2, num_return_sequences=2, length_penalty=0.0, max_new_tokens=2), 5)
    assert search.tokens == [START]
    assert advance(search, [0.0, 0.6, 0.4, 0.0, 0.0]) == [0, 0]
    assert search.tokens == [1, 2]
    assert advance(search, [0.4, 0.2, 0.2, 0.2, 0.0], [0.9, 0.1, 0.0, 0.0, 0.0]) == []
    best, second = search.sequences()
    assert (best.token_ids, best.finish_reason) == ((2, EOS), "eos")
    assert best.score == pytest.approx(math.log(0.36))
    assert best.token_log_probabilities == pytest.approx((math.log(0.4), math.log(0.9)))
    assert second.token_ids == (1, EOS)
    assert second.score == pytest.approx(math.log(0.24))


def test_scores_are_told_on_request_only(beam_search: Kind) -> None:
    search = beam_search(parameters(num_beams=2, max_new_tokens=1, return_scores=False), 5)
    advance(search, [0.1, 0.6, 0.3, 0.0, 0.0])
    assert search.sequences() == (GeneratedSequence((1,), "length"),)


def test_beams_reorder_their_rows(beam_search: Kind) -> None:
    """Both survivors continue the second row."""
    search = beam_search(parameters(num_beams=2), 5)
    advance(search, [0.0, 0.5, 0.5, 0.0, 0.0])
    assert search.tokens == [1, 2]
    assert advance(search, [0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.5, 0.5, 0.0, 0.0]) == [1, 1]
    assert search.tokens == [1, 2]


@pytest.mark.parametrize(("penalty", "expected"), [(-2.0, (EOS,)), (2.0, (1, 1, EOS))])
def test_length_penalty_chooses_between_short_and_long(beam_search: Kind, penalty: float, expected: tuple[int, ...]) -> None:
    """eos at once has log 0.3 = -1.2, the sequence of three tokens about log 0.7 = -0.37, times 9 or over 9."""
    search = beam_search(parameters(num_beams=2, length_penalty=penalty, max_new_tokens=3), 5)
    rows = advance(search, [0.3, 0.7, 0.0, 0.0, 0.0])
    for probabilities in ([0.01, 0.99, 0.0, 0.0, 0.0], [0.99, 0.01, 0.0, 0.0, 0.0]):
        rows = advance(search, *[probabilities] * len(rows))
    assert rows == []
    assert search.sequences()[0].token_ids == expected


def test_a_forced_token_counts_nothing_and_makes_no_row_differ(beam_search: Kind) -> None:
    search = beam_search(parameters(num_beams=3, forced_bos_token_id=2, max_new_tokens=2), 5)
    assert search.wanted().count == 0
    (nothing,) = select_candidates(torch.zeros(1, 5), [1], [search.wanted()])
    assert search.advance(nothing) == [0, 0, 0]
    assert search.tokens == [2, 2, 2]
    assert advance(search, *[[0.1, 0.7, 0.2, 0.0, 0.0]] * 3) == []
    (best,) = search.sequences()
    assert best.token_ids == (2, 1)
    assert best.score == pytest.approx(math.log(0.7) / 2)
    assert best.token_log_probabilities == pytest.approx((0.0, math.log(0.7)))


def test_a_penalty_shows_in_the_score_and_not_in_the_log_probabilities(beam_search: Kind) -> None:
    search = beam_search(parameters(num_beams=2, repetition_penalty=2.0, max_new_tokens=2), 5)
    advance(search, [0.0, 0.9, 0.1, 0.0, 0.0])
    advance(search, [0.0, 0.8, 0.2, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2])
    (best,) = search.sequences()
    assert best.token_ids == (1, 1)
    assert best.score == pytest.approx((math.log(0.9) + 2 * math.log(0.8)) / 2)
    assert best.token_log_probabilities == pytest.approx((math.log(0.9), math.log(0.8)))


def test_there_is_an_answer_even_when_nothing_may_follow(beam_search: Kind) -> None:
    """Every token of a vocabulary of five has been used after four steps, and none may be repeated."""
    search = beam_search(parameters(num_beams=2, num_return_sequences=2, no_repeat_ngram_size=1, min_new_tokens=5), 5)
    rows = advance(search, [0.2] * 5)
    while rows:
        rows = advance(search, *[[0.2] * 5] * len(rows))
    assert all(sequence.token_ids for sequence in search.sequences())
    assert len(search.sequences()) == 2


def test_a_row_whose_logits_are_no_numbers_is_refused(beam_search: Kind) -> None:
    search = beam_search(parameters(num_beams=2), 5)
    with pytest.raises(FloatingPointError, match="no finite numbers"):
        search.advance(candidates([[math.nan] * 4], [[0] * 4]))


VOCABULARY = 40
SOURCE = tuple(range(1, VOCABULARY, 3)) * 2 + tuple(range(20, 0, -1))
OPTIONAL_TOKEN = st.sampled_from([None, 7])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    num_beams=st.integers(2, 6),
    max_new_tokens=st.integers(1, 9),
    min_new_tokens=st.integers(0, 3),
    length_penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0, 7.5]),
    early_stopping=st.sampled_from([False, True, "never"]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    no_repeat_ngram_size=st.integers(0, 3),
    encoder_no_repeat_ngram_size=st.integers(0, 3),
    bad_words_ids=st.sampled_from(
        [(), ((9,), (EOS,)), ((3, 5), (EOS, 3), (START, 8)), ((11,), (2, 6, 7), (6, EOS), (START, 9, 3, 1))]
    ),
    eos_token_ids=st.sampled_from([(EOS,), (EOS, 6), (6, EOS, 31)]),
    forced_bos_token_id=OPTIONAL_TOKEN,
    forced_eos_token_id=st.sampled_from([None, EOS]),
)
def test_the_same_sequences_and_score_bits_as_generate(
    beam_search: Kind, seed: int, min_new_tokens: int, **changes: Any
) -> None:
    wanted = parameters(**changes, min_new_tokens=min(min_new_tokens, changes["max_new_tokens"]))
    # Where all of a sequence is forced, the copies of the first beam tie, and generate returns any of them.
    assume(wanted.max_new_tokens > 2)
    table = 2 * torch.randn(wanted.max_new_tokens, VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    table[:, :, list(wanted.eos_token_ids)] += 1.5
    search = beam_search(
        GenerationParameters(**{**wanted.__dict__, "num_return_sequences": wanted.num_beams}), VOCABULARY, SOURCE
    )
    for logits in table:
        (found,) = select_candidates(logits[search.tokens], [len(search.tokens)], [search.wanted()])
        if not search.advance(found):
            break
    ours = [(sequence.token_ids, sequence.score) for sequence in search.sequences()]
    theirs = generate(table, wanted)
    # Beams that were ruled out are carried along as equals.
    places = [place for place, (_, score) in enumerate(theirs) if score > RULED_OUT / 100]
    assert places
    assert [ours[place] for place in places] == [theirs[place] for place in places]


def generate(table: torch.Tensor, wanted: GenerationParameters) -> list[tuple[tuple[int, ...], float]]:
    """The loop of `GenerationMixin._beam_search` around its own functions; all beams, best first."""
    mixin, beams, longest = GenerationMixin(), wanted.num_beams, wanted.max_new_tokens + 1
    processors = processors_of(wanted, longest)
    running = torch.full((1, beams, longest), EOS)
    running[:, :, 0] = wanted.decoder_start_token_id
    running_scores = torch.tensor([[0.0] + [RULED_OUT] * (beams - 1)])
    sequences, scores = running.clone(), torch.full((1, beams), RULED_OUT)
    finished = torch.zeros(1, beams, dtype=torch.bool)
    improvable = torch.ones(1, 1, dtype=torch.bool)
    indices = torch.full((1, beams, longest - 1), -1, dtype=torch.int32)
    best_indices = indices.clone()
    considered = (1 + len(wanted.eos_token_ids)) * beams
    top_mask = torch.arange(considered) < beams
    length, going_on = 1, True
    while going_on:
        ids = running[0, :, :length]
        log_probabilities = processors(ids, torch.log_softmax(table[length - 1, ids[:, -1]], -1))
        summed = (log_probabilities + running_scores[0].unsqueeze(1)).view(1, -1)
        top_scores, top_sequences, top_indices = mixin._get_top_k_continuations(
            summed, running, indices, length, 1, False, considered, beams, 1
        )
        stops = torch.isin(top_sequences[:, :, length], torch.tensor(wanted.eos_token_ids)) | (length + 1 >= longest)
        running, running_scores, indices = mixin._get_running_beams_for_next_iteration(
            top_scores, top_sequences, top_indices, stops, beams
        )
        sequences, scores, best_indices, finished = mixin._update_finished_beams(
            sequences,
            top_sequences,
            scores,
            top_scores,
            best_indices,
            top_indices,
            improvable,
            finished,
            stops,
            top_mask,
            beams,
            length,
            1,
            wanted.length_penalty,
            wanted.early_stopping,
        )
        length += 1
        improvable = mixin._check_early_stop_heuristic(
            improvable, running_scores, scores, finished, length, longest, 1, wanted.early_stopping, wanted.length_penalty
        )
        going_on = bool(
            mixin._beam_search_has_unfinished_sequences(improvable, finished, stops, wanted.early_stopping).item()
        )
    lengths = (best_indices[0] >= 0).sum(-1)
    ids = [tuple(sequence[1 : 1 + count].tolist()) for sequence, count in zip(sequences[0], lengths, strict=True)]
    return list(zip(ids, scores[0].tolist(), strict=True))


def processors_of(wanted: GenerationParameters, longest: int) -> LogitsProcessorList:
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(wanted.repetition_penalty)])
    if wanted.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(wanted.no_repeat_ngram_size))
    if wanted.encoder_no_repeat_ngram_size:
        processors.append(EncoderNoRepeatNGramLogitsProcessor(wanted.encoder_no_repeat_ngram_size, torch.tensor([SOURCE])))
    ends = list(wanted.eos_token_ids)
    if words := [list(word) for word in wanted.bad_words_ids if word not in {(end,) for end in ends}]:
        processors.append(NoBadWordsLogitsProcessor(words, ends))
    processors.append(MinNewTokensLengthLogitsProcessor(1, wanted.min_new_tokens, ends))
    if wanted.forced_bos_token_id is not None:
        processors.append(ForcedBOSTokenLogitsProcessor(wanted.forced_bos_token_id))
    if wanted.forced_eos_token_id is not None:
        processors.append(ForcedEOSTokenLogitsProcessor(longest, wanted.forced_eos_token_id))
    return processors
