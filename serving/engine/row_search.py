"""Greedy search and sampling: rows that are generated independently of one another, each an answer of its own.

All start from one row, as their first step is the same. Greedy search takes the likeliest token, sampling draws one; with
equal values the smaller token id is the likelier.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.engine.constraints import Constraints, check_numbers, finish_reason
from serving.engine.history import History
from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.runner import Candidates, Draws, Wanted
from serving.engine.sampling import Sampler

MOST_LISTED = 128
"""Tokens among which a search draws by itself; among more, the runner does, where they need not be listed."""


class RowSearch:
    """Greedy search of one sequence, or sampling of one or several."""

    def __init__(self, parameters: GenerationParameters, vocab_size: int, source_ids: Sequence[int] = ()) -> None:
        self._parameters = parameters
        count = min(parameters.top_k or vocab_size, vocab_size) if parameters.do_sample else 1
        self._listed = count <= MOST_LISTED
        self._constraints = Constraints(
            parameters, source_ids, count, log_probabilities=False, normalizers=parameters.return_scores
        )
        start = self._constraints.begun
        self._sequences = [_Sequence(parameters, number, start()) for number in range(parameters.num_return_sequences)]
        self._running = self._sequences
        self._rows = 1
        # The start token is no part of an answer.
        self._told = 1

    @property
    def tokens(self) -> list[int]:
        return [sequence.history.ids[-1] for sequence in self._running[: self._rows]]

    def wanted(self) -> Wanted:
        rows = [sequence.history for sequence in self._running[: self._rows]]
        return self._constraints.wanted(rows, None if self._listed else self._draws())

    def advance(self, candidates: Candidates) -> list[int]:
        generated = len(self._running[0].history)
        forced = self._constraints.forced(generated - 1)
        if forced is None:
            check_numbers(candidates.values[:, 0].tolist())
        running: list[_Sequence] = []
        parents: list[int] = []
        for place, sequence in enumerate(self._running):
            # In the first step all sequences are in the one row that was decoded.
            row = min(place, self._rows - 1)
            if forced is None:
                self._choose(sequence, row, place - row, candidates)
            else:
                self._append(sequence, forced, 0.0)
            if (
                sequence.history.ids[-1] not in self._parameters.eos_token_ids
                and generated < self._parameters.max_new_tokens
            ):
                running.append(sequence)
                parents.append(row)
        self._running, self._rows = running, len(running)
        return parents

    def settled(self) -> tuple[int, ...]:
        ids = self._sequences[0].history.ids
        token_ids, self._told = tuple(ids[self._told :]), len(ids)
        return token_ids

    def sequences(self) -> tuple[GeneratedSequence, ...]:
        return tuple(self._finished(sequence) for sequence in self._sequences)

    def _draws(self) -> Draws:
        """Of the next step; each sequence draws its own token."""
        numbers = [sequence.sampler.number for sequence in self._running if sequence.sampler is not None]
        rows = [numbers] if self._rows == 1 else [[number] for number in numbers]
        return Draws(self._parameters.temperature, self._parameters.top_k, self._parameters.top_p, rows)

    def _choose(self, sequence: _Sequence, row: int, number: int, candidates: Candidates) -> None:
        """`number` counts the sequences of a row."""
        if sequence.sampler is None:
            place = 0
        elif self._listed:
            place = sequence.sampler.draw(candidates.values[row].tolist())
        else:
            place = number
            sequence.sampler.pass_on()
        token = candidates.tokens[row, place].item()
        log_probability = 0.0
        if self._parameters.return_scores:
            logit = self._constraints.unedited(candidates.values[row, place].item(), token, sequence.history)
            log_probability = logit - candidates.normalizers[row].item()
        self._append(sequence, token, log_probability)

    def _append(self, sequence: _Sequence, token: int, log_probability: float) -> None:
        sequence.history.append(token)
        self._constraints.noted(sequence.history)
        if self._parameters.return_scores:
            sequence.log_probabilities.append(log_probability)

    def _finished(self, sequence: _Sequence) -> GeneratedSequence:
        token_ids = tuple(sequence.history.ids[1:])
        reason = finish_reason(token_ids, self._parameters)
        if not self._parameters.return_scores:
            return GeneratedSequence(token_ids, reason)
        score = sum(sequence.log_probabilities) / len(token_ids) ** self._parameters.length_penalty
        return GeneratedSequence(token_ids, reason, score, tuple(sequence.log_probabilities))


class _Sequence:
    """One answer on its way."""

    def __init__(self, parameters: GenerationParameters, number: int, history: History) -> None:
        self.history = history
        self.log_probabilities: list[float] = []
        self.sampler = Sampler(parameters, number) if parameters.do_sample else None
