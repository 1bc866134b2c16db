from __future__ import annotations

from typing import Any

import pytest

from serving.service.inputs import characters, inputs_of
from serving.service.requests import AnswerRequest, SummarizeRequest


def test_each_text_is_an_input() -> None:
    assert inputs_of(SummarizeRequest(text="a")) == [{"source": "a"}]
    assert inputs_of(SummarizeRequest(text=["a", "b"])) == [{"source": "a"}, {"source": "b"}]


@pytest.mark.parametrize(
    ("question", "context", "contexts"),
    [
        ("q", "one", ["one"]),
        ("q", ["best", "second"], [("best", "second")]),
        (["q", "r"], "one", ["one", "one"]),
        (["q", "r"], ["one", "other"], ["one", "other"]),
        (["q", "r"], ["one", ["best", "second"]], ["one", ("best", "second")]),
        (["q"], [["best", "second"]], [("best", "second")]),
    ],
)
def test_contexts_and_passages(question: Any, context: Any, contexts: list[Any]) -> None:
    inputs = inputs_of(AnswerRequest(question=question, context=context))
    assert [texts["context"] for texts in inputs] == contexts
    assert [texts["question"] for texts in inputs] == list(question)


def test_characters_are_counted_over_all_passages() -> None:
    assert characters({"question": "abc", "context": ("de", "f")}) == 6
