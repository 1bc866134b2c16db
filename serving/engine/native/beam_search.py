"""Beam search of one request in native code, with the bits of serving/engine/beam_search.py, which is its reference."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from serving.engine.constraints import NOT_FINITE, finish_reason
from serving.engine.request import GeneratedSequence, GenerationParameters
from serving.engine.runner import Candidates, Edits, Wanted

_NO_NUMBERS, _NO_MEMORY = -1, -2
_EARLY_STOPPING = {False: 0, True: 1, "never": 2}


class _Parameters(ctypes.Structure):
    """As kernels/beams.cpp declares them (DqBeamParameters)."""

    _fields_ = (
        *((name, c_int64) for name in ("beams", "count", "max_new_tokens", "min_new_tokens", "early_stopping")),
        *((name, c_int64) for name in ("start", "forced_bos", "forced_eos")),
        *((name, c_int64) for name in ("ngram_size", "source_ngram_size", "return_scores")),
        *((name, c_double) for name in ("length_penalty", "repetition_penalty")),
        *((name, c_void_p) for name in ("ends", "source", "words", "word_lengths")),
        *((name, c_int64) for name in ("end_count", "source_length", "word_count")),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The built code; None where there was no compiler."""
    files = sorted(Path(__file__).parent.glob("_beams.*so"))
    if not files:
        return None
    found = ctypes.CDLL(str(files[0]))
    for name, arguments in {
        "dq_beams_advance": [c_void_p, c_void_p, c_void_p, c_int64, c_void_p, c_void_p],
        "dq_beams_banned": [c_void_p, c_int64, c_void_p, c_void_p, c_int64],
        "dq_beams_seen": [c_void_p, c_void_p, c_void_p, c_int64],
        "dq_beams_settled": [c_void_p, c_void_p],
        "dq_beams_answer": [c_void_p, c_int64, c_void_p, c_void_p, c_void_p],
    }.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, c_int64
    found.dq_beams_begin.argtypes, found.dq_beams_begin.restype = [c_void_p], c_void_p
    found.dq_beams_end.argtypes, found.dq_beams_end.restype = [c_void_p], None
    return found


