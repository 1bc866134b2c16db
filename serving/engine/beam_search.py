"""Beam search of one request, as `generate` does it, down to the bits of its scores.

Scores are float32, rounded after each operation as tensors are. Equal scores are ranked by beam, then by the runner's order
of candidates; `generate` ranks them in whatever order its top-k finds them. Sequences that `generate` has ruled out but
still carries as placeholders are left out here: an end always ranks above none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from serving.engine.constraints import Constraints, check_numbers, finish_reason
from serving.engine.float32 import float32
from serving.engine.history import History
from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.runner import Candidates, Wanted

RULED_OUT = -1.0e9
"""What `generate` adds to a score to rule it out; a number, and not -inf, because such scores are compared too."""


class _Beam(NamedTuple):
    """A sequence with the decoder's start token; its score is the sum of edited log-probabilities until it has ended, and
    that over its length ** length_penalty then. `log_probabilities` are unedited, of generated tokens, if asked for."""

    history: History
    score: float
    log_probabilities: list[float]


class _Continuation(NamedTuple):
    """A token that may follow a beam, and the score of both."""

    parent: int
    token: int
    value: float
    score: float
    ends: bool


class BeamSearch:
    """The likeliest sequences by summed log-probability, the ended ones ranked by it over length ** length_penalty."""

    def __init__(self, parameters: GenerationParameters, vocab_size: int, source_ids: Sequence[int] = ()) -> None:
        self._parameters = parameters
        self._beams = parameters.num_beams
        # So many that enough are left to continue when every beam is followed by each of the ends.
        self._considered = (1 + len(parameters.eos_token_ids)) * self._beams
        count = min(self._considered, vocab_size)
        self._constraints = Constraints(parameters, source_ids, count, log_probabilities=True, normalizers=False)
        start = self._constraints.begun()
        # All beams start equal, so that only the first may be continued in the first step.
        self._running = [_Beam(start, 0.0 if beam == 0 else RULED_OUT, []) for beam in range(self._beams)]
        self._ended: list[_Beam] = []
        self._rows = 1
        # The start token is no part of an answer.
        self._told = 1

    @property
    def tokens(self) -> list[int]:
        return [beam.history.ids[-1] for beam in self._running[: self._rows]]

    def wanted(self) -> Wanted:
        return self._constraints.wanted([beam.history for beam in self._running[: self._rows]])

    def advance(self, candidates: Candidates) -> list[int]:
        generated = len(self._running[0].history)
        continuations = self._best_continuations(candidates, generated)
        scores = float32([each.score + RULED_OUT if each.ends else each.score for each in continuations])
        kept = _ranked(scores)[: self._beams]
        self._end(continuations, generated)
        self._running = [self._continued(continuations[place], scores[place]) for place in kept]
        for beam in self._running:
            self._constraints.noted(beam.history)
        if all(each.ends for each in continuations) or not self._can_improve(generated):
            self._rows = 0
            return []
        # In the first step every beam is the one row that was decoded.
        parents = [min(continuations[place].parent, self._rows - 1) for place in kept]
        self._rows = self._beams
        return parents

    def settled(self) -> tuple[int, ...]:
        # The best answer is the best end so far, or continues a running beam: what these have in common is certain. Once it
        # is told, whatever comes begins with it, so that only later tokens need to be compared.
        rivals = [beam.history.ids for beam in (self._ended[:1] + self._running if self._rows else self._best(1))]
        first, start, end = rivals[0], self._told, self._told
        shortest = min(map(len, rivals))
        while end < shortest and all(ids[end] == first[end] for ids in rivals):
            end += 1
        self._told = end
        return tuple(first[start:end])

    def sequences(self) -> tuple[GeneratedSequence, ...]:
        return tuple(self._generated(beam) for beam in self._best(self._parameters.num_return_sequences))

    def _best(self, count: int) -> list[_Beam]:
        # Where constraints ruled out every continuation, sequences that have not ended must do.
        return (self._ended + self._running)[:count]

    def _best_continuations(self, candidates: Candidates, generated: int) -> list[_Continuation]:
        forced = self._constraints.forced(generated - 1)
        if forced is None:
            values, tokens = candidates.values.tolist(), candidates.tokens.tolist()
            check_numbers([row[0] for row in values])
        else:
            values, tokens = [[0.0]] * self._rows, [[forced]] * self._rows
        if self._rows == 1:
            values, tokens = values * self._beams, tokens * self._beams
        scores = float32([value + beam.score for beam, row in zip(self._running, values, strict=True) for value in row])
        width, last = len(values[0]), generated == self._parameters.max_new_tokens
        continuations = []
        for place in _ranked(scores)[: self._considered]:
            parent, rank = divmod(place, width)
            token = tokens[parent][rank]
            ends = last or token in self._parameters.eos_token_ids
            continuations.append(_Continuation(parent, token, values[parent][rank], scores[place], ends))
        return continuations

    def _end(self, continuations: list[_Continuation], generated: int) -> None:
        """Keep the best ends, as many as there are beams."""
        # Only the best continuations, as many as there are beams, may end; the others are there to be continued.
        ends = [each for each in continuations[: self._beams] if each.ends]
        if ends:
            divisor = self._length_divisor(generated)
            scores = float32([each.score / divisor for each in ends])
            self._ended += [self._continued(each, score) for each, score in zip(ends, scores, strict=True)]
            self._ended = sorted(self._ended, key=lambda beam: beam.score, reverse=True)[: self._beams]

    def _continued(self, continuation: _Continuation, score: float) -> _Beam:
        history, _, log_probabilities = self._running[continuation.parent]
        if self._parameters.return_scores:
            value = self._constraints.unedited(continuation.value, continuation.token, history)
            log_probabilities = [*log_probabilities, value]
        return _Beam(history.continued(continuation.token), score, log_probabilities)

    def _can_improve(self, generated: int) -> bool:
        """With early stopping, until all beams have an end; else while a running beam could still beat the worst end: by
        its score of now, or, if search may never end early, by that at the length which is the best for it."""
        parameters, full = self._parameters, len(self._ended) == self._beams
        if full and parameters.early_stopping is True:
            return False
        longest = parameters.early_stopping == "never" and parameters.length_penalty > 0
        divisor = self._length_divisor(parameters.max_new_tokens if longest else generated)
        (best_running,) = float32([self._running[0].score / divisor])
        worst = min([beam.score for beam in self._ended[-1:]] + [RULED_OUT] * (not full))
        return best_running > worst

    def _length_divisor(self, length: int) -> float:
        (divisor,) = float32([float(length) ** self._parameters.length_penalty])
        return divisor

    def _generated(self, beam: _Beam) -> GeneratedSequence:
        token_ids = tuple(beam.history.ids[1:])
        reason = finish_reason(token_ids, self._parameters)
        if not self._parameters.return_scores:
            return GeneratedSequence(token_ids, reason)
        return GeneratedSequence(token_ids, reason, beam.score, tuple(beam.log_probabilities))


def _ranked(scores: Sequence[float]) -> list[int]:
    """Places of scores from the best on, equal ones in their order."""
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
