"""Plain texts for denoising: a .txt file of one document a line, or one column of any data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from compress.data.encoded import Encoded, in_chunks
from compress.data.tables import AS_FOUND, Reading, is_local, load_table
from compress.data.text_files import TextFile
from compress.data.text_format import TextFormat
from compress.errors import DatasetError

_COLUMNS = ("text", "source", "context", "article", "document")
_CHUNK = 100
"""Documents whose ids are in memory at a time."""
SHORTEST_SEGMENT = 16
"""Tokens; what is left of a document beyond its last whole segment is not used when it is shorter."""


def load_texts(
    names: Sequence[str], split: str, column: str | None, limit: int | None = None, reading: Reading = AS_FOUND
) -> list[str]:
    """Documents of all data sets, each once, in order; at most `limit` rows of each. Raises DatasetError."""
    texts = [text for name in names for text in islice(_texts(name, split, column, reading), limit)]
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


def check_texts(name: str, column: str | None, reading: Reading = AS_FOUND) -> None:
    """Raises DatasetError where a file is missing or has no such column; a hub id is not looked up."""
    if Path(name).suffix == ".txt":
        _text_file(name, reading)
    elif is_local(name):
        _column(name, column, load_table(name, "train", reading).columns)


def _text_file(name: str, reading: Reading) -> TextFile:
    if not Path(name).is_file():
        raise DatasetError(f"{name} does not exist")
    return TextFile(Path(name), reading.encoding)


def _column(name: str, column: str | None, columns: Sequence[str]) -> str:
    wanted = column or next((each for each in _COLUMNS if each in columns), None)
    if wanted is None or wanted not in columns:
        named = column or " or ".join(_COLUMNS)
        raise DatasetError(f"{name} has no column {named}: it has {', '.join(columns)}; --source-field names one")
    return wanted


def _texts(name: str, split: str, column: str | None, reading: Reading) -> Iterator[str]:
    if Path(name).suffix == ".txt":
        yield from (line.strip() for line in _text_file(name, reading).lines())
        return
    table = load_table(name, split, reading)
    wanted = _column(name, column, table.columns)
    for row in table.rows():
        text = row.get(wanted)
        yield " ".join(str(text).split()) if text is not None else ""
