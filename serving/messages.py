"""What clients send and get, once for both protocols: HTTP reads and writes these as JSON, gRPC converts from and to them.

Unknown fields are refused, so that a misspelt parameter is an error and not a silent default.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from quant.card import Task

ModelName = Field(
    default=None, description="Name of a served model (default: the server's own for the task)", max_length=200
)


ONE, SEVERAL = "one text", "list of texts"


def _one_or_several(value: object) -> str:
    return SEVERAL if isinstance(value, list) else ONE


def _check_unicode(text: str) -> str:
    # JSON can spell half of a surrogate pair, which no tokenizer takes.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text") from None
    return text


Text = Annotated[str, AfterValidator(_check_unicode)]
Texts = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[list[Text], Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
"""One text or a list. The tags let a fault speak of what was sent and not of both; they are part of its location."""


class Message(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class GenerationParameters(Message):
    """How an output is searched for. What is left out has the model's own default, which GET /v1/models shows."""

    num_beams: int | None = Field(default=None, ge=1, description="Beams kept at each step; 1 is greedy search")
    length_penalty: float | None = Field(
        default=None,
        ge=-10,
        le=10,
        description="Exponent of the length that scores are divided by: above 0 prefers longer outputs, below 0 shorter",
    )
    max_new_tokens: int | None = Field(default=None, ge=1, description="Most tokens generated")
    min_new_tokens: int | None = Field(default=None, ge=0, description="Fewest tokens generated before the output may end")
    no_repeat_ngram_size: int | None = Field(
        default=None, ge=0, description="No sequence of this many tokens occurs twice in an output; 0 is off"
    )
    early_stopping: bool | None = Field(default=None, description="End as soon as there are num_beams finished hypotheses")


class TranslateRequest(Message):
    """Texts to translate."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "Guten Morgen!", "source_language": "de", "target_language": "en"}],
        }
    )

    text: Texts = Field(description="One text, or a list of texts")
    model: str | None = ModelName
    source_language: str | None = Field(
        default=None, description="A code of the model like de_DE, or de where only one code begins so", max_length=200
    )
    target_language: str | None = Field(
        default=None, description="May be left out when the model has exactly two languages", max_length=200
    )
    parameters: GenerationParameters = GenerationParameters()


class SummarizeRequest(Message):
    """Texts to summarize."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "A long article …", "parameters": {"num_beams": 4, "max_new_tokens": 60}}]}
    )

    text: Texts = Field(description="One text, or a list of texts")
    model: str | None = ModelName
    parameters: GenerationParameters = GenerationParameters()


class AnswerRequest(Message):
    """Questions to answer, each from a context."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "Why is the sky blue?", "context": "Air scatters blue light more …"}]}
    )

    question: Texts = Field(description="One question, or a list of questions")
    context: Texts = Field(
        description="The text that the answer is to be based on: one for all questions, or a list with one for each"
    )
    model: str | None = ModelName
    parameters: GenerationParameters = GenerationParameters()


TaskRequest = TranslateRequest | SummarizeRequest | AnswerRequest


class Timings(Message):
    """Where the time of one input went, in seconds."""

    queue: float
    """Waiting for a place."""
    encode: float
    """Reading the source."""
    decode: float
    """Generating the output."""


class Result(Message):
    """What one input gave."""

    text: str
    source_tokens: int
    """Tokens of the input as the model read it, language and end tokens included."""
    generated_tokens: int
    """Tokens generated, the end token included."""
    finish_reason: Literal["eos", "length"]
    """eos: the model ended the output; length: max_new_tokens was reached."""
    timings: Timings


class GenerateResponse(Message):
    """One result an input, in their order."""

    model: str
    """Name of the model that generated."""
    results: list[Result]


class ModelDescription(Message):
    """A served model, and how it may be asked."""

    name: str
    task: Task
    is_default: bool
    """Whether requests of its task that name no model go to it."""
    languages: list[str]
    """Language codes accepted as source and target; empty for models of one language."""
    scheme: str
    """Bits of weights, embeddings and activations."""
    layers: str
    """Encoder and decoder layers."""
    size_bytes: int
    """Bytes of the packed weights on disk."""
    compression_ratio: float
    """How many times smaller than the teacher's float32 weights."""
    max_source_tokens: int
    """Longest accepted input in tokens, language and end tokens included."""
    defaults: GenerationParameters
    """What holds where a request leaves a parameter out."""


class ModelList(Message):
    """Every served model."""

    models: list[ModelDescription]


class ErrorDetail(Message):
    """Why a request got no answer."""

    code: str
    """A stable name of the kind of error, for programs."""
    message: str
    """What was wrong and what is accepted, for people."""
    field: str | None = None
    """The part of the request at fault, where there is one."""


class ErrorResponse(Message):
    """The body of every response that is not 2xx."""

    error: ErrorDetail
