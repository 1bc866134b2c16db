"""`dqbart translate`, `summarize` and `answer`: ask a running server over HTTP.

Texts are arguments, or the lines of standard input, so that the commands work in a pipe. Answers are printed a line each in
the order of the texts, and as many lines for each text as outputs are asked for; nothing heavier than httpx is loaded.
"""

from __future__ import annotations

import sys
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from dqbart import Command
from serving.service.messages import GenerationParameters, TruncationChoice

INPUTS_PER_REQUEST = 32
"""Lines of standard input sent together; a server's default limit."""


class Client(Command, GenerationParameters, TruncationChoice):
    """What the three have in common: where the server is, and how to generate (by default as the model says)."""

    model_config = SettingsConfigDict()

    url: str = Field(default="http://127.0.0.1:8000", description="address of the server")
    model: str | None = Field(default=None, description="name of a served model (default: the server's own for the task)")
    timeout: float = Field(default=120.0, gt=0, description="seconds to wait for an answer")

    def ask(self, path: str, body: dict[str, Any]) -> list[list[str]]:
        """What to print for each input: a line an output, with `score<TAB>` before it when scores are asked for.

        Raises SystemExit with what the server, or the way to it, has against the request.
        """
        import httpx

        sent = {key: value for key, value in {**body, "model": self.model}.items() if value is not None}
        sent |= self.model_dump(include=set(TruncationChoice.model_fields), exclude_unset=True)
        sent["parameters"] = self.model_dump(include=set(GenerationParameters.model_fields), exclude_none=True)
        try:
            response = httpx.post(self.url.rstrip("/") + path, json=sent, timeout=self.timeout)
            answer = response.json()
            if response.is_success:
                return [[_line(output) for output in result.get("sequences", [result])] for result in answer["results"]]
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
                for line in next(answers) if text.strip() else [""] * (self.num_return_sequences or 1):
                    print(line, flush=True)


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
        for lines in self.ask("/v1/answer", {"question": self.question, "context": context}):
            print(*lines, sep="\n")


def _line(output: dict[str, Any]) -> str:
    score = output.get("score")
    return str(output["text"]) if score is None else f"{score:.4f}\t{output['text']}"
