"""The interface of Hugging Face's inference servers, as `huggingface_hub.InferenceClient(model=URL)` asks it.

`/huggingface/translation`, `/huggingface/summarization` and `/huggingface/question-answering` go to the default model of the
task, `/huggingface/NAME` to the served model of that name. A model that has the name of a task is reached under /v1 only.

What differs from the servers that the clients were made for: an answer is written and not taken out of the context, so that
`start` and `end` are its place there where it happens to have one, and -1 where it has none; its `score` is the probability
of its tokens. Translations are made sentence by sentence, and what is too long otherwise is read in windows, unless
`truncation` says otherwise. A list of inputs gives a list of outputs, several outputs of an input one after the other.

`options` (to wait for a model, to use a cache) and parameters that only say how a server is to work are taken and mean
nothing here. Parameters are taken in `generate_parameters`, and beside it as clients sent them before there was that.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ValidationError

from quant.card import TASKS, Task, cleaned_up
from serving.http.bodies import strict_json_route
from serving.http.errors import TEXT_ERRORS
from serving.http.huggingface_messages import (
    AnswerOutput,
    Outputs,
    QuestionAnsweringBody,
    QuestionAnsweringParameters,
    SummarizationBody,
    SummarizationOutput,
    SummarizationParameters,
    TranslationBody,
    TranslationOutput,
    TranslationParameters,
)
from serving.service.errors import ErrorCode, ServiceError, shown
from serving.service.requests import AnswerRequest, GenerationParameters, SummarizeRequest, TranslateRequest
from serving.service.results import GenerateResponse, Output
from serving.service.service import Service

B = TypeVar("B", bound=BaseModel)

PREFIX = "/huggingface"
TASK_OF_PATH: dict[str, Task] = {f"{PREFIX}/{task}": task for task in TASKS}


def router(service: Service) -> APIRouter:
    """The routes, which ask `service`."""
    strict = strict_json_route(service.limits.max_source_characters)
    routes = APIRouter(prefix=PREFIX, tags=["Hugging Face"], responses=TEXT_ERRORS, route_class=strict)

    async def summarized(body: SummarizationBody, model: str | None) -> list[SummarizationOutput]:
        asked = body.parameters or SummarizationParameters()
        request = SummarizeRequest(
            text=body.inputs,
            model=model,
            parameters=asked.requested(),
            truncation=asked.read,
        )
        outputs = _outputs(await service.generate(request, "http"))
        return [SummarizationOutput(summary_text=_text(output, asked), score=output.score) for output in outputs]

    async def translated(body: TranslationBody, model: str | None) -> list[TranslationOutput]:
        asked = body.parameters or TranslationParameters()
        request = TranslateRequest(
            text=body.inputs,
            model=model,
            source_language=asked.src_lang,
            target_language=asked.tgt_lang,
            parameters=asked.requested(),
            truncation=asked.read,
        )
        outputs = _outputs(await service.generate(request, "http"))
        return [TranslationOutput(translation_text=_text(output, asked), score=output.score) for output in outputs]

    async def answered(body: QuestionAnsweringBody, model: str | None) -> AnswerOutput | list[AnswerOutput]:
        asked = body.parameters or QuestionAnsweringParameters()
        questions = body.inputs if isinstance(body.inputs, list) else [body.inputs]
        parameters = GenerationParameters()
        if asked.top_k is not None and asked.top_k > 1:
            parameters = service.best_of("question-answering", model, min(asked.top_k, service.limits.max_rows))
        request = AnswerRequest(
            question=[each.question for each in questions],
            context=[each.context for each in questions],
            model=model,
            parameters=parameters.model_copy(update={"max_new_tokens": asked.max_answer_len, "return_scores": True}),
            truncation="chunk",
        )
        response = await service.generate(request, "http")
        answers = [
            _answer(output, each.context)
            for each, result in zip(questions, response.results, strict=True)
            for output in (result.sequences or [result])
        ]
        one = not isinstance(body.inputs, list) and len(answers) == 1
        return answers[0] if one else answers

    @routes.post("/summarization", response_model_exclude_none=True)
    async def summarization(body: SummarizationBody) -> list[SummarizationOutput]:
        """Summarize with the default model."""
        return await summarized(body, None)

    @routes.post("/translation", response_model_exclude_none=True)
    async def translation(body: TranslationBody) -> list[TranslationOutput]:
        """Translate with the default model."""
        return await translated(body, None)

    @routes.post("/question-answering", response_model_exclude_none=True)
    async def question_answering(body: QuestionAnsweringBody) -> AnswerOutput | list[AnswerOutput]:
        """Answer with the default model."""
        return await answered(body, None)

    @routes.post("/{model}", response_model_exclude_none=True)
    async def named(model: str, body: dict[str, Any]) -> Outputs:
        """Ask the model of that name, with the body that its task has."""
        task = next((each.task for each in service.models().models if each.name == model), None)
        match task:
            case None:
                served = ", ".join(each.name for each in service.models().models) or "nothing"
                message = f"{shown(model)} is no served model and no task; served is {served}"
                raise ServiceError(ErrorCode.UNKNOWN_MODEL, message, "model")
            case "summarization":
                return await summarized(checked(SummarizationBody, body, task), model)
            case "translation":
                return await translated(checked(TranslationBody, body, task), model)
            case "question-answering":
                return await answered(checked(QuestionAnsweringBody, body, task), model)

    def checked(kind: type[B], body: dict[str, Any], task: Task) -> B:
        try:
            return kind.model_validate(body)
        except ValidationError as fault:
            raise service.refuse(task, "http", fault.errors()) from None

    return routes


def _outputs(response: GenerateResponse) -> list[Output]:
    return [output for result in response.results for output in (result.sequences or [result])]


def _text(output: Output, asked: SummarizationParameters) -> str:
    return cleaned_up(output.text) if asked.clean_up_tokenization_spaces else output.text


def _answer(output: Output, context: str) -> AnswerOutput:
    start = context.find(output.text)
    return AnswerOutput(
        answer=output.text,
        score=math.exp(sum(token.log_probability for token in output.tokens or [])),
        start=start,
        end=start + len(output.text) if start >= 0 else -1,
    )
