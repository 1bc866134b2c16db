"""Texts to token ids and back, as the card says: the training half of what the service does with the same card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compress.data.encoded import Encoded, in_chunks, lengths_of, truncated_of
from quant.card import Card, Texts
from quant.normalization import normalized

_PROBE = "a"
_CHUNK = 1000
"""Examples whose ids are in memory at a time."""


@dataclass(frozen=True)
class Example:
    """One training or evaluation pair of texts; languages are None for models of one language."""

    texts: Texts
    target: str
    source_language: str | None = None
    target_language: str | None = None
    more_references: tuple[str, ...] = ()
    """Texts that are as right as the target; scores know them, training does not."""

    @property
    def references(self) -> tuple[str, ...]:
        return (self.target, *self.more_references)


class TextFormat:
    """A card together with its tokenizer, and the tokens that end an output."""

    def __init__(self, card: Card, tokenizer: Any, eos_token_ids: Sequence[int]) -> None:
        self.card = card
        self.tokenizer = tokenizer
        self.token_id = tokenizer.convert_tokens_to_ids
        own = tokenizer.eos_token_id
        self._eos_token_id = own if own in eos_token_ids else eos_token_ids[0]
        # Where no first token is forced, the model was trained to write by itself what its tokenizer puts first.
        self._target_prefix = affixes(tokenizer, target=True)[0] if card.forced_bos is None else []

    def encode(self, examples: Sequence[Example], max_target_tokens: int) -> list[Encoded]:
        """Tokenize; a source longer than the card's maximum, or a target longer than `max_target_tokens`, is truncated.

        Of a source, the same tokens give way as in the service: the last ones of the text that the card calls long. One that
        has no room beside the others loses its end whatever that is. Targets are normalized as sources are, so that a model
        learns to write none of what it never reads.
        """
        sources = self._tokenize([self.card.source_text(example.texts) for example in examples])
        targets = self._tokenize([normalized(example.target, self.card.normalization) for example in examples])
        room = self.card.max_source_tokens - self.card.affixes
        encoded = []
        for example, source, target in zip(examples, sources, targets, strict=True):
            first = self.forced_bos_id(example.target_language)
            opening = self._target_prefix if first is None else [first]
            labels = [*opening, *target][: max_target_tokens - 1]
            labels.append(self._eos_token_id)
            decoder = [self.decoder_start_id(example.target_language), *labels[:-1]]
            truncated = len(source) > room or len(opening) + len(target) > max_target_tokens - 1
            if len(source) > room:
                source = self._cut(example.texts) or source[:room]
            source_ids = self.card.source_ids(source, self.token_id, example.source_language)
            encoded.append(Encoded(source_ids, decoder, labels, truncated))
        return encoded

    def encode_all(
        self, examples: Sequence[Example], max_target_tokens: int, advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[Encoded]:
        """As `encode`, with the ids of a thousand examples in memory; `advance` is called with numbers of examples."""
        for chunk in in_chunks(len(examples), _CHUNK):
            yield from self.encode(examples[chunk], max_target_tokens)
            advance(chunk.stop - chunk.start)

    def summary(self, split: str, encoded: Sequence[Encoded], max_target_tokens: int) -> str:
        """What `encode` made of a split, for the user: how much it is, and how much of it was cut off."""
        tokens, truncated = int(lengths_of(encoded).sum()), truncated_of(encoded)
        shown = f"{split}: {len(encoded):,} examples, {tokens:,} tokens, {truncated:,} truncated"
        if not truncated:
            return shown
        limits = f"sources to {self.card.max_source_tokens:,} tokens, targets to {max_target_tokens:,}"
        if truncated == len(encoded):
            flags = "--max-source-tokens and --max-target-tokens set these limits"
            return f"{shown}\nwarning: EVERY example of {split} is truncated ({limits}); {flags}"
        return f"{shown} ({truncated / len(encoded):.1%}; {limits})"

    def decoder_start_id(self, target_language: str | None) -> int:
        return self.card.decoder_start_id(self.token_id, target_language)

    def forced_bos_id(self, target_language: str | None) -> int | None:
        return self.card.forced_bos_id(self.token_id, target_language)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens and language codes."""
        # The card says whether a text is cleaned up, as it does to the service.
        return self.card.output_text(
            self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def _cut(self, texts: Texts) -> list[int] | None:
        encoded = self.tokenizer(
            self.card.source_text(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return self.card.cut(texts, encoded["input_ids"], [start for start, _ in encoded["offset_mapping"]])

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def affixes(tokenizer: Any, target: bool = False) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and after a text that it reads, or one that is to be written."""
    bare = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    whole = (tokenizer(text_target=_PROBE) if target else tokenizer(_PROBE))["input_ids"]
    start = next(index for index in range(len(whole)) if whole[index : index + len(bare)] == bare)
    return whole[:start], whole[start + len(bare) :]


def cleans_up(tokenizer: Any) -> bool:
    """Whether its texts lose the spaces before punctuation: its own setting, which does not hold for byte-pair encodings."""
    if not tokenizer.clean_up_tokenization_spaces:
        return False
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    forced = getattr(tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False)
    return type(model).__name__ != "BPE" or bool(forced)