class NativeBeamSearch:
    """As BeamSearch."""

    def __init__(self, parameters: GenerationParameters, vocab_size: int, source_ids: Sequence[int] = ()) -> None:
        code = library()
        assert code is not None, "it is not built"
        self._code, self._parameters = code, parameters
        beams, longest = parameters.num_beams, parameters.max_new_tokens
        self._count = min((1 + len(parameters.eos_token_ids)) * beams, vocab_size)
        self._search = _begun(code, parameters, self._count, source_ids)
        weakref.finalize(self, code.dq_beams_end, self._search)
        sizes = parameters.no_repeat_ngram_size, parameters.encoder_no_repeat_ngram_size
        self._constrained = any(sizes) or any(len(word) > 1 for word in parameters.bad_words_ids)
        """Whether tokens may be banned because of those before them."""
        self._rows, self._generated = 1, 0
        self._no_choice = Wanted(0)
        self._same_for_all: dict[tuple[int, bool], Wanted] = {}
        self._tokens, self._parents, self._counts = (np.empty(beams, np.int64) for _ in range(3))
        self._tokens[0] = parameters.decoder_start_token_id
        self._make_room(64)
        self._settled = np.empty(longest, np.int64)
        self._addresses = self._parents.ctypes.data, self._tokens.ctypes.data
        self._counts_address = self._counts.ctypes.data

    @property
    def tokens(self) -> list[int]:
        found: list[int] = self._tokens[: self._rows].tolist()
        return found

    def wanted(self) -> Wanted:
        parameters = self._parameters
        if self._forced(self._generated):
            return self._no_choice
        penalized = self._told("dq_beams_seen") if parameters.repetition_penalty != 1.0 else None
        if penalized is None and not self._constrained:
            banned = None
        else:
            banned = self._told("dq_beams_banned", int(penalized is not None))
        if penalized is None and banned is None:
            # The same object from step to step, as runners keep what they make of it.
            key = self._rows, self._generated < parameters.min_new_tokens
            if key not in self._same_for_all:
                self._same_for_all[key] = self._asking(None, self._told("dq_beams_banned", 1))
            return self._same_for_all[key]
        return self._asking(penalized, banned)

    def advance(self, candidates: Candidates) -> list[int]:
        values, tokens = candidates.values, candidates.tokens
        stride = values.strides[0] // values.itemsize
        assert tokens.strides[0] == stride * tokens.itemsize, "values and tokens lie differently"
        rows = self._code.dq_beams_advance(self._search, values.ctypes.data, tokens.ctypes.data, stride, *self._addresses)
        self._rows = _answered(rows)
        self._generated += 1
        parents: list[int] = self._parents[: self._rows].tolist()
        return parents

    def settled(self) -> tuple[int, ...]:
        count = _answered(self._code.dq_beams_settled(self._search, self._settled.ctypes.data))
        return tuple(self._settled[:count].tolist())

    def sequences(self) -> tuple[GeneratedSequence, ...]:
        return tuple(self._sequence(place) for place in range(self._parameters.num_return_sequences))

    def _forced(self, generated: int) -> bool:
        parameters = self._parameters
        ends = generated == parameters.max_new_tokens - 1 and parameters.forced_eos_token_id is not None
        return ends or (generated == 0 and parameters.forced_bos_token_id is not None)

    def _asking(self, penalized: Edits | None, banned: Edits | None) -> Wanted:
        return Wanted(self._count, True, False, penalized, self._parameters.repetition_penalty, banned)

    def _told(self, function: str, *arguments: int) -> Edits | None:
        """Edits that the search tells; none where it tells of no token."""
        ask = getattr(self._code, function)
        while True:
            total = _answered(ask(self._search, *arguments, self._counts_address, self._edits_address, len(self._edits)))
            if total <= len(self._edits):
                return Edits(self._counts[: self._rows].copy(), self._edits[:total].copy()) if total else None
            self._make_room(2 * total)

    def _make_room(self, tokens: int) -> None:
        self._edits = np.empty(tokens, np.int64)
        self._edits_address = self._edits.ctypes.data

    def _sequence(self, place: int) -> GeneratedSequence:
        tokens, logs = np.empty(self._generated, np.int64), np.empty(self._generated)
        score = c_double()
        addresses = tokens.ctypes.data, logs.ctypes.data, ctypes.addressof(score)
        length = self._code.dq_beams_answer(self._search, place, *addresses)
        token_ids = tuple(tokens[:length].tolist())
        reason = finish_reason(token_ids, self._parameters)
        if not self._parameters.return_scores:
            return GeneratedSequence(token_ids, reason)
        return GeneratedSequence(token_ids, reason, score.value, tuple(logs[:length].tolist()))


def _begun(code: ctypes.CDLL, parameters: GenerationParameters, count: int, source_ids: Sequence[int]) -> int:
    """The address of a new search."""
    words = parameters.bad_words_ids
    ends, source, flat, lengths = (
        np.fromiter(tokens, np.int64)
        for tokens in (parameters.eos_token_ids, source_ids, chain.from_iterable(words), map(len, words))
    )
    forced_bos, forced_eos = (
        -1 if token is None else token for token in (parameters.forced_bos_token_id, parameters.forced_eos_token_id)
    )
    given = _Parameters(
        beams=parameters.num_beams,
        count=count,
        max_new_tokens=parameters.max_new_tokens,
        min_new_tokens=parameters.min_new_tokens,
        early_stopping=_EARLY_STOPPING[parameters.early_stopping],
        start=parameters.decoder_start_token_id,
        forced_bos=forced_bos,
        forced_eos=forced_eos,
        ngram_size=parameters.no_repeat_ngram_size,
        source_ngram_size=parameters.encoder_no_repeat_ngram_size,
        return_scores=parameters.return_scores,
        length_penalty=parameters.length_penalty,
        repetition_penalty=parameters.repetition_penalty,
        ends=ends.ctypes.data,
        source=source.ctypes.data,
        words=flat.ctypes.data,
        word_lengths=lengths.ctypes.data,
        end_count=len(ends),
        source_length=len(source),
        word_count=len(lengths),
    )
    search: int | None = code.dq_beams_begin(ctypes.byref(given))
    return _answered(_NO_MEMORY if search is None else search)


def _answered(answer: int) -> int:
    """What native code answered. Raises FloatingPointError and MemoryError."""
    if answer == _NO_NUMBERS:
        raise FloatingPointError(NOT_FINITE)
    if answer == _NO_MEMORY:
        raise MemoryError("there is no memory for a beam search")
    return answer
