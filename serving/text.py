"""Texts to source ids and generated ids to texts, as an artifact's card and tokenizer say.

The tokenizer file is read by `tokenizers` alone: what surrounds a text is the card's business, so encoding adds no special
tokens, and truncation or padding that the file may carry is switched off. Nothing here shortens a text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from quant.card import SOURCE_LANGUAGE, TARGET_LANGUAGE, Card
from serving.errors import ErrorCode, ServiceError

TOKENIZER_FILE = "tokenizer.json"


class TokenizerError(ValueError):
    """A tokenizer that is missing, unreadable or at odds with the card. The message names the file and lists every fault."""


@dataclass(frozen=True)
class EncodedSource:
    """One input as the engine takes it."""

    source_ids: tuple[int, ...]
    decoder_start_token_id: int
    forced_bos_token_id: int | None


class TextCodec:
    """Encodes the sources of one model and decodes its outputs. Raises TokenizerError when it cannot."""

    def __init__(self, folder: Path, card: Card, vocab_size: int) -> None:
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise TokenizerError(f"{path} is missing")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise TokenizerError(f"{path} is no readable tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._card = card
        faults = [
            f"the card's token {token!r} is not in the vocabulary"
            for token in _named_tokens(card)
            if self._tokenizer.token_to_id(token) is None
        ]
        # A vocabulary may be larger than the tokenizer (padded for speed), never smaller.
        if (known := self._tokenizer.get_vocab_size()) > vocab_size:
            faults.append(f"it has {known} tokens, the model {vocab_size}")
        if faults:
            raise TokenizerError(f"{path}: " + "; ".join(faults))

    def encode(self, texts: Mapping[str, str], source_language: str | None, target_language: str | None) -> EncodedSource:
        """Encode the texts of one input, by the names in the card's template.

        Raises ServiceError (too_long) for more tokens than the model reads.
        """
        text = self._card.source_text(texts)
        text_ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        source_ids = self._card.source_ids(text_ids, self._token_id, source_language)
        if len(source_ids) > self._card.max_source_tokens:
            raise ServiceError(
                ErrorCode.TOO_LONG,
                f"the input has {len(source_ids)} tokens, the model reads {self._card.max_source_tokens} at most: split it",
            )
        return EncodedSource(
            tuple(source_ids),
            self._card.decoder_start_id(self._token_id, target_language),
            self._card.forced_bos_id(self._token_id, target_language),
        )

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text.strip()

    def _token_id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        assert found is not None, f"{token} was in the vocabulary when the codec was made"
        return found


def _named_tokens(card: Card) -> list[str]:
    named = [*card.source_prefix, *card.source_suffix, card.decoder_start, *([card.forced_bos] if card.forced_bos else [])]
    placeholders = (SOURCE_LANGUAGE, TARGET_LANGUAGE)
    literal = [token for token in named if token not in placeholders]
    return literal + [language for language in card.languages if any(token in placeholders for token in named)]
