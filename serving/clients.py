"""`dqbart translate`, `summarize` and `answer`: ask a running server over HTTP.

Texts are arguments, or the lines of standard input, so that the commands work in a pipe. Answers are printed a line each in
the order of the texts; nothing heavier than httpx is loaded.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from dqbart import Command

INPUTS_PER_REQUEST = 32
"""Lines of standard input sent together; a server's default limit."""


class Client(Command):
    """What the three have in common: where the server is, and how to generate (by default as the model says)."""

    url: str = Field(default="http://127.0.0.1:8000", description="address of the server")
    model: str | None = Field(default=None, description="name of a served model (default: the server's own for the task)")
    timeout: float = Field(default=120.0, gt=0, description="seconds to wait for an answer")
    num_beams: int | None = Field(default=None, description="beams kept at each step, 1 is greedy")
    length_penalty: float | None = Field(default=None, description="above 0 prefers longer outputs")
    max_new_tokens: int | None = Field(default=None, description="most tokens generated")
    min_new_tokens: int | None = Field(default=None, description="fewest tokens generated")
    no_repeat_ngram_size: int | None = Field(
        default=None, description="no sequence of this many tokens occurs twice, 0 is off"
    )
    early_stopping: bool | None = Field(default=None, description="end as soon as there are num_beams finished outputs")

    def ask(self, path: str, body: dict[str, Any]) -> list[str]:
        """Texts of the results. Raises SystemExit with what the server, or the way to it, has against the request."""
        import httpx

        names = ("num_beams", "length_penalty", "max_new_tokens", "min_new_tokens", "no_repeat_ngram_size", "early_stopping")
        parameters = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        sent = {key: value for key, value in {**body, "model": self.model}.items() if value is not None}
        try:
            response = httpx.post(self.url.rstrip("/") + path, json={**sent, "parameters": parameters}, timeout=self.timeout)
            answer = response.json()
            if response.is_success:
                return [result["text"] for result in answer["results"]]
            message = answer["error"]["message"]
        except httpx.TimeoutException as error:
            raise SystemExit(f"{self.url} gave no answer within {self.timeout:g} seconds (--timeout)") from error
        except httpx.RequestError as error:
            raise SystemExit(
                f"no server answers at {self.url} ({error}): start one with dqbart serve, or give --url"
            ) from error
        except (ValueError, KeyError, TypeError, httpx.InvalidURL) as error:
            raise SystemExit(f"what answers at {self.url} is no dqbart server") from error
        raise SystemExit(message)


class _TextClient(Client):
    text: CliPositionalArg[list[str]] = Field(default=[], description="texts (default: the lines of standard input)")

    def texts_in_batches(self) -> list[list[str]]:
        texts = self.text or sys.stdin.read().splitlines()
        if not any(text.strip() for text in texts):
            raise SystemExit("no text is given, neither as argument nor on standard input")
        return [texts[start : start + INPUTS_PER_REQUEST] for start in range(0, len(texts), INPUTS_PER_REQUEST)]

    def print_answers(self, path: str, **body: Any) -> None:
        for texts in self.texts_in_batches():
            asked = [text for text in texts if text.strip()]
            answers = iter(self.ask(path, {"text": asked, **body}) if asked else [])
            for text in texts:
                # An empty line stays one, so that line n of the output answers line n of the input.
                print(next(answers) if text.strip() else "", flush=True)


class Translate(_TextClient):
    """Translate texts with a running server."""

    source_language: str | None = Field(default=None, description="language of the texts, a code of the model or like de")
    target_language: str | None = Field(default=None, description="language to translate to")

    def cli_cmd(self) -> None:
        self.print_answers("/v1/translate", source_language=self.source_language, target_language=self.target_language)


class Summarize(_TextClient):
    """Summarize texts with a running server."""

    def cli_cmd(self) -> None:
        self.print_answers("/v1/summarize")


class Answer(Client):
    """Answer a question from a context with a running server."""

    question: CliPositionalArg[str] = Field(description="the question")
    context: str | None = Field(default=None, description="text to answer from (default: standard input)")

    def cli_cmd(self) -> None:
        context = sys.stdin.read() if self.context is None else self.context
        for answer in self.ask("/v1/answer", {"question": self.question, "context": context}):
            print(answer)
