"""What clients get for a request: a result for each input, whole or as a stream of events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serving.service.messages import Message


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

    White space and symbols around a translated text, and all of it that is no sentence, are in the output as they were.
    Of an input answered in windows, tokens are counted over all of them.
    """

    source_tokens: int
    """Tokens that the model read, language and end tokens included."""
    unknown_tokens: int = 0
    """Of these, the ones that stand for what the model's vocabulary does not have: the model cannot know what was there."""
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
