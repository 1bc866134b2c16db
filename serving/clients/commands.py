"""`dqbart translate`, `summarize` and `answer`: ask a running server over gRPC, or a model in a folder, without one.

Inputs are arguments, the lines of a file or of standard input, so that the commands work in a pipe. Answers are printed in
the order of the inputs, a line each and as many for each as outputs are asked for; an empty line stays one, so that line n
of the output answers line n of the input. This module loads nothing heavy: `--help` and a wrong setting answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from dqbart.cli import AS_GIVEN, Command
from serving.service.requests import BySentence, GenerationParameters, TruncationChoice

if TYPE_CHECKING:
    from quant.card import Task
    from serving.clients.answers import Answering
    from serving.clients.client import Request
    from serving.clients.inputs import Input, Inputs

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _folder(model: str) -> Path | None:
    """The folder that `--model` names, which the name of no served model can be: those have no slash."""
    return Path(model).expanduser() if "/" in model or model in (".", "..") else None


class Asking(Command, GenerationParameters, TruncationChoice):
    """What the three have in common: who is asked, and how to generate (by default as the model says)."""

    model_config = SettingsConfigDict()

    server: str = Field(default="localhost:9000", min_length=1, description="address of the server's gRPC, HOST:PORT")
    api_key: SecretStr | None = Field(default=None, description="key for a server that wants one; better as DQBART_API_KEY")
    tls: bool = Field(default=False, description="encrypt the connection, for a server behind an edge with a certificate")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the certificates to trust in place of the system's; means --tls"
    )
    timeout: Seconds = Field(default=120.0, description="seconds to wait for the answer to one request")
    retry_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=60.0, description="seconds to go on asking while the server is overloaded or restarting"
    )
    model: str | None = Field(
        default=None,
        description="name of a served model (default: the server's own for the task), or the folder of an artifact, which "
        "answers here without a server: what has a slash is a folder, so ./NAME is one",
    )
    threads: Count | None = Field(
        default=None, description="CPU threads, for a model's folder (default: as many as this process may use)"
    )
    output: Path | None = Field(
        default=None, description="write to this file instead; the same command continues it after an interruption"
    )
    json_lines: bool = Field(default=False, description="write a JSON object for each input: text, generated_tokens, …")
    stream: bool = Field(default=False, description="print the answer to a single input while it is generated")
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="at an input that is refused, say because it is too long; skip leaves its line empty"
    )
    inputs_per_request: Count = Field(default=32, description="inputs sent together; the server has a limit, too")
    in_flight: Count = Field(default=4, description="requests on their way at a time")

    @model_validator(mode="after")
    def _streamable(self) -> Self:
        others = ("output", "json_lines", "return_scores", "num_return_sequences")
        if self.stream and (given := [name for name in others if getattr(self, name)]):
            raise ValueError(f"stream = True: prints one text and nothing else; leave out {', '.join(given)}")
        return self

    @field_validator("model")
    @classmethod
    def _check_folder(cls, value: str | None) -> str | None:
        folder = None if value is None else _folder(value)
        if folder is not None and not (folder / "config.json").is_file():
            raise ValueError("is no artifact: it has no config.json" if folder.exists() else "does not exist")
        return value

    @property
    def folder(self) -> Path | None:
        """The folder that `model` names."""
        return None if self.model is None else _folder(self.model)

    @property
    def sequences(self) -> int:
        """Outputs for an input."""
        return self.num_return_sequences or 1

    def decisive(self) -> dict[str, Any]:
        """All settings that decide what the lines of an output are, but for the model."""
        names = {"json_lines", *GenerationParameters.model_fields, *TruncationChoice.model_fields}
        return self.model_dump(include=names, exclude_none=True)

    def _shared_fields(self) -> dict[str, Any]:
        from serving.clients.client import shared_fields

        parameters = self.model_dump(include=set(GenerationParameters.model_fields), exclude_none=True)
        return shared_fields(self.model or "", self.truncation, **parameters)

    def options(self) -> dict[str, Any]:
        """The same for a model here, by the names of serving/program."""
        names = {"truncation", *GenerationParameters.model_fields}
        return self.model_dump(include=names, exclude_none=True)

    def _ask(self, task: Task, read: Callable[[bool], Inputs]) -> None:
        """`read` is told whether count and digest of the inputs are needed."""
        from serving.clients.asking import ask
        from serving.clients.inputs import InputError

        try:
            inputs = read(self.output is not None)
        except InputError as error:
            raise SystemExit(str(error)) from error
        ask(self, task, inputs, lambda: self._answering(task))

    def _answering(self, task: Task) -> Answering:
        if self.folder is not None:
            from serving.clients.by_model import ByModel

            return ByModel(self, self.folder, task)
        from serving.clients.by_server import ByServer

        try:
            return ByServer(self, self._request)
        except OSError as error:
            raise SystemExit(f"ca_file = {str(self.ca_file)!r}: {error.strerror}") from error

    def _request(self, inputs: Sequence[Input]) -> Request:
        raise NotImplementedError


class _AskingTexts(Asking):
    text: CliPositionalArg[list[str]] = Field(default=[], description="texts (default: lines of --input, or standard input)")
    input: Path | None = Field(default=None, description="file with a text on each line")
    field: str | None = Field(
        default=None,
        description="lines are JSON objects, with the text in this field (default: text, for a file named *.jsonl)",
    )

    def _texts(self, whole: bool) -> Inputs:
        from serving.clients.inputs import read_texts

        return read_texts(self.text, self.input, self.field, whole)


class Translate(_AskingTexts):
    """Translate texts, with a running server or a model here."""

    source_language: str | None = Field(default=None, description="language of the texts, a code of the model or like de")
    target_language: str | None = Field(default=None, description="language to translate to")
    truncation: BySentence = "chunk"

    def decisive(self) -> dict[str, Any]:
        return {
            **super().decisive(),
            "source_language": self.source_language,
            "target_language": self.target_language,
        }

    def options(self) -> dict[str, Any]:
        return {**super().options(), "source": self.source_language, "target": self.target_language}

    def cli_cmd(self) -> None:
        self._ask("translation", self._texts)

    def _request(self, inputs: Sequence[Input]) -> Request:
        from protos.dqbart.v1 import seq2seq_pb2 as pb

        return pb.TranslateRequest(
            texts=[each.text for each in inputs],
            source_language=self.source_language or "",
            target_language=self.target_language or "",
            **self._shared_fields(),
        )


class Summarize(_AskingTexts):
    """Summarize texts, with a running server or a model here."""

    def cli_cmd(self) -> None:
        self._ask("summarization", self._texts)

    def _request(self, inputs: Sequence[Input]) -> Request:
        from protos.dqbart.v1 import seq2seq_pb2 as pb

        return pb.SummarizeRequest(texts=[each.text for each in inputs], **self._shared_fields())


class Answer(Asking):
    """Answer a question, or a file of questions, each from its context, with a running server or a model here."""

    question: CliPositionalArg[str | None] = Field(
        default=None, description="the question (default: JSON lines of question and context, a text or a list of passages)"
    )
    context: Annotated[list[str], AS_GIVEN] = Field(
        default=[], description="text to answer from; repeat it for several passages, the most relevant first"
    )
    input: Path | None = Field(
        default=None, description="file with the context, or without a question with JSON lines (default: standard input)"
    )

    def cli_cmd(self) -> None:
        from serving.clients.inputs import read_questions

        self._ask("question-answering", lambda whole: read_questions(self.question, self.context, self.input, whole))

    def _request(self, inputs: Sequence[Input]) -> Request:
        from protos.dqbart.v1 import seq2seq_pb2 as pb

        questions = [pb.Question(question=each.text, contexts=each.contexts) for each in inputs]
        return pb.AnswerRequest(questions=questions, **self._shared_fields())
