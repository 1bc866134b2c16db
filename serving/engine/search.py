"""How one request is decoded, a step at a time: greedy or beam search, with the semantics of `transformers` 5.23.

`generate` is the yardstick down to the last bit: the same operations on the same float32 values, so that equal logits give
equal ids and scores. A search is fed the logits of its rows and answers which rows continue; it knows no other request.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from serving.engine.request import FinishReason, GenerationParameters

# What `generate` adds to a score to rule it out; kept as a number, and not -inf, because ties between such scores count.
RULED_OUT = -1.0e9


class Hypothesis(NamedTuple):
    """A finished sequence of generated ids, without the decoder's start token."""

    token_ids: tuple[int, ...]
    score: float
    finish_reason: FinishReason


class Search(Protocol):
    """The decoding state of one request, from one row to none."""

    @property
    def tokens(self) -> list[int]:
        """The token to feed to each row in the next step."""

    def advance(self, logits: Tensor) -> list[int]:
        """Take float32 [rows, vocabulary]; for each row of the next step the row that it continues, none when finished."""

    def best(self) -> Hypothesis:
        """The answer, once finished."""


def search_for(parameters: GenerationParameters) -> Search:
    return GreedySearch(parameters) if parameters.num_beams == 1 else BeamSearch(parameters)


class GreedySearch:
    """The most likely token at each step."""

    def __init__(self, parameters: GenerationParameters) -> None:
        self._parameters = parameters
        self._sequence = [parameters.decoder_start_token_id]
        self._log_probability = 0.0

    @property
    def tokens(self) -> list[int]:
        return self._sequence[-1:]

    def advance(self, logits: Tensor) -> list[int]:
        token = int(processed(logits, torch.tensor([self._sequence]), self._parameters).argmax())
        log_probabilities = processed(torch.log_softmax(logits, -1), torch.tensor([self._sequence]), self._parameters)
        self._log_probability += float(log_probabilities[0, token])
        self._sequence.append(token)
        generated = len(self._sequence) - 1
        finished = token == self._parameters.eos_token_id or generated == self._parameters.max_new_tokens
        return [] if finished else [0]

    def best(self) -> Hypothesis:
        token_ids = tuple(self._sequence[1:])
        score = self._log_probability / len(token_ids) ** self._parameters.length_penalty
        return Hypothesis(token_ids, score, finish_reason(token_ids, self._parameters))


