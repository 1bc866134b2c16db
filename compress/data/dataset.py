"""Examples of a task from the rows of a data set: which columns hold what, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from compress.data.tables import AS_FOUND, Reading, load_table
from compress.data.text_format import Example
from compress.errors import DatasetError
from compress.model.told import Told
from quant.card import CONTEXT, Task, passages

# Column names tried in turn where no flag names them: those of the data sets people have.
_SOURCE_TARGET = {
    "translation": (("source", "target"),),
    "summarization": (("source", "target"), ("article", "highlights"), ("document", "summary"), ("text", "summary")),
}


class _NoTextError(ValueError):
    """A cell whose content is no text; the message says what it is, and what is expected."""


@dataclass(frozen=True)
class Fields:
    """Columns named by flags, None where the task's defaults apply, and how their files are read."""

    source: str | None = None
    target: str | None = None
    question: str | None = None
    context: str | None = None
    references: str | None = None
    """A list of texts; those that are not the target are further references."""
    reading: Reading = AS_FOUND


@dataclass(frozen=True)
class Languages:
    """Language codes of the source and the target column; `both` adds every pair in the other direction."""

    source: str | None = None
    target: str | None = None
    both: bool = False

    @classmethod
    def told(cls, told: Told) -> Languages:
        """Those that a model is told to be of."""
        source, target = told.languages or (None, None)
        return cls(source, target, told.both_directions)


def load_examples(
    name: str,
    split: str,
    task: Task,
    fields: Fields,
    languages: Languages,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
    labels: bool = True,
) -> list[Example]:
    """Read examples, dropping those with an empty source or target, of which `tell` is told. Raises DatasetError.

    Without `labels` a target may be missing, or empty: then there is no example of the other direction.
    """
    table = load_table(name, split, fields.reading)
    sources, target = columns_of(name, task, fields, table.columns, labels)
    needed = (*sources, "target") if labels else tuple(sources)
    examples: list[Example] = []
    empty: Counter[str] = Counter()
    count = dropped = 0
    for row in table.rows(limit):
        count += 1
        pair = _own_languages(name, row, languages) if task == "translation" else languages
        try:
            texts, answer = texts_of(name, row, sources, target, pair)
            more = _more_references(row, fields.references, answer)
        except _NoTextError as error:
            raise DatasetError(f"{name}: row {count:,} {error}") from error
        if missing := [field for field in needed if not {**texts, "target": answer}[field]]:
            dropped += 1
            empty.update(missing)
            continue
        examples.append(Example(texts, answer, pair.source, pair.target, more))
        if pair.both and answer:
            (source,) = passages(texts["source"])
            examples.append(Example({"source": answer}, source, pair.target, pair.source))
    reasons = ", ".join(f"{count:,} with an empty {field}" for field, count in empty.items())
    if not examples:
        wanted = " and ".join(f"a {field}" for field in needed)
        raise DatasetError(f"{name} has no example with {wanted}, of {count:,} rows{reasons and f': {reasons}'}")
    if dropped:
        tell(f"{name}: {dropped:,} of {count:,} rows dropped: {reasons}")
    return examples


def _own_languages(name: str, row: Mapping[str, Any], languages: Languages) -> Languages:
    """Those of a row that names its own, as pseudo-labels do: it is an example of this one direction."""
    source, target = row.get("source_language"), row.get("target_language")
    if source is None or target is None:
        return languages
    if [source, target] not in ([languages.source, languages.target], [languages.target, languages.source]):
        asked = f"{languages.source} and {languages.target}"
        raise DatasetError(f"{name} has a row of {source} to {target}, but the languages are {asked}")
    return Languages(source, target)


def columns_of(
    name: str, task: Task, fields: Fields, columns: Sequence[str], labels: bool = True
) -> tuple[dict[str, str], str]:
    """Which columns hold the source texts and the target, which need not be there without `labels`."""
    if fields.references and fields.references not in columns:
        there = ", ".join(columns) or "none at all"
        raise DatasetError(f"{name} has no column {fields.references}: it has {there}; --references-field names another")
    if task == "question-answering":
        sources = {"question": fields.question or "question", "context": fields.context or "context"}
        wanted, target = sources, fields.target or "answer"
    else:
        if task == "translation" and "translation" in columns and not (fields.source or fields.target):
            return {"source": "translation"}, "translation"
        pairs = _SOURCE_TARGET[task]
        whole = [pair for pair in pairs if set(pair) <= set(columns)]
        begun = [pair for pair in pairs if not labels and pair[0] in columns]
        default = next(iter([*whole, *begun, *pairs]))
        wanted, target = {"source": fields.source or default[0]}, fields.target or default[1]
    needed = {**wanted, "target": target} if labels else wanted
    if missing := [column for column in needed.values() if column not in columns]:
        flags = " and ".join(f"--{field}-field" for field in needed)
        there = ", ".join(columns) or "none at all"
        verb = "name" if len(needed) > 1 else "names"
        raise DatasetError(f"{name} has no column {', '.join(missing)}: it has {there}; {flags} {verb} others")
    return wanted, target


def texts_of(
    name: str, row: Mapping[str, Any], sources: Mapping[str, str], target: str, languages: Languages
) -> tuple[dict[str, str | tuple[str, ...]], str]:
    """The source texts, empty where there are none, and the target. A context in a list is passages, in their order."""
    if target == "translation":
        pair = row.get("translation") or {}
        if not isinstance(pair, Mapping):
            raise DatasetError(f"{name}: translation holds {pair!r}, an object of language codes to texts is expected")
        if not pair:
            return {"source": ""}, ""
        return {"source": _language_entry(name, pair, languages.source)}, _language_entry(name, pair, languages.target)
    cells = {field: row.get(column) for field, column in sources.items()}
    texts = {field: _passages(cell) if field == CONTEXT else _text(cell) for field, cell in cells.items()}
    return texts, _text(row.get(target))


def _passages(value: Any) -> str | tuple[str, ...]:
    """Those of a list, without empty ones; else a text."""
    return tuple(filter(None, map(_text, value))) if isinstance(value, list) else _text(value)


def _more_references(row: Mapping[str, Any], column: str | None, target: str) -> tuple[str, ...]:
    """The texts of a column, each once, without empty ones and the target."""
    value = row.get(column) if column else None
    texts = [_text(entry) for entry in (value if isinstance(value, list) else [value])]
    return tuple(text for text in dict.fromkeys(texts) if text and text != target)


def _language_entry(name: str, pair: Mapping[str, str], language: str | None) -> str:
    """The entry of a translation dict for a code: `de_DE`, or `de`."""
    for key in (language or "", (language or "").split("_")[0]):
        if key in pair:
            return _text(pair[key])
    raise DatasetError(f"{name}: its translation entries have {', '.join(pair)}, not {language}")


def _text(value: Any) -> str:
    """Whitespace trimmed; a list joined by spaces; missing values empty; true and false as JSON has them.

    Raises _NoTextError for what has no text, such as an object.
    """
    if isinstance(value, list):
        return " ".join(_text(entry) for entry in value)
    if isinstance(value, bytes):  # as some programs write texts into Parquet
        try:
            return value.decode().strip()
        except UnicodeDecodeError:
            raise _NoTextError(f"holds bytes that are no UTF-8, {value[:20]!r}: a text is expected") from None
    if isinstance(value, Mapping | tuple):  # tuples are the entries of a map of Parquet's
        keys = ", ".join(map(str, islice(value, 5))) or "nothing"
        raise _NoTextError(f"holds an object with {keys}: a text, a number or a list of these is expected")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value != value else str(value).strip()  # NaN alone differs from itself
