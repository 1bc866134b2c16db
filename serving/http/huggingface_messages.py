"""What clients of Hugging Face's inference servers send and get."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from serving.service.messages import Message, no_boolean
from serving.service.requests import ONE, SEVERAL, GenerationParameters, Text, Texts, Truncation

TRUNCATIONS: dict[str | None, Truncation] = {
    None: "chunk",
    "do_not_truncate": "error",
    "longest_first": "end",
    "only_first": "end",
    "error": "error",
    "end": "end",
    "chunk": "chunk",
}
"""By the names of `transformers`, and by our own."""


class GenerateParameters(GenerationParameters):
    """How an output is searched for, by the names of `transformers`."""

    max_length: int | None = Field(default=None, ge=2, description="max_new_tokens and the decoder's start token")
    min_length: int | None = Field(default=None, ge=0, description="min_new_tokens and the decoder's start token")
    max_time: float | None = Field(default=None, description="means nothing here")
    use_cache: bool | None = Field(default=None, description="means nothing here")

    _lengths = field_validator("max_length", "min_length", "max_time", mode="before")(no_boolean)


class SummarizationParameters(GenerateParameters):
    """Parameters of a summary."""

    clean_up_tokenization_spaces: bool | None = Field(default=None, description="leave out spaces before punctuation")
    truncation: Annotated[
        Literal["do_not_truncate", "longest_first", "only_first", "error", "end", "chunk"] | None,
        BeforeValidator(lambda given: {True: "longest_first", False: None}[given] if isinstance(given, bool) else given),
    ] = Field(
        default=None,
        description="of an input that is too long: refuse it (do_not_truncate, error), cut its end off, or split it "
        "(chunk); a translation that is not split is made of the whole text at once",
    )
    return_text: Literal[True, None] = Field(default=None, description="means nothing here")
    return_tensors: Literal[False, None] = Field(default=None, description="means nothing here")
    generate_parameters: GenerateParameters | None = None

    def requested(self) -> GenerationParameters:
        """By our names; `generate_parameters` win over the same beside them."""
        inner = self.generate_parameters or GenerateParameters()
        given = {
            name: value
            for each in (self, inner)
            for name in GenerateParameters.model_fields
            if (value := getattr(each, name)) is not None
        }
        for ours, theirs in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
            if theirs in given:
                given.setdefault(ours, max(given[theirs] - 1, 0))
        return GenerationParameters(**{name: given[name] for name in GenerationParameters.model_fields if name in given})

    @property
    def read(self) -> Truncation:
        """What becomes of an input that is too long."""
        return TRUNCATIONS[self.truncation]


class TranslationParameters(SummarizationParameters):
    """Parameters of a translation."""

    src_lang: str | None = Field(default=None, description="a code or a name of the language", max_length=200)
    tgt_lang: str | None = Field(default=None, description="likewise", max_length=200)


class QuestionAnsweringParameters(Message):
    """Parameters of an answer."""

    top_k: int | None = Field(default=None, ge=1, description="answers to return, at most")
    max_answer_len: int | None = Field(default=None, ge=1, description="most tokens of an answer")
    handle_impossible_answer: Literal[False, None] = Field(
        default=None, description="only false: an answer is always given, also where the context has none"
    )
    align_to_words: bool | None = Field(default=None, description="means nothing here")
    doc_stride: int | None = Field(default=None, description="means nothing here: windows end where sentences end")
    max_question_len: int | None = Field(default=None, description="means nothing here: a question is read whole")
    max_seq_len: int | None = Field(default=None, description="means nothing here: windows are as long as the model reads")

    _numbers = field_validator("top_k", "max_answer_len", "doc_stride", "max_question_len", "max_seq_len", mode="before")(
        no_boolean
    )


class Body(Message):
    """What all bodies have."""

    options: dict[str, Any] | None = Field(default=None, description="mean nothing here")
    model: str | None = Field(default=None, description="means nothing here: the address says the model")


class SummarizationBody(Body):
    """Texts to summarize."""

    inputs: Texts
    parameters: SummarizationParameters | None = None


class TranslationBody(Body):
    """Texts to translate."""

    inputs: Texts
    parameters: TranslationParameters | None = None


class Question(Message):
    """A question, and the text that the answer is to be based on."""

    question: Text
    context: Text


Questions = Annotated[
    Annotated[Question, Tag(ONE)] | Annotated[list[Question], Field(fail_fast=True), Tag(SEVERAL)],
    Discriminator(lambda inputs: SEVERAL if isinstance(inputs, list) else ONE),
]


class QuestionAnsweringBody(Body):
    """Questions to answer."""

    inputs: Questions
    parameters: QuestionAnsweringParameters | None = None


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
