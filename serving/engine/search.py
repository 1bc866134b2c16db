"""How one request is decoded, a step at a time, with the semantics of `transformers` 5.23.

A search says which tokens to feed to its rows and what it wants to know of the logits that follow; from the answer it makes
the rows of the next step. It sees candidates only, never logits, and no other request. A step of it costs microseconds
beside the model's milliseconds, whatever the length: beams are searched in native code where it is built.
"""

from __future__ import annotations

from typing import Protocol

from serving.engine.beam_search import BeamSearch
from serving.engine.native.beam_search import NativeBeamSearch, library
from serving.engine.request import GeneratedSequence, GenerationParameters, Request
from serving.engine.row_search import RowSearch
from serving.engine.runner import Candidates, Wanted


class Search(Protocol):
    """The decoding state of one request, from one row to none."""

    @property
    def tokens(self) -> list[int]:
        """The token to feed to each row in the next step."""

    def wanted(self) -> Wanted:
        """What to ask about the tokens that follow these."""

    def advance(self, candidates: Candidates) -> list[int]:
        """Take the answer; for each row of the next step the row that it continues, none when finished."""

    def settled(self) -> tuple[int, ...]:
        """The tokens, of those not told before, that the best answer will have whatever comes; all of them once finished.

        Asked of a request for one answer, whose tokens are streamed. What it costs does not grow with the answer.
        """

    def sequences(self) -> tuple[GeneratedSequence, ...]:
        """The answers, once finished."""


def search_for(request: Request, vocab_size: int) -> Search:
    """The search that a checked request asks for."""
    if request.parameters.num_beams == 1:
        return RowSearch(request.parameters, vocab_size, request.source_ids)
    beams = BeamSearch if library() is None else NativeBeamSearch
    return beams(request.parameters, vocab_size, request.source_ids)


def rows_of(parameters: GenerationParameters) -> int:
    """The most rows that a request has at a time."""
    return max(parameters.num_beams, parameters.num_return_sequences)
