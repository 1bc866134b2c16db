"""One turn of all engines that have work: some is encoded, no more than rows may wait for, then each decodes a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Turn:
    """What the engines of a turn tell each other. By itself it is the turn of an engine that is alone."""

    rows_wait: bool
    """Whether rows of any model wait for their next step, so that encoding is limited."""
    encoded_tokens: int = 0
    """Source tokens that were encoded in this turn, padding included; part of an encoder's layers count for as large a part
    of the tokens."""

    def layers(self, wanted: int, tokens: int, encoder_layers: int, encode_tokens_per_step: int) -> int:
        """How many of the layers that are `wanted` may be run on so many tokens, and counts them.

        All of them unless rows wait; then as many as are within the limit, and one where nothing was encoded yet.
        """
        layers = wanted
        if self.rows_wait:
            left = max(0, encode_tokens_per_step - self.encoded_tokens)
            least = 0 if self.encoded_tokens else 1
            layers = min(wanted, max(least, left * encoder_layers // tokens))
        self.encoded_tokens += -(-tokens * layers // encoder_layers)
        return layers
