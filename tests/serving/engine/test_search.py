"""Which search a request gets, and the rows that it takes; the searches have files of their own."""

from __future__ import annotations

from typing import Any

import pytest

from serving.engine.beam_search import BeamSearch
from serving.engine.native.beam_search import NativeBeamSearch, library
from serving.engine.request import GenerationParameters, Request
from serving.engine.row_search import RowSearch
from serving.engine.search import rows_of, search_for


def parameters(**changes: Any) -> GenerationParameters:
    return GenerationParameters(max_new_tokens=5, decoder_start_token_id=4, eos_token_ids=(0,), **changes)


def test_beams_decide() -> None:
    assert isinstance(search_for(Request((1,), parameters()), 50), RowSearch)
    assert isinstance(search_for(Request((1,), parameters(do_sample=True)), 50), RowSearch)
    assert isinstance(
        search_for(Request((1,), parameters(num_beams=2)), 50), BeamSearch if library() is None else NativeBeamSearch
    )


def test_where_native_code_is_not_built_the_reference_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.engine.search.library", lambda: None)
    assert isinstance(search_for(Request((1,), parameters(num_beams=2)), 50), BeamSearch)


def test_rows_are_beams_or_sequences() -> None:
    assert rows_of(parameters()) == 1
    assert rows_of(parameters(num_beams=4, num_return_sequences=2)) == 4
    assert rows_of(parameters(do_sample=True, num_return_sequences=3)) == 3
