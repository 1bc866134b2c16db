"""One input to the sources that the engine is given, as the request's `truncation` says.

Of an input that is too long, `error` says by how much, `end` drops the last tokens, and `chunk` makes windows. Where there
are several texts only the last of them gives way, so that a question is always read whole. Summaries and answers are better
the more the model sees, so that their windows are filled, and what fits is one. Of a context in passages, `end` takes from
the ones of lowest rank, and windows are made of whole passages.

A translator's windows are single sentences, also of a text that would fit: translators are trained on sentences, and one
that is given several leaves some out (the shipped one made 38 tokens of 242). It gives up what a sentence says of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quant.card import Task, Texts, passages
from serving.service.errors import ErrorCode, ServiceError
from serving.service.passages import passage_windows
from serving.service.requests import Truncation
from serving.service.text import EncodedSource, TextCodec
from serving.service.windows import split

UNKNOWN_LANGUAGE = "en"
"""By whose rules sentences end where a model has no languages to tell."""


@dataclass(frozen=True)
class Sources:
    """What the engine is given for one input."""

    windows: tuple[EncodedSource, ...]
    separators: tuple[str, ...]
    """What stands before each window, to put between its output and the one before."""
    applied: Literal["none", "end", "chunk"]
    total_tokens: int
    """Of the whole input in one."""
    used_tokens: int
    """Of these, the ones that are in the windows."""


@dataclass(frozen=True)
class SourceReader:
    """Reads the inputs of one request for one model."""

    codec: TextCodec
    task: Task
    source_language: str | None
    target_language: str | None
    truncation: Truncation
    max_windows: int

    def read(self, texts: Texts) -> Sources:
        """Sources of one input, its texts by the names in the card's template. Raises ServiceError (too_long)."""
        whole = self._encode(texts)
        total, most = len(whole.source_ids), self.codec.max_source_tokens
        unchanged = Sources((whole,), ("",), "none", total, total)
        by_sentence = self.truncation == "chunk" and self.task == "translation"
        if total <= most and not by_sentence:
            return unchanged
        match self.truncation:
            case "error":
                several = len(passages(texts[self.codec.long_field]))
                subject, instead = ("the input", "split it")
                if several > 1:
                    subject, instead = f"the input with its {several} passages", "give fewer of them"
                raise ServiceError(
                    ErrorCode.TOO_LONG,
                    f"{subject} has {total} tokens, the model reads {most} at most: {instead}, or choose truncation = end "
                    "or chunk",
                )
            case "end":
                cut = self.codec.cut(texts, self.source_language, self.target_language)
                return Sources((cut,), ("",), "end", total, len(cut.source_ids))
            case "chunk":
                windows, separators = self._windows(texts)
                one = len(windows) == 1 and total <= most
                return unchanged if one else Sources(windows, separators, "chunk", total, total)

    def _windows(self, texts: Texts) -> tuple[tuple[EncodedSource, ...], tuple[str, ...]]:
        field, most = self.codec.long_field, self.codec.max_source_tokens
        room = self.codec.room(texts)
        while room > 0:
            parts = self._parts(texts[field], room)
            if len(parts) > self.max_windows:
                message = f"the input takes {len(parts)} windows, the server allows {self.max_windows} at most: split it"
                raise ServiceError(ErrorCode.TOO_LONG, message)
            windows = tuple(self._encode({**texts, field: part}) for part, _ in parts)
            longest = max(len(window.source_ids) for window in windows)
            if longest <= most:
                return windows, tuple(separator for _, separator in parts)
            # Sentences together may have more tokens than each alone.
            room = min(room - 1, room * most // longest)
        raise self.codec.no_room(texts)

    def _parts(self, text: str | tuple[str, ...], room: int) -> list[tuple[str | tuple[str, ...], str]]:
        """What goes into each window, and what stands before it."""
        language = (self.source_language or UNKNOWN_LANGUAGE).partition("_")[0]
        if isinstance(text, tuple):
            separator = self.codec.passage_separator or ""
            return [(each, " ") for each in passage_windows(text, separator, language, room, self.codec.token_starts)]
        pack = self.task != "translation"
        return [(part.text, part.separator) for part in split(text, language, room, self.codec.token_starts, pack)]

    def _encode(self, texts: Texts) -> EncodedSource:
        return self.codec.encode(texts, self.source_language, self.target_language)