class BeamSearch:
    """The likeliest sequences by summed log-probability, the finished ones ranked by it over length ** length_penalty."""

    def __init__(self, parameters: GenerationParameters) -> None:
        beams = parameters.num_beams
        self._parameters = parameters
        self._sequences = torch.full((beams, 1), parameters.decoder_start_token_id)
        # All beams start equal, so that only the first may be continued in the first step.
        self._running_scores = torch.tensor([0.0] + [RULED_OUT] * (beams - 1))
        self._finished: list[tuple[int, ...]] = [()] * beams
        self._finished_scores = torch.full((beams,), RULED_OUT)
        self._is_finished = torch.zeros(beams, dtype=torch.bool)
        self._rows = 1

    @property
    def tokens(self) -> list[int]:
        tokens: list[int] = self._sequences[: self._rows, -1].tolist()
        return tokens

    def advance(self, logits: Tensor) -> list[int]:
        beams, vocabulary = self._parameters.num_beams, logits.shape[1]
        log_probabilities = processed(torch.log_softmax(logits, -1), self._sequences[: self._rows], self._parameters)
        candidates = log_probabilities.expand(beams, -1) + self._running_scores.unsqueeze(1)
        # Twice as many as beams, so that enough are left to continue when as many as there are beams have ended.
        scores, places = torch.topk(candidates.flatten(), 2 * beams)
        parents, tokens = places // vocabulary, places % vocabulary
        sequences = torch.cat((self._sequences[parents], tokens.unsqueeze(1)), 1)
        generated = sequences.shape[1] - 1
        ended = (tokens == self._parameters.eos_token_id) | (generated >= self._parameters.max_new_tokens)

        running_scores = scores + ended.float() * RULED_OUT
        kept = torch.topk(running_scores, beams).indices
        self._sequences, self._running_scores = sequences[kept], running_scores[kept]
        self._update_finished(sequences, scores, ended)
        if bool(ended.all()) or not self._can_improve(generated):
            return []
        # In the first step every beam is the one row that was decoded.
        continued: list[int] = parents[kept].clamp(max=self._rows - 1).tolist()
        self._rows = beams
        return continued

    def best(self) -> Hypothesis:
        return Hypothesis(
            self._finished[0], float(self._finished_scores[0]), finish_reason(self._finished[0], self._parameters)
        )

    def _update_finished(self, sequences: Tensor, scores: Tensor, ended: Tensor) -> None:
        beams = self._parameters.num_beams
        # Only the best candidates, as many as there are beams, may end; the others are there to be continued.
        just_finished = ended & (torch.arange(2 * beams) < beams)
        final_scores = scores / (sequences.shape[1] - 1) ** self._parameters.length_penalty
        final_scores = final_scores + (~just_finished).float() * RULED_OUT
        merged_scores = torch.cat((self._finished_scores, final_scores))
        merged_finished = torch.cat((self._is_finished, just_finished))
        chosen = torch.topk(merged_scores, beams).indices
        self._finished = [
            self._finished[place] if place < beams else tuple(sequences[place - beams, 1:].tolist())
            for place in chosen.tolist()
        ]
        self._finished_scores, self._is_finished = merged_scores[chosen], merged_finished[chosen]

    def _can_improve(self, generated: int) -> bool:
        """With early stopping, until all beams have an end; else while a running beam could still beat the worst end."""
        if self._parameters.early_stopping and bool(self._is_finished.all()):
            return False
        best_running = self._running_scores[0] / generated**self._parameters.length_penalty
        worst_finished = torch.where(self._is_finished, self._finished_scores.min(), RULED_OUT)
        return bool((best_running > worst_finished).any())


def processed(scores: Tensor, sequences: Tensor, parameters: GenerationParameters) -> Tensor:
    """Scores [rows, vocabulary] with the request's constraints, in the order in which `generate` applies them.

    `sequences` are the rows' decoder ids so far [rows, length], start token included. Forbidden tokens get -inf; a forced
    one gets 0 and all others -inf.
    """
    generated = sequences.shape[1] - 1
    if parameters.no_repeat_ngram_size > 0:
        scores = scores.masked_fill(repeated_ngrams(sequences, parameters.no_repeat_ngram_size, scores.shape[1]), -torch.inf)
    if generated < parameters.min_new_tokens:
        scores = scores.clone()
        scores[:, parameters.eos_token_id] = -torch.inf
    if generated == 0 and parameters.forced_bos_token_id is not None:
        scores = _forced(scores, parameters.forced_bos_token_id)
    if generated == parameters.max_new_tokens - 1 and parameters.forced_eos_token_id is not None:
        scores = _forced(scores, parameters.forced_eos_token_id)
    return scores


def repeated_ngrams(sequences: Tensor, size: int, vocabulary: int) -> Tensor:
    """Which tokens would complete an n-gram that the sequence [rows, length] already has: bool [rows, vocabulary]."""
    length = sequences.shape[1]
    banned = torch.zeros(sequences.shape[0], vocabulary, dtype=torch.bool)
    if length < size:
        return banned
    ngrams = sequences.unfold(1, size, 1)
    prefix = sequences[:, length + 1 - size :].unsqueeze(1)
    rows, places = (ngrams[..., :-1] == prefix).all(-1).nonzero(as_tuple=True)
    banned[rows, ngrams[rows, places, -1]] = True
    return banned


def finish_reason(token_ids: tuple[int, ...], parameters: GenerationParameters) -> FinishReason:
    """`eos` when the model ended the sequence by itself, `length` when it was cut, a forced end included."""
    forced = len(token_ids) == parameters.max_new_tokens and parameters.forced_eos_token_id is not None
    return "eos" if token_ids[-1] == parameters.eos_token_id and not forced else "length"


def _forced(scores: Tensor, token: int) -> Tensor:
    forced = torch.full_like(scores, -torch.inf)
    forced[:, token] = 0.0
    return forced
