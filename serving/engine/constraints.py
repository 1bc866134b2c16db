"""What a request's parameters forbid or force of a next token, in the order in which `generate` applies it.

The repetition penalty comes first, then bans (repeated n-grams, an end before min_new_tokens), then forced tokens, which win
over both. A search turns the first two into a `Wanted`, so that they are applied where the logits are; of a forced token
nothing needs to be asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.engine.float32 import float32
from serving.engine.request import FinishReason, GenerationParameters
from serving.engine.runner import Wanted


class Constraints:
    """The constraints of one request on sequences of ids, each with the decoder's start token as its first."""

    def __init__(
        self,
        parameters: GenerationParameters,
        source_ids: Sequence[int],
        count: int,
        log_probabilities: bool,
        normalizers: bool,
    ) -> None:
        """`count` and what follows are what the search wants of each row, as `Wanted` has them."""
        self._parameters = parameters
        size = parameters.encoder_no_repeat_ngram_size
        self._source_ngrams = followers(source_ids, size) if size else {}
        ends = {(token,) for token in parameters.eos_token_ids}
        self._bad_words = [word for word in parameters.bad_words_ids if word not in ends]
        (self._penalty,) = float32([parameters.repetition_penalty])
        self._free = Wanted(count, log_probabilities, normalizers)
        self._no_choice = Wanted(0)

    def forced(self, generated: int) -> int | None:
        """The token that must follow this many generated ones; the forced end wins over the forced beginning."""
        parameters = self._parameters
        if generated == parameters.max_new_tokens - 1 and parameters.forced_eos_token_id is not None:
            return parameters.forced_eos_token_id
        return parameters.forced_bos_token_id if generated == 0 else None

    def wanted(self, rows: Sequence[Sequence[int]]) -> Wanted:
        """What to ask about the next tokens of these sequences, which are equally long."""
        generated = len(rows[0]) - 1
        if self.forced(generated) is not None:
            return self._no_choice
        parameters, free = self._parameters, self._free
        banned = [(row, token) for row, ids in enumerate(rows) for token in self._banned(ids)]
        if generated < parameters.min_new_tokens:
            banned += [(row, token) for row in range(len(rows)) for token in parameters.eos_token_ids]
        penalized = [(row, token) for row, ids in enumerate(rows) for token in set(ids)] if self._penalty != 1.0 else []
        if not banned and not penalized:
            return free
        return Wanted(free.count, free.log_probabilities, free.normalizers, penalized, self._penalty, banned)

    def _banned(self, ids: Sequence[int]) -> set[int]:
        """What may not follow a sequence because of the tokens before it."""
        parameters, banned = self._parameters, set()
        if parameters.no_repeat_ngram_size:
            banned |= repeated_ngrams(ids, parameters.no_repeat_ngram_size)
        if parameters.encoder_no_repeat_ngram_size:
            banned |= self._source_ngrams.get(ending(ids, parameters.encoder_no_repeat_ngram_size), set())
        banned |= {word[-1] for word in self._bad_words if ending(ids, len(word)) == word[:-1]}
        return banned

    def unedited(self, value: float, token: int, ids: Sequence[int]) -> float:
        """A candidate's value without the penalty that it got as the successor of `ids`, to float32's precision."""
        if self._penalty == 1.0 or token not in ids:
            return value
        return value / self._penalty if value < 0 else value * self._penalty


def ending(ids: Sequence[int], size: int) -> tuple[int, ...]:
    """The last tokens, of which the next one makes an n-gram of `size`; fewer while there are no more."""
    return tuple(ids[max(len(ids) + 1 - size, 0) :])


def followers(ids: Sequence[int], size: int) -> dict[tuple[int, ...], set[int]]:
    """What follows the first tokens of each n-gram of `size` tokens."""
    found: dict[tuple[int, ...], set[int]] = {}
    for start in range(len(ids) - size + 1):
        found.setdefault(tuple(ids[start : start + size - 1]), set()).add(ids[start + size - 1])
    return found


def repeated_ngrams(ids: Sequence[int], size: int) -> set[int]:
    """Which tokens would complete an n-gram of `size` tokens that the sequence already has."""
    prefix = ids[len(ids) + 1 - size :]
    return {ids[start + size - 1] for start in range(len(ids) - size + 1) if ids[start : start + size - 1] == prefix}


def finish_reason(token_ids: Sequence[int], parameters: GenerationParameters) -> FinishReason:
    """`eos` when the model ended the sequence by itself, `length` when it was cut, a forced end included."""
    forced = len(token_ids) == parameters.max_new_tokens and parameters.forced_eos_token_id is not None
    return "eos" if token_ids[-1] in parameters.eos_token_ids and not forced else "length"
