from __future__ import annotations

from typing import Any

import pytest

from pipelines.batch.columns import Asked, BadRowError, Columns, check_free, columns_for, output_columns, output_schema
from pipelines.batch.errors import BatchError
from pipelines.batch.files import Unreadable
from quant.card import Task

NONE = (None, None)


def chosen(task: Task, there: list[str], text: str | None = None, **other: Any) -> Columns:
    options = {"language_columns": NONE, "languages": NONE, **other}
    return columns_for(task, there, text, "question", "context", **options)


def test_the_text_is_in_the_first_usual_column_or_in_the_named_one() -> None:
    assert chosen("summarization", ["id", "document", "source"]).text == "source"
    assert chosen("summarization", ["id", "text"], "id").text == "id"
    with pytest.raises(BatchError, match="no column text: it has id, x; --text-column names another"):
        chosen("translation", ["id", "x"])
    with pytest.raises(BatchError, match="no column context: it has question; --question-column and --context-column"):
        chosen("question-answering", ["question"])


def test_languages_are_for_translation() -> None:
    languages = {"language_columns": ("lang", None), "languages": (None, "en")}
    asked = chosen("translation", ["text", "lang"], **languages).asked({"text": "a", "lang": "de"})
    assert asked == Asked("a", "", "de", "en")
    with pytest.raises(BatchError, match="no column lang"):
        chosen("translation", ["text"], **languages)
    with pytest.raises(BatchError, match="languages are for translation"):
        chosen("summarization", ["text", "lang"], **languages)


@pytest.mark.parametrize(
    ("row", "code", "reason"),
    [
        ({"question": "q", "context": []}, "no_text", "context is an empty list"),
        ({"question": "q", "context": ["a", 1]}, "no_text", "context is a list of other things than texts"),
        ({"question": 5, "context": "c"}, "no_text", "question is of the type int, a text is expected"),
        ({"question": None, "context": "c"}, "no_text", "question is nothing"),
        ({"context": "c"}, "no_column", "the column question is not there; the row has context"),
        (Unreadable("x", "no UTF-8"), "unreadable", "no UTF-8"),
    ],
)
def test_rows_that_cannot_be_asked_about(row: Any, code: str, reason: str) -> None:
    columns = chosen("question-answering", ["question", "context"])
    with pytest.raises(BadRowError, match=reason) as raised:
        columns.asked(row)
    assert raised.value.code == code


def test_a_context_may_be_passages() -> None:
    columns = chosen("question-answering", ["question", "context"])
    assert columns.asked({"question": "q", "context": ["a", "b"]}).context == ("a", "b")
    assert columns.needed == ["question", "context"]


def test_new_columns_do_not_take_the_place_of_others() -> None:
    with pytest.raises(BatchError, match="of the names that outputs get, row, score: --prefix"):
        check_free(["row", "text", "score"], output_columns("", True, False))
    check_free(["row", "text", "score"], output_columns("dqbart_", True, False))
    assert output_schema("d_", True, True).names == output_columns("d_", True, True)
