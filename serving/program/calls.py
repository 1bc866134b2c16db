"""One call of a program: what holds for all its inputs, and each of them answered as a server would answer it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from quant.card import Texts
from serving.engine.errors import EngineClosed, InvalidRequest
from serving.engine.loop import CLOSED
from serving.program.options import OnError, Question
from serving.service.answering import Answering
from serving.service.counting import Uncounted
from serving.service.errors import ErrorCode, ServiceError, request_fault, shown
from serving.service.inputs import characters, check_inputs, contexts_of, inputs_of, listed
from serving.service.models import Models, ServedModel
from serving.service.news import Tell
from serving.service.off_loop import off_loop
from serving.service.preparing import OFF_LOOP_CHARACTERS, Preparing
from serving.service.requests import AnswerRequest, TaskRequest
from serving.service.results import Result
from serving.service.service import TASK_OF, describe_faults

T = TypeVar("T")

UNLIMITED = sys.maxsize
"""A program may ask for what its memory holds; a server has limits for everybody's sake."""


class Call:
    """Answers the inputs of one call, on the event loop of the process's models."""

    def __init__(
        self,
        model: ServedModel,
        kind: type[TaskRequest],
        options: Mapping[str, Any],
        *,
        max_rows: int,
        most_at_a_time: int,
        streamed: bool = False,
    ) -> None:
        """`options` are the request's fields but its texts. Raises ServiceError for what is wrong with them."""
        self._kind = kind
        self._answers = kind is AnswerRequest
        model = Models([model]).choose(TASK_OF[kind], model.name)
        request = _validated(kind, {**options, **({"question": [], "context": []} if self._answers else {"text": []})})
        self._preparing = Preparing.of(model, request, UNLIMITED, max_rows, streamed)
        self._preparing.check()
        self._answering = Answering(model, Uncounted(), most_at_a_time, self._preparing.read, waits=True)

    async def answer(self, given: object, tell: Tell | None = None) -> Result:
        """The result of one input: a text, or of questions a pair of question and context.

        `tell` is given its text in parts, as early as they are certain. Raises ServiceError, GenerationFailed.
        """
        try:
            texts = self._texts(given)
            work = partial(self._preparing.prepare, texts)
            prepared = await off_loop(work) if characters(texts) > OFF_LOOP_CHARACTERS else work()
            return await self._answering.answer(prepared, tell)
        except InvalidRequest as fault:
            raise request_fault(fault) from None
        except EngineClosed:
            raise closed(self._preparing.model) from None

    def _texts(self, given: object) -> Texts:
        if self._answers:
            if not isinstance(given, (tuple, list)) or len(given) != 2 or isinstance(given[0], list):
                raise ServiceError(ErrorCode.BAD_PARAMETER, f"{_shown(given)}: a pair of question and context is expected")
            question, context = given
            fields = {"question": question, "context": list(context) if isinstance(context, tuple) else context}
        elif isinstance(given, list):
            raise ServiceError(ErrorCode.BAD_PARAMETER, f"{_shown(given)}: a text is expected")
        else:
            fields = {"text": given}
        inputs = inputs_of(_validated(self._kind, fields))
        check_inputs(inputs, 1, UNLIMITED)
        return inputs[0]


def pairs(question: str | Sequence[str], context: str | Sequence[str | Sequence[str]]) -> list[Question]:
    """Each question with its context. Raises ServiceError (bad_parameter) for contexts that do not fit them."""
    return list(zip(listed(question), contexts_of(question, context), strict=True))


def each(inputs: T, on_error: OnError) -> T:
    """Inputs to iterate over. Raises ServiceError for a single text, whose letters would be taken for texts."""
    if isinstance(inputs, str):
        raise ServiceError(ErrorCode.BAD_PARAMETER, f"{_shown(inputs)} is one text: an iterable of them is expected")
    if on_error not in get_args(OnError):
        raise ServiceError(ErrorCode.BAD_PARAMETER, f"on_error is {on_error!r}: raise or return is expected", "on_error")
    return inputs


def closed(model: ServedModel) -> ServiceError:
    """What a model tells that is closed, or whose engine has ended by a fault."""
    fault = model.engine.fault
    what = f"{model.name} is closed" if fault in (None, CLOSED) else f"{model.name}: {fault}"
    return ServiceError(ErrorCode.UNAVAILABLE, f"{what}; load it again")


def _validated(kind: type[TaskRequest], fields: Mapping[str, Any]) -> TaskRequest:
    try:
        return kind.model_validate(fields, strict=True)
    except ValidationError as error:
        raise describe_faults(error.errors(include_url=False, include_input=False)) from None


def _shown(given: object) -> str:
    return shown(str(given))
