"""What a request's parameters forbid or force of a next token, in the order in which `generate` applies it.

The repetition penalty comes first, then bans (repeated n-grams, those of the source, bad words, an end before
min_new_tokens), then forced tokens, which win over both. A search turns the first two into a `Wanted`, so that they are
applied where the logits are; of a forced token nothing needs to be asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from serving.engine.float32 import float32
from serving.engine.history import History, Ngrams, ending, followers
from serving.engine.request import FinishReason, GenerationParameters
from serving.engine.runner import Draws, Edits, Wanted

NOT_FINITE = "the model's logits are no finite numbers"


class Constraints:
    """The constraints of one request on its sequences."""

    def __init__(
        self,
        parameters: GenerationParameters,
        source_ids: Sequence[int],
        count: int,
        log_probabilities: bool,
        normalizers: bool,
    ) -> None:
        """`count` and what follows are what the search wants of each row, as `Wanted` has them, unless it wants draws."""
        self._parameters = parameters
        (self._penalty,) = float32([parameters.repetition_penalty])
        self._count = count
        self._kind = (log_probabilities, normalizers)
        self._no_choice = Wanted(0)
        self._same_for_all: dict[tuple[int, bool], Wanted] = {}
        self._ngrams = Ngrams(parameters.no_repeat_ngram_size)
        source_size = parameters.encoder_no_repeat_ngram_size
        self._source_ngrams = followers(source_ids, source_size) if source_size else {}
        words = [word for word in parameters.bad_words_ids if word not in {(token,) for token in parameters.eos_token_ids}]
        self._bad_tokens = {word[-1] for word in words if len(word) == 1}
        self._bad_words: dict[int, list[tuple[int, ...]]] = {}
        """Those of several tokens, by the last but one."""
        for word in words:
            if len(word) > 1:
                self._bad_words.setdefault(word[-2], []).append(word)

    def begun(self) -> History:
        """A sequence before its first token."""
        return self.noted(History.of([self._parameters.decoder_start_token_id]))

    def noted(self, history: History) -> History:
        """The same sequence; to be called of each one after each of its tokens."""
        if self._parameters.no_repeat_ngram_size:
            self._ngrams.note(history.ids)
        return history

    def forced(self, generated: int) -> int | None:
        """The token that must follow this many generated ones; the forced end wins over the forced beginning."""
        parameters = self._parameters
        if generated == parameters.max_new_tokens - 1 and parameters.forced_eos_token_id is not None:
            return parameters.forced_eos_token_id
        return parameters.forced_bos_token_id if generated == 0 else None

    def wanted(self, rows: Sequence[History], draws: Draws | None = None) -> Wanted:
        """What to ask about the next tokens of these sequences, which are equally long."""
        generated = len(rows[0]) - 1
        if self.forced(generated) is not None:
            return self._no_choice
        early = generated < self._parameters.min_new_tokens
        banned = [self._banned(history.ids) for history in rows]
        if self._penalty == 1.0 and draws is None and not any(banned):
            # The same object from step to step, as runners keep what they make of it.
            key = len(rows), early
            wanted = self._same_for_all.get(key)
            return wanted or self._same_for_all.setdefault(key, self._with(None, self._all_bans(banned, early), None))
        penalized = Edits.of([history.seen for history in rows]) if self._penalty != 1.0 else None
        return self._with(penalized, self._all_bans(banned, early), draws)

    def unedited(self, value: float, token: int, history: History) -> float:
        """A candidate's value without the penalty that it got as the successor of a sequence, to float32's precision."""
        if self._penalty == 1.0 or not history.has(token):
            return value
        return value / self._penalty if value < 0 else value * self._penalty

    def _with(self, penalized: Edits | None, banned: Edits | None, draws: Draws | None) -> Wanted:
        count = len(draws.numbers[0]) if draws else self._count
        return Wanted(count, *self._kind, penalized, self._penalty, banned, draws)

    def _banned(self, ids: Sequence[int]) -> set[int]:
        """What may not follow a sequence because of the tokens before it."""
        parameters, banned = self._parameters, set[int]()
        if parameters.no_repeat_ngram_size:
            banned |= self._ngrams.repeated(ids)
        if self._source_ngrams:
            banned |= self._source_ngrams.get(ending(ids, parameters.encoder_no_repeat_ngram_size), set())
        if self._bad_words:
            words = self._bad_words.get(ids[-1], ())
            banned |= {word[-1] for word in words if ending(ids, len(word)) == word[:-1]}
        return banned

    def _all_bans(self, banned: Sequence[set[int]], early: bool) -> Edits | None:
        """Those of each row with those that hold for all."""
        always = self._bad_tokens.union(self._parameters.eos_token_ids if early else ())
        return Edits.of([sorted(each | always) for each in banned]) if always or any(banned) else None


def check_numbers(best: Sequence[float]) -> None:
    """Raises FloatingPointError if the best value of a row is none that a model should give."""
    if not all(value < math.inf for value in best):
        raise FloatingPointError(NOT_FINITE)


def finish_reason(token_ids: Sequence[int], parameters: GenerationParameters) -> FinishReason:
    """`eos` when the model ended the sequence by itself, `length` when it was cut, a forced end included."""
    forced = len(token_ids) == parameters.max_new_tokens and parameters.forced_eos_token_id is not None
    return "eos" if token_ids[-1] in parameters.eos_token_ids and not forced else "length"
