"""The interface of Hugging Face's inference servers, as `huggingface_hub.InferenceClient(model=URL)` asks it.

`/huggingface/translation`, `/huggingface/summarization` and `/huggingface/question-answering` go to the default model of the
task, `/huggingface/NAME` to the served model of that name. A model that has the name of a task is reached under /v1 only.

What differs from the servers that the clients were made for: an answer is written and not taken out of the context, so that
`start` and `end` are its place there where it happens to have one, and -1 where it has none; its `score` is the probability
of its tokens. A context that is too long is read in windows, as there. A list of inputs gives a list of outputs, several
outputs of an input one after the other.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError

from quant.card import TASKS, Task
from serving.http.bodies import strict_json_route
from serving.http.errors import TEXT_ERRORS
from serving.service.errors import ErrorCode, ServiceError, shown
from serving.service.messages import Message
from serving.service.requests import (
    ONE,
    SEVERAL,
    AnswerRequest,
    GenerationParameters,
    SummarizeRequest,
    Text,
    Texts,
    TranslateRequest,
    Truncation,
)
from serving.service.results import GenerateResponse, Output
from serving.service.service import Service

B = TypeVar("B", bound=BaseModel)

PREFIX = "/huggingface"
TASK_OF_PATH: dict[str, Task] = {f"{PREFIX}/{task}": task for task in TASKS}

TRUNCATIONS: dict[str, Truncation] = {
    "do_not_truncate": "error",
    "longest_first": "end",
    "only_first": "end",
    "error": "error",
    "end": "end",
    "chunk": "chunk",
}
"""By the names of `transformers`, and by our own."""

CLEAN_UPS = {" ' ": "'", **{f" {mark}": mark for mark in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")}}
"""What `clean_up_tokenization_spaces` means in `transformers`."""


class GenerateParameters(GenerationParameters):
    """How an output is searched for, by the names of `transformers`."""

    max_length: int | None = Field(default=None, ge=2, description="max_new_tokens and the decoder's start token")
    min_length: int | None = Field(default=None, ge=0, description="min_new_tokens and the decoder's start token")

    def requested(self) -> GenerationParameters:
        given = self.model_dump(exclude_none=True)
        for ours, theirs in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            length = given.pop(theirs, None)
            if length is not None:
                given.setdefault(ours, max(length - 1, 0))
        return GenerationParameters(**given)


class SummarizationParameters(Message):
    """Parameters of a summary."""

    clean_up_tokenization_spaces: bool = Field(default=False, description="leave out spaces before punctuation")
    truncation: Literal["do_not_truncate", "longest_first", "only_first", "error", "end", "chunk"] = Field(
        default="do_not_truncate",
        description="of an input that is too long: refuse it, cut its end off, or split it (chunk)",
    )
    generate_parameters: GenerateParameters = GenerateParameters()


class TranslationParameters(SummarizationParameters):
    """Parameters of a translation."""

    src_lang: str | None = Field(default=None, description="a code or a name of the language", max_length=200)
    tgt_lang: str | None = Field(default=None, description="likewise", max_length=200)


class QuestionAnsweringParameters(Message):
    """Parameters of an answer."""

    top_k: int | None = Field(default=None, ge=1, description="answers to return")
    max_answer_len: int | None = Field(default=None, ge=1, description="most tokens of an answer")


class SummarizationBody(Message):
    """Texts to summarize."""

    inputs: Texts
    parameters: SummarizationParameters = SummarizationParameters()


class TranslationBody(Message):
    """Texts to translate."""

    inputs: Texts
    parameters: TranslationParameters = TranslationParameters()


class Question(Message):
    """A question, and the text that the answer is to be based on."""

    question: Text
    context: Text


Questions = Annotated[
    Annotated[Question, Tag(ONE)] | Annotated[list[Question], Tag(SEVERAL)],
    Discriminator(lambda inputs: SEVERAL if isinstance(inputs, list) else ONE),
]


class QuestionAnsweringBody(Message):
    """Questions to answer."""

    inputs: Questions
    parameters: QuestionAnsweringParameters = QuestionAnsweringParameters()


class SummarizationOutput(Message):
    """A summary."""

    summary_text: str
    score: float | None = None
    """Only with return_scores, as /v1/summarize has it."""


class TranslationOutput(Message):
    """A translation."""

    translation_text: str
    score: float | None = None
    """Only with return_scores, as /v1/translate has it."""


class AnswerOutput(Message):
    """An answer."""

    answer: str
    score: float
    """Probability of the answer's tokens, one after the other."""
    start: int
    """Where the answer stands in the context, in characters; -1 where it does not."""
    end: int


Outputs = list[SummarizationOutput] | list[TranslationOutput] | list[AnswerOutput] | AnswerOutput


def router(service: Service) -> APIRouter:
    """The routes, which ask `service`."""
    strict = strict_json_route(service.limits.max_source_characters)
    routes = APIRouter(prefix=PREFIX, tags=["Hugging Face"], responses=TEXT_ERRORS, route_class=strict)

    async def summarized(body: SummarizationBody, model: str | None) -> list[SummarizationOutput]:
        asked = body.parameters
        request = SummarizeRequest(
            text=body.inputs,
            model=model,
            parameters=asked.generate_parameters.requested(),
            truncation=TRUNCATIONS[asked.truncation],
        )
        outputs = _outputs(await service.generate(request, "http"))
        return [SummarizationOutput(summary_text=_text(output, asked), score=output.score) for output in outputs]

    async def translated(body: TranslationBody, model: str | None) -> list[TranslationOutput]:
        asked = body.parameters
        request = TranslateRequest(
            text=body.inputs,
            model=model,
            source_language=asked.src_lang,
            target_language=asked.tgt_lang,
            parameters=asked.generate_parameters.requested(),
            truncation=TRUNCATIONS[asked.truncation],
        )
        outputs = _outputs(await service.generate(request, "http"))
        return [TranslationOutput(translation_text=_text(output, asked), score=output.score) for output in outputs]

    async def answered(body: QuestionAnsweringBody, model: str | None) -> AnswerOutput | list[AnswerOutput]:
        asked = body.parameters
        questions = body.inputs if isinstance(body.inputs, list) else [body.inputs]
        request = AnswerRequest(
            question=[each.question for each in questions],
            context=[each.context for each in questions],
            model=model,
            parameters=GenerationParameters(
                max_new_tokens=asked.max_answer_len, num_return_sequences=asked.top_k, return_scores=True
            ),
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
    text = output.text
    if asked.clean_up_tokenization_spaces:
        for spaced, closed in CLEAN_UPS.items():
            text = text.replace(spaced, closed)
    return text


def _answer(output: Output, context: str) -> AnswerOutput:
    start = context.find(output.text)
    return AnswerOutput(
        answer=output.text,
        score=math.exp(sum(token.log_probability for token in output.tokens or [])),
        start=start,
        end=start + len(output.text) if start >= 0 else -1,
    )
