"""Which columns of a row are asked about, which its outputs get, and what is wrong with a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.batch.errors import BatchError
from pipelines.batch.files import Record, Unreadable
from quant.card import Task

if TYPE_CHECKING:
    import pyarrow

    from serving.service.results import Output, Result

_TEXT_COLUMNS = ("text", "source", "document", "article")
"""Tried in turn where none is named."""

ROW = "row"
"""The column with a row's number in the whole input, counted from 0."""


class BadRowError(ValueError):
    """A row that cannot be asked about. `code` is a stable name of the kind of fault, for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Asked:
    """What is asked of one row."""

    text: str
    """The question, of a question."""
    context: str | tuple[str, ...]
    """Empty where nothing is answered from one."""
    source_language: str | None
    target_language: str | None


@dataclass(frozen=True)
class Columns:
    """Columns of the input by what they are for; None for one that is not there."""

    text: str
    context: str | None
    source_language: str | None
    target_language: str | None
    both: tuple[str | None, str | None]
    """Languages of all rows."""

    @property
    def needed(self) -> list[str]:
        """By name, each once."""
        named = (self.text, self.context, self.source_language, self.target_language)
        return list(dict.fromkeys(name for name in named if name is not None))

    def asked(self, record: Record) -> Asked:
        """Raises BadRowError."""
        if isinstance(record, Unreadable):
            raise BadRowError("unreadable", record.reason)
        text = _text(record, self.text)
        context = "" if self.context is None else _passages(record, self.context)
        source, target = self.both
        if self.source_language is not None:
            source = _text(record, self.source_language)
        if self.target_language is not None:
            target = _text(record, self.target_language)
        return Asked(text, context, source, target)


def columns_for(
    task: Task,
    there: Sequence[str],
    text: str | None,
    question: str,
    context: str,
    language_columns: tuple[str | None, str | None],
    languages: tuple[str | None, str | None],
) -> Columns:
    """Raises BatchError for columns that are not there, and for languages where there are none."""
    if task != "translation" and any((*language_columns, *languages)):
        raise BatchError(f"the model does {task}: languages are for translation")
    if task == "question-answering":
        wanted = Columns(question, context, None, None, (None, None))
        flags = "--question-column and --context-column name others"
    else:
        found = text or next((name for name in _TEXT_COLUMNS if name in there), _TEXT_COLUMNS[0])
        wanted = Columns(found, None, *language_columns, languages)
        flags = "--text-column names another"
    if missing := [name for name in wanted.needed if name not in there]:
        raise BatchError(f"the input has no column {', '.join(missing)}: it has {', '.join(there) or 'none'}; {flags}")
    return wanted


def output_columns(prefix: str, scored: bool, several: bool) -> list[str]:
    """Names of the columns that rows get, `row` among them."""
    names = [ROW, "output", "finish_reason", "source_tokens", "generated_tokens", "unknown_tokens", "truncation"]
    names += ["score", "tokens"] if scored else []
    names += ["outputs"] if several else []
    return [prefix + name for name in names]


def check_free(there: Sequence[str], new: Sequence[str]) -> None:
    """Raises BatchError for columns of the input that have the names of new ones."""
    if taken := [name for name in new if name in there]:
        raise BatchError(
            f"the input has columns of the names that outputs get, {', '.join(taken)}: --prefix gives those other names"
        )


def output_schema(prefix: str, scored: bool, several: bool) -> pyarrow.Schema:
    """Types of the new columns."""
    import pyarrow as pa

    token = pa.struct([("id", pa.int32()), ("token", pa.string()), ("log_probability", pa.float64())])
    output: list[tuple[str, Any]] = [("text", pa.string()), ("finish_reason", pa.string()), ("generated_tokens", pa.int32())]
    if scored:
        output += [("score", pa.float64()), ("tokens", pa.list_(token))]
    types = {
        ROW: pa.int64(),
        "output": pa.string(),
        "finish_reason": pa.string(),
        "truncation": pa.string(),
        "score": pa.float64(),
        "tokens": pa.list_(token),
        "outputs": pa.list_(pa.struct(output)),
    }
    names = output_columns("", scored, several)
    return pa.schema([(prefix + name, types.get(name, pa.int32())) for name in names])


def cells(prefix: str, row: int, result: Result, scored: bool, several: bool) -> dict[str, Any]:
    """The new cells of a row, by column."""
    found: dict[str, Any] = {
        ROW: row,
        "output": result.text,
        "finish_reason": result.finish_reason,
        "source_tokens": result.source_tokens,
        "generated_tokens": result.generated_tokens,
        "unknown_tokens": result.unknown_tokens,
        "truncation": result.truncation.applied,
    }
    if scored:
        found |= {"score": result.score, "tokens": _tokens(result)}
    if several:
        found["outputs"] = [_output(each, scored) for each in result.sequences or [result]]
    return {prefix + name: value for name, value in found.items()}


def _output(output: Output, scored: bool) -> dict[str, Any]:
    found = {"text": output.text, "finish_reason": output.finish_reason, "generated_tokens": output.generated_tokens}
    return found | ({"score": output.score, "tokens": _tokens(output)} if scored else {})


def _tokens(output: Output) -> list[dict[str, Any]]:
    return [{"id": each.id, "token": each.token, "log_probability": each.log_probability} for each in output.tokens or ()]


def _text(record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    if isinstance(value, str):
        return value
    if column not in record:
        raise BadRowError("no_column", f"the column {column} is not there; the row has {', '.join(record) or 'none'}")
    raise BadRowError("no_text", f"{column} is {_kind(value)}, a text is expected")


def _passages(record: Mapping[str, Any], column: str) -> str | tuple[str, ...]:
    value = record.get(column)
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    if isinstance(value, list | tuple):
        raise BadRowError("no_text", f"{column} is {_kind(value)}, a text or a list of texts is expected")
    return _text(record, column)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return "a list of other things than texts" if value else "an empty list"
    return f"of the type {type(value).__name__}"
