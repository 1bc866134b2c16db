"""What a search calls settled is in its answer, at each step; the model is a table of logits by position and last token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st

from serving.engine.beam_search import BeamSearch
from serving.engine.pytorch.candidates import select_candidates
from serving.engine.request import GenerationParameters, Request
from serving.engine.row_search import RowSearch
from serving.engine.search import Search, search_for

EOS, START = 0, 4


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(**{"max_new_tokens": 5, "decoder_start_token_id": START, "eos_token_ids": (EOS,), **changes})


def advance(search: Search, *rows: list[float]) -> tuple[int, ...]:
    """Feed probabilities of the five tokens; what is settled by them."""
    search.advance(select_candidates(torch.tensor(rows).log(), [len(rows)], [search.wanted()])[0])
    return search.settled()


def test_nothing_is_settled_while_beams_differ_and_all_they_share_once_one_is_left() -> None:
    search = BeamSearch(parameters(num_beams=2), 5)
    assert advance(search, [0.0, 0.6, 0.4, 0.0, 0.0]) == ()
    # Both survivors continue the second beam.
    assert advance(search, [0.2, 0.2, 0.2, 0.2, 0.2], [0.0, 0.5, 0.5, 0.0, 0.0]) == (2,)
    assert advance(search, [0.0, 0.9, 0.8, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]) == (1,)
    assert search.settled() == ()


def test_an_end_that_may_win_holds_back_what_the_beams_share() -> None:
    """2 and an end has log 0.2 over 2, and any running beam may still come to less, so that the shared 1 is not certain."""
    search = BeamSearch(parameters(num_beams=2, length_penalty=1.0), 5)
    assert advance(search, [0.0, 0.6, 0.4, 0.0, 0.0]) == ()
    assert advance(search, [0.0, 0.3, 0.3, 0.2, 0.2], [0.9, 0.0, 0.05, 0.05, 0.0]) == ()
    assert [beam.history.ids[1] for beam in search._running] == [1, 1]
    assert advance(search, [0.9, 0.1, 0.0, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0, 0.0]) == (2, EOS)
    assert search.sequences()[0].token_ids == (2, EOS)


def test_a_forced_beginning_is_settled_at_once() -> None:
    search = BeamSearch(parameters(num_beams=3, forced_bos_token_id=2), 5)
    (nothing,) = select_candidates(torch.zeros(1, 5), [1], [search.wanted()])
    search.advance(nothing)
    assert search.settled() == (2,)


VOCABULARY = 40
SEARCHES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"num_beams": st.integers(1, 6), "early_stopping": st.sampled_from([False, True, "never"])}),
    st.fixed_dictionaries({"do_sample": st.just(True), "seed": st.integers(0, 9), "top_k": st.sampled_from([0, 3])}),
)


@pytest.mark.parametrize("vocabulary", [6, VOCABULARY])
@given(
    table_seed=st.integers(0, 2**32 - 1),
    sharpness=st.sampled_from([0.1, 1.0, 3.0]),
    end=st.sampled_from([-2.0, 0.0, 2.0, 4.0]),
    max_new_tokens=st.integers(1, 15),
    min_new_tokens=st.integers(0, 6),
    search_parameters=SEARCHES,
    length_penalty=st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0, 7.5]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.7]),
    no_repeat_ngram_size=st.integers(0, 3),
    encoder_no_repeat_ngram_size=st.sampled_from([0, 2]),
    bad_words_ids=st.sampled_from([(), ((3,), (4, 5), (2, 1))]),
    eos_token_ids=st.sampled_from([(EOS,), (EOS, 3)]),
    forced_bos_token_id=st.sampled_from([None, 5]),
    forced_eos_token_id=st.sampled_from([None, EOS]),
)
def test_what_was_settled_is_the_beginning_of_the_answer_and_all_of_it_at_the_end(
    vocabulary: int,
    table_seed: int,
    sharpness: float,
    end: float,
    min_new_tokens: int,
    search_parameters: dict[str, Any],
    **changes: Any,
) -> None:
    wanted = parameters(**search_parameters, **changes, min_new_tokens=min(min_new_tokens, changes["max_new_tokens"]))
    generator = torch.Generator().manual_seed(table_seed)
    table = sharpness * torch.randn(wanted.max_new_tokens, vocabulary, vocabulary, generator=generator)
    table[:, :, EOS] += end
    request = Request((1, 2, 3, 5, 1, 5, 2), wanted)
    kind = RowSearch if wanted.num_beams == 1 else BeamSearch
    streamed, unstreamed = search_for(request, vocabulary), search_for(request, vocabulary)
    reference = kind(wanted, vocabulary, request.source_ids)
    told: list[tuple[int, ...]] = []
    for logits in table:
        rows = [run(search, logits) for search in (streamed, unstreamed)]
        told.append(streamed.settled())
        # Native code tells what the reference tells.
        assert run(reference, logits) == rows[0]
        assert reference.settled() == told[-1]
        assert rows[0] == rows[1]
        if not rows[0]:
            break
    answer = unstreamed.sequences()[0].token_ids
    assert streamed.sequences() == unstreamed.sequences()
    # A beginning at each moment follows from this: what is told is never taken back.
    assert sum(told, ()) == answer
    event(f"told before the end: {sum(map(len, told[:-1])) > 0}")


def run(search: Search, logits: torch.Tensor) -> list[int]:
    (found,) = select_candidates(logits[search.tokens], [len(search.tokens)], [search.wanted()])
    return search.advance(found)
