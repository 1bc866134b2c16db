"""The text of an output while its ids come in.

`tokenizers` decodes step by step: a character that is spread over tokens comes when it is whole. What it does not know is
held back here: white space that may turn out to be the text's end, which is stripped, and bytes in spelled form (`<0xE4>`),
which all become replacement characters when one that follows makes no UTF-8 of them. Of a text that is cleaned up, the last
characters wait for what makes them part of a contraction or not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from quant.card import cleaned_up

UNSETTLED = 5
"""Characters at the end of a text by which a space before them may yet be lost: ` n ' t` becomes `n't`."""

BYTE = re.compile(r"<0x[0-9A-F]{2}>")


class TextStream:
    """One output: what `add` returns, and `end` at last, put together is the text of all ids, stripped."""

    def __init__(self, tokenizer: Tokenizer, cleans_up: bool = False) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._spells_bytes = tokenizer.token_to_id("<0x00>") is not None
        self._cleans_up = cleans_up
        self._raw = ""
        self._cleaned = 0
        self._held: list[int] = []
        self._spaces = ""
        self._told = 0

    def add(self, token_ids: Sequence[int]) -> str:
        """What these ids make certain of the text."""
        self._held += token_ids
        closed = len(self._held)
        while self._spells_bytes and closed and self._is_open(self._held[closed - 1]):
            closed -= 1
        new = self._decoder.step(self._tokenizer, self._held[:closed]) if closed else None
        self._held = self._held[closed:]
        text = self._spaces + self._settled(new or "")
        if not self._told:
            text = text.lstrip()
        settled = text.rstrip()
        self._spaces = text[len(settled) :]
        self._told += len(settled)
        return settled

    def end(self, text: str) -> str:
        """What is left of the whole text of the output."""
        return text[self._told :]

    def _settled(self, new: str) -> str:
        """What is certain of the text beyond what was before, with `new` at its end."""
        if not self._cleans_up:
            return new
        self._raw += new
        text = cleaned_up(self._raw)
        # Only spaces are lost, each by what stands within the next few characters.
        start, self._cleaned = self._cleaned, max(self._cleaned, len(text) - UNSETTLED)
        return text[start : self._cleaned]

    def _is_open(self, token_id: int) -> bool:
        """Whether a run of bytes goes on after this id, which is one or has no text."""
        is_byte = BYTE.fullmatch(self._tokenizer.id_to_token(token_id) or "") is not None
        return is_byte or not self._tokenizer.decode([token_id], skip_special_tokens=True)
