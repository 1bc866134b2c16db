"""Plain texts for denoising: a .txt file of one document a line, or one column of any data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from compress.data.dataset import DatasetError, load_table
from compress.data.encoded import Encoded, in_chunks
from compress.data.text_format import TextFormat

_COLUMNS = ("text", "source", "context", "article", "document")
_CHUNK = 100
"""Documents whose ids are in memory at a time."""
SHORTEST_SEGMENT = 16
"""Tokens; what is left of a document beyond its last whole segment is not used when it is shorter."""


def load_texts(names: Sequence[str], split: str, column: str | None, limit: int | None = None) -> list[str]:
    """Documents of all data sets, each once, in order; at most `limit` rows of each. Raises DatasetError."""
    texts = [text for name in names for text in _texts(name, split, column)[:limit]]
    if not (kept := list(dict.fromkeys(text for text in texts if text))):
        raise DatasetError(f"{', '.join(names)}: no text (of {len(texts)} rows)")
    return kept


def segments(texts: Sequence[str], text_format: TextFormat, length: int) -> Iterator[Encoded]:
    """Each document cut into segments of `length` tokens, affixes included, which are source and target alike."""
    card, tokenizer = text_format.card, text_format.tokenizer
    room = length - card.affixes
    start = text_format.decoder_start_id(None)
    for chunk in in_chunks(len(texts), _CHUNK):
        for ids in tokenizer(list(texts[chunk]), add_special_tokens=False, verbose=False)["input_ids"]:
            for begin in range(0, len(ids), room):
                segment = ids[begin : begin + room]
                if begin and len(segment) < SHORTEST_SEGMENT:
                    continue
                whole = card.source_ids(segment, text_format.token_id, None)
                yield Encoded(whole, [start, *whole[:-1]], whole, truncated=False)


def _texts(name: str, split: str, column: str | None) -> list[str]:
    path = Path(name)
    if path.suffix == ".txt":
        if not path.is_file():
            raise DatasetError(f"{name} does not exist")
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    table = load_table(name, split)
    wanted = column or next((each for each in _COLUMNS if each in table.column_names), None)
    if wanted not in table.column_names:
        named = column or " or ".join(_COLUMNS)
        raise DatasetError(f"{name} has no column {named}: it has {', '.join(table.column_names)}; --source-field names one")
    return [" ".join(str(text).split()) if text is not None else "" for text in table[wanted]]
