"""What a runner is: it holds the running batch's tensors and runs the model on them. It knows rows and sources, no requests.

The batch is an ordered list of sources, each with one or more rows (its beams or draws), rows lying source after source.
There are several runners with the same bits: `pytorch` is the reference, `native` the fast one on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from quant.layout import Architecture


class Source(NamedTuple):
    """What is to be encoded, and the most that its caches will hold; filled by the engine."""

    token_ids: Sequence[int]
    rows: int
    """Most rows it will have at a time."""
    positions: int
    """Most decoder positions, the start token's included."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request's search wants to know of the next-token logits of its rows; filled by the search.

    `row` counts within the request. Values are edited in this order: penalties, then bans.
    """

    count: int
    """Candidates of each row, the best first; at most the vocabulary. 0 where a forced token leaves nothing to ask."""
    log_probabilities: bool = False
    """Whether values are log-probabilities (as beams compare them) or logits; edits apply to these values."""
    normalizers: bool = False
    """Whether each row's log-normalizer is wanted, the log of the summed exponentials of its unedited logits."""
    penalized: Sequence[tuple[int, int]] = ()
    """(row, token): its value is multiplied by repetition_penalty where it is negative, else divided."""
    repetition_penalty: float = 1.0
    banned: Sequence[tuple[int, int]] = ()
    """(row, token): its value becomes -inf."""


class Candidates(NamedTuple):
    """The answer to a `Wanted`: of each row the best tokens by edited value, equal values by the smaller token id.

    Values are float32 numbers; -inf stands where fewer tokens are allowed than were wanted.
    """

    values: list[list[float]]
    tokens: list[list[int]]
    normalizers: list[float]
    """One a row; empty unless wanted."""


class Runner(Protocol):
    """Encodes, decodes and keeps the caches of one batch; used by one thread."""

    @property
    def architecture(self) -> Architecture:
        """Of the model."""

    @property
    def rows(self) -> int:
        """Rows in the batch."""

    def cache_bytes(self, source: Source) -> int:
        """Most bytes that the caches of a source take while it is in the batch."""

    def begin(self, sources: Sequence[Source]) -> None:
        """Start to encode sources together; nothing else is being encoded."""

    def encode(self, layers: int) -> bool:
        """Run this many encoder layers on what was begun. True when it is encoded: it then joined the end of the batch, in
        its order, with one row each. So a long source can be encoded in slices, between which the others are decoded."""

    def abandon(self) -> None:
        """Forget what was begun and has not joined."""

    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        """Feed one token to each row; for each source what is wanted of the next-token logits of its rows."""

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        """For each source, which of its rows continue, by their place among its rows; a source without any leaves.

        A row that is named several times continues as several rows.
        """

    def clear(self) -> None:
        """Forget everything, what was begun too."""
