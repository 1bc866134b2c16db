"""Greedy search and sampling: rows that are generated independently of one another, each an answer of its own.

All start from one row, as their first step is the same. Greedy search takes the likeliest token, sampling draws one; with
equal values the smaller token id is the likelier.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.engine.constraints import Constraints, finish_reason
from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.runner import Candidates, Wanted
from serving.engine.sampling import Sampler


class RowSearch:
    """Greedy search of one sequence, or sampling of one or several."""

    def __init__(self, parameters: GenerationParameters, vocab_size: int, source_ids: Sequence[int] = ()) -> None:
        self._parameters = parameters
        count = min(parameters.top_k or vocab_size, vocab_size) if parameters.do_sample else 1
        self._constraints = Constraints(
            parameters, source_ids, count, log_probabilities=False, normalizers=parameters.return_scores
        )
        self._sequences = [_Sequence(parameters, number) for number in range(parameters.num_return_sequences)]
        self._running = self._sequences
        self._rows = 1
        # The start token is no part of an answer.
        self._told = 1

    @property
    def tokens(self) -> list[int]:
        return [sequence.ids[-1] for sequence in self._running[: self._rows]]

    def wanted(self) -> Wanted:
        return self._constraints.wanted([sequence.ids for sequence in self._running[: self._rows]])

    def advance(self, candidates: Candidates) -> list[int]:
        generated = len(self._running[0].ids)
        forced = self._constraints.forced(generated - 1)
        running: list[_Sequence] = []
        parents: list[int] = []
        for place, sequence in enumerate(self._running):
            # In the first step all sequences are in the one row that was decoded.
            row = min(place, self._rows - 1)
            if forced is None:
                self._choose(sequence, row, candidates)
            else:
                sequence.ids.append(forced)
                sequence.log_probabilities.append(0.0)
            if sequence.ids[-1] not in self._parameters.eos_token_ids and generated < self._parameters.max_new_tokens:
                running.append(sequence)
                parents.append(row)
        self._running, self._rows = running, len(running)
        return parents

    def settled(self) -> tuple[int, ...]:
        ids = self._sequences[0].ids
        token_ids, self._told = tuple(ids[self._told :]), len(ids)
        return token_ids

    def sequences(self) -> tuple[GeneratedSequence, ...]:
        return tuple(self._finished(sequence) for sequence in self._sequences)

    def _choose(self, sequence: _Sequence, row: int, candidates: Candidates) -> None:
        values = candidates.values[row]
        place = 0 if sequence.sampler is None else sequence.sampler.draw(values)
        token = candidates.tokens[row][place]
        if self._parameters.return_scores:
            logit = self._constraints.unedited(values[place], token, sequence.ids)
            sequence.log_probabilities.append(logit - candidates.normalizers[row])
        sequence.ids.append(token)

    def _finished(self, sequence: _Sequence) -> GeneratedSequence:
        token_ids = tuple(sequence.ids[1:])
        reason = finish_reason(token_ids, self._parameters)
        if not self._parameters.return_scores:
            return GeneratedSequence(token_ids, reason)
        score = sum(sequence.log_probabilities) / len(token_ids) ** self._parameters.length_penalty
        return GeneratedSequence(token_ids, reason, score, tuple(sequence.log_probabilities))


class _Sequence:
    """One answer on its way."""

    def __init__(self, parameters: GenerationParameters, number: int) -> None:
        self.ids = [parameters.decoder_start_token_id]
        self.log_probabilities: list[float] = []
        self.sampler = Sampler(parameters, number) if parameters.do_sample else None
