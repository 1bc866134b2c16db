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
"""Texts of one list; how many inputs are accepted is a setting, far below."""

Texts = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[list[Text], Field(max_length=MAX_LISTED), Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
"""One text or a list. The tags let a fault speak of what was sent and not of both; they are part of its location."""

Contexts = Annotated[
    Annotated[Text, Tag(ONE)] | Annotated[list[Texts], Field(max_length=MAX_LISTED), Tag(SEVERAL)],
    Discriminator(_one_or_several),
]
"""A text, or a list whose entries are texts or lists of texts."""


class Message(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True, hide_input_in_errors=True)


class GenerationParameters(Message):
    """How an output is searched for. What is left out has the model's own default, which GET /v1/models shows."""

    num_beams: int | None = Field(default=None, ge=1, description="beams kept at each step; 1 is greedy search, or sampling")
    length_penalty: float | None = Field(
        default=None,
        ge=-10,
        le=10,
        description="exponent of the length that scores are divided by: above 0 prefers longer outputs, below 0 shorter",
    )
    max_new_tokens: int | None = Field(default=None, ge=1, description="most tokens generated")
    min_new_tokens: int | None = Field(default=None, ge=0, description="fewest tokens generated before the output may end")
    no_repeat_ngram_size: int | None = Field(
        default=None, ge=0, description="no sequence of this many tokens occurs twice in an output; 0 is off"
    )
    early_stopping: bool | None = Field(default=None, description="end as soon as there are num_beams finished hypotheses")
    repetition_penalty: float | None = Field(
        default=None, ge=1e-3, le=1e3, description="above 1 makes tokens that the output already has less likely"
    )
    do_sample: bool | None = Field(
        default=None, description="draw tokens instead of taking the likeliest; means num_beams 1 where that is not given"
    )
    temperature: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="of draws: below 1 likelier tokens are preferred, above 1 less so",
    )
    top_k: int | None = Field(default=None, ge=0, description="draw among this many likeliest tokens; 0 is off")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="draw among the likeliest tokens that have this probability together; 1 is off"
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


Truncation = Literal["error", "end", "chunk"]


class TruncationChoice(Message):
    """What becomes of an input that has more tokens than the model reads."""

    truncation: Truncation = Field(
        default="error",
        description="of an input that is too long: error refuses it, end cuts its end off, chunk splits it on sentence "
        "boundaries into windows that are answered one by one and brought together; with chunk, translations are made "
        "sentence by sentence, whatever the length",
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


class Timings(Message):
    """Where the time of one input went, in seconds; of windows that were answered side by side, the longest."""

    queue: float
    """Waiting for a place."""
    encode: float
    """Reading the source."""
    decode: float
    """Generating the output."""


class TruncationReport(Message):
    """What became of an input's length."""

    applied: Literal["none", "end", "chunk"]
    """none: the model read the input as it is; end: without its end; chunk: in windows."""
    windows: int
    """Into how many parts the input was split; 1 where it was not."""
    source_tokens_total: int
    """Tokens of the whole input, language and end tokens included."""
    source_tokens_used: int
    """Of these, the ones that the output is based on: fewer than all after a cut only."""
    answer_window: int | None = None
    """The window, counted from 1, that the answer to a question was found in; only where there were several."""


class Token(Message):
    """One generated token."""

    id: int
    token: str
    """As the vocabulary spells it."""
    log_probability: float
    """0 for a token that the model was made to generate."""


class Output(Message):
    """One output."""

    text: str
    generated_tokens: int
    """Tokens generated, the end token included."""
    finish_reason: Literal["eos", "length"]
    """eos: the model ended the output; length: max_new_tokens was reached."""
    score: float | None = None
    """Log-probability of the output, divided by its length to the power of length_penalty. Only with return_scores."""
    tokens: list[Token] | None = None
    """Every generated token, the end token included. Only with return_scores."""


class Result(Output):
    """What one input gave: the best output, and how it came to be.

    Of an input answered in windows, tokens are counted over all of them.
    """

    source_tokens: int
    """Tokens that the model read, language and end tokens included."""
    timings: Timings
    truncation: TruncationReport
    seed: int | None = None
    """Of the draws; asking again with it gives the same output. Only with do_sample."""
    sequences: list[Output] | None = None
    """Every output, of beams the best first. Only with num_return_sequences above 1."""


class GenerateResponse(Message):
    """One result an input, in their order."""

    model: str
    """Name of the model that generated."""
    results: list[Result]


class TextDelta(Message):
    """What the output for one input is longer by. The texts of an input put together are its result's."""

    model: str = Field(exclude=True)
    """Name of the model that generates."""
    input: int
    """Which input of the request, counted from 0."""
    text: str


class InputResult(Message):
    """The whole result of one input; nothing follows for it."""

    model: str = Field(exclude=True)
    """Name of the model that generated."""
    input: int
    """Which input of the request, counted from 0."""
    result: Result


StreamEvent = TextDelta | InputResult


class StreamEnd(Message):
    """The end of a stream that went well."""

    model: str
    """Name of the model that generated."""


class Score(Message):
    """What a metric says of the model, and of the teacher that it was distilled from."""

    metric: str
    student: float | None = None
    """The served model's; absent where only the teacher was scored."""
    teacher: float | None = None
    """Absent where the teacher was not scored on the same data with the same decoding."""


class Evaluation(Message):
    """What a model was scored on, and how it did."""

    data: str
    """Name of the data set or file, as it was given to dqbart evaluate."""
    source_language: str | None = None
    """Code of the direction's source; absent for models of one language."""
    target_language: str | None = None
    examples: int
    """How many the scores are of."""
    decoding: GenerationParameters
    """How outputs were searched for, as far as it was recorded."""
    scores: list[Score]


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
    teacher: str
    """Name of the model that it was distilled from."""
    teacher_layers: str
    """The teacher's encoder and decoder layers."""
    teacher_bytes: int
    """Bytes of the teacher's weights in float32."""
    evaluations: list[Evaluation]
    """Scores that came with the model; empty where it was not evaluated."""


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
