"""What clients ask: texts, and how they are to be answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, field_validator

from quant.generation import LIMITS, EarlyStopping
from serving.service.messages import Message, no_boolean

ModelName = Field(
    default=None, description="Name of a served model (default: the server's own for the task)", max_length=200
)

Stream = Field(
    default=False,
    description="Over HTTP: send the output while it is generated, as server-sent events; gRPC has calls of its own for it",
)

MAX_SEED = 2**53 - 1
"""The largest number below which JSON's are exact everywhere."""

ONE, SEVERAL = "one text", "list of texts"


def _one_or_several(value: object) -> str:
    return SEVERAL if isinstance(value, list) else ONE


def _check_unicode(text: str) -> str:
    # JSON can spell half of a surrogate pair, which no tokenizer takes.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text") from None
    if "\0" in text:
        raise ValueError("a NUL character is no text")
    return text


Text = Annotated[str, AfterValidator(_check_unicode)]
MAX_LISTED = 20_000
"""Texts of one list; how many inputs are accepted is a setting, far below. Of those that are none the first is told: to
describe all of 20,000 takes most of a second."""

Texts = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[list[Text], Field(max_length=MAX_LISTED, fail_fast=True), Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
"""One text or a list. The tags let a fault speak of what was sent and not of both; they are part of its location."""

Contexts = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[list[Texts], Field(max_length=MAX_LISTED, fail_fast=True), Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
"""A text, or a list whose entries are texts or lists of texts."""


class GenerationParameters(Message):
    """How an output is searched for. What is left out has the model's own default, which GET /v1/models shows."""

    num_beams: Annotated[int, Field(**LIMITS["num_beams"])] | None = Field(
        default=None, description="beams kept at each step; 1 is greedy search, or sampling"
    )
    length_penalty: Annotated[float, Field(**LIMITS["length_penalty"])] | None = Field(
        default=None,
        description="exponent of the length that scores are divided by: above 0 prefers longer outputs, below 0 shorter",
    )
    max_new_tokens: Annotated[int, Field(**LIMITS["max_new_tokens"])] | None = Field(
        default=None, description="most tokens generated"
    )
    min_new_tokens: Annotated[int, Field(**LIMITS["min_new_tokens"])] | None = Field(
        default=None, description="fewest tokens generated before the output may end"
    )
    no_repeat_ngram_size: Annotated[int, Field(**LIMITS["no_repeat_ngram_size"])] | None = Field(
        default=None,
        description="no sequence of this many tokens occurs twice in an output; 0 is off",
    )
    encoder_no_repeat_ngram_size: Annotated[int, Field(**LIMITS["encoder_no_repeat_ngram_size"])] | None = Field(
        default=None,
        description="no sequence of this many tokens of the source occurs in an output; 0 is off",
    )
    early_stopping: EarlyStopping | None = Field(
        default=None,
        description="with num_beams finished hypotheses, end at once (true), when a better one is unlikely (false), or when "
        'none can come ("never")',
    )
    repetition_penalty: Annotated[float, Field(**LIMITS["repetition_penalty"])] | None = Field(
        default=None,
        description="above 1 makes tokens that the output already has less likely",
    )
    do_sample: bool | None = Field(
        default=None, description="draw tokens instead of taking the likeliest; means num_beams 1 where that is not given"
    )
    temperature: Annotated[float, Field(**LIMITS["temperature"])] | None = Field(
        default=None, description="of draws: below 1 likelier tokens are preferred, above 1 less so"
    )
    top_k: Annotated[int, Field(**LIMITS["top_k"])] | None = Field(
        default=None, description="draw among this many likeliest tokens; 0 is off"
    )
    top_p: Annotated[float, Field(**LIMITS["top_p"])] | None = Field(
        default=None,
        description="draw among the likeliest tokens that have this probability together; 1 is off",
    )
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="of draws: the same seed draws the same; a random one when left out"
    )
    num_return_sequences: int | None = Field(
        default=None, ge=1, description="outputs for an input: the best of the beams, or as many draws"
    )
    return_scores: bool | None = Field(
        default=None, description="tell an output's score and the log-probability of each of its tokens"
    )

    _numbers = field_validator(
        "num_beams",
        "length_penalty",
        "max_new_tokens",
        "min_new_tokens",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "repetition_penalty",
        "temperature",
        "top_k",
        "top_p",
        "seed",
        "num_return_sequences",
        mode="before",
    )(no_boolean)


Truncation = Literal["error", "end", "chunk"]


BySentence = Annotated[
    Truncation,
    Field(
        description="chunk translates sentence by sentence, whatever the length; error and end give the model the whole "
        "text, of which it may leave sentences out, and refuse one that is too long, or cut its end off"
    ),
]
"""How a translator reads an input, and what becomes of one that has more tokens than the model reads."""


class TruncationChoice(Message):
    """What becomes of an input that has more tokens than the model reads."""

    truncation: Truncation = Field(
        default="error",
        description="of an input that is too long: error refuses it, end cuts its end off, chunk splits it on sentence "
        "boundaries into windows that are answered one by one and brought together",
    )


class TranslateRequest(TruncationChoice):
    """Texts to translate."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "Guten Morgen!", "source_language": "de", "target_language": "en"},
                {"text": "Guten Morgen!", "source_language": "de", "target_language": "en", "stream": True},
                {
                    "text": ["Guten Morgen!", "Wie geht es dir?"],
                    "source_language": "de",
                    "target_language": "en",
                    "parameters": {"do_sample": True, "top_p": 0.9, "seed": 7, "num_return_sequences": 3},
                },
            ],
        }
    )

    text: Texts = Field(description="One text, or a list of texts")
    model: str | None = ModelName
    source_language: str | None = Field(
        default=None, description="A code of the model like de_DE, or any code or name: de, deu, German", max_length=200
    )
    target_language: str | None = Field(
        default=None,
        description="Likewise; one of the two may be left out when the model has exactly two languages, both when it has "
        "one direction",
        max_length=200,
    )
    parameters: GenerationParameters = GenerationParameters()
    truncation: BySentence = "chunk"
    stream: bool = Stream


class SummarizeRequest(TruncationChoice):
    """Texts to summarize."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "A long article …", "truncation": "chunk", "parameters": {"num_beams": 4, "max_new_tokens": 60}}
            ]
        }
    )

    text: Texts = Field(description="One text, or a list of texts")
    model: str | None = ModelName
    parameters: GenerationParameters = GenerationParameters()
    stream: bool = Stream


class AnswerRequest(TruncationChoice):
    """Questions to answer, each from a context."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"question": "Why is the sky blue?", "context": "Air scatters blue light more …"},
                {"question": "Why is the sky blue?", "context": ["The best passage …", "The second best …"]},
                {
                    "question": "Why is the sky blue?",
                    "context": "A long chapter …",
                    "truncation": "chunk",
                    "parameters": {"return_scores": True},
                },
            ]
        }
    )

    question: Texts = Field(description="One question, or a list of questions")
    context: Contexts = Field(
        description="What the answer is to be based on. Of one question: a text, or a list of passages, the most relevant "
        "first. Of a list of questions: a text for all of them, or a list with an entry for each, a text or a list of "
        "passages"
    )
    model: str | None = ModelName
    parameters: GenerationParameters = GenerationParameters()
    stream: bool = Stream


TaskRequest = TranslateRequest | SummarizeRequest | AnswerRequest
