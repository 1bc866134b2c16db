"""Texts to source ids and generated ids to texts, as an artifact's card and tokenizer say.

The tokenizer file is read by `tokenizers` alone: what surrounds a text is the card's business, so encoding adds no special
tokens, and truncation or padding that the file may carry is switched off. Nothing here shortens a text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding

from quant.card import Card, Texts
from quant.tokenizer_file import open_tokenizer, unknown_id
from serving.service.errors import ErrorCode, ServiceError
from serving.service.text_stream import TextStream

# Texts are encoded one at a time: threads of the tokenizer's own would find nothing to do.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class EncodedSource:
    """One input as the engine takes it."""

    source_ids: tuple[int, ...]
    decoder_start_token_id: int
    forced_bos_token_id: int | None
    unknown_tokens: int = 0
    """Of the text's, those that stand for what the vocabulary does not have."""


class TextCodec:
    """Encodes the sources of one model and decodes its outputs. Raises TokenizerError when it cannot."""

    def __init__(self, folder: Path, card: Card, vocab_size: int) -> None:
        self._tokenizer = open_tokenizer(folder, card, vocab_size)
        self._unknown_id = unknown_id(self._tokenizer)
        self._card = card

    @property
    def max_source_tokens(self) -> int:
        """The longest source that the model reads, language and end tokens included."""
        return self._card.max_source_tokens

    @property
    def long_field(self) -> str:
        """The text of an input that may be shortened or split: the source, or a question's context."""
        return self._card.long_field

    @property
    def passage_separator(self) -> str | None:
        """What stands between the passages of a context; None where a source has none."""
        return self._card.passage_separator

    def encode(self, texts: Texts, source_language: str | None, target_language: str | None) -> EncodedSource:
        """Encode the texts of one input, by the names in the card's template, however long they are."""
        text_ids = self._tokenized(self._card.source_text(texts)).ids
        return self._encoded(text_ids, source_language, target_language)

    def cut(self, texts: Texts, source_language: str | None, target_language: str | None) -> EncodedSource:
        """Encode an input that is too long without as many of the long field's last tokens as are too many.

        Raises ServiceError (too_long) when all of them are.
        """
        encoding = self._tokenized(self._card.source_text(texts))
        kept = self._card.cut(texts, encoding.ids, _starts(encoding))
        if kept is None:
            raise self.no_room(texts)
        return self._encoded(kept, source_language, target_language)

    def room(self, texts: Texts) -> int:
        """Tokens of the long field that the model can read beside the rest of an input; 0 or less when it has no room."""
        rest = self._card.source_text({**texts, self.long_field: ""})
        return self.max_source_tokens - self._card.affixes - len(self._tokenized(rest))

    def no_room(self, texts: Texts) -> ServiceError:
        """Says that an input is too long without its long field already."""
        others = [name for name in texts if name != self.long_field]
        return ServiceError(
            ErrorCode.TOO_LONG,
            f"the {' and '.join(others) or 'template'} leaves no room for the {self.long_field}: "
            f"the model reads {self.max_source_tokens} tokens at most",
            others[0] if others else None,
        )

    def token_starts(self, text: str) -> list[int]:
        """Where each token of a text starts, in characters, ascending."""
        return _starts(self._tokenized(text))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        return self._card.output_text(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def stream(self) -> TextStream:
        """The text of ids that come one after the other."""
        return TextStream(self._tokenizer, self._card.clean_up_tokenization_spaces)

    def spelling(self, token_id: int) -> str:
        """A token as the vocabulary has it; empty for one beyond it, as a model's padded head has."""
        return self._tokenizer.id_to_token(token_id) or ""

    def _tokenized(self, text: str) -> Encoding:
        # As a batch of one, while which the tokenizer lets other threads run; a text alone would hold them up.
        return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]

    def _encoded(self, text_ids: list[int], source_language: str | None, target_language: str | None) -> EncodedSource:
        return EncodedSource(
            tuple(self._card.source_ids(text_ids, self._token_id, source_language)),
            self._card.decoder_start_id(self._token_id, target_language),
            self._card.forced_bos_id(self._token_id, target_language),
            0 if self._unknown_id is None else text_ids.count(self._unknown_id),
        )

    def _token_id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        assert found is not None, f"{token} was in the vocabulary when the codec was made"
        return found


def _starts(encoding: Encoding) -> list[int]:
    # One by one: a list of all offsets is made in one step, in which no other thread runs.
    places = map(encoding.token_to_chars, range(len(encoding)))
    return [place[0] for place in places if place is not None]
