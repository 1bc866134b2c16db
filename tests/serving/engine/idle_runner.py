"""A runner that computes nothing, so that traffic of thousands of steps is cheap, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quant.layout import Architecture
from serving.engine.request import GenerationParameters, Request
from serving.engine.runner import Candidates, Source, Wanted
from tests.serving.engine.lists import candidates

LAYERS = 6
PAGE = 10
"""Decoder positions by which caches grow."""
ARCHITECTURE = Architecture(
    model_type="bart",
    vocab_size=50,
    d_model=8,
    encoder_layers=LAYERS,
    decoder_layers=1,
    encoder_attention_heads=1,
    decoder_attention_heads=1,
    encoder_ffn_dim=8,
    decoder_ffn_dim=8,
    max_position_embeddings=1024,
    activation_function="gelu",
    scale_embedding=False,
    pad_token_id=1,
    bos_token_id=0,
    eos_token_id=2,
    decoder_start_token_id=2,
)


class IdleRunner:
    """Counts rows and layers, and finds the same token after any other."""

    architecture = ARCHITECTURE

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._encoding = 0
        self._layers_left = 0

    @property
    def rows(self) -> int:
        return sum(self._rows)

    page_positions = PAGE

    def cache_bytes(self, source: Source, positions: int) -> int:
        return source.rows * (len(source.token_ids) + positions)

    spare_bytes = 0

    def trim(self, most: int) -> None:
        raise AssertionError("nothing is kept")

    def begin(self, sources: Sequence[Source]) -> None:
        self._encoding, self._layers_left = len(sources), LAYERS

    def encode(self, layers: int) -> bool:
        self._layers_left -= layers
        if self._layers_left:
            return False
        self._rows += [1] * self._encoding
        return True

    def abandon(self) -> None:
        self._encoding = self._layers_left = 0

    def decode(self, tokens: Sequence[int], wanted: Sequence[Wanted]) -> list[Candidates]:
        assert len(tokens) == self.rows
        return [candidates([[0.0]] * rows, [[5]] * rows) for rows in self._rows]

    def select(self, parents: Sequence[Sequence[int]]) -> None:
        self._rows = [len(rows) for rows in parents if rows]

    def clear(self) -> None:
        raise AssertionError("nothing fails")


@dataclass(frozen=True)
class Visit:
    source_tokens: int
    new_tokens: int
    model: int = 0

    def request(self) -> Request:
        parameters = GenerationParameters(
            max_new_tokens=self.new_tokens, min_new_tokens=self.new_tokens, decoder_start_token_id=2, eos_token_ids=(2,)
        )
        return Request((5,) * self.source_tokens, parameters)

    @property
    def steps(self) -> int:
        """The most that it takes by itself: a layer in each, then a token in each."""
        return LAYERS + self.new_tokens
