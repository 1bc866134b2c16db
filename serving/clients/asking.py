"""What `dqbart translate`, `summarize` and `answer` do once their settings are read: ask, show progress, write answers."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from protos.dqbart.v1 import seq2seq_pb2 as pb
from quant.card import Task as ModelTask
from serving.clients.batches import Answer, Batch, Refused, answer_all
from serving.clients.client import Client, Request, ServerError
from serving.clients.commands import Asking
from serving.clients.inputs import Input, Inputs
from serving.clients.output import Output, OutputError, OutputFile, StandardOutput

SHOWN_PLACES = 10
"""Of inputs that are told about together."""

INTERRUPTED = 128 + signal.SIGINT

Build = Callable[[Sequence[Input]], Request]


def ask(settings: Asking, task: ModelTask, inputs: Inputs, build: Build) -> None:
    """Answer all inputs. Raises SystemExit with a message for what cannot be answered, and 130 after Ctrl-C."""
    try:
        client = Client(
            settings.server,
            api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
            tls=settings.tls,
            ca_file=settings.ca_file,
            timeout=settings.timeout,
            retry_seconds=settings.retry_seconds,
        )
    except OSError as error:
        raise SystemExit(f"ca_file = {str(settings.ca_file)!r}: {error.strerror}") from error
    with client:
        try:
            if settings.stream:
                _stream(client, inputs, build)
            else:
                _write(settings, client, inputs, build, _output(settings, task, client, inputs))
        except (Refused, ServerError, OutputError) as error:
            raise SystemExit(str(error)) from error
        except KeyboardInterrupt:
            if settings.output is not None:
                print(f"interrupted; the same command continues {settings.output}", file=sys.stderr)
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read the output has enough. Python would complain once more when it closes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None


def _stream(client: Client, inputs: Inputs, build: Build) -> None:
    texts = [each for each in inputs.given if not each.empty]
    if len(texts) > 1:
        raise SystemExit(f"stream = True: one text is expected, {len(texts)} are given")
    unknown: list[Input] = []
    with closing(client.stream(build(texts))) as events:
        for event in events:
            sys.stdout.write(event.text)
            sys.stdout.flush()
            if event.result.unknown_tokens:
                unknown = texts
    print()
    _tell_unknown(unknown, 1)


def _write(settings: Asking, client: Client, inputs: Inputs, build: Build, output: Output) -> None:
    left = inputs.given[output.done :]
    skipped = 0
    unknown: list[Input] = []
    console = Console(stderr=True)
    # Lines on the same terminal would run into the bar.
    shown = console.is_terminal and (settings.output is not None or not sys.stdout.isatty())
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    batches = answer_all(
        client,
        build,
        left,
        per_request=settings.inputs_per_request,
        in_flight=settings.in_flight,
        skip=settings.on_error == "skip",
    )
    with Progress(*columns, console=console, disable=not shown) as progress, closing(batches):
        bar = progress.add_task("", total=len(inputs.given), completed=output.done)
        for batch in batches:
            output.append([line for each in batch for line in _lines(settings, each[1], inputs.lines)])
            skipped += _report(batch, console)
            unknown += [each for each, answer in batch if isinstance(answer, pb.Result) and answer.unknown_tokens]
            progress.advance(bar, len(batch))
    if skipped:
        print(f"{skipped} of {len(left)} inputs were refused, and have an empty line", file=sys.stderr)
    _tell_unknown(unknown, len(left))


def _report(batch: Batch, console: Console) -> int:
    """Say which inputs were left out; how many they are."""
    refused = [(each, answer) for each, answer in batch if isinstance(answer, ServerError)]
    for each, error in refused:
        console.print(f"{each.place}: {error}", markup=False, highlight=False, soft_wrap=True)
    return len(refused)


def _tell_unknown(inputs: Sequence[Input], of: int) -> None:
    """Say which inputs have what the model's vocabulary does not."""
    if inputs:
        places = ", ".join(each.place for each in inputs[:SHOWN_PLACES]) + (", …" if len(inputs) > SHOWN_PLACES else "")
        print(f"{len(inputs)} of {of} inputs have characters that the model does not know: {places}", file=sys.stderr)


def _output(settings: Asking, task: ModelTask, client: Client, inputs: Inputs) -> Output:
    if settings.output is None:
        return StandardOutput()
    made_with = {
        "task": task,
        "model": _served(client, task, settings.model),
        **settings.decisive(),
        "input": inputs.digest,
    }
    return OutputFile(settings.output, made_with, 1 if settings.json_lines else settings.sequences)


def _served(client: Client, task: ModelTask, name: str | None) -> dict[str, Any] | str | None:
    """What tells a model from another of the same name; the name alone where it is not served, which the server says."""
    for model in client.models():
        if model.name == name or (name is None and model.is_default and model.task == task):
            return {key: getattr(model, key) for key in ("name", "scheme", "layers", "size_bytes")}
    return name


def _lines(settings: Asking, answer: Answer, one_line: bool) -> list[str]:
    if settings.json_lines:
        return [json.dumps(_entries(answer), ensure_ascii=False)]
    if not isinstance(answer, pb.Result):
        return [""] * settings.sequences
    return [_line(output, one_line) for output in answer.sequences or [answer]]


def _line(output: pb.Result | pb.Output, one_line: bool) -> str:
    text = re.sub(r"[\r\n]+", " ", output.text) if one_line else output.text
    return f"{output.score:.4f}\t{text}" if output.HasField("score") else text


def _entries(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer, pb.Result):
        return {"text": ""} if answer is None else {"text": "", "error": {"code": answer.code, "message": str(answer)}}
    entries = _output_entries(answer)
    if answer.unknown_tokens:
        entries["unknown_tokens"] = answer.unknown_tokens
    if answer.HasField("seed"):
        entries["seed"] = answer.seed
    if answer.sequences:
        entries["sequences"] = [_output_entries(each) for each in answer.sequences]
    return entries


def _output_entries(output: pb.Result | pb.Output) -> dict[str, Any]:
    entries: dict[str, Any] = {"text": output.text, "generated_tokens": output.generated_tokens}
    if output.HasField("score"):
        entries["score"] = output.score
    return entries


class _Rate(ProgressColumn):
    """Inputs a second, of late."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")
