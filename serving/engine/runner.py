"""What a runner is: it holds the running batch's tensors and runs the model on them. It knows rows and sources, no requests.

The batch is an ordered list of sources, each with one or more rows (its beams or draws), rows lying source after source.
There are several runners with the same bits: `pytorch` is the reference, `native` the fast one on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quant.layout import Architecture


class Source(NamedTuple):
    """What is to be encoded, and the most that its caches will hold; filled by the engine."""

    token_ids: Sequence[int]
    rows: int
    """Most rows it will have at a time."""
    positions: int
    """Most decoder positions, the start token's included."""


UNITS = 2.0**32
"""That the weight of the likeliest token is counted in."""


class Edits(NamedTuple):
    """Tokens of each row of a request whose values are edited."""

    counts: NDArray[np.int64]
    """[rows]: how many tokens a row has."""
    tokens: NDArray[np.int64]
    """Of one row after another; within a row they ascend, each once."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Edits:
        """From the ascending tokens of each row."""
        tokens = np.concatenate([np.asarray(row, np.int64) for row in rows])
        return cls(np.fromiter(map(len, rows), np.int64, len(rows)), tokens)


class Draws(NamedTuple):
    """Tokens that are drawn, where too many may be to tell them all: how the distribution is shaped, and where it is cut.

    Of a row's edited logits in their order (equal ones by the smaller token id) the first `top_k` are kept, each with the
    weight exp((logit - best) / temperature) in units of 2^-32; of these the likeliest, up to the one with which the weights
    add up to `top_p` of all. A number in [0, 1) draws the first token whose weight and those before it add up to more than
    that part of the whole. Weights are whole numbers, so that sums are exact in any order: every runner draws the same.
    """

    temperature: float
    top_k: int
    """0 is off."""
    top_p: float
    numbers: Sequence[Sequence[float]]
    """Of each row, `Wanted.count` of them."""

    @property
    def divisor(self) -> float:
        """The temperature as a normal float32 number."""
        lowest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
        return float(np.float32(min(max(self.temperature, lowest), largest)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request's search wants to know of the next-token logits of its rows; filled by the search.

    Values are edited in this order: penalties, then bans.
    """

    count: int
    """Candidates of each row, the best first, or those drawn; at most the vocabulary. 0 where a forced token leaves nothing
    to ask."""
    log_probabilities: bool = False
    """Whether values are log-probabilities (as beams compare them) or logits; edits apply to these values."""
    normalizers: bool = False
    """Whether each row's log-normalizer is wanted, the log of the summed exponentials of its unedited logits."""
    penalized: Edits | None = None
    """Values that are multiplied by repetition_penalty where they are negative, else divided."""
    repetition_penalty: float = 1.0
    banned: Edits | None = None
    """Values that become -inf."""
    draws: Draws | None = None
    """Of logits; without them, candidates are the best."""


class Candidates(NamedTuple):
    """The answer to a `Wanted`: of each row the best tokens by edited value, equal values by the smaller token id, or the
    tokens that were drawn.

    -inf stands where fewer tokens are allowed than were wanted, NaN where a logit of the row is NaN or
    infinity.
    """

    values: NDArray[np.float32]
    """[rows, count]"""
    tokens: NDArray[np.int64]
    """[rows, count]"""
    normalizers: NDArray[np.float32]
    """[rows]; anything unless wanted."""


class Runner(Protocol):
    """Encodes, decodes and keeps the caches of one batch; used by one thread."""

    @property
    def architecture(self) -> Architecture:
        """Of the model."""

    @property
    def rows(self) -> int:
        """Rows in the batch."""

    @property
    def page_positions(self) -> int:
        """The caches of a source grow by this many decoder positions at a time."""

    def cache_bytes(self, source: Source, positions: int) -> int:
        """Bytes that the caches of a source take when it has room for this many decoder positions, with all its rows."""

    @property
    def spare_bytes(self) -> int:
        """Bytes of ended sources that are kept for those to come."""

    def trim(self, most: int) -> None:
        """Keep no more spare bytes than these."""

    def begin(self, sources: Sequence[Source]) -> None:
        """Start to encode sources together; nothing else is being encoded."""

    def encode(self, layers: int) -> bool:
        """Run this many encoder layers on what was begun. True when it is encoded: it then joined the end of the batch, in
        its order, with one row each. So a long source can be encoded in slices, between which the others are decoded."""

    def abandon(self) -> None:
        """Forget what was begun and has not joined."""

    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        """Feed one token to each row; for each source what is wanted of the next-token logits of its rows.

        What is answered may be overwritten by the next call.
        """

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        """For each source, which of its rows continue, by their place among its rows; a source without any leaves.

        A row that is named several times continues as several rows.
        """

    def clear(self) -> None:
        """Forget everything, what was begun too."""
