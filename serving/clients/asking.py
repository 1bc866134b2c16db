"""What `dqbart translate`, `summarize` and `answer` do once their settings are read: ask, show progress, write answers."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
from rich.text import Text

from quant.card import Task as ModelTask
from quant.errors import Error
from serving.clients.answers import Answer, Answered, Answering, Batch, Refusal, Refused
from serving.clients.commands import Asking
from serving.clients.inputs import Input, InputError, Inputs
from serving.clients.output import Output, OutputError, OutputFile, StandardOutput

SHOWN_PLACES = 10
"""Of inputs that are told about together."""

INTERRUPTED = 128 + signal.SIGINT


def ask(settings: Asking, task: ModelTask, inputs: Inputs, answering: Callable[[], Answering]) -> None:
    """Answer all inputs. Raises SystemExit with a message for what cannot be answered, and 130 after Ctrl-C."""
    try:
        with closing(inputs), closing(answering()) as answers:
            if settings.stream:
                _stream(answers, inputs)
            else:
                _write(settings, answers, inputs, _output(settings, task, answers, inputs))
    except (Refused, Error, OutputError, InputError) as error:
        raise SystemExit(f"{error}{_folder_meant(settings, error)}") from error
    except KeyboardInterrupt:
        if settings.output is not None:
            print(f"interrupted; the same command continues {settings.output}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read the output has enough. Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _folder_meant(settings: Asking, error: Exception) -> str:
    """What to say to who names a folder as if a server had it."""
    name, fault = settings.model, error.__cause__ or error
    meant = name is not None and settings.folder is None and (Path(name) / "config.json").is_file()
    not_there = isinstance(fault, Error) and getattr(fault, "code", "") in (None, "unknown_model")
    return f"; --model ./{name} asks the one in this folder" if meant and not_there else ""


def _stream(answering: Answering, inputs: Inputs) -> None:
    texts = list(islice((each for each in inputs.given if not each.empty), 2))
    if len(texts) > 1:
        raise SystemExit("stream = True: one text is expected, several are given")
    unknown: list[Input] = []
    with closing(answering.stream(texts[0])) as parts:
        for part in parts:
            if isinstance(part, str):
                sys.stdout.write(part)
                sys.stdout.flush()
            elif part.unknown_tokens:
                unknown = texts
    print()
    _tell_unknown(unknown, 1)


def _write(settings: Asking, answering: Answering, inputs: Inputs, output: Output) -> None:
    left = islice(inputs.given, output.done, None)
    answered = skipped = 0
    unknown: list[Input] = []
    console = Console(stderr=True)
    # Lines on the same terminal would run into the bar.
    shown = console.is_terminal and (settings.output is not None or not sys.stdout.isatty())
    columns = (BarColumn(bar_width=30), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    batches = answering.answers(left, settings.on_error == "skip")
    with Progress(*columns, console=console, disable=not shown) as progress, closing(batches):
        bar = progress.add_task("", total=inputs.count, completed=output.done)
        for batch in batches:
            output.append([line for each in batch for line in _lines(settings, each[1], inputs.lines)])
            answered += len(batch)
            skipped += _report(batch, console)
            unknown += [each for each, answer in batch if isinstance(answer, Answered) and answer.unknown_tokens]
            progress.advance(bar, len(batch))
    if skipped:
        print(f"{skipped} of {answered} inputs were refused, and have an empty line", file=sys.stderr)
    _tell_unknown(unknown, answered)


def _report(batch: Batch, console: Console) -> int:
    """Say which inputs were left out; how many they are."""
    refused = [(each, answer) for each, answer in batch if isinstance(answer, Refusal)]
    for each, refusal in refused:
        console.print(f"{each.place}: {refusal.message}", markup=False, highlight=False, soft_wrap=True)
    return len(refused)


def _tell_unknown(inputs: Sequence[Input], of: int) -> None:
    """Say which inputs have what the model's vocabulary does not."""
    if inputs:
        places = ", ".join(each.place for each in inputs[:SHOWN_PLACES]) + (", …" if len(inputs) > SHOWN_PLACES else "")
        print(f"{len(inputs)} of {of} inputs have characters that the model does not know: {places}", file=sys.stderr)


def _output(settings: Asking, task: ModelTask, answering: Answering, inputs: Inputs) -> Output:
    if settings.output is None:
        return StandardOutput()
    made_with = {"task": task, "model": answering.model(task), **settings.decisive(), "input": inputs.digest}
    return OutputFile(settings.output, made_with, 1 if settings.json_lines else settings.sequences)


def _lines(settings: Asking, answer: Answer, one_line: bool) -> list[str]:
    if settings.json_lines:
        return [json.dumps(_entries(answer), ensure_ascii=False)]
    if not isinstance(answer, Answered):
        return [""] * settings.sequences
    return [_line(output, one_line) for output in answer.sequences or (answer,)]


def _line(output: Answered, one_line: bool) -> str:
    text = re.sub(r"[\r\n]+", " ", output.text) if one_line else output.text
    return text if output.score is None else f"{output.score:.4f}\t{text}"


def _entries(answer: Answer) -> dict[str, Any]:
    if answer is None:
        return {"text": ""}
    if isinstance(answer, Refusal):
        return {"text": "", "error": {"code": answer.code, "message": answer.message}}
    entries = _output_entries(answer)
    if answer.unknown_tokens:
        entries["unknown_tokens"] = answer.unknown_tokens
    if answer.seed is not None:
        entries["seed"] = answer.seed
    if answer.sequences:
        entries["sequences"] = [_output_entries(each) for each in answer.sequences]
    return entries


def _output_entries(output: Answered) -> dict[str, Any]:
    entries: dict[str, Any] = {"text": output.text, "generated_tokens": output.generated_tokens}
    if output.score is not None:
        entries["score"] = output.score
    return entries


class _Rate(ProgressColumn):
    """Inputs a second, of late."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")
