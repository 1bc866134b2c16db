"""The inputs of a request: the texts of each, and what is refused before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quant.card import Texts, passages
from serving.service.errors import ErrorCode, ServiceError
from serving.service.requests import AnswerRequest, TaskRequest


def inputs_of(request: TaskRequest) -> list[Texts]:
    """The texts of each input, by the names that the card's template uses.

    Raises ServiceError (bad_parameter) for contexts that do not fit the questions.
    """
    if not isinstance(request, AnswerRequest):
        return [{"source": text} for text in listed(request.text)]
    return [
        {"question": question, "context": context if isinstance(context, str) else tuple(context)}
        for question, context in zip(listed(request.question), contexts_of(request.question, request.context), strict=True)
    ]


def check_inputs(inputs: Sequence[Texts], most: int, most_characters: int) -> None:
    """Raises ServiceError (empty_text, bad_parameter, too_long) for inputs that are none, empty, too many or too long."""
    if not inputs:
        raise ServiceError(ErrorCode.EMPTY_TEXT, "no text is given")
    if len(inputs) > most:
        message = f"{len(inputs)} inputs in one request, {most} at most are accepted"
        raise ServiceError(ErrorCode.BAD_PARAMETER, message)
    for index, texts in enumerate(inputs):
        for field, text in texts.items():
            if empty := _empty(field, passages(text)):
                raise ServiceError(ErrorCode.EMPTY_TEXT, numbered(index, inputs, f"{empty} is empty"))
        if (given := characters(texts)) > most_characters:
            message = f"{given} characters, {most_characters} at most are accepted: split it"
            raise ServiceError(ErrorCode.TOO_LONG, numbered(index, inputs, message))


def characters(texts: Texts) -> int:
    """Of all texts of an input."""
    return sum(len(part) for text in texts.values() for part in passages(text))


def numbered(index: int, inputs: Sequence[Texts], message: str) -> str:
    """A message that says which input it is about, where there are several."""
    return f"input {index + 1} of {len(inputs)}: {message}" if len(inputs) > 1 else message


def contexts_of(
    question: str | Sequence[str], context: str | Sequence[str | Sequence[str]]
) -> Sequence[str | Sequence[str]]:
    """A text or passages for each question. Raises ServiceError (bad_parameter) for contexts that do not fit them."""
    if isinstance(context, str):
        return [context] * len(listed(question))
    if isinstance(question, str):
        ranked = [passage for passage in context if isinstance(passage, str)]
        if len(ranked) < len(context):
            message = "the context has a list in it; of one question it is a text or a list of texts, its passages"
            raise ServiceError(ErrorCode.BAD_PARAMETER, message, "context")
        return [ranked]
    if len(context) != len(question):
        message = f"{len(question)} questions and {len(context)} contexts; give one context, or as many as questions"
        raise ServiceError(ErrorCode.BAD_PARAMETER, message, "context")
    return context


def listed(text: str | Iterable[str]) -> list[str]:
    """One text, or those of several."""
    return [text] if isinstance(text, str) else list(text)


def _empty(field: str, parts: Sequence[str]) -> str | None:
    """Which part of a text has nothing in it."""
    if len(parts) < 2:
        return None if parts and parts[0].strip() else f"the {field}"
    return next((f"passage {place} of the {field}" for place, part in enumerate(parts, 1) if not part.strip()), None)
