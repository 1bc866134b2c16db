"""One input to the sources that the engine is given, as the request's `truncation` says.

Of an input that is too long, `error` says by how much, `end` drops the last tokens, and `chunk` makes windows. Where there
are several texts only the last of them gives way, so that a question is always read whole. Summaries and answers are better
the more the model sees, so that their windows are filled, and what fits is one. Of a context in passages, `end` takes from
the ones of lowest rank, and windows are made of whole passages.

A translator's windows are single sentences, also of a text that would fit: translators are trained on sentences, and one
that is given several leaves some out (`benchmarks/joined_sentences.py`: BLEU 12 instead of 49 with four of them). It gives
up what a sentence says of the next. What is no sentence is not translated (see segments.py), whatever `truncation` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from quant.card import SOURCE_FIELDS, Task, Texts, passages
from serving.service.errors import ErrorCode, ServiceError
from serving.service.languages import script_of
from serving.service.passages import passage_windows
from serving.service.requests import Truncation
from serving.service.scripts import SPACELESS
from serving.service.segments import Segments, by_sentence, in_one
from serving.service.text import EncodedSource, TextCodec
from serving.service.windows import split

UNKNOWN_LANGUAGE = "en"
"""By whose rules sentences end where a model has no languages to tell."""


@dataclass(frozen=True)
class Sources:
    """What the engine is given for one input."""

    windows: tuple[EncodedSource, ...]
    before: tuple[str, ...]
    """What stands before each window's output in the text of all of them, where there is one: of translations."""
    after: str
    """What stands behind the last of them; of a translation without windows, all of it."""
    applied: Literal["none", "end", "chunk"]
    total_tokens: int
    """Of the whole input in one."""
    used_tokens: int
    """Of these, the ones that are in the windows."""

    def joined(self, outputs: Sequence[str]) -> str:
        """The text of all windows' outputs, with what stands around them."""
        return "".join(f"{before}{output}" for before, output in zip(self.before, outputs, strict=True)) + self.after


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
        if self.task == "translation":
            return self._read_translation(texts)
        whole = self._encode(texts)
        total = len(whole.source_ids)
        if total <= self.codec.max_source_tokens or self.truncation != "chunk":
            return self._whole(texts, whole)
        windows = self._windows(texts)
        return Sources(windows, ("",) * len(windows), "", "chunk", total, total)

    def nothing(self) -> EncodedSource:
        """An input without text, which says how the decoder begins."""
        return self._encode(dict.fromkeys(SOURCE_FIELDS[self.task], ""))

    def _read_translation(self, texts: Texts) -> Sources:
        (text,) = passages(texts[self.codec.long_field])
        script = script_of(self.source_language) if self.source_language else None
        found = in_one(text, script)
        if not found.segments:
            return Sources((), (), found.after, "none", 0, 0)
        (segment,) = found.segments
        given = {**texts, self.codec.long_field: segment.text}
        encoded = self._encode(given)
        if self.truncation != "chunk":
            read = self._whole(given, encoded)
            return replace(read, before=(segment.before,), after=found.after)
        windows, split = self._sentences(texts, text, script, {segment.text: encoded})
        total = len(encoded.source_ids)
        before = tuple(each.before for each in split.segments)
        return Sources(windows, before, split.after, "chunk" if len(windows) > 1 else "none", total, total)

    def _whole(self, texts: Texts, encoded: EncodedSource) -> Sources:
        """An input in one, cut or refused where it is too long."""
        total, most = len(encoded.source_ids), self.codec.max_source_tokens
        if total <= most:
            return Sources((encoded,), ("",), "", "none", total, total)
        if self.truncation == "end":
            cut = self.codec.cut(texts, self.source_language, self.target_language)
            return Sources((cut,), ("",), "", "end", total, len(cut.source_ids))
        several = len(passages(texts[self.codec.long_field]))
        subject, instead = ("the input", "split it")
        if several > 1:
            subject, instead = f"the input with its {several} passages", "give fewer of them"
        raise ServiceError(
            ErrorCode.TOO_LONG,
            f"{subject} has {total} tokens, the model reads {most} at most: {instead}, or choose truncation = end or chunk",
        )

    def _windows(self, texts: Texts) -> tuple[EncodedSource, ...]:
        def parts(room: int) -> list[str | tuple[str, ...]]:
            text, count = texts[self.codec.long_field], self.codec.token_starts
            if isinstance(text, tuple):
                separator = self.codec.passage_separator or ""
                return list(passage_windows(text, separator, UNKNOWN_LANGUAGE, room, count))
            return list(split(text, UNKNOWN_LANGUAGE, room, count))

        return self._fitting(texts, parts, {})

    def _sentences(
        self, texts: Texts, text: str, script: str | None, known: dict[str | tuple[str, ...], EncodedSource]
    ) -> tuple[tuple[EncodedSource, ...], Segments]:
        """Windows, and the segments that they are of. `known` has what is encoded already, a text of one sentence whole."""
        language = (self.source_language or UNKNOWN_LANGUAGE).partition("_")[0]
        target = script_of(self.target_language) if self.target_language else None
        between = "" if target in SPACELESS else " "
        found = Segments((), text)

        def parts(room: int) -> list[str | tuple[str, ...]]:
            nonlocal found
            found = by_sentence(text, language, script, between, room, self.codec.token_starts)
            return [segment.text for segment in found.segments]

        windows = self._fitting(texts, parts, known)
        return windows, found

    def _fitting(
        self,
        texts: Texts,
        parts: Callable[[int], list[str | tuple[str, ...]]],
        known: Mapping[str | tuple[str, ...], EncodedSource],
    ) -> tuple[EncodedSource, ...]:
        """Windows of what `parts` makes of an input for so many tokens, each short enough for the model."""
        field, most = self.codec.long_field, self.codec.max_source_tokens
        room = self.codec.room(texts)
        while room > 0:
            made = parts(room)
            if len(made) > self.max_windows:
                message = f"the input takes {len(made)} windows, the server allows {self.max_windows} at most: split it"
                raise ServiceError(ErrorCode.TOO_LONG, message)
            windows = tuple(known.get(part) or self._encode({**texts, field: part}) for part in made)
            longest = max((len(window.source_ids) for window in windows), default=0)
            if longest <= most:
                return windows
            # Sentences together may have more tokens than each alone.
            room = min(room - 1, room * most // longest)
        raise self.codec.no_room(texts)

    def _encode(self, texts: Texts) -> EncodedSource:
        return self.codec.encode(texts, self.source_language, self.target_language)
